"""Answers to requests that named an `Idempotency-Key`, kept for a day.

A claim is a row that is inserted before the change and completed after it, in the transaction of the change.
INVARIANT: of two requests with one key, the second waits in `claim` until the transaction of the first has
ended: it finds the answer of the first, or no row when the first was refused.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from extauthz.storage.encoding import decode_stored, encode_json
from extauthz.storage.outcome import refusals_returned
from extauthz.storage.pool import tenant_transaction

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from extauthz.storage.pool import Connection, Pool

_Outcome_contra = TypeVar("_Outcome_contra", contravariant=True)
KEPT_FOR: Final = "24 hours"
_ROWS_A_SWEEP: Final = 1_000


@dataclass(frozen=True, slots=True)
class Claim:
    """A key of one caller in a tenant (`-`: the installation), and the SHA-256 of the request it names."""

    tenant: str
    caller: str
    key: str
    request_sha256: bytes


@dataclass(frozen=True, slots=True)
class Answered:
    """What an earlier request with the key came to; `answer` is None where the answer held a secret."""

    same_request: bool
    answer: Mapping[str, object] | None


class Once(Protocol[_Outcome_contra]):
    """Surrounds a write in its transaction, so that it is not done a second time."""

    async def begin(self, connection: Connection) -> None:
        """Run before the write; an error that is raised ends the transaction with nothing stored."""

    async def end(self, connection: Connection, outcome: _Outcome_contra) -> None:
        """Run after the write."""


async def claim(connection: Connection, tenant: str, claimed: Claim) -> Answered | None:
    """Claim a key in a transaction of `tenant`; return what is there already, None when it is claimed now."""
    async with _rows_of(connection, tenant, claimed.tenant):
        await _sweep(connection, claimed.tenant)
        await connection.execute(
            "DELETE FROM idempotency_keys WHERE tenant_id = $1 AND caller = $2 AND key = $3"  # noqa: S608
            f" AND created_at <= now() - interval '{KEPT_FOR}'",
            claimed.tenant,
            claimed.caller,
            claimed.key,
        )
        inserted = await connection.fetchval(
            "INSERT INTO idempotency_keys (tenant_id, caller, key, request_sha256)"
            " VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING RETURNING true",
            claimed.tenant,
            claimed.caller,
            claimed.key,
            claimed.request_sha256,
        )
        if inserted:
            return None
        record = await connection.fetchrow(
            "SELECT request_sha256, answer::text FROM idempotency_keys"
            " WHERE tenant_id = $1 AND caller = $2 AND key = $3",
            claimed.tenant,
            claimed.caller,
            claimed.key,
        )
    if record is None:
        # Swept between the two statements.
        return Answered(same_request=False, answer=None)
    answer = None if record["answer"] is None else decode_stored(record["answer"])
    return Answered(
        record["request_sha256"] == claimed.request_sha256, answer if isinstance(answer, dict) else None
    )


async def complete(connection: Connection, tenant: str, claimed: Claim, answer: Mapping[str, object]) -> None:
    """Store the answer of a claim in the transaction that made the claim."""
    async with _rows_of(connection, tenant, claimed.tenant):
        await connection.execute(
            "UPDATE idempotency_keys SET answer = $4::json WHERE tenant_id = $1 AND caller = $2 AND key = $3",
            claimed.tenant,
            claimed.caller,
            claimed.key,
            encode_json(answer),
        )


@refusals_returned
async def sweep(pool: Pool, tenant: str) -> None:
    """Delete expired rows of a tenant."""
    async with tenant_transaction(pool, tenant) as connection:
        await _sweep(connection, tenant)


async def _sweep(connection: Connection, tenant: str) -> None:
    await connection.execute(
        "DELETE FROM idempotency_keys WHERE tenant_id = $1 AND ctid = ANY(ARRAY("  # noqa: S608
        "SELECT ctid FROM idempotency_keys WHERE tenant_id = $1"
        f" AND created_at <= now() - interval '{KEPT_FOR}' LIMIT {_ROWS_A_SWEEP} FOR UPDATE SKIP LOCKED))",
        tenant,
    )


@asynccontextmanager
async def _rows_of(connection: Connection, tenant: str, owner: str) -> AsyncIterator[None]:
    """Let a transaction of `tenant` see the rows of `owner`: row-level security compares one setting."""
    if owner == tenant:
        yield
        return
    await connection.execute("SELECT set_config('extauthz.tenant', $1, true)", owner)
    yield
    await connection.execute("SELECT set_config('extauthz.tenant', $1, true)", tenant)
