"""When service keys were last used: remembered for each request, written for many at once."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from extauthz.storage import service_keys

if TYPE_CHECKING:
    from extauthz.storage.pool import Pool

MAX_PENDING: Final = 10_000


class KeyUse:
    """Uses that are not written yet, by tenant and key; at most `MAX_PENDING` keys of them."""

    def __init__(self) -> None:
        """Know of no use."""
        self._pending: dict[str, dict[str, datetime]] = {}
        self._count = 0

    def note(self, tenant: str, key_id: str, now: float) -> None:
        """Note a use at `now` (POSIX seconds)."""
        used = self._pending.setdefault(tenant, {})
        if key_id not in used:
            if self._count >= MAX_PENDING:
                return
            self._count += 1
        at = datetime.fromtimestamp(now, UTC)
        used[key_id] = max(used.get(key_id, at), at)

    def note_all(self, uses: Iterable[tuple[str, str, float]]) -> None:
        """Note uses that others saw: tenant, key, POSIX seconds."""
        for tenant, key_id, at in uses:
            self.note(tenant, key_id, at)

    async def flush(self, pool: "Pool") -> None:
        """Write what was noted. What the database does not take now is kept for the next time."""
        pending, self._pending, self._count = self._pending, {}, 0
        for tenant, used in pending.items():
            refused = await service_keys.note_used(pool, tenant, used)
            if refused is not None:
                self.note_all((tenant, key_id, at.timestamp()) for key_id, at in used.items())
