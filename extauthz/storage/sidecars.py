"""The sidecars of a tenant, and the revision at which each decides.

Input: what sidecars report. Output: rows, and how many sidecars have a revision. Errors: `Refusal`.

Revisions of two epochs do not compare: after a restore a sidecar has none of the new revisions until it
reports one of the new epoch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from extauthz.storage.outcome import refusals_returned
from extauthz.storage.pool import tenant_transaction
from extauthz.storage.rows import MAX_PAGE, Page, bounded_times, parts

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime
    from uuid import UUID

    import asyncpg

    from extauthz.storage.pool import Connection, Pool

MAX_SIDECARS: Final = 50_000
"""Sidecars that a tenant may have; further ones are not stored."""
SHOWN_FOR: Final = "1 hour"
"""How long a sidecar that no longer reports is shown."""
MAX_MISSING: Final = 100

_BEHIND: Final = (
    "CASE WHEN s.epoch = c.epoch AND s.revision IS NOT NULL THEN greatest(t.revision - s.revision, 0)"
    " ELSE t.revision END AS behind_by"
)
_SELECTED: Final = (
    "s.instance::text, s.version, CASE WHEN s.epoch = c.epoch THEN s.revision END AS revision,"
    " extract(epoch FROM greatest(now() - s.confirmed_at, interval '0'))::float8 AS age,"
    f" {bounded_times('s.last_seen')}, s.live_until > now() AS live, {_BEHIND}"
)
_FROM: Final = "FROM sidecars AS s JOIN tenants AS t USING (tenant_id) CROSS JOIN cluster_state AS c"


@dataclass(frozen=True, slots=True)
class SidecarReport:
    """What one sidecar says of one tenant.

    `revision` and `epoch` are None before its first policies, `age` (seconds since they were last confirmed)
    too. `live_s` is how long the sidecar counts as live from now on.
    """

    instance: str
    version: str
    epoch: str | None
    revision: int | None
    age: float | None
    live_s: float


@dataclass(frozen=True, slots=True)
class Sidecar:
    """A sidecar of a tenant. `behind_by` is in revisions; `live`: it reported within three intervals."""

    instance: str
    version: str
    revision: int | None
    age: float | None
    last_seen: datetime
    live: bool
    behind_by: int


@dataclass(frozen=True, slots=True)
class Applied:
    """How many live sidecars are at a revision of the present epoch; None: at none of its revisions."""

    revision: int | None
    sidecars: int


@refusals_returned
async def store(
    pool: Pool, tenant: str, reports: Sequence[SidecarReport], gone: Collection[str] = ()
) -> None:
    """Store what sidecars report, the newest of each, and delete those that are `gone`.

    A tenant that does not exist, or no longer, has no sidecars.
    """
    newest = {report.instance: report for report in reports}
    async with tenant_transaction(pool, tenant) as connection:
        for some in parts(sorted(newest.values(), key=lambda report: report.instance)):
            await connection.execute(
                "INSERT INTO sidecars AS s"
                " (tenant_id, instance, version, epoch, revision, confirmed_at, live_until)"
                " SELECT t.tenant_id, r.instance, r.version, r.epoch, r.revision,"
                " now() - make_interval(secs => r.age), now() + make_interval(secs => r.live_s)"
                " FROM tenants AS t CROSS JOIN unnest($2::text[]::uuid[], $3::text[], $4::text[]::uuid[],"
                " $5::text[]::bigint[], $6::text[]::float8[], $7::text[]::float8[])"
                " AS r (instance, version, epoch, revision, age, live_s)"
                " WHERE t.tenant_id = $1 AND t.deleted_at IS NULL"
                " AND (EXISTS (SELECT FROM sidecars AS k WHERE k.tenant_id = $1 AND k.instance = r.instance)"
                " OR (SELECT count(*) FROM sidecars AS k WHERE k.tenant_id = $1) < $8)"
                " ON CONFLICT (tenant_id, instance) DO UPDATE SET version = excluded.version,"
                " epoch = excluded.epoch, revision = excluded.revision, confirmed_at = excluded.confirmed_at,"
                " last_seen = now(), live_until = excluded.live_until",
                tenant,
                [each.instance for each in some],
                [each.version for each in some],
                [each.epoch for each in some],
                [_text(each.revision) for each in some],
                [_text(each.age) for each in some],
                [_text(each.live_s) for each in some],
                MAX_SIDECARS,
            )
        await connection.execute(
            "DELETE FROM sidecars WHERE tenant_id = $1"  # noqa: S608
            f" AND (instance = ANY($2::text[]::uuid[]) OR live_until < now() - interval '{SHOWN_FOR}')",
            tenant,
            sorted(set(gone) - newest.keys()),
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


async def applied(connection: Connection, tenant: str) -> list[Applied]:
    """Return how many live sidecars of a tenant are at which revision."""
    records = await connection.fetch(
        "SELECT CASE WHEN s.epoch = c.epoch THEN s.revision END AS revision, count(*) AS sidecars"
        f" {_FROM} WHERE s.tenant_id = $1 AND s.live_until > now() GROUP BY 1",
        tenant,
    )
    return [Applied(record["revision"], record["sidecars"]) for record in records]


async def missing(connection: Connection, tenant: str, revision: int) -> list[Sidecar]:
    """Return the live sidecars that do not have a revision yet, at most `MAX_MISSING` of them."""
    records = await connection.fetch(
        f"SELECT {_SELECTED} {_FROM} WHERE s.tenant_id = $1 AND s.live_until > now()"
        " AND (s.epoch = c.epoch AND s.revision >= $2) IS NOT TRUE"
        f" ORDER BY s.instance LIMIT {MAX_MISSING}",
        tenant,
        revision,
    )
    return [_sidecar(record) for record in records]


def _text(number: float | None) -> str | None:
    return None if number is None else str(number)


def _sidecar(record: asyncpg.Record) -> Sidecar:
    return Sidecar(**dict(record))
