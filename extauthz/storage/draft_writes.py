"""Writes to drafts: the work of an ordinary write runs on the draft's state, and its effects are kept.

    lock the tenant -> savepoint -> put the draft's rows into the tables -> the work -> validate
    -> take the rows that it wrote -> roll back -> keep them in the draft

So every check of an ordinary write is the same in a draft, and no revision is raised. Publishing puts the
rows of the draft into the tables in one ordinary write. Output: `DraftWritten`, or a `Refusal`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

from extauthz.domain.problem import Problem
from extauthz.storage import audit, draft_rows, draft_view, drafts
from extauthz.storage.audit import Occurrence
from extauthz.storage.drafts import Draft
from extauthz.storage.encoding import decode_stored, encode_json
from extauthz.storage.outcome import (
    Clash,
    Conflict,
    Invalid,
    NotFound,
    Refusal,
    RefusedError,
    refusals_returned,
)
from extauthz.storage.pool import tenant_transaction
from extauthz.storage.rows import parts
from extauthz.storage.write import Actor, Change, Validate, Work, Written
from extauthz.storage.written_row import WrittenRow

if TYPE_CHECKING:
    from uuid import UUID

    from extauthz.storage.draft_rows import DraftConflict
    from extauthz.storage.idempotency import Once
    from extauthz.storage.pool import Connection, Pool
    from extauthz.storage.rows import Document, Stored

_Value = TypeVar("_Value")
DraftCheck = Callable[[Draft], None]
"""Refuses a draft in the state in which it is; raises the error to answer with."""
MAX_ROWS: Final = 100_000
"""The most rows that a draft changes: each write to it puts them into the tables."""
_NAMED_ROWS: Final = 20


@dataclass(frozen=True, slots=True)
class DraftWritten(Written[_Value]):
    """The result of a write to a draft; `revision` is the live one, `version` the draft's."""

    version: int = 0


@dataclass(frozen=True, slots=True)
class DraftChange:
    """One change of a draft, with its author as it was recorded."""

    number: int
    author: Mapping[str, Any]
    written: WrittenRow


class _UndoneError(Exception):
    """Rolls the work back that ran on the state of a draft."""


@refusals_returned
async def write(
    pool: Pool,
    tenant: str,
    actor: Actor,
    work: Work[_Value],
    *,
    draft_id: UUID,
    author: Mapping[str, object],
    new_id: Callable[[], str],
    check: DraftCheck,
    validate: Validate,
    once: Once[DraftWritten[_Value]] | None = None,
) -> DraftWritten[_Value] | Refusal:
    """Run `work` on the state of a draft and keep the rows that it writes there; return its result.

    `author` is kept with every change and its actor. `check` judges the draft before. The other arguments
    are those of `storage.write.write`.
    """
    async with tenant_transaction(pool, tenant) as connection:
        if once is not None:
            await once.begin(connection)
        previous = await lock_tenant(connection, tenant)
        draft = None if previous is None else await drafts.get(connection, tenant, draft_id, locked=True)
        if previous is None or draft is None:
            raise RefusedError(NotFound(drafts.KIND, str(draft_id)))
        check(draft)
        if draft.base_revision != previous:
            found = await draft_rows.conflicts(connection, tenant, draft_id)
            if found:
                raise RefusedError(conflict_of(found))
        change = Change(connection, tenant, actor, previous + draft.version, previous, new_id, draft=draft_id)
        outcome, taken = await _run(change, draft_id, work, validate)
        if isinstance(outcome, Refusal):
            raise RefusedError(outcome)
        version = draft.version
        if change.rows:
            await draft_rows.store(connection, tenant, draft_id, taken)
            await _record(change, draft_id, draft.version, author)
            version = await drafts.raise_version(connection, tenant, draft_id)
        written = DraftWritten(
            outcome, previous, changed=bool(change.rows), unreadable=change.unreadable, version=version
        )
        if once is not None:
            await once.end(connection, written)
        return written


async def examine(change: Change, draft_id: UUID, validate: Validate) -> None:
    """Raise the refusal of a draft that does not fit into the live state, or does not compile with it."""

    async def nothing(_: Change) -> None:
        """Write no row."""

    outcome, _ = await _run(change, draft_id, nothing, validate, always=True)
    if isinstance(outcome, Refusal):
        raise RefusedError(outcome)


async def _run(
    change: Change, draft_id: UUID, work: Work[_Value], validate: Validate, *, always: bool = False
) -> tuple[_Value | Refusal, list[draft_rows.DraftRow]]:
    """Run the work in a savepoint that is rolled back; return its result and the rows that it wrote.

    `always` validates the draft also where the work writes nothing.
    """
    outcome: _Value | Refusal
    taken: list[draft_rows.DraftRow] = []
    connection, tenant = change.connection, change.tenant
    try:
        async with connection.transaction():
            keys = await draft_rows.keys_of(connection, tenant, draft_id)
            before = documents(keys, await draft_rows.stored(connection, tenant, keys))
            if not await draft_rows.put(connection, tenant, draft_id, change.revision, published=False):
                outcome = misfit(draft_id)
                raise _UndoneError
            outcome = await work(change)
            if not isinstance(outcome, Refusal) and (change.rows or always):
                for row in change.rows:
                    before.setdefault((row.kind, row.id), row.before)
                if len(before) > MAX_ROWS:
                    message = f"the draft would change {len(before)} rows, at most {MAX_ROWS} fit into one"
                    outcome = Invalid((Problem("", message),))
                    raise _UndoneError
                whole = replace(change, rows=await net_rows(connection, tenant, before))
                refusal = await validate(whole)
                change.unreadable = whole.unreadable
                if refusal is not None:
                    outcome = refusal
                    raise _UndoneError
                taken = await draft_rows.take(
                    connection,
                    tenant,
                    [(row.kind, row.id) for row in change.rows],
                    previous=change.previous,
                    revision=change.revision,
                )
            raise _UndoneError
    except _UndoneError:
        return outcome, taken


