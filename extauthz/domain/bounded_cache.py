"""A mapping bounded in entries and bytes that keeps the entries that are used again.

The policy is S3-FIFO (Yang and others, "FIFO queues are all you need for cache eviction", SOSP 2023) without
its ghost queue. Once the cache is full, a new entry goes into a small queue, a tenth of the cache; it moves
to the large one when it is asked for again before its turn to leave. So entries that are asked for once,
however many, replace only each other. An entry of the large queue leaves in its turn unless it was asked for
since the last one. A working set larger than the cache keeps the part that fits.
"""

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

_NEW_SHARE: Final = 10
"""The queue of new entries gets one of this number of entries."""


class _Entry(Generic[Value]):
    __slots__ = ("used", "value", "weight")

    def __init__(self, value: Value, weight: int) -> None:
        self.value = value
        self.weight = weight
        self.used = False


class BoundedCache(Generic[Key, Value]):
    """See the module. Safe to share between threads; `get` takes no lock."""

    __slots__ = ("_kept", "_lock", "_max_bytes", "_max_entries", "_new", "_weight")

    def __init__(self, max_entries: int, *, max_bytes: int | None = None) -> None:
        """Take the bounds; `max_bytes` is of the weights given to `put`, None for no such bound."""
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._new: OrderedDict[Key, _Entry[Value]] = OrderedDict()
        self._kept: OrderedDict[Key, _Entry[Value]] = OrderedDict()
        self._weight = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Return how many entries there are."""
        return len(self._kept) + len(self._new)

    @property
    def weight(self) -> int:
        """The sum of the weights of all entries, in bytes."""
        return self._weight

    def get(self, key: Key) -> Value | None:
        """Return the value, and keep it longer; None for an unknown key."""
        entry = self._kept.get(key)
        if entry is None:
            entry = self._new.get(key)
            if entry is None:
                return None
        entry.used = True
        return entry.value

    def put(self, key: Key, value: Value, weight: int = 0) -> None:
        """Add or replace an entry; one that is heavier than the whole cache is not kept."""
        entry = _Entry(value, weight)
        with self._lock:
            self._remove(key)
            if self._max_entries < 1 or (self._max_bytes is not None and weight > self._max_bytes):
                return
            self._weight += weight
            full = self._exceeds(len(self) + 1)
            queue = self._new if full else self._kept
            queue[key] = entry
            while self._exceeds(len(self)):
                self._evict_one()

    def clear(self) -> None:
        """Remove every entry, one after the other: many at once would keep other threads waiting."""
        for queue in (self._kept, self._new):
            while queue:
                with self._lock:
                    if queue:
                        _, entry = queue.popitem(last=False)
                        self._weight -= entry.weight

    def discard(self, key: Key) -> None:
        """Remove an entry, if it is there."""
        with self._lock:
            self._remove(key)

    def _remove(self, key: Key) -> None:
        for queue in (self._kept, self._new):
            entry = queue.pop(key, None)
            if entry is not None:
                self._weight -= entry.weight

    def _exceeds(self, entries: int) -> bool:
        return entries > self._max_entries or (self._max_bytes is not None and self._weight > self._max_bytes)

    def _evict_one(self) -> None:
        """Let the entry whose turn it is leave; one that was asked for gets another turn among the kept."""
        from_new = bool(self._new) and (not self._kept or len(self._new) * _NEW_SHARE > self._max_entries)
        queue = self._new if from_new else self._kept
        key, entry = queue.popitem(last=False)
        if entry.used:
            entry.used = False
            self._kept[key] = entry
        else:
            self._weight -= entry.weight
