"""The signed heads and bodies of tenants, which every replica of the control plane serves.

Input: a tenant, a head, bodies. Output: octets as they were signed. Errors: those of asyncpg.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from extauthz.storage.pool import tenant_transaction

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from extauthz.storage.pool import Connection, Pool

KEPT_FOR: Final = "15 minutes"
"""How long a body is kept after the last head that names it."""
_WITHIN_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class StoredHead:
    """The newest head of a tenant, a DSSE envelope."""

    serial: int
    envelope: bytes = field(repr=False)


async def newer_heads(connection: Connection, known: Mapping[str, int]) -> dict[str, StoredHead]:
    """Return the heads of all tenants whose serial is not the known one; inside of `feed.one_moment`."""
    records = await connection.fetch(
        "SELECT h.tenant_id, h.serial, h.envelope FROM policy_heads AS h"
        " LEFT JOIN unnest($1::text[], $2::text[]::bigint[]) AS known (tenant_id, serial)"
        " ON known.tenant_id = h.tenant_id WHERE known.serial IS DISTINCT FROM h.serial",
        list(known),
        [str(serial) for serial in known.values()],
    )
    return {record["tenant_id"]: StoredHead(record["serial"], record["envelope"]) for record in records}


async def store(
    pool: Pool,
    tenant: str,
    head: StoredHead,
    bodies: Mapping[str, bytes],
    named: Collection[str],
    *,
    before: int | None,
) -> bool:
    """Store a head and its new bodies; false if another replica stored one after the head `before`.

    `named` are the digests of all bodies that the head names.
    """
    async with tenant_transaction(pool, tenant) as connection:
        stored = await connection.fetchval(
            "INSERT INTO policy_heads AS h (tenant_id, serial, envelope) VALUES ($1, $2, $3)"
            " ON CONFLICT (tenant_id) DO UPDATE SET serial = excluded.serial, envelope = excluded.envelope"
            " WHERE h.serial IS NOT DISTINCT FROM $4 RETURNING true",
            tenant,
            head.serial,
            head.envelope,
            before,
        )
        if not stored:
            return False
        for sha256, octets in bodies.items():
            await connection.execute(
                "INSERT INTO policy_bodies (tenant_id, sha256, octets) VALUES ($1, $2, $3)"
                " ON CONFLICT DO NOTHING",
                tenant,
                sha256,
                octets,
                timeout=_WITHIN_S,
            )
        await connection.execute(
            "UPDATE policy_bodies SET named_at = now() WHERE tenant_id = $1 AND sha256 = ANY($2::text[])",
            tenant,
            list(named),
        )
        await connection.execute(
            "DELETE FROM policy_bodies WHERE tenant_id = $1"  # noqa: S608 - our own interval
            f" AND named_at <= now() - interval '{KEPT_FOR}'",
            tenant,
        )
        missing = await connection.fetchval(
            "SELECT count(*) FROM unnest($2::text[]) AS named (sha256) WHERE NOT EXISTS"
            " (SELECT FROM policy_bodies AS b WHERE b.tenant_id = $1 AND b.sha256 = named.sha256)",
            tenant,
            list(named),
        )
        if missing:
            raise BodyMissingError(tenant)
    return True


class BodyMissingError(LookupError):
    """A head names a body that is not stored; the whole has to be signed anew."""


async def body(pool: Pool, tenant: str, sha256: str) -> bytes | None:
    """Return the octets of a body; None if it is not stored."""
    async with tenant_transaction(pool, tenant, read_only=True) as connection:
        octets: bytes | None = await connection.fetchval(
            "SELECT octets FROM policy_bodies WHERE tenant_id = $1 AND sha256 = $2",
            tenant,
            sha256,
            timeout=_WITHIN_S,
        )
    return octets
