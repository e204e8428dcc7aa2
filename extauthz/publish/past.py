"""The policies of a tenant at an earlier revision, compiled.

What is in force is led back by the rows that changed since, so the cost is that of the changes and not that
of the tenant. The digest that was stored with the revision says whether that is what was in force then.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from extauthz.publish.tenant import TenantPolicies, unreadable_rows
from extauthz.storage import history, revisions
from extauthz.storage.history import NotKept

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from extauthz.compile.snapshot import Snapshot
    from extauthz.domain.problem import Problem
    from extauthz.publish.tenant import Compiler
    from extauthz.storage.pool import Connection
    from extauthz.storage.revisions import Revision

_WAIT_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class PastPolicies:
    """A rebuilt revision: its policies, whether the tenant was suspended, and the rows that cannot be read.

    `digest` is that of the rebuilt policies. `is_newest`: no later revision was in force.
    """

    snapshot: Snapshot
    revision: Revision
    suspended: bool
    digest: str
    is_newest: bool
    problems: tuple[Problem, ...] = ()

    @property
    def matches(self) -> bool | None:
        """Whether the digest is the one that was stored with the revision; None where none was stored."""
        return None if self.revision.digest is None else self.revision.digest == self.digest


class History:
    """Rebuilds revisions on top of the published state of this process."""

    def __init__(
        self,
        compiler: Compiler,
        published: Callable[[str], TenantPolicies | None],
        wait_for: Callable[[str, int, float], Awaitable[bool]],
    ) -> None:
        """Take how rows are compiled, where a tenant's published state is, and what waits for a revision."""
        self._compiler = compiler
        self._published = published
        self._wait_for = wait_for

    async def at(
        self, connection: Connection, tenant: str, when: int | datetime | None
    ) -> PastPolicies | NotKept:
        """Return the policies at a revision or a time, None for now.

        `connection` is in a read-only transaction of the tenant, which sees one moment.
        """
        number = await self._number(connection, tenant, when)
        if isinstance(number, NotKept):
            return number
        past = await history.past_of(connection, tenant, number)
        if isinstance(past, NotKept):
            return past
        state = await self._live(tenant, past.head)
        found: TenantPolicies | list[Problem] | None = None
        if state is not None:
            found = await asyncio.to_thread(self._compiler.apply, state, number, past.changes)
        if not isinstance(found, TenantPolicies):
            documents = await history.policies_at(connection, tenant, number)
            if isinstance(documents, NotKept):
                return documents
            found = await asyncio.to_thread(self._compiler.salvage, documents)
        if not isinstance(found, TenantPolicies):
            # Rows that contradict each other, and none that is known to be good.
            return NotKept(await revisions.first(connection, tenant), past.head, tuple(found))
        digest = found.snapshot.policy_digest
        text = digest.text
        if text is None:
            text = await asyncio.to_thread(digest.counted)
        return PastPolicies(
            found.snapshot,
            past.revision,
            await history.was_suspended(connection, tenant, number),
            text,
            past.head in {number, past.revision.number},
            tuple(unreadable_rows(found)),
        )

    async def _number(
        self, connection: Connection, tenant: str, when: int | datetime | None
    ) -> int | NotKept:
        if isinstance(when, int):
            return when
        head = await history.head(connection, tenant) or 0
        if when is None:
            return head
        found = await revisions.at_time(connection, tenant, when)
        return found.number if found is not None else NotKept(await revisions.first(connection, tenant), head)

    async def _live(self, tenant: str, head: int) -> TenantPolicies | None:
        """Return the published state at exactly the live revision that the transaction sees, if it can be."""
        state = self._published(tenant)
        if state is None or state.snapshot.revision < head:
            await self._wait_for(tenant, head, _WAIT_S)
            state = self._published(tenant)
        good = state is not None and state.snapshot.revision == head and not state.unreadable
        return state if good else None
