"""`/admin/tenants`: the operator's tenants, their hosts and their bootstrap keys (`MODE=saas`)."""

import re
from collections.abc import Mapping
from enum import StrEnum
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from extauthz.admin import changes
from extauthz.admin.limits import too_many
from extauthz.admin.operation import Call, Reply
from extauthz.admin.paging import Order, read_position
from extauthz.admin.problems import ProblemDetails, invalid, not_found, of_refusal
from extauthz.admin.reading import entity_tag
from extauthz.compile.fields import Fields
from extauthz.compile.fields import shown as quoted
from extauthz.domain.host import HostRejected, canonical_host
from extauthz.domain.problem import Problem
from extauthz.domain.service_key import ID_PREFIX, SECRET_BYTES, key_text
from extauthz.storage import hosts, service_keys, tenants
from extauthz.storage.outcome import NotFound, Refusal
from extauthz.storage.rows import Document, Stored, rfc3339
from extauthz.storage.service_keys import StoredKey
from extauthz.storage.write import Change, Written

if TYPE_CHECKING:
    from extauthz.storage.pool import Connection

PATH: Final = "/admin/tenants"
_SLUG: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


class Status(StrEnum):
    """Whether a tenant's workloads are served."""

    ACTIVE = "active"
    SUSPENDED = "suspended"


async def list_tenants(call: Call) -> Reply | ProblemDetails:
    """List the tenants in the order of their slugs."""
    position = read_position(call.query, scope="tenants", order=Order.SLUG)
    if isinstance(position, ProblemDetails):
        return position
    page = await tenants.page(call.services.pool, after=position.after_name, limit=position.limit)
    if isinstance(page, Refusal):
        return of_refusal(page)
    items = [shown(stored) for stored in page.items]
    return Reply(HTTPStatus.OK, {"items": items, "next_cursor": position.cursor_by_name(page.next)})


async def create(call: Call) -> Reply | ProblemDetails:
    """Create a tenant with its bootstrap key."""
    assert call.body is not None
    problems: list[Problem] = []
    fields = Fields(call.body.document, "", problems)
    name, slug = fields.text("name"), fields.text("slug")
    if slug is not None and not _SLUG.fullmatch(slug):
        wanted = "1 to 63 lower-case letters, digits and inner hyphens are needed"
        fields.note("slug", f"found {quoted(slug)}, {wanted}")
    fields.done()
    if problems or name is None or slug is None:
        return invalid(problems)
    if refusal := changes.stale(call, None):
        return refusal
    key_id, secret = _new_key(call)

    async def also(change: Change) -> Stored | Refusal:
        made = await service_keys.rotate_bootstrap(change, key_id, secret=secret)
        if not isinstance(made, StoredKey):
            return made
        return await _tenant(change)

    services = call.services
    written = await tenants.create(
        services.pool, call.caller.actor, slug=slug, name=name, also=also, new_id=services.new_id
    )
    if not isinstance(written, Written):
        return of_refusal(written)
    body = shown(written.value) | {"hosts": [], "bootstrapKey": key_text(key_id, secret)}
    return _reply(written, body, HTTPStatus.CREATED, location=f"{PATH}/{slug}")


async def get(call: Call) -> Reply | ProblemDetails:
    """Return one tenant with its hosts."""

    async def work(connection: "Connection") -> tuple[Stored | None, tuple[str, ...]]:
        return await tenants.get(connection, call.tenant), await hosts.read(connection, call.tenant)

    found = await changes.read(call, work)
    if isinstance(found, ProblemDetails):
        return found
    stored, names = found
    if stored is None:
        return nothing(call)
    return Reply(HTTPStatus.OK, shown(stored) | {"hosts": list(names)}, {"ETag": entity_tag(stored.revision)})


async def patch(call: Call) -> Reply | ProblemDetails:
    """Rename a tenant, suspend it, or let it go on."""
    assert call.body is not None
    problems: list[Problem] = []
    fields = Fields(call.body.document, "", problems)
    name = fields.text("name", required=False)
    status = fields.choice("status", Status) if fields.has("status") else None
    fields.get("status")
    fields.done()
    if problems:
        return invalid(problems)

    async def work(change: Change) -> changes.Outcome[tuple[Stored, tuple[str, ...]]]:
        if refusal := changes.tenant_stale(call, change):
            return refusal
        replaced = await tenants.replace(change, name=name, status=None if status is None else status.value)
        if not isinstance(replaced, Stored):
            return replaced
        return replaced, await hosts.read(change.connection, change.tenant)

    written = await changes.write(call, work)
    if isinstance(written, ProblemDetails):
        return written
    stored, names = written.value
    return _reply(written, shown(stored) | {"hosts": list(names)}, HTTPStatus.OK)


