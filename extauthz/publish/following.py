"""Applies the changes of a tenant to its state; a gap means that the tenant is read anew."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeGuard

from extauthz.domain.tenant_config import TenantConfig
from extauthz.publish.tenant import Compiler, TenantPolicies
from extauthz.storage import feed, tenant_configs
from extauthz.storage.write import CONFIG_KINDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from extauthz.domain.problem import Problem
    from extauthz.publish.loads import Loaded
    from extauthz.storage.pool import Connection

_SUSPENDED: Final = TenantConfig(suspended=True)


@dataclass(frozen=True, slots=True)
class News:
    """What a refresh read of the database in one moment.

    `wanted` are the revisions of the tenants that are followed, `taken` those that were read whole meanwhile,
    `steps` the changes of each since the last refresh, `registered` the configurations that changed.
    `written_at` is when the revision of each was written that the refresh puts in force, filled by it.
    """

    heads: feed.Heads
    is_new_epoch: bool
    wanted: Mapping[str, int]
    taken: Mapping[str, Loaded]
    steps: Mapping[str, list[feed.TenantChange]]
    registered: Mapping[str, TenantConfig]
    written_at: dict[str, datetime | None]

    def is_at_head(self, known: TenantPolicies) -> bool:
        """Tell whether the database has nothing of a tenant that is newer, or other, than this."""
        tenant = known.snapshot.tenant
        return (
            not self.is_new_epoch
            and known.snapshot.revision == self.wanted[tenant]
            and self.written_at.get(tenant) == self.heads.written_at.get(tenant)
        )


def stepped(
    compiler: Compiler,
    state: TenantPolicies,
    head: tuple[int, datetime | None],
    steps: Sequence[feed.TenantChange],
    config: TenantConfig | None,
) -> TenantPolicies | None:
    """Follow the changes one by one up to `head` (revision, when it was written).

    None: only a reload will do.

    INVARIANT: the last change is the one that the tenant's row was written with. A record left over from
    before the revision was put back is never applied to what is stored now.
    """
    if not steps or (steps[-1].revision, steps[-1].written_at) != head:
        return None
    for step in steps:
        if step.predecessor != state.snapshot.revision or step.rows is None:
            return None
        following = compiler.apply(state, step.revision, step.rows)
        if not isinstance(following, TenantPolicies):
            # The rows themselves say whether the change or the state is at fault.
            return None
        state = following
    return state if config is None else replace(state, config=config)


def is_complete(found: TenantPolicies | list[Problem] | None) -> TypeGuard[TenantPolicies]:
    """Tell whether a tenant was read, with everything that it takes to be in force."""
    return isinstance(found, TenantPolicies) and found.is_complete


async def may_be_readable(connection: Connection, state: TenantPolicies, *, moved: bool) -> bool:
    """Tell whether to read the tenant again: an unreadable row, or what it contradicts, has changed.

    `moved`: there were other changes since the tenant was read.
    """
    if moved and not all(row.by_itself for row in state.unreadable.values()):
        return True
    documents = await feed.rows(connection, state.snapshot.tenant, state.unreadable)
    return any(documents.get(key) != row.document for key, row in state.unreadable.items())


async def current_config(connection: Connection, tenant: str, before: TenantConfig | None) -> TenantConfig:
    """Return what is registered of a tenant; the same object as before where it is equal."""
    async with feed.one_moment(connection):
        there = await tenant_configs.read(connection, [tenant])
    found = there.get(tenant, _SUSPENDED)
    return before if before is not None and found == before else found


def registered_anew(changes: Sequence[feed.TenantChange]) -> list[str]:
    """Return the tenants whose configuration is another one after these changes."""
    return list(
        dict.fromkeys(
            change.tenant for change in changes if any(row.kind in CONFIG_KINDS for row in change.rows or ())
        )
    )
