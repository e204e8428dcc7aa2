"""The stored answers of requests with an `Idempotency-Key`, kept for `KEPT_FOR`.

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
    """An idempotency key of one caller in a tenant (`-`: the installation), and the request's SHA-256."""

    tenant: str
    caller: str
    key: str
    request_sha256: bytes


@dataclass(frozen=True, slots=True)
class Answered:
    """The stored answer of an earlier request with the key; `answer` is None if it held a secret."""

    same_request: bool
    answer: Mapping[str, object] | None


class Once(Protocol[_Outcome_contra]):
    """Runs before and after a write, in its transaction, so that a repeated request does not write again."""

    async def begin(self, connection: Connection) -> None:
        """Run before the write; an error rolls the transaction back."""

    async def end(self, connection: Connection, outcome: _Outcome_contra) -> None:
        """Run after the write."""


async def claim(connection: Connection, tenant: str, claimed: Claim) -> Answered | None:
    """Claim a key in a transaction of `tenant`; return the earlier answer, None if the key is claimed now."""
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
        # Another transaction deleted the expired row between the two statements.
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
    """Make the rows of `owner` visible to row-level security in a transaction of `tenant`."""
    if owner == tenant:
        yield
        return
    await connection.execute("SELECT set_config('extauthz.tenant', $1, true)", owner)
    yield
    await connection.execute("SELECT set_config('extauthz.tenant', $1, true)", tenant)
