"""The failed credentials of callers, which one process counts and notes until they are written.

INVARIANT: a credential is judged before its address is looked up here, so a valid one is never refused for
the failures of others. Memory and audit events are bounded for any input.
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
"""Failed credentials of one address that are answered 401; the next ones are answered 429."""
PER_SECOND: Final = 1.0
MAX_ADDRESSES: Final = 10_000
MAX_NOTED: Final = 100
"""Pairs of address and reason that one flush writes events for; one more event counts the other failures."""
_OTHERS: Final = "others"
_IPV6_NETWORK: Final = 64


@dataclass(slots=True)
class _Budget:
    left: float
    at: float


class FailedCredentials:
    """Counts failed credentials per client address, and keeps them until audit events are written."""

    def __init__(
        self, *, burst: int = BURST, per_second: float = PER_SECOND, max_addresses: int = MAX_ADDRESSES
    ) -> None:
        """Start with a budget of `burst` failures an address, refilled by `per_second`."""
        self._burst = burst
        self._per_second = per_second
        self._max_addresses = max_addresses
        self._budgets: OrderedDict[str, _Budget] = OrderedDict()
        self._noted: dict[tuple[str, str], int] = {}

    def count(self, address: str | None, reason: Reason, now: float) -> int | None:
        """Count one failure at `now` (POSIX seconds); return the seconds to wait, None within the budget."""
        group = address_group(address)
        self._note(group, reason.value)
        budget = self._budgets.pop(group, None)
        if budget is None:
            budget = _Budget(float(self._burst), now)
        # A clock may step back; the budget must not shrink by it.
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
        """Write the failures to the audit trail of a tenant: one event for each address and reason."""
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
    """Return the group whose failures are counted together: an IPv4 address, or the /64 of IPv6."""
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((int(parsed), _IPV6_NETWORK), strict=False))
    return str(parsed)
