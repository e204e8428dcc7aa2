"""Reads and writes of handlers: one transaction each, refusals as problems, revisions as headers."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from extauthz.admin import limits
from extauthz.admin.operation import Call, Reply, unreadable_warning
from extauthz.admin.paging import Position, read_position
from extauthz.admin.problems import ProblemDetails, forbidden, of_refusal, precondition_failed
from extauthz.admin.reading import entity_tag
from extauthz.compile.documents import Reading
from extauthz.compile.row_reader import KINDS, StoredReader
from extauthz.compile.warnings import DocumentWarning
from extauthz.domain.problem import Problem
from extauthz.domain.reasons import Effect
from extauthz.storage import write as storage_write
from extauthz.storage.outcome import Invalid, Refusal
from extauthz.storage.rows import Document, Page, Stored, Table, rfc3339
from extauthz.storage.service_keys import StoredKey
from extauthz.storage.write import Change, Written

if TYPE_CHECKING:
    from extauthz.storage.pool import Connection

_Value = TypeVar("_Value")
POLICY_REVISION: Final = "X-Policy-Revision"

Outcome: TypeAlias = _Value | Refusal | ProblemDetails


async def write(
    call: Call, work: Callable[[Change], Awaitable[Outcome[_Value]]], *, entries: str | None = None
) -> Written[_Value] | ProblemDetails:
    """Run `work` as one change of the caller's tenant; a problem it returns stores nothing.

    `entries` points to the list whose entries `work` writes.
    """
    found: list[ProblemDetails] = []

    changes: list[Change] = []

    async def refusing(change: Change) -> _Value | Refusal:
        changes.append(change)
        outcome = await work(change)
        if isinstance(outcome, ProblemDetails):
            found.append(outcome)
            return Invalid(())
        return outcome

    services = call.services
    written = await storage_write.write(
        services.pool,
        call.tenant,
        call.caller.actor,
        refusing,
        new_id=services.new_id,
        validate=services.validate,
    )
    if isinstance(written, Written):
        call.unreadable.extend(changes[0].unreadable if written.changed else services.unreadable(call.tenant))
        return written
    return found[0] if found else of_refusal(written, entries=entries)


async def read(call: Call, work: "Callable[[Connection], Awaitable[_Value]]") -> _Value | ProblemDetails:
    """Run `work` on one moment of the caller's tenant."""
    found = await storage_write.read(call.services.pool, call.tenant, work)
    return of_refusal(found) if isinstance(found, Refusal) else found


def stale(call: Call, stored: Stored | StoredKey | None) -> ProblemDetails | None:
    """Judge `If-Match` against the row that is about to be written (None: there is none yet)."""
    if call.if_match is None or call.if_match.allows(None if stored is None else stored.revision):
        return None
    state = "there is no such object yet" if stored is None else "the object was written since it was read"
    return precondition_failed(f"If-Match names another state: {state}")


def tenant_stale(call: Call, change: Change) -> ProblemDetails | None:
    """Judge `If-Match` of a write that is about no single row: against the tenant's revision.

    The change itself has counted that up already.
    """
    if call.if_match is None or call.if_match.allows(change.previous):
        return None
    return precondition_failed("If-Match names another state: the tenant was written since it was read")


async def beyond_limit(call: Call, change: Change, kind: str, added: int) -> ProblemDetails | None:
    """Refuse a change that would give the tenant more rows of a kind than it may have."""
    services = call.services
    return await limits.beyond(services.limits, change, services.policies.current(), kind, added)


def outranked(call: Call, stored: Stored, *, domain: str) -> ProblemDetails | None:
    """Refuse a domain admin what only a tenant admin may touch: another's row, or a deny set above it.

    docs/reference/policy-language.md#attribute-policies: what a domain admin writes
    can never lift a tenant admin's deny at 0 or above; deleting or
    rewriting the deny would.
    """
    caller = call.caller
    if caller.is_tenant_admin:
        return None
    document = stored.document
    if not caller.may(document[domain]):
        return forbidden(f"the domain {document[domain]!r} is not yours to administer")
    priority = document.get("priority", 0)
    assert isinstance(priority, int)
    if not stored.by_domain_admin and document["effect"] == Effect.DENY.value and priority >= 0:
        return forbidden("a tenant admin wrote this deny, and only a tenant admin may change it")
    return None


