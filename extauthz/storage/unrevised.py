"""Writes of rows that are not policies: audited, under the tenant's lock, without a revision of the tenant.

Input: as `write.write`. Output: `Written` with the live revision, or a `Refusal`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from extauthz.storage import audit
from extauthz.storage.outcome import NotFound, Refusal, RefusedError, refusals_returned
from extauthz.storage.pool import tenant_transaction
from extauthz.storage.write import Actor, Change, Work, Written

if TYPE_CHECKING:
    from collections.abc import Callable

    from extauthz.storage.idempotency import Once
    from extauthz.storage.pool import Pool

_Value = TypeVar("_Value")


@refusals_returned
async def write(
    pool: Pool,
    tenant: str,
    actor: Actor,
    work: Work[_Value],
    *,
    table: str,
    new_id: Callable[[], str],
    once: Once[Written[_Value]] | None = None,
) -> Written[_Value] | Refusal:
    """Run `work` in one transaction of the tenant and return its result.

    `revision` of the change is the number after the highest that a row of `table` has, so that the entity tag
    of a row is another one after each write of it.
    """
    async with tenant_transaction(pool, tenant) as connection:
        if once is not None:
            await once.begin(connection)
        previous = await connection.fetchval(
            "SELECT revision FROM tenants WHERE tenant_id = $1 AND deleted_at IS NULL FOR NO KEY UPDATE",
            tenant,
        )
        if previous is None:
            raise RefusedError(NotFound("tenant", tenant))
        number = await connection.fetchval(
            f"SELECT coalesce(max(revision), 0) + 1 FROM {table} WHERE tenant_id = $1",  # noqa: S608
            tenant,
        )
        change = Change(connection, tenant, actor, number, previous, new_id)
        value = await work(change)
        if isinstance(value, Refusal):
            raise RefusedError(value)
        await audit.append(connection, tenant, None, actor.document(), change.rows, new_id=new_id)
        written = Written(value, previous, changed=bool(change.rows))
        if once is not None:
            await once.end(connection, written)
        return written
