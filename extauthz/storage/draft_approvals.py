"""Approvals of drafts: by whom, and for which version, digest, live revision and replay.

Input: a connection in a transaction of the tenant. Output: `Approval`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from extauthz.storage import draft_writes, drafts, replay_jobs
from extauthz.storage.columns import bounded_times
from extauthz.storage.encoding import decode_stored, encode_json
from extauthz.storage.outcome import NotFound, Refusal, RefusedError, Withheld, refusals_returned
from extauthz.storage.pool import tenant_transaction
from extauthz.storage.write import Actor, Change

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime
    from uuid import UUID

    from extauthz.storage.draft_writes import DraftCheck
    from extauthz.storage.pool import Connection, Pool
    from extauthz.storage.replay_jobs import ReplayJob


@dataclass(frozen=True, slots=True)
class Approval:
    """An approval, and what it holds for."""

    actor: Mapping[str, Any]
    comment: str
    version: int
    draft_digest: str
    live_revision: int
    replay_id: UUID
    created_at: datetime

    def holds(self, *, version: int, digest: str, live_revision: int, replay: ReplayJob) -> bool:
        """Return whether it is about this state of the draft, of the live policies, and of the replay."""
        approved = (self.version, self.draft_digest, self.live_revision, self.replay_id)
        return approved == (version, digest, live_revision, replay.id)


def is_fresh(replay: ReplayJob | None, digest: str, live_revision: int) -> bool:
    """Return whether a replay was made for a draft as it is, and for the present live policies."""
    return replay is not None and (replay.draft_digest, replay.live_revision) == (digest, live_revision)


def replay_required() -> Withheld:
    """Return the refusal of a draft that was not replayed as it is."""
    detail = "replay the draft first: no replay over all that is kept was made for it and the live policies"
    return Withheld("replay_required", detail)


async def of_draft(connection: Connection, tenant: str, draft_id: UUID) -> list[Approval]:
    """Return the approvals of a draft."""
    records = await connection.fetch(
        "SELECT actor::text, comment, version, draft_digest, live_revision, replay_id,"  # noqa: S608
        f" {bounded_times('created_at')} FROM draft_approvals WHERE tenant_id = $1 AND draft_id = $2"
        " ORDER BY created_at",
        tenant,
        draft_id,
    )
    return [
        Approval(decode_stored(record["actor"]), *list(record)[1:])  # type: ignore[arg-type]  # an object
        for record in records
    ]


async def authors(connection: Connection, tenant: str, draft_id: UUID) -> frozenset[tuple[str, str]]:
    """Return kind and id of every author of a draft."""
    records = await connection.fetch(
        "SELECT DISTINCT author -> 'actor' ->> 'kind' AS kind, author -> 'actor' ->> 'id' AS id"
        " FROM draft_changes WHERE tenant_id = $1 AND draft_id = $2",
        tenant,
        draft_id,
    )
    return frozenset((record["kind"], record["id"]) for record in records)


@refusals_returned
async def approve(
    pool: Pool,
    tenant: str,
    actor: Actor,
    draft_id: UUID,
    *,
    comment: str,
    check: DraftCheck,
    new_id: Callable[[], str],
) -> tuple[Approval, int] | Refusal:
    """Approve a draft as it is; return the approval and the version of the draft."""
    async with tenant_transaction(pool, tenant) as connection:
        revision = await draft_writes.lock_tenant(connection, tenant)
        draft = await drafts.get(connection, tenant, draft_id, locked=True)
        if draft is None or revision is None:
            raise RefusedError(NotFound(drafts.KIND, str(draft_id)))
        check(draft)
        if (actor.kind, actor.id) in await authors(connection, tenant, draft_id):
            detail = "another than the authors has to approve it"
            raise RefusedError(Withheld("approver_is_author", detail))
        digest = await drafts.draft_digest(connection, tenant, draft_id)
        replay = await replay_jobs.last_done(connection, tenant, draft_id)
        if replay is None or not is_fresh(replay, digest, revision):
            raise RefusedError(replay_required())
        await connection.execute(
            "INSERT INTO draft_approvals (tenant_id, draft_id, approver_kind, approver_id, actor, comment,"
            " version, draft_digest, live_revision, replay_id)"
            " VALUES ($1, $2, $3, $4, $5::jsonb, $6, $7, $8, $9, $10)"
            " ON CONFLICT (tenant_id, draft_id, approver_kind, approver_id) DO UPDATE SET"
            " comment = excluded.comment, version = excluded.version, draft_digest = excluded.draft_digest,"
            " live_revision = excluded.live_revision, replay_id = excluded.replay_id, created_at = now()",
            tenant,
            draft_id,
            actor.kind,
            actor.id,
            encode_json(actor.document()),
            comment,
            draft.version,
            digest,
            revision,
            replay.id,
        )
        change = Change(connection, tenant, actor, revision, revision, new_id)
        details = {
            "comment": comment, "version": draft.version, "draft_digest": digest,
            "live_revision": revision, "replay": str(replay.id),
        }  # fmt: skip
        await draft_writes.note(connection, change, draft_id, "approve", details)
        (approval,) = (
            each
            for each in await of_draft(connection, tenant, draft_id)
            if (each.actor["kind"], each.actor["id"]) == (actor.kind, actor.id)
        )
        return approval, draft.version
