"""Records when service keys were last used in checks; noted for each check, reported at intervals."""

import threading
from typing import Final, NamedTuple

MAX_KEYS: Final = 10_000
"""Keys followed at a time; uses of further ones are not noted until others have rested."""
TELL_EVERY_S: Final = 20.0
"""How often the use of a key in constant use is returned."""


class LastUse(NamedTuple):
    """The last use of one key; `at` is POSIX seconds."""

    tenant: str
    key_id: str
    at: float


class _Key:
    __slots__ = ("told_at", "used_at")

    def __init__(self, used_at: float) -> None:
        self.used_at = used_at
        self.told_at: float | None = None


class UsedKeys:
    """The last use of each key. `note` is for any thread, `take` for one."""

    def __init__(self) -> None:
        """Start with no use."""
        self._keys: dict[tuple[str, str], _Key] = {}
        self._lock = threading.Lock()

    def note(self, tenant: str, key_id: str, now: float) -> None:
        """Note a use at `now` (POSIX seconds)."""
        with self._lock:
            known = self._keys.get((tenant, key_id))
            if known is not None:
                known.used_at = now
            elif len(self._keys) < MAX_KEYS:
                self._keys[tenant, key_id] = _Key(now)

    def take(self, now: float, *, limit: int, all_of_them: bool = False) -> list[LastUse]:
        """Return at most `limit` uses that are due and were not returned before; forget keys that rest.

        `all_of_them` returns what is not due yet too: there will be no later time.
        """
        found: list[LastUse] = []
        with self._lock:
            for (tenant, key_id), key in list(self._keys.items()):
                used_at, told_at = key.used_at, key.told_at
                # After the clock was set back, uses of a key are still reported.
                rested = told_at is None or not 0.0 <= now - told_at < TELL_EVERY_S
                if told_at is not None and used_at == told_at:
                    if rested:
                        del self._keys[tenant, key_id]
                elif (rested or all_of_them) and len(found) < limit:
                    key.told_at = used_at
                    found.append(LastUse(tenant, key_id, used_at))
        return found
