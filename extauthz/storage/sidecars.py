"""The sidecars of a tenant, and the revision at which each decides.

Input: what sidecars report. Output: rows, how many sidecars have a revision, and what they have seen of the
bodies of requests. Errors: `Refusal`.

Revisions of two epochs do not compare: after a restore a sidecar has none of the new revisions until it
reports one of the new epoch. A revision that the tenant does not have yet is from before a restore, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from extauthz.domain.sidecar_report import ReportedBodies
from extauthz.storage.columns import bounded_times
from extauthz.storage.outcome import refusals_returned
from extauthz.storage.pool import tenant_transaction
from extauthz.storage.rows import MAX_PAGE, Page, parts

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime
    from uuid import UUID

    import asyncpg

    from extauthz.domain.sidecar_report import RequestBodies
    from extauthz.storage.pool import Connection, Pool

MAX_SIDECARS: Final = 50_000
"""Sidecars that a tenant may have; further ones are not stored."""
SHOWN_FOR: Final = "1 hour"
"""How long a sidecar that no longer reports is shown."""
MAX_MISSING: Final = 100

_REVISION: Final = "CASE WHEN s.epoch = c.epoch AND s.revision <= t.revision THEN s.revision END"
"""The revision of the tenant that a sidecar has; NULL: none."""
_BEHIND: Final = f"t.revision - COALESCE({_REVISION}, 0) AS behind_by"
_SELECTED: Final = (
    f"s.instance::text, s.version, {_REVISION} AS revision,"
    " extract(epoch FROM greatest(now() - s.confirmed_at, interval '0'))::float8 AS age,"
    " s.condition_body_max, s.request_bodies,"
    f" {bounded_times('s.last_seen')}, s.live_until > now() AS live, {_BEHIND}"
)
_FROM: Final = "FROM sidecars AS s JOIN tenants AS t USING (tenant_id) CROSS JOIN cluster_state AS c"
_RESUMED: Final = "now() - make_interval(secs => $2::text::float8)"
_AWAITED: Final = (
    f"(s.live_until > now() OR (s.last_seen < {_RESUMED}"  # noqa: S608
    f" AND {_RESUMED} + (s.live_until - s.last_seen) > now()"
    " AND s.live_until > (SELECT max(k.last_seen) FROM sidecars AS k"
    f" WHERE k.tenant_id = $1 AND k.last_seen < {_RESUMED})))"
)
"""A sidecar that a write waits for: one that is live, or was when no report could be stored any more. The
latter has as long to report again as it is live after a report."""


@dataclass(frozen=True, slots=True)
class SidecarReport:
    """What one sidecar says of one tenant.

    `revision` and `epoch` are None before its first policies, `age` (seconds since they were last confirmed)
    too. `live_s` is how long the sidecar counts as live from now on. `condition_body_max` is in octets, 0: it
    reads no body, None: it does not say; `request_bodies` None: it has had no check, or does not say.
    """

    instance: str
    version: str
    epoch: str | None
    revision: int | None
    age: float | None
    live_s: float
    condition_body_max: int | None = None
    request_bodies: RequestBodies | None = None


@dataclass(frozen=True, slots=True)
class Sidecar:
    """A sidecar of a tenant. `behind_by` is in revisions; `live`: it reported within three intervals.

    `condition_body_max` and `request_bodies` are as in its report.
    """

    instance: str
    version: str
    revision: int | None
    age: float | None
    condition_body_max: int | None
    request_bodies: str | None
    last_seen: datetime
    live: bool
    behind_by: int


@dataclass(frozen=True, slots=True)
class AppliedCount:
    """How many live sidecars are at a revision of the present epoch; None: at none of its revisions."""

    revision: int | None
    sidecars: int


@refusals_returned
async def store(
    pool: Pool, tenant: str, reports: Sequence[SidecarReport], gone: Collection[str] = ()
) -> frozenset[str]:
    """Store what sidecars report, the newest of each, and delete those that are `gone`.

    Return the instances that the tenant has no room for. A tenant that does not exist has no sidecars; one
    that is deleted has those that still serve it.
    """
    newest = {report.instance: report for report in reports}
    async with tenant_transaction(pool, tenant) as connection:
        await connection.execute(
            "DELETE FROM sidecars WHERE tenant_id = $1"  # noqa: S608
            f" AND (instance = ANY($2::text[]::uuid[]) OR live_until < now() - interval '{SHOWN_FOR}')",
            tenant,
            sorted(set(gone) - newest.keys()),
        )
        # In the order of their ids, so that two replicas do not wait for each other.
        waiting = sorted(newest.values(), key=lambda report: report.instance)
        left = await _upsert(connection, tenant, waiting)
        if left and await connection.fetchval(
            "SELECT EXISTS (SELECT FROM tenants WHERE tenant_id = $1 AND deleted_at IS NULL)", tenant
        ):
            await _make_room(connection, tenant, len(left))
            left = await _upsert(connection, tenant, left)
        else:
            left = []
    return frozenset(each.instance for each in left)


async def _upsert(
    connection: Connection, tenant: str, reports: Sequence[SidecarReport]
) -> list[SidecarReport]:
    """Store reports, and return those that were not stored, in their order."""
    stored: set[str] = set()
    for some in parts(reports):
        records = await connection.fetch(
            "INSERT INTO sidecars AS s"
            " (tenant_id, instance, version, epoch, revision, confirmed_at, live_until, condition_body_max,"
            " request_bodies)"
            " SELECT t.tenant_id, r.instance, r.version, r.epoch, r.revision,"
            " now() - make_interval(secs => r.age), now() + make_interval(secs => r.live_s),"
            " r.condition_body_max, r.request_bodies"
            " FROM tenants AS t CROSS JOIN unnest($2::text[]::uuid[], $3::text[], $4::text[]::uuid[],"
            " $5::text[]::bigint[], $6::text[]::float8[], $7::text[]::float8[], $9::text[]::bigint[],"
            " $10::text[])"
            " WITH ORDINALITY AS r (instance, version, epoch, revision, age, live_s, condition_body_max,"
            " request_bodies, number)"
            " WHERE t.tenant_id = $1"
            " AND (EXISTS (SELECT FROM sidecars AS k WHERE k.tenant_id = $1 AND k.instance = r.instance)"
            " OR (t.deleted_at IS NULL"
            " AND (SELECT count(*) FROM sidecars AS k WHERE k.tenant_id = $1) + r.number <= $8))"
            " ON CONFLICT (tenant_id, instance) DO UPDATE SET version = excluded.version,"
            " epoch = excluded.epoch, revision = excluded.revision, confirmed_at = excluded.confirmed_at,"
            " last_seen = now(), live_until = excluded.live_until,"
            " condition_body_max = excluded.condition_body_max, request_bodies = excluded.request_bodies"
            " RETURNING s.instance::text",
            tenant,
            [each.instance for each in some],
            [each.version for each in some],
            [each.epoch for each in some],
            [_text(each.revision) for each in some],
            [_text(each.age) for each in some],
            [_text(each.live_s) for each in some],
            MAX_SIDECARS,
            [_text(each.condition_body_max) for each in some],
            [each.request_bodies for each in some],
        )
        stored.update(record["instance"] for record in records)
    return [each for each in reports if each.instance not in stored]


async def _make_room(connection: Connection, tenant: str, sidecars: int) -> None:
    """Delete sidecars that are not live, the longest silent first."""
    await connection.execute(
        "DELETE FROM sidecars WHERE tenant_id = $1 AND instance IN (SELECT k.instance FROM sidecars AS k"
        " WHERE k.tenant_id = $1 AND k.live_until <= now() ORDER BY k.last_seen, k.instance LIMIT $2)",
        tenant,
        sidecars,
    )


async def page(
    connection: Connection, tenant: str, *, after: UUID | None = None, limit: int = MAX_PAGE
) -> Page[Sidecar]:
    """Return a page of a tenant's sidecars, in the order of their ids."""
    limit = max(1, min(limit, MAX_PAGE))
    records = await connection.fetch(
        f"SELECT {_SELECTED} {_FROM} WHERE s.tenant_id = $1 AND ($2::uuid IS NULL OR s.instance > $2)"
        f" ORDER BY s.instance LIMIT {limit + 1}",
        tenant,
        after,
    )
    items = tuple(_sidecar(record) for record in records[:limit])
    return Page(items, items[-1].instance if len(records) > limit else None)