def misfit(draft_id: UUID) -> Conflict:
    """Return the refusal of a draft whose rows do not fit into the tables."""
    return Conflict(drafts.KIND, (Clash(0, str(draft_id), "contradicts live rows; rebase it"),))


def documents(
    keys: Iterable[tuple[str, str]], rows: Mapping[tuple[str, str], Stored]
) -> dict[tuple[str, str], Document | None]:
    """Return the documents of rows by kind and id; None for a row that does not exist."""
    return {key: rows[key].document if key in rows else None for key in keys}


async def net_rows(
    connection: Connection, tenant: str, before: Mapping[tuple[str, str], Document | None]
) -> list[WrittenRow]:
    """Return what the tables have now of rows, as one change of each from what was `before`."""
    after = documents(before, await draft_rows.stored(connection, tenant, before))
    found: list[WrittenRow] = []
    for key, old in before.items():
        new = after[key]
        if old is new or (old is not None and new is not None and encode_json(old) == encode_json(new)):
            continue
        action = "create" if old is None else "delete" if new is None else "update"
        found.append(WrittenRow(action, *key, old, new, "delete" if new is None else "upsert"))
    return found


async def _record(change: Change, draft_id: UUID, version: int, author: Mapping[str, object]) -> None:
    """Keep the changes with their author, and an event about the write in the audit trail."""
    connection = change.connection
    first = await connection.fetchval(
        "SELECT coalesce(max(number), 0) + 1 FROM draft_changes WHERE tenant_id = $1 AND draft_id = $2",
        change.tenant,
        draft_id,
    )
    written_by = encode_json({"actor": change.actor.document()} | dict(author))
    number = first
    for some in parts(change.rows):
        await connection.execute(
            "INSERT INTO draft_changes"
            " (tenant_id, draft_id, number, author, action, kind, row_id, before, after)"
            " SELECT $1, $2, r.number, $3::jsonb, r.action, r.kind, r.id, r.before::json, r.after::json"
            " FROM unnest($4::text[]::bigint[], $5::text[], $6::text[], $7::text[]::uuid[], $8::text[],"
            " $9::text[]) AS r (number, action, kind, id, before, after)",
            change.tenant,
            draft_id,
            written_by,
            [str(each) for each in range(number, number + len(some))],
            [row.action for row in some],
            [row.kind for row in some],
            [row.id for row in some],
            [None if row.before is None else encode_json(row.before) for row in some],
            [None if row.after is None else encode_json(row.after) for row in some],
        )
        number += len(some)
    named = [{"action": row.action, "kind": row.kind, "id": row.id} for row in change.rows[:_NAMED_ROWS]]
    details = {"version": version + 1, "changes": len(change.rows), "rows": named}
    await note(connection, change, draft_id, "change", details)


async def note(
    connection: Connection, change: Change, draft_id: UUID, action: str, details: Mapping[str, object]
) -> None:
    """Append an event about a draft to the audit trail."""
    event = Occurrence(change.new_id(), change.actor.document(), action, drafts.KIND, str(draft_id), details)
    await audit.record_in(connection, change.tenant, [event])


async def changes(connection: Connection, tenant: str, draft_id: UUID) -> list[DraftChange]:
    """Return every change of a draft in order."""
    records = await connection.fetch(
        "SELECT number, author::text, action, kind, row_id::text AS id, before::text, after::text"
        " FROM draft_changes WHERE tenant_id = $1 AND draft_id = $2 ORDER BY number",
        tenant,
        draft_id,
        timeout=15.0,
    )
    authors: dict[str, Any] = {}
    found: list[DraftChange] = []
    for record in records:
        author = authors.setdefault(record["author"], decode_stored(record["author"]))
        before, after = (
            None if record[name] is None else decode_stored(record[name]) for name in ("before", "after")
        )
        written = WrittenRow(
            record["action"],
            record["kind"],
            record["id"],
            before if isinstance(before, dict) else None,
            after if isinstance(after, dict) else None,
            "delete" if after is None else "upsert",
        )
        found.append(DraftChange(record["number"], author, written))
    return found


@refusals_returned
async def read(
    pool: Pool,
    tenant: str,
    draft_id: UUID,
    check: DraftCheck,
    work: Callable[[Connection], Awaitable[_Value]],
) -> tuple[_Value, Draft] | NotFound:
    """Run `work` in a read-only transaction that sees one moment of a tenant as a draft would leave it."""
    async with tenant_transaction(pool, tenant, read_only=True) as connection:
        draft = await drafts.get(connection, tenant, draft_id)
        if draft is None:
            return NotFound(drafts.KIND, str(draft_id))
        check(draft)
        return await work(await draft_view.view(connection, draft_id)), draft


async def lock_tenant(connection: Connection, tenant: str) -> int | None:
    """Keep other writes of the tenant out until the end of the transaction; return its revision."""
    found: int | None = await connection.fetchval(
        "SELECT revision FROM tenants WHERE tenant_id = $1 AND deleted_at IS NULL FOR NO KEY UPDATE", tenant
    )
    return found


def conflict_of(found: Sequence[DraftConflict]) -> Conflict:
    """Return the refusal that names what of a draft does not fit the live rows."""
    return Conflict(drafts.KIND, tuple(Clash(0, each.other or each.id, _told(each)) for each in found))


def _told(each: DraftConflict) -> str:
    noun = each.kind.replace("_", " ")
    if each.why == "changed":
        return f"the {noun} {each.id} was written live since the draft changed it"
    return f"the {noun} {each.id} of the draft has a value or a route of the live one"
