"""Replays of drafts as jobs: queued, claimed by one process at a time, with progress and a result.

A control plane that claims a job has it for `LEASE_S` seconds, and extends that while its process runs. A job
whose lease has ended lost both: it is claimed again, and fails once it was claimed `MAX_ATTEMPTS` times.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from extauthz.storage.columns import bounded_times
from extauthz.storage.encoding import decode_stored, encode_json
from extauthz.storage.outcome import refusals_returned
from extauthz.storage.pool import all_tenants_transaction, tenant_transaction

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from extauthz.storage.pool import Connection, Pool

MAX_UNFINISHED: Final = 3
"""Jobs of one tenant that wait or run."""
MAX_KEPT: Final = 20
"""Finished jobs of one tenant; the oldest are deleted first."""
MAX_ATTEMPTS: Final = 3
LEASE_S: Final = 30.0
_LOST: Final = f"its process ended {MAX_ATTEMPTS} times before it was done"
_UNFINISHED: Final = "status IN ('queued', 'running')"
_COLUMNS: Final = (
    "id, draft_id, draft_version, requested_by::text, domains, status, problem, judged, total, draft_digest,"
    " live_revision, newly_allowed, newly_denied, attempts, "
    + bounded_times("since", "until", "created_at", "ended_at")
)


class JobStatus(StrEnum):
    """How far a job is."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ReplayJob:
    """A job. `judged` of `total` shapes (None: not counted yet) are done; `problem` is why it failed."""

    id: UUID
    draft_id: UUID
    draft_version: int
    requested_by: Mapping[str, Any]
    domains: Sequence[str] | None
    since: datetime | None
    until: datetime | None
    status: JobStatus
    problem: str | None
    judged: int
    total: int | None
    draft_digest: str | None
    live_revision: int | None
    newly_allowed: int | None
    newly_denied: int | None
    attempts: int
    created_at: datetime
    ended_at: datetime | None
    result: Any = None


class Queued(NamedTuple):
    """A job that waits, or that lost its process."""

    tenant: str
    id: UUID


class NotQueued(Enum):
    """Why a job was not queued."""

    NO_DRAFT = "there is no such draft"
    TOO_MANY = "the tenant has as many jobs that are not done as it may have"


@refusals_returned
async def queue(
    pool: Pool,
    tenant: str,
    job_id: UUID,
    draft_id: UUID,
    *,
    requested_by: Mapping[str, object],
    domains: Sequence[str] | None,
    window: tuple[datetime | None, datetime | None],
) -> ReplayJob | NotQueued:
    """Queue a job on a draft as it is."""
    async with tenant_transaction(pool, tenant) as connection:
        # Two requests of a tenant must not count its jobs at once.
        await connection.execute("SELECT pg_advisory_xact_lock(hashtext('replay_jobs ' || $1))", tenant)
        version = await connection.fetchval(
            "SELECT version FROM drafts WHERE tenant_id = $1 AND id = $2", tenant, draft_id
        )
        if version is None:
            return NotQueued.NO_DRAFT
        waiting = await connection.fetchval(
            f"SELECT count(*) FROM replay_jobs WHERE tenant_id = $1 AND {_UNFINISHED}",  # noqa: S608
            tenant,
        )
        if waiting >= MAX_UNFINISHED:
            return NotQueued.TOO_MANY
        draft = draft_id, version
        return await _insert(connection, tenant, job_id, draft, requested_by, domains, window)


async def _insert(
    connection: Connection,
    tenant: str,
    job_id: UUID,
    draft: tuple[UUID, int],
    requested_by: Mapping[str, object],
    domains: Sequence[str] | None,
    window: tuple[datetime | None, datetime | None],
) -> ReplayJob:
    await connection.execute(
        f"DELETE FROM replay_jobs WHERE tenant_id = $1 AND id IN (SELECT id FROM replay_jobs"  # noqa: S608
        f" WHERE tenant_id = $1 AND NOT {_UNFINISHED} ORDER BY id DESC OFFSET $2)",
        tenant,
        MAX_KEPT - 1,
    )
    record = await connection.fetchrow(
        "INSERT INTO replay_jobs"  # noqa: S608
        " (tenant_id, id, draft_id, draft_version, requested_by, domains, since, until)"
        f" VALUES ($1, $2, $3, $4, $5::jsonb, $6::text[], $7, $8) RETURNING {_COLUMNS}",
        tenant,
        job_id,
        *draft,
        encode_json(requested_by),
        None if domains is None else list(domains),
        *window,
    )
    return _job(record)


async def get(connection: Connection, tenant: str, draft_id: UUID, job_id: UUID) -> ReplayJob | None:
    """Return a job of a draft with its result; None if there is none."""
    record = await connection.fetchrow(
        f"SELECT {_COLUMNS}, result::text FROM replay_jobs"  # noqa: S608
        " WHERE tenant_id = $1 AND draft_id = $2 AND id = $3",
        tenant,
        draft_id,
        job_id,
    )
    return None if record is None else _job(record)


async def running(connection: Connection, tenant: str, job_id: UUID, attempt: int) -> ReplayJob | None:
    """Return a job that runs as that attempt; None if it does not."""
    record = await connection.fetchrow(
        f"SELECT {_COLUMNS} FROM replay_jobs"  # noqa: S608
        " WHERE tenant_id = $1 AND id = $2 AND status = 'running' AND attempts = $3",
        tenant,
        job_id,
        attempt,
    )
    return None if record is None else _job(record)


async def of_draft(connection: Connection, tenant: str, draft_id: UUID) -> list[ReplayJob]:
    """Return the jobs of a draft without their results, the newest first."""
    records = await connection.fetch(
        f"SELECT {_COLUMNS} FROM replay_jobs WHERE tenant_id = $1 AND draft_id = $2 ORDER BY id DESC",  # noqa: S608
        tenant,
        draft_id,
    )
    return [_job(record) for record in records]


