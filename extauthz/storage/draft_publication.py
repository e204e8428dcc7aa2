"""Drafts as a whole: created, rebased on the present live state, published, deleted.

Publishing is the work of one ordinary write: the rows of the draft are put into the tables, sidecars get one
change of each row, and the audit trail every change of the draft with its author and its publisher.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal

from extauthz.domain.problem import Problem
from extauthz.storage import draft_rows, draft_writes, drafts
from extauthz.storage.draft_writes import DraftChange, DraftCheck, DraftWritten
from extauthz.storage.encoding import encode_json
from extauthz.storage.outcome import Invalid, NotFound, Refusal, RefusedError, refusals_returned
from extauthz.storage.pool import tenant_transaction
from extauthz.storage.write import Actor, Change, Publication, Validate

if TYPE_CHECKING:
    from uuid import UUID

    from extauthz.storage.draft_rows import DraftConflict
    from extauthz.storage.drafts import Draft
    from extauthz.storage.idempotency import Once
    from extauthz.storage.pool import Connection, Pool
    from extauthz.storage.rows import Stored

Choice = Literal["draft", "live"]
ReplacedRows = Mapping[tuple[str, str], "Stored"]
PublicationCheck = Callable[[Change, "Draft", Sequence[DraftChange], ReplacedRows], Awaitable[None]]
"""Refuses a publication: the write, the draft, its changes in order, the live rows that it replaces.

