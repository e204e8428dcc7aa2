"""`/api/v1/service-api-keys`: keys of programs, each with its scopes; the key is shown once, in the 201.

A key makes keys only within what it may do itself, and they end with it.
"""

from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from extauthz.admin import changes, examples
from extauthz.admin.delegation import beyond
from extauthz.admin.key_documents import read_key
from extauthz.admin.limits import too_many
from extauthz.admin.operation import PAGING, Answer, Call, Content, Operation, Reply, Who, nothing_at
from extauthz.admin.paging import read_position
from extauthz.admin.problems import ProblemDetails, forbidden, invalid
from extauthz.admin.reading import entity_tag
from extauthz.domain.service_key import ID_PREFIX, SECRET_BYTES, key_text, row_id
from extauthz.storage import service_keys
from extauthz.storage.rows import MAX_PAGE, Document, rfc3339
from extauthz.storage.service_keys import StoredKey
from extauthz.storage.write import Change

if TYPE_CHECKING:
    from extauthz.domain.problem import Problem

PATH: Final = "/api/v1/service-api-keys"
KEY_ID: Final = {
    "type": "string",
    "pattern": "^sak_[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$",
    "description": "the `id` of the key",
}
_NOUN: Final = "service key"


async def list_keys(call: Call) -> Reply | ProblemDetails:
    """List the keys that are not revoked: the tenant's, or those that the calling key made."""
    position = read_position(call.query, scope=f"{call.tenant} service_api_keys {_maker(call)}")
    if isinstance(position, ProblemDetails):
        return position
    after = None if position.after is None else f"{ID_PREFIX}{position.after}"
    page = await changes.read(
        call,
        lambda connection: service_keys.page(
            connection, call.tenant, parent=_maker(call), after=after, limit=position.limit
        ),
    )
    if isinstance(page, ProblemDetails):
        return page
    following = None if page.next is None else row_id(page.next)
    return Reply(
        HTTPStatus.OK,
        {"items": [shown(stored) for stored in page.items], "next_cursor": position.cursor(following)},
    )


async def create(call: Call) -> Reply | ProblemDetails:
    """Make a key."""
    assert call.body is not None
    problems: list[Problem] = []
    document = read_key(call.body.document, problems, now=call.services.clock())
    if problems or document is None:
        return invalid(problems)
    grant = call.caller.grant
    if grant is not None and not grant.bootstrap and (exceeding := beyond(grant, document)):
        return forbidden("a key makes keys only within what it may do itself", errors=exceeding)
    if refusal := changes.stale(call, None):
        return refusal
    key_id = f"{ID_PREFIX}{call.services.new_id()}"
    secret = call.services.random_bytes(SECRET_BYTES)
    limit = call.services.limits.service_keys

    async def work(change: Change) -> changes.Outcome[StoredKey]:
        # Unrevoked ones: the limit is far below one page.
        present = await service_keys.page(change.connection, change.tenant, limit=min(limit, MAX_PAGE))
        if len(present.items) >= limit:
            return too_many("service_keys", limit)
        parent = None if grant is None else grant.id
        return await service_keys.create(change, document | {"id": key_id, "parent": parent}, secret=secret)

    written = await changes.write(call, work)
    if isinstance(written, ProblemDetails):
        return written
    headers = {
        changes.POLICY_REVISION: str(written.revision),
        "ETag": entity_tag(written.value.revision),
        "Location": f"{PATH}/{key_id}",
    }
    return Reply(HTTPStatus.CREATED, shown(written.value) | {"key": key_text(key_id, secret)}, headers)


async def revoke(call: Call) -> Reply | ProblemDetails:
    """End a key, and every key that it made."""
    key_id = call.path["id"]
    if row_id(key_id) is None:
        return nothing_at(call, _NOUN)

    async def work(change: Change) -> changes.Outcome[tuple[str, ...]]:
        stored = await service_keys.get(change.connection, change.tenant, key_id)
        maker = _maker(call)
        if stored is None or stored.revoked_at is not None:
            return nothing_at(call, _NOUN)
        if maker is not None and stored.document["parent"] != maker:
            return nothing_at(call, _NOUN)
        if refusal := changes.stale(call, stored):
            return refusal
        if stored.document["bootstrap"]:
            return forbidden("the bootstrap key is the operator's to rotate and revoke")
        return await service_keys.revoke(change, key_id)

    written = await changes.write(call, work)
    return written if isinstance(written, ProblemDetails) else changes.gone_reply(written)


def _maker(call: Call) -> str | None:
    """Return the key whose own keys are all that the caller may see; None for tenant admins."""
    return None if call.caller.is_tenant_admin or call.caller.grant is None else call.caller.grant.id


def shown(stored: StoredKey) -> Document:
    """Return a key as the API shows it, never with anything of its secret."""
    document = stored.document

    def moment(value: datetime | None) -> str | None:
        return None if value is None else rfc3339(value)

    return {
        **document,
        "expires_at": document.get("expires_at"),
        "created_at": moment(stored.created_at),
        "last_used_at": moment(stored.last_used_at),
    }


_TAG: Final = "Service keys"

OPERATIONS: Final = (
    Operation(
        method="GET",
        path=PATH,
        name="listServiceKeys",
        tag=_TAG,
        who=Who.KEY_MAKER,
        handler=list_keys,
        summary="List service keys",
        description="Without the keys themselves, and without revoked ones. A key sees those that it made.",
        parameters=PAGING,
        answers=(
            Answer(
                HTTPStatus.OK,
                "A page of keys",
                Content("ServiceKeyPage", examples.page_of(examples.SERVICE_KEY_STORED)),
            ),
        ),
    ),
    Operation(
        method="POST",
        path=PATH,
        name="createServiceKey",
        tag=_TAG,
        who=Who.KEY_MAKER,
        handler=create,
        summary="Create a service key",
        description=(
            "The key is in this answer only. `resources:write` makes a registrar: it needs `service_name` "
            "and `prefixes` (`host/path`, `*.suffix/path` or `/path`), compared as whole literal segments. "
            "`policies:read` and `policies:write` act as a domain admin of `domain`; left out, of "
            "every domain by name. A key makes keys only within its own scopes, service, prefixes, domain "
            "and expiry (403), and they are revoked with it."
        ),
        body=Content("ServiceKeyDocument", examples.SERVICE_KEY),
        preconditions=True,
        answers=(
            Answer(
                HTTPStatus.CREATED,
                "The key",
                Content("ServiceKeyMade", examples.SERVICE_KEY_MADE),
                ("X-Policy-Revision", "ETag", "Location"),
            ),
        ),
        # Its maker can be revoked while it makes one.
        problems=(HTTPStatus.NOT_FOUND,),
    ),
    Operation(
        method="DELETE",
        path=PATH + "/{id}",
        name="revokeServiceKey",
        tag=_TAG,
        who=Who.KEY_MAKER,
        handler=revoke,
        summary="Revoke a service key and every key it made",
        path_schemas={"id": KEY_ID},
        preconditions=True,
        answers=(Answer(HTTPStatus.NO_CONTENT, "The key is revoked", headers=("X-Policy-Revision",)),),
        problems=(HTTPStatus.NOT_FOUND,),
    ),
)