def foreign_domain(call: Call, domain: str) -> ProblemDetails | None:
    """Refuse to write into a domain that the caller does not administer."""
    if call.caller.may(domain):
        return None
    if domain == "*":
        return forbidden("only tenant admins write for the domain '*'")
    return forbidden(f"the domain {domain!r} is not yours to administer")


def shown(stored: Stored) -> Document:
    """Return a row as the API shows it."""
    return stored.document | {
        "created_at": rfc3339(stored.created_at),
        "updated_at": rfc3339(stored.updated_at),
    }


def shown_warnings(warnings: Sequence[DocumentWarning]) -> list[Document]:
    """Return warnings as the API shows them."""
    return [
        {"code": warning.code.value, "pointer": warning.pointer, "message": warning.message}
        for warning in warnings
    ]


async def listed(
    call: Call,
    table: Table,
    page: "Callable[..., Awaitable[Page]]",
    filters: Mapping[str, object],
    show: Callable[[Stored], Document] = shown,
) -> Reply | ProblemDetails:
    """Return a part of the list of the rows that the caller may see; `page` reads it from the database."""
    position = read_position(call.query, scope=f"{call.tenant} {table.name}")
    if isinstance(position, ProblemDetails):
        return position
    found = await read(
        call,
        lambda connection: page(
            connection,
            call.tenant,
            **filters,
            domains=call.caller.domains,
            after=position.after,
            limit=position.limit,
        ),
    )
    return found if isinstance(found, ProblemDetails) else shown_page(call, table, position, found, show)


def shown_page(
    call: Call, table: Table, position: Position, page: Page, show: Callable[[Stored], Document] = shown
) -> Reply:
    """Return a part of a list; rows that are known not to be in force as they are stored have a warning."""
    prefix = f"/{table.kind}/"
    known: dict[str, list[Problem]] = {}
    for problem in call.services.unreadable(call.tenant):
        if problem.pointer.startswith(prefix):
            known.setdefault(problem.pointer.split("/")[2], []).append(problem)
    items = [_warned(call, show(stored), known.get(stored.id, ())) for stored in page.items]
    return Reply(HTTPStatus.OK, {"items": items, "next_cursor": position.cursor(page.next)})


def single(call: Call, table: Table, stored: Stored, show: Callable[[Stored], Document] = shown) -> Reply:
    """Return one row with its entity tag, and with a warning where it cannot be read."""
    problems: list[Problem] = []
    reading = Reading(condition_headers=call.services.condition_headers)
    if stored.deleted_at is None and table.kind in KINDS:
        StoredReader(reading).read(table.kind, stored.document, problems)
    document = _warned(call, show(stored), problems[:1])
    return Reply(HTTPStatus.OK, document, {"ETag": entity_tag(stored.revision)})


def _warned(call: Call, document: Document, problems: Sequence[Problem]) -> Document:
    if not problems:
        return document
    known = document.get("warnings", [])
    assert isinstance(known, list)
    return document | {"warnings": [*known, *(unreadable_warning(call, problem) for problem in problems)]}


def written_reply(
    written: Written[Stored], status: HTTPStatus, body: Document, *, location: str | None = None
) -> Reply:
    """Return the row that a write left behind, and the revision under which it is in effect."""
    headers = {
        POLICY_REVISION: str(written.revision),
        "ETag": entity_tag(written.value.revision),
    }
    if location is not None:
        headers["Location"] = f"{location}/{written.value.id}"
    return Reply(status, body, headers)


def tenant_headers(revision: int) -> dict[str, str]:
    """Return the headers of an answer that is about no single row: the entity tag is the tenant's."""
    return {POLICY_REVISION: str(revision), "ETag": entity_tag(revision)}


def gone_reply(written: Written[_Value]) -> Reply:
    """Return that a row is gone."""
    return Reply(HTTPStatus.NO_CONTENT, headers={POLICY_REVISION: str(written.revision)})
