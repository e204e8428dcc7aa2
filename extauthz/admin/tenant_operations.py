"""The operations on tenants, for the router and for the OpenAPI document."""

from dataclasses import replace
from http import HTTPStatus
from typing import Final

from extauthz.admin import examples, tenants
from extauthz.admin.operation import PAGING, Answer, Content, Operation, Who

SLUG: Final = {
    "type": "string",
    "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
    "description": "the slug of the tenant",
}
_TAG: Final = "Tenants"
_ONE: Final = tenants.PATH + "/{id}"
_REVISIONED: Final = ("X-Policy-Revision", "ETag")
_STORED: Final = Content("Tenant", examples.TENANT)

_PLAIN: Final = (
    Operation(
        method="GET",
        path=tenants.PATH,
        name="listTenants",
        tag=_TAG,
        who=Who.OPERATOR,
        handler=tenants.list_tenants,
        summary="List tenants",
        parameters=PAGING,
        answers=(
            Answer(
                HTTPStatus.OK,
                "A page of tenants, without their hosts",
                Content("TenantPage", examples.page_of(examples.TENANT_LISTED)),
            ),
        ),
    ),
    Operation(
        method="POST",
        path=tenants.PATH,
        name="createTenant",
        tag=_TAG,
        who=Who.OPERATOR,
        handler=tenants.create,
        summary="Create a tenant",
        description=(
            "`bootstrapKey` is in this answer only; presented as `X-Service-Api-Key` it is a tenant admin. "
            "The slug is the tenant's id, never changes, and is given out once ever."
        ),
        body=Content("TenantDocument", {"name": "Acme", "slug": "acme"}),
        preconditions=True,
        answers=(
            Answer(
                HTTPStatus.CREATED,
                "The tenant",
                Content("TenantMade", examples.TENANT_MADE),
                (*_REVISIONED, "Location"),
            ),
        ),
        problems=(HTTPStatus.CONFLICT,),
    ),
    Operation(
        method="GET",
        path=_ONE,
        name="getTenant",
        tag=_TAG,
        who=Who.OPERATOR,
        handler=tenants.get,
        summary="Get a tenant with its hosts",
        answers=(Answer(HTTPStatus.OK, "The tenant", _STORED, ("ETag",)),),
        problems=(HTTPStatus.NOT_FOUND,),
    ),
    Operation(
        method="PATCH",
        path=_ONE,
        name="patchTenant",
        tag=_TAG,
        who=Who.OPERATOR,
        handler=tenants.patch,
        summary="Rename or suspend a tenant",
        description="Every request to a suspended tenant's workloads, and every call of its own, is denied.",
        body=Content("TenantPatch", {"status": "suspended"}),
        preconditions=True,
        answers=(Answer(HTTPStatus.OK, "The tenant", _STORED, _REVISIONED),),
        problems=(HTTPStatus.NOT_FOUND,),
    ),
    Operation(
        method="DELETE",
        path=_ONE,
        name="deleteTenant",
        tag=_TAG,
        who=Who.OPERATOR,
        handler=tenants.delete,
        summary="Delete a tenant and all it has",
        preconditions=True,
        answers=(Answer(HTTPStatus.NO_CONTENT, "The tenant is gone", headers=("X-Policy-Revision",)),),
        problems=(HTTPStatus.NOT_FOUND,),
    ),
    Operation(
        method="PUT",
        path=_ONE + "/hosts",
        name="replaceHosts",
        tag=_TAG,
        who=Who.OPERATOR,
        handler=tenants.replace_hosts,
        summary="Replace the hosts that a tenant owns",
        description=(
            "Names or addresses, without wildcards; a port is dropped. A host belongs to one tenant. A bare "
            "list is taken, too."
        ),
        body=Content("Hosts", {"hosts": ["acme.example"]}),
        preconditions=True,
        answers=(
            Answer(
                HTTPStatus.OK, "The hosts", Content("HostsStored", {"hosts": ["acme.example"]}), _REVISIONED
            ),
        ),
        problems=(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
    ),
    Operation(
        method="POST",
        path=_ONE + "/bootstrap-key",
        name="rotateBootstrapKey",
        tag=_TAG,
        who=Who.OPERATOR,
        handler=tenants.rotate_bootstrap_key,
        summary="Give a tenant a new bootstrap key",
        description="The old one ends; the keys it made go on, as the new one's.",
        preconditions=True,
        answers=(
            Answer(
                HTTPStatus.CREATED, "The key", Content("BootstrapKey", examples.BOOTSTRAP_KEY), _REVISIONED
            ),
        ),
        problems=(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
    ),
    Operation(
        method="DELETE",
        path=_ONE + "/bootstrap-key",
        name="revokeBootstrapKey",
        tag=_TAG,
        who=Who.OPERATOR,
        handler=tenants.revoke_bootstrap_key,
        summary="Revoke a tenant's bootstrap key and every key it made",
        preconditions=True,
        answers=(Answer(HTTPStatus.NO_CONTENT, "It has ended", headers=("X-Policy-Revision",)),),
        problems=(HTTPStatus.NOT_FOUND,),
    ),
)
OPERATIONS: Final = tuple(
    replace(operation, saas_only=True, path_schemas={"id": SLUG}) for operation in _PLAIN
)
