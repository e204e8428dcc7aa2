"""Reads what changed of a tenant since its last head, and makes the next one.

Input: a connection that reads, the head before. Output: `Signed`. Errors: those of the database.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from extauthz.signed.signing import Signed, anew_with, continues, following_head, time_text, whole_head
from extauthz.storage import feed, tenant_configs

if TYPE_CHECKING:
    from collections.abc import Callable

    from extauthz.domain.tenant_config import TenantConfig
    from extauthz.signed.head import Head
    from extauthz.storage.feed import Heads
    from extauthz.storage.pool import Connection

RENEWALS: Final = 3
"""How often a head is signed within POLICY_MAX_STALENESS, so that followers miss two before it expires."""


class TenantMissingError(LookupError):
    """The database has no such tenant."""


def is_current(before: Head, heads: Heads) -> bool:
    """Tell whether a head names what the database has of its tenant now."""
    tenant = before.tenant
    written_at = time_text(heads.written_at.get(tenant))
    found = (heads.epoch, heads.revisions.get(tenant), written_at)
    return (before.epoch, before.revision, before.written_at) == found


async def next_head(
    connection: Connection,
    heads: Heads,
    tenant: str,
    before: Head | None,
    now: float,
    complete: Callable[[TenantConfig], TenantConfig] = lambda config: config,
) -> Signed:
    """Return the head that follows `before`, inside of `feed.one_moment` in which `heads` was read.

    `complete` adds what the database does not have to a configuration; see `publish.config_additions`.

    Raises:
        TenantMissingError: there is no such tenant.
        Exception: the database does not answer.
    """
    revision, written_at = heads.revisions.get(tenant), heads.written_at.get(tenant)
    if revision is None:
        raise TenantMissingError(tenant)
    if before is None or before.epoch != heads.epoch:
        return await _whole(connection, tenant, before, heads.epoch, str(uuid.uuid4()), now, complete)
    config = complete((await tenant_configs.read(connection, [tenant]))[tenant])
    if is_current(before, heads):
        return anew_with(before, config, now)
    changes = await feed.changes_since(connection, {tenant: before.revision})
    if not continues(before, changes, revision, written_at):
        return await _whole(connection, tenant, before, heads.epoch, str(uuid.uuid4()), now, complete)
    found = following_head(before, changes, config, now)
    if found is None:
        return await _whole(connection, tenant, before, heads.epoch, before.history, now, complete)
    return found


async def _whole(
    connection: Connection,
    tenant: str,
    before: Head | None,
    epoch: str,
    history: str,
    now: float,
    complete: Callable[[TenantConfig], TenantConfig],
) -> Signed:
    documents = await feed.documents(connection, tenant)
    if documents is None:
        raise TenantMissingError(tenant)
    documents = replace(documents, config=complete(documents.config))
    return whole_head(before, epoch, history, documents, now)