async def delete(call: Call) -> Reply | ProblemDetails:
    """Delete a tenant and all it has."""

    async def work(change: Change) -> changes.Outcome[Stored]:
        return changes.tenant_stale(call, change) or await tenants.delete(change)

    written = await changes.write(call, work)
    return written if isinstance(written, ProblemDetails) else changes.gone_reply(written)


async def replace_hosts(call: Call) -> Reply | ProblemDetails:
    """Make these the hosts of the tenant."""
    assert call.body is not None
    problems: list[Problem] = []
    entries = "/hosts" if isinstance(call.body.document, Mapping) else ""
    names = _read_hosts(call.body.document, entries, problems)
    if problems:
        return invalid(problems)
    limit = call.services.limits.hosts
    if len(set(names)) > limit:
        return too_many("hosts", limit, pointer=entries)

    async def work(change: Change) -> changes.Outcome[tuple[str, ...]]:
        return changes.tenant_stale(call, change) or await hosts.replace(change, names)

    written = await changes.write(call, work, entries=entries)
    if isinstance(written, ProblemDetails):
        return written
    return _reply(written, {"hosts": list(written.value)}, HTTPStatus.OK)


def _read_hosts(document: object, pointer: str, problems: list[Problem]) -> list[str]:
    if isinstance(document, Mapping):
        fields = Fields(document, "", problems)
        entries: object = fields.items("hosts", required=True)
        fields.done()
    else:
        entries = document
    if not isinstance(entries, list | tuple):
        problems.append(Problem(pointer, f"found {quoted(entries)}, a list of hosts is needed"))
        return []
    found: list[str] = []
    for index, entry in enumerate(entries):
        host = canonical_host(entry) if isinstance(entry, str) else None
        if host is None or isinstance(host, HostRejected):
            why = "" if host is None else f": {host.reason}"
            problems.append(Problem(f"{pointer}/{index}", f"found {quoted(entry)}, a host is needed{why}"))
        else:
            found.append(host)
    return found


async def rotate_bootstrap_key(call: Call) -> Reply | ProblemDetails:
    """Give the tenant a new bootstrap key; the one it had ends."""
    key_id, secret = _new_key(call)

    async def work(change: Change) -> changes.Outcome[StoredKey]:
        return changes.tenant_stale(call, change) or await service_keys.rotate_bootstrap(
            change, key_id, secret=secret
        )

    written = await changes.write(call, work)
    if isinstance(written, ProblemDetails):
        return written
    body = {"id": key_id, "bootstrapKey": key_text(key_id, secret)}
    return _reply(written, body, HTTPStatus.CREATED)


async def revoke_bootstrap_key(call: Call) -> Reply | ProblemDetails:
    """End the tenant's bootstrap key and every key that it made."""

    async def work(change: Change) -> changes.Outcome[tuple[str, ...]]:
        if refusal := changes.tenant_stale(call, change):
            return refusal
        ended = await service_keys.revoke_bootstrap(change)
        return not_found("the tenant has no bootstrap key") if isinstance(ended, NotFound) else ended

    written = await changes.write(call, work)
    return written if isinstance(written, ProblemDetails) else changes.gone_reply(written)


def nothing(call: Call) -> ProblemDetails:
    """Return 404 for the tenant in the path."""
    return not_found(f"there is no tenant {call.tenant!r}")


async def _tenant(change: Change) -> Stored:
    stored = await tenants.get(change.connection, change.tenant)
    assert stored is not None, "it was written in this transaction"
    return stored


def _new_key(call: Call) -> tuple[str, bytes]:
    return f"{ID_PREFIX}{call.services.new_id()}", call.services.random_bytes(SECRET_BYTES)


def shown(stored: Stored) -> Document:
    """Return a tenant as the API shows it."""
    return stored.document | {
        "createdAt": rfc3339(stored.created_at),
        "updatedAt": rfc3339(stored.updated_at),
    }


def _reply(
    written: Written[Any], body: Mapping[str, object], status: HTTPStatus, *, location: str | None = None
) -> Reply:
    """Return what is of the tenant itself: its entity tag is its revision."""
    located = {} if location is None else {"Location": location}
    return Reply(status, body, changes.tenant_headers(written.revision) | located)