The tables have the rows of the draft already.
"""
_RESOLVE: Final = "is not a conflict of this draft"


@refusals_returned
async def create(
    pool: Pool,
    tenant: str,
    actor: Actor,
    *,
    title: str | None,
    most: int,
    new_id: Callable[[], str],
    draft_id: UUID,
    once: Once[DraftWritten[Draft]] | None,
) -> DraftWritten[Draft] | Refusal:
    """Create a draft; a tenant has at most `most` open ones."""
    async with tenant_transaction(pool, tenant) as connection:
        if once is not None:
            await once.begin(connection)
        revision = await draft_writes.lock_tenant(connection, tenant)
        if revision is None:
            raise RefusedError(NotFound("tenant", tenant))
        if await drafts.count_open(connection, tenant) >= most:
            message = f"the tenant has {most} open drafts, which is the limit"
            raise RefusedError(Invalid((Problem("", message),)))
        draft = await drafts.create(connection, tenant, draft_id, title=title, author=actor.document())
        assert draft is not None, "the tenant's row is locked"
        change = Change(connection, tenant, actor, revision, revision, new_id)
        await draft_writes.note(connection, change, draft_id, "create", {"title": title})
        written = DraftWritten(draft, revision, changed=True, version=draft.version)
        if once is not None:
            await once.end(connection, written)
        return written


@refusals_returned
async def delete(
    pool: Pool, tenant: str, actor: Actor, draft_id: UUID, *, check: DraftCheck, new_id: Callable[[], str]
) -> Draft | Refusal:
    """Delete a draft with its changes; the audit trail keeps that it was there."""
    async with tenant_transaction(pool, tenant) as connection:
        revision = await draft_writes.lock_tenant(connection, tenant)
        draft = await drafts.get(connection, tenant, draft_id, locked=True)
        if draft is None or revision is None:
            return NotFound(drafts.KIND, str(draft_id))
        check(draft)
        change = Change(connection, tenant, actor, revision, revision, new_id)
        details = {"title": draft.title, "version": draft.version, "changes": draft.changes}
        await draft_writes.note(connection, change, draft_id, "delete", details)
        await drafts.delete(connection, tenant, draft_id)
        return draft


@refusals_returned
async def rebase(
    pool: Pool,
    tenant: str,
    actor: Actor,
    draft_id: UUID,
    *,
    resolve: Mapping[str, Choice],
    check: DraftCheck,
    validate: Validate,
    new_id: Callable[[], str],
) -> DraftWritten[Draft] | Refusal:
    """Make the present live state the base of a draft.

    `resolve` says of each row (by id) that conflicts what is kept: the row as the draft has it, or as it is
    live, which takes the changes of the row out of the draft. A conflict without it is named in the refusal.
    """
    async with tenant_transaction(pool, tenant) as connection:
        previous = await draft_writes.lock_tenant(connection, tenant)
        draft = await drafts.get(connection, tenant, draft_id, locked=True)
        if draft is None or previous is None:
            return NotFound(drafts.KIND, str(draft_id))
        check(draft)
        found = await draft_rows.conflicts(connection, tenant, draft_id)
        unknown = sorted(set(resolve) - {each.id for each in found})
        if unknown:
            return Invalid(tuple(Problem(f"/resolve/{row_id}", _RESOLVE) for row_id in unknown))
        left = [each for each in found if not _resolved(each, resolve)]
        if left:
            return draft_writes.conflict_of(left)
        if found or draft.base_revision != previous:
            await _settle(connection, tenant, draft_id, found, resolve)
            change = Change(connection, tenant, actor, previous + 1, previous, new_id, draft=draft_id)
            await draft_writes.examine(change, draft_id, validate)
            await drafts.raise_version(connection, tenant, draft_id, base_revision=previous)
            details = {"base_revision": previous, "resolved": dict(resolve)}
            await draft_writes.note(connection, change, draft_id, "rebase", details)
            draft = await drafts.get(connection, tenant, draft_id)
            assert draft is not None, "the row is locked"
        return DraftWritten(draft, previous, changed=True, version=draft.version)


def _resolved(each: DraftConflict, resolve: Mapping[str, Choice]) -> bool:
    # A value or a route of a live row cannot be taken from it by the draft's row.
    return resolve.get(each.id) == "live" or (resolve.get(each.id) == "draft" and each.why == "changed")


async def _settle(
    connection: Connection,
    tenant: str,
    draft_id: UUID,
    found: Sequence[DraftConflict],
    resolve: Mapping[str, Choice],
) -> None:
    dropped = {(each.kind, each.id) for each in found if resolve[each.id] == "live"}
    adopted = {(each.kind, each.id) for each in found} - dropped
    await draft_rows.drop(connection, tenant, draft_id, dropped)
    await draft_rows.adopt(connection, tenant, draft_id, adopted)


async def publish(
    change: Change, draft_id: UUID, *, check: DraftCheck, judge: PublicationCheck
) -> Draft | Refusal:
    """Make a draft live; the work of a write. `check` judges the draft before, `judge` the publication."""
    connection, tenant = change.connection, change.tenant
    draft = await drafts.get(connection, tenant, draft_id, locked=True)
    if draft is None:
        return NotFound(drafts.KIND, str(draft_id))
    check(draft)
    if draft.base_revision != change.previous:
        found = await draft_rows.conflicts(connection, tenant, draft_id)
        if found:
            return draft_writes.conflict_of(found)
    keys = await draft_rows.keys_of(connection, tenant, draft_id)
    live = await draft_rows.stored(connection, tenant, keys)
    changes = await draft_writes.changes(connection, tenant, draft_id)
    if not await draft_rows.put(connection, tenant, draft_id, change.revision, published=True):
        return draft_writes.misfit(draft_id)
    change.rows += await draft_writes.net_rows(connection, tenant, draft_writes.documents(keys, live))
    await judge(change, draft, changes, live)
    change.publishes = Publication(
        draft_id,
        draft.version,
        await drafts.draft_digest(connection, tenant, draft_id),
        frozenset((str(each.author["actor"]["kind"]), str(each.author["actor"]["id"])) for each in changes),
    )
    publisher = change.actor.document()
    change.audited = [
        replace(
            each.written,
            actor=dict(each.author["actor"]) | {"draft": str(draft_id), "published_by": publisher},
        )
        for each in changes
    ]
    await connection.execute(
        "UPDATE drafts SET state = 'published', version = version + 1, updated_at = now(),"
        " published_revision = $3, published_by = $4::jsonb WHERE tenant_id = $1 AND id = $2",
        tenant,
        draft_id,
        change.revision,
        encode_json(publisher),
    )
    await connection.execute(
        "DELETE FROM draft_rows WHERE tenant_id = $1 AND draft_id = $2", tenant, draft_id
    )
    details = {"revision": change.revision, "changes": len(changes), "rows": len(change.rows)}
    await draft_writes.note(connection, change, draft_id, "publish", details)
    published = await drafts.get(connection, tenant, draft_id)
    assert published is not None, "the row is locked"
    return published
