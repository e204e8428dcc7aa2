"""The operations on resources, for the router and for the OpenAPI document."""

from http import HTTPStatus
from typing import Final

from extauthz.admin import examples, resource_removal, resources
from extauthz.admin.operation import OF_TENANT, PAGING, Answer, Content, Operation, Parameter, Who

_TAG: Final = "Resources"
_ONE: Final = resources.PATH + "/{id}"
_STORED: Final = Content("Resource", examples.RESOURCE_STORED)
_REVISIONED: Final = ("X-Policy-Revision", "ETag")
_REGISTERING: Final = (
    "Idempotent: of a name that is there, what the body says replaces what is stored and what it leaves out "
    "stays; the name of another service is 409, and so is a route that is taken. Default roles become role "
    "rules the first time ever that a name is registered."
)

OPERATIONS: Final = (
    Operation(
        method="POST",
        path=resources.PATH,
        name="registerResource",
        tag=_TAG,
        who=Who.REGISTRAR,
        handler=resources.register,
        summary="Register a resource",
        description=_REGISTERING,
        body=Content("ResourceDocument", examples.RESOURCE),
        preconditions=True,
        answers=(
            Answer(HTTPStatus.CREATED, "The new resource", _STORED, (*_REVISIONED, "Location")),
            Answer(HTTPStatus.OK, "The resource that is there already", _STORED, _REVISIONED),
        ),
        problems=(HTTPStatus.CONFLICT,),
    ),
    *(
        Operation(
            method="POST",
            path=f"{prefix}/resources/list",
            name=name,
            tag=_TAG,
            who=Who.REGISTRAR,
            handler=resources.register_all,
            summary="Register many resources, all or none",
            description=f"{_REGISTERING} Problems point into the list. {OF_TENANT}",
            body=Content("ResourceDocument", [examples.RESOURCE], array=True),
            bulk=True,
            preconditions=True,
            answers=(
                Answer(
                    HTTPStatus.CREATED,
                    "The resources in the order of the body, some of them new",
                    Content("Resource", [examples.RESOURCE_STORED], array=True),
                    _REVISIONED,
                ),
                Answer(
                    HTTPStatus.OK,
                    "All of them are there already",
                    Content("Resource", [examples.RESOURCE_STORED], array=True),
                    _REVISIONED,
                ),
            ),
            problems=(HTTPStatus.CONFLICT,),
        )
        for prefix, name in (("/api/v1", "registerResources"), ("", "registerResourcesAlias"))
    ),
    Operation(
        method="GET",
        path=resources.PATH,
        name="listResources",
        tag=_TAG,
        who=Who.REGISTRAR,
        handler=resources.list_resources,
        summary="List resources",
        parameters=(
            Parameter("name", "only the resource of this name"),
            Parameter("serviceName", "only resources of this service"),
            *PAGING,
        ),
        answers=(
            Answer(
                HTTPStatus.OK,
                "A page of resources",
                Content("ResourcePage", examples.page_of(examples.RESOURCE_STORED)),
            ),
        ),
    ),
    Operation(
        method="GET",
        path=_ONE,
        name="getResource",
        tag=_TAG,
        who=Who.REGISTRAR,
        handler=resources.get,
        summary="Get a resource",
        answers=(Answer(HTTPStatus.OK, "The resource", _STORED, ("ETag",)),),
        problems=(HTTPStatus.NOT_FOUND,),
    ),
    Operation(
        method="PATCH",
        path=_ONE,
        name="patchResource",
        tag=_TAG,
        who=Who.REGISTRAR,
        handler=resources.patch,
        summary="Change some members of a resource",
        description="A JSON merge patch (RFC 7396); a list replaces the old one. A resource keeps its name.",
        body=Content(
            "ResourcePatch",
            {"displayName": "Invoices"},
            media_types=("application/json", "application/merge-patch+json"),
        ),
        preconditions=True,
        answers=(Answer(HTTPStatus.OK, "The resource", _STORED, _REVISIONED),),
        problems=(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
    ),
    Operation(
        method="DELETE",
        path=_ONE,
        name="deleteResource",
        tag=_TAG,
        who=Who.REGISTRAR,
        handler=resource_removal.delete,
        summary="Delete a resource and its routes",
        description=(
            "The rules that its default roles became go with it. Other rules that name it are 409, unless "
            "`cascade` is true: then role rules are deleted and attribute policies are deleted softly."
        ),
        parameters=(
            Parameter("cascade", "delete the rules that name it, too", {"type": "boolean", "default": False}),
        ),
        preconditions=True,
        answers=(Answer(HTTPStatus.NO_CONTENT, "The resource is gone", headers=("X-Policy-Revision",)),),
        problems=(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
    ),
    Operation(
        method="GET",
        path=_ONE + "/policies",
        name="listRoleRulesOfResource",
        tag=_TAG,
        who=Who.POLICY_READER,
        handler=resources.list_rules,
        summary="List the role rules on a resource",
        parameters=PAGING,
        answers=(
            Answer(
                HTTPStatus.OK,
                "The rules that the caller may see",
                Content("RoleRule", [examples.ROLE_RULE_STORED], array=True),
                ("Link",),
            ),
        ),
        problems=(HTTPStatus.NOT_FOUND,),
    ),
)
