"""Credentials that were no good: how many an address may show in a while, and what the trail says of them.

INVARIANT: a credential is judged before anybody looks here, so a good one is never refused; and memory and
audit events are bounded whatever strangers send.
"""

import ipaddress
import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from extauthz.domain.reasons import Reason
from extauthz.storage import audit
from extauthz.storage.audit import Occurrence

if TYPE_CHECKING:
    from extauthz.storage.pool import Pool

BURST: Final = 60
"""Failed credentials of one address before it has to wait."""
PER_SECOND: Final = 1.0
MAX_ADDRESSES: Final = 10_000
MAX_NOTED: Final = 100
"""Different (address, reason) that one flush writes events about; the rest is one event with their number."""
_OTHERS: Final = "others"
_IPV6_NETWORK: Final = 64


@dataclass(slots=True)
class _Budget:
    left: float
    at: float


class FailedCredentials:
    """Counts failed credentials per client address and keeps, until they are written, what to audit."""

    def __init__(
        self, *, burst: int = BURST, per_second: float = PER_SECOND, max_addresses: int = MAX_ADDRESSES
    ) -> None:
        """Allow `burst` failures at once, and `per_second` in the long run."""
        self._burst = burst
        self._per_second = per_second
        self._max_addresses = max_addresses
        self._budgets: OrderedDict[str, _Budget] = OrderedDict()
        self._noted: dict[tuple[str, str], int] = {}

    def count(self, address: str | None, reason: Reason, now: float) -> int | None:
        """Count one failure at `now` (POSIX seconds); return the seconds to wait, None: not yet too many."""
        group = address_group(address)
        self._note(group, reason.value)
        budget = self._budgets.pop(group, None)
        if budget is None:
            budget = _Budget(float(self._burst), now)
        # A clock may step back; it must not take away what time has given.
        gained = max(0.0, now - budget.at) * self._per_second
        budget.left = min(float(self._burst), budget.left + gained)
        budget.at = now
        self._budgets[group] = budget
        if len(self._budgets) > self._max_addresses:
            self._budgets.popitem(last=False)
        if budget.left < 1.0:
            return max(1, math.ceil((1.0 - budget.left) / self._per_second))
        budget.left -= 1.0
        return None

    def _note(self, group: str, reason: str) -> None:
        key = (group, reason)
        if key not in self._noted and len(self._noted) >= MAX_NOTED:
            key = (_OTHERS, _OTHERS)
        self._noted[key] = self._noted.get(key, 0) + 1

    async def flush(self, pool: "Pool", tenant: str, new_id: Callable[[], str]) -> None:
        """Write what was noted to a trail: one event for each address and reason, with how often."""
        if not self._noted:
            return
        noted, self._noted = self._noted, {}
        await audit.record(
            pool,
            tenant,
            [
                Occurrence(
                    new_id(),
                    {"kind": "unknown", "id": group, "domain": None, "request_id": None},
                    "refuse",
                    "credential",
                    details={"reason": reason, "times": times},
                )
                for (group, reason), times in noted.items()
            ],
        )


def address_group(address: str | None) -> str:
    """Return what counts as one client: an IPv4 address, or the /64 network of an IPv6 one."""
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((int(parsed), _IPV6_NETWORK), strict=False))
    return str(parsed)
