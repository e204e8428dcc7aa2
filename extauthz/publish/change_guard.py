"""The change guard of a tenant: what may not become live without a draft, a replay, or an approval.

A tenant with limits sets it. Direct writes of guarded nouns need a draft then. A draft whose replay shows
more newly allowed or denied requests than the limits, or with which a deny goes, needs an approval. A tenant
admin may override both with a reason, which the log, a metric and the audit trail tell.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import structlog

from extauthz.domain.policy import Mode
from extauthz.domain.reasons import Effect
from extauthz.storage import audit, change_guards, draft_approvals, replay_jobs
from extauthz.storage.audit import Occurrence
from extauthz.storage.change_guards import Guard
from extauthz.storage.outcome import Clash, Withheld
from extauthz.storage.write import Change, Publication
from extauthz.storage.written_row import WrittenRow

_log: Final = structlog.get_logger("extauthz.publish")
_NAMED: Final = 20


async def withheld(change: Change, guard: Guard, *, on_override: Callable[[], None]) -> Withheld | None:
    """Return what the guard of the tenant has against a change that would become live."""
    if not guard.is_set:
        return None
    if change.publishes is None:
        refused = _direct(change, guard)
    else:
        refused = await _published(change, guard, change.publishes)
    if refused is None or change.actor.override is None:
        return refused
    await _overridden(change, refused, change.actor.override)
    on_override()
    return None


def _direct(change: Change, guard: Guard) -> Withheld | None:
    guarded = [row for row in change.rows if row.kind in guard.nouns]
    if not guarded:
        return None
    nouns = ", ".join(sorted({row.kind.replace("_", " ") for row in guarded}))
    detail = f"the tenant's change guard covers {nouns}: write into a draft (?draft=) and publish it"
    return Withheld("draft_required", detail)


async def _published(change: Change, guard: Guard, publication: Publication) -> Withheld | None:
    if not any(row.kind in guard.nouns for row in change.rows):
        return None
    connection, tenant, draft_id = change.connection, change.tenant, publication.draft_id
    replay = await replay_jobs.last_done(connection, tenant, draft_id)
    if replay is None or not draft_approvals.is_fresh(replay, publication.digest, change.previous):
        return draft_approvals.replay_required()
    reasons = [
        Clash(0, None, f"{count} requests would be {word}, the limit is {limit}")
        for word, count, limit in (
            ("newly allowed", replay.newly_allowed, guard.max_newly_allowed),
            ("newly denied", replay.newly_denied, guard.max_newly_denied),
        )
        # A count that is not known is more than any limit.
        if limit is not None and (count is None or count > limit)
    ]
    reasons += [
        Clash(0, row.id, f"the deny {row.id} goes, or is changed")
        for row in lost_denies(change.rows)[:_NAMED]
    ]
    if not reasons:
        return None
    approved = any(
        approval.holds(
            version=publication.version,
            digest=publication.digest,
            live_revision=change.previous,
            replay=replay,
        )
        and (approval.actor["kind"], approval.actor["id"]) not in publication.authors
        for approval in await draft_approvals.of_draft(connection, tenant, draft_id)
    )
    if approved:
        return None
    names = ", ".join(sorted(repr(author) for _, author in publication.authors))
    detail = f"an approval by another identified tenant admin than the authors ({names}) is needed"
    return Withheld("approval_required", detail, tuple(reasons))


def lost_denies(rows: Sequence[WrittenRow]) -> list[WrittenRow]:
    """Return the denies in force that are deleted or changed; another name alone changes nothing."""
    return [row for row in rows if _denies(row.before) and _decides(row.before) != _decides(row.after)]


def _denies(document: Mapping[str, object] | None) -> bool:
    return (
        document is not None
        and document.get("effect") == Effect.DENY.value
        and document.get("enabled", True) is True
        and document.get("mode", Mode.ENFORCE.value) == Mode.ENFORCE.value
    )


def _decides(document: Mapping[str, object] | None) -> dict[str, object] | None:
    if document is None:
        return None
    return {member: repr(value) for member, value in document.items() if member != "name"}


async def _overridden(change: Change, refused: Withheld, reason: str) -> None:
    """Tell of an override in the log and in the audit trail, in the transaction of the change."""
    kinds = sorted({row.kind for row in change.rows})
    details = {
        "reason": reason, "withheld": refused.reason, "because": [clash.message for clash in refused.clashes],
        "kinds": kinds, "rows": len(change.rows), "revision": change.revision,
    }  # fmt: skip
    event = Occurrence(
        change.new_id(), change.actor.document(), "override", change_guards.KIND, change.tenant, details
    )
    await audit.record_in(change.connection, change.tenant, [event])
    _log.warning(
        "change_guard_overridden",
        message="a tenant admin made a change live that the change guard withholds",
        tenant=change.tenant,
        actor=change.actor.id,
        reason=reason,
        withheld=refused.reason,
        revision=change.revision,
    )