async def applied(connection: Connection, tenant: str, *, resumed_s: float = 0.0) -> list[AppliedCount]:
    """Return how many sidecars that a write waits for are at which revision.

    `resumed_s` is how long reports have been stored without interruption.
    """
    records = await connection.fetch(
        f"SELECT {_REVISION} AS revision, count(*) AS sidecars"
        f" {_FROM} WHERE s.tenant_id = $1 AND {_AWAITED} GROUP BY 1",
        tenant,
        str(resumed_s),
    )
    return [AppliedCount(record["revision"], record["sidecars"]) for record in records]


async def missing(
    connection: Connection, tenant: str, revision: int, *, resumed_s: float = 0.0
) -> list[Sidecar]:
    """Return sidecars that a write waits for and that do not have a revision, at most `MAX_MISSING`."""
    records = await connection.fetch(
        f"SELECT {_SELECTED} {_FROM} WHERE s.tenant_id = $1 AND {_AWAITED}"
        f" AND ({_REVISION} >= $3) IS NOT TRUE ORDER BY s.instance LIMIT {MAX_MISSING}",
        tenant,
        str(resumed_s),
        revision,
    )
    return [_sidecar(record) for record in records]


async def bodies(connection: Connection, tenant: str) -> ReportedBodies:
    """Return what the live sidecars of a tenant say of the bodies of requests."""
    (record,) = await connection.fetch(
        "SELECT count(*) AS sidecars, count(*) FILTER (WHERE s.condition_body_max IS NULL) AS silent,"
        " count(*) FILTER (WHERE s.condition_body_max = 0) AS reading_none,"
        " count(*) FILTER (WHERE s.request_bodies = 'arrived') AS arrived,"
        " count(*) FILTER (WHERE s.request_bodies = 'unreadable') AS unreadable,"
        " count(*) FILTER (WHERE s.request_bodies = 'none') AS without"
        " FROM sidecars AS s WHERE s.tenant_id = $1 AND s.live_until > now()",
        tenant,
    )
    return ReportedBodies(**dict(record))


def _text(number: float | None) -> str | None:
    return None if number is None else str(number)


def _sidecar(record: asyncpg.Record) -> Sidecar:
    return Sidecar(**dict(record))