async def last_done(connection: Connection, tenant: str, draft_id: UUID) -> ReplayJob | None:
    """Return the newest finished job over every domain and all that is kept; None if there is none."""
    record = await connection.fetchrow(
        f"SELECT {_COLUMNS} FROM replay_jobs WHERE tenant_id = $1 AND draft_id = $2"  # noqa: S608
        " AND status = 'done' AND domains IS NULL AND since IS NULL AND until IS NULL"
        " ORDER BY id DESC LIMIT 1",
        tenant,
        draft_id,
    )
    return None if record is None else _job(record)


async def waiting(pool: Pool) -> list[Queued]:
    """Return the jobs of every tenant that no process has, the oldest first."""
    async with all_tenants_transaction(pool) as connection:
        records = await connection.fetch(
            f"SELECT tenant_id, id FROM replay_jobs WHERE {_UNFINISHED}"  # noqa: S608
            " AND (status = 'queued' OR leased_until < now()) ORDER BY created_at, id LIMIT 100"
        )
    return [Queued(record["tenant_id"], record["id"]) for record in records]


async def claim(pool: Pool, queued: Queued) -> ReplayJob | None:
    """Take a job that no process has; None if another took it, or if it is given up."""
    async with tenant_transaction(pool, queued.tenant) as connection:
        record = await connection.fetchrow(
            f"UPDATE replay_jobs SET status = CASE WHEN attempts < $3 THEN 'running' ELSE 'failed' END,"  # noqa: S608
            " problem = CASE WHEN attempts < $3 THEN NULL ELSE $4 END,"
            " ended_at = CASE WHEN attempts < $3 THEN NULL ELSE now() END,"
            " attempts = attempts + 1, judged = 0, total = NULL,"
            " leased_until = now() + make_interval(secs => $5)"
            f" WHERE tenant_id = $1 AND id = $2 AND {_UNFINISHED}"
            f" AND (status = 'queued' OR leased_until < now()) RETURNING {_COLUMNS}",
            queued.tenant,
            queued.id,
            MAX_ATTEMPTS,
            _LOST,
            LEASE_S,
        )
    job = None if record is None else _job(record)
    return job if job is not None and job.status is JobStatus.RUNNING else None


async def progressed(pool: Pool, queued: Queued, attempt: int, *, judged: int, total: int) -> bool:
    """Store the progress of a running job; False: it is not this attempt's any more."""
    async with tenant_transaction(pool, queued.tenant) as connection:
        status = await connection.execute(
            "UPDATE replay_jobs SET judged = $4, total = $5"
            " WHERE tenant_id = $1 AND id = $2 AND status = 'running' AND attempts = $3",
            queued.tenant,
            queued.id,
            attempt,
            judged,
            total,
        )
    return status == "UPDATE 1"


async def extend(pool: Pool, queued: Queued, attempt: int) -> None:
    """Extend the lease of a running job."""
    async with tenant_transaction(pool, queued.tenant) as connection:
        await connection.execute(
            "UPDATE replay_jobs SET leased_until = now() + make_interval(secs => $4)"
            " WHERE tenant_id = $1 AND id = $2 AND status = 'running' AND attempts = $3",
            queued.tenant,
            queued.id,
            attempt,
            LEASE_S,
        )


async def finish(
    pool: Pool,
    queued: Queued,
    attempt: int,
    *,
    judged: int,
    basis: tuple[str, int],
    newly: tuple[int, int],
    result: Mapping[str, object],
) -> None:
    """Store the result of a running job: on which draft digest and live revision, what is newly what."""
    async with tenant_transaction(pool, queued.tenant) as connection:
        await connection.execute(
            "UPDATE replay_jobs SET status = 'done', judged = $4, total = $4, draft_digest = $5,"
            " live_revision = $6, newly_allowed = $7, newly_denied = $8, result = $9::json,"
            " leased_until = NULL, ended_at = now()"
            " WHERE tenant_id = $1 AND id = $2 AND status = 'running' AND attempts = $3",
            queued.tenant,
            queued.id,
            attempt,
            judged,
            *basis,
            *newly,
            encode_json(result),
        )


async def fail(pool: Pool, queued: Queued, attempt: int, problem: str) -> None:
    """End a running job with the reason why it failed."""
    async with tenant_transaction(pool, queued.tenant) as connection:
        await connection.execute(
            "UPDATE replay_jobs SET status = 'failed', problem = $4, leased_until = NULL, ended_at = now()"
            " WHERE tenant_id = $1 AND id = $2 AND status = 'running' AND attempts = $3",
            queued.tenant,
            queued.id,
            attempt,
            problem,
        )


async def give_back(pool: Pool, queued: Queued, attempt: int, *, counts: bool) -> None:
    """Queue a running job again, whose process was ended; `counts`: as one of its attempts."""
    async with tenant_transaction(pool, queued.tenant) as connection:
        await connection.execute(
            "UPDATE replay_jobs SET status = 'queued', leased_until = NULL, judged = 0, total = NULL,"
            " attempts = CASE WHEN $4 THEN attempts ELSE attempts - 1 END"
            " WHERE tenant_id = $1 AND id = $2 AND status = 'running' AND attempts = $3",
            queued.tenant,
            queued.id,
            attempt,
            counts,
        )


def _job(record: Any) -> ReplayJob:
    members = dict(record)
    members["requested_by"] = decode_stored(members["requested_by"])
    members["status"] = JobStatus(members["status"])
    result = members.pop("result", None)
    return ReplayJob(**members, result=None if result is None else decode_stored(result))
