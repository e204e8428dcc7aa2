"""Uses of service keys, kept in memory until they are written together."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from extauthz.storage import service_keys, sidecar_keys
from extauthz.storage.audit import INSTALLATION

if TYPE_CHECKING:
    from extauthz.storage.pool import Pool

MAX_PENDING: Final = 10_000
"""Service keys whose uses are kept until they are written."""


class KeyUse:
    """When service keys were last used, by tenant and key; for at most `MAX_PENDING` keys."""

    def __init__(self) -> None:
        """Start without uses."""
        self._pending: dict[str, dict[str, datetime]] = {}
        self._count = 0

    def note(self, tenant: str, key_id: str, now: float) -> None:
        """Note a use at `now` (POSIX seconds); `INSTALLATION` is the tenant of keys of many tenants."""
        used = self._pending.setdefault(tenant, {})
        if key_id not in used:
            if self._count >= MAX_PENDING:
                return
            self._count += 1
        at = datetime.fromtimestamp(now, UTC)
        used[key_id] = max(used.get(key_id, at), at)

    async def flush(self, pool: Pool) -> None:
        """Write the uses; keep them for the next time where the database cannot be used."""
        pending, self._pending, self._count = self._pending, {}, 0
        for tenant, used in pending.items():
            if tenant == INSTALLATION:
                refused = await sidecar_keys.note_used(pool, used)
            else:
                refused = await service_keys.note_used(pool, tenant, used)
            if refused is not None:
                for key_id, at in used.items():
                    self.note(tenant, key_id, at.timestamp())
