"""Reads what changed of a tenant since its last head, and makes the next one.

Input: a connection that reads, the head before. Output: `Signed`, or None where nothing is due. Errors: those
of the database.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from extauthz.signed.signing import Signed, anew, continues, following_head, time_text, whole_head
from extauthz.storage import feed, tenant_configs

if TYPE_CHECKING:
    from extauthz.signed.head import Head
    from extauthz.storage.pool import Connection


class TenantMissingError(LookupError):
    """The database has no such tenant."""


async def next_head(
    connection: Connection, tenant: str, before: Head | None, now: float, *, renew_after_s: float
) -> Signed | None:
    """Return the head that follows `before`; None: it is current, and younger than `renew_after_s`.

    Raises:
        TenantMissingError: there is no such tenant.
        Exception: the database does not answer.
    """
    async with feed.one_moment(connection):
        heads = await feed.heads(connection)
        revision, written_at = heads.revisions.get(tenant), heads.written_at.get(tenant)
        if revision is None:
            raise TenantMissingError(tenant)
        if before is None or before.epoch != heads.epoch:
            return await _whole(connection, tenant, before, heads.epoch, str(uuid.uuid4()), now)
        if (before.revision, before.written_at) == (revision, time_text(written_at)):
            is_due = now - before.signed_at / 1000 >= renew_after_s
            return Signed(anew(before, now), {}) if is_due else None
        changes = await feed.changes_since(connection, {tenant: before.revision})
        if not continues(before, changes, revision, written_at):
            return await _whole(connection, tenant, before, heads.epoch, str(uuid.uuid4()), now)
        config = (await tenant_configs.read(connection, [tenant]))[tenant]
        found = following_head(before, changes, config, now)
        if found is None:
            return await _whole(connection, tenant, before, heads.epoch, before.history, now)
        return found


async def _whole(
    connection: Connection, tenant: str, before: Head | None, epoch: str, history: str, now: float
) -> Signed:
    documents = await feed.documents(connection, tenant)
    if documents is None:
        raise TenantMissingError(tenant)
    return whole_head(before, epoch, history, documents, now)
