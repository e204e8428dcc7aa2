"""The size of each tenant's policies, compared with POLICY_MAX_BYTES.

A policy set takes about ten times its size in memory while it is read. INVARIANT: one that is larger than the
limit is refused before it is read; the last good one stays in force.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from extauthz.domain.problem import Problem
from extauthz.storage import feed

if TYPE_CHECKING:
    from extauthz.storage.pool import Connection


def too_large(octets: int, max_bytes: int) -> Problem:
    """Return the refusal of a policy set of this size in bytes."""
    return Problem("", f"the policies have {octets} bytes, POLICY_MAX_BYTES allows {max_bytes}")


class PolicySizes:
    """Bounds of the size of each tenant's rows, in bytes of their text (`feed.octets`).

    A bound is what was measured last and all that was written since. Only where it exceeds the limit are the
    rows measured again: counting a million rows at every change would cost more than following it.
    """

    def __init__(self, max_bytes: int | None = None) -> None:
        """Take the limit; None for no limit."""
        self.max_bytes = max_bytes
        self._at_most: dict[str, int] = {}

    async def measure(self, connection: Connection, tenant: str) -> Problem | None:
        """Measure the tenant's rows as the caller's transaction sees them; the answer is the refusal."""
        if self.max_bytes is None:
            return None
        octets = await feed.octets(connection, tenant)
        self._at_most[tenant] = octets
        return too_large(octets, self.max_bytes) if octets > self.max_bytes else None

    async def grow(self, connection: Connection, tenant: str, added: int) -> Problem | None:
        """Note that `added` bytes were written; the answer is the refusal."""
        if not self.may_exceed(tenant, added):
            self._at_most[tenant] = self._at_most.get(tenant, 0) + added
            return None
        async with feed.one_moment(connection):
            return await self.measure(connection, tenant)

    def may_exceed(self, tenant: str, added: int) -> bool:
        """Tell whether the tenant's rows and `added` bytes may be more than the limit."""
        if self.max_bytes is None:
            return False
        at_most = self._at_most.get(tenant)
        return at_most is None or at_most + added > self.max_bytes
