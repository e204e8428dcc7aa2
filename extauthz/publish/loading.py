"""How a process loads and frees many policies without delaying the checks that it answers meanwhile.

The interpreter runs one thread at a time. A thread that loads gives way to one that answers only between two
steps of Python code, and only after the switch interval. So loading consists of many short steps, the
interval is short meanwhile, and garbage is searched for in small parts (ADR 29).
"""

from __future__ import annotations

import gc
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from immutables import Map

    from extauthz.compile.snapshot import Snapshot

SWITCH_INTERVAL_S: Final = 0.00005
"""After this time a thread that loads gives way. Shorter, switching would cost more than it gives."""
YOUNG_OBJECTS: Final = 100
"""Objects that are searched for cyclic garbage at once, approximately."""
FREED_AT_ONCE: Final = 100

_housekeeping = threading.Lock()
_loads = 0
_before = (0.005, (700, 10, 10))
_change = threading.Lock()


@contextmanager
def short_steps() -> Iterator[None]:
    """Load in short steps.

    What survives a search for garbage is put out of the reach of all later ones, at once: policies live long
    and have no cycles, and a search through those of a large tenant would stop every decision. Loads may
    overlap.
    """
    global _loads, _before  # noqa: PLW0603  # collector and switch interval are the process' own, too
    with _change:
        _loads += 1
        if _loads == 1:
            _before = sys.getswitchinterval(), gc.get_threshold()
            sys.setswitchinterval(SWITCH_INTERVAL_S)
            gc.callbacks.append(_keep)
            gc.set_threshold(YOUNG_OBJECTS, *_before[1][1:])
    try:
        yield
    finally:
        with _change:
            _loads -= 1
            if _loads == 0:
                gc.callbacks.remove(_keep)
                gc.collect(0)
                gc.freeze()
                interval, thresholds = _before
                gc.set_threshold(*thresholds)
                sys.setswitchinterval(interval)


def _keep(phase: str, _info: dict[str, int]) -> None:
    if phase == "stop":
        gc.freeze()


@contextmanager
def housekeeping() -> Iterator[None]:
    """Do in short steps what no answer waits for, one after the other.

    Of two threads that do it at the same time one would get the interpreter whenever the other gives way, and
    checks would wait twice as often.
    """
    with _housekeeping, short_steps():
        yield


def free(entries: list[Any]) -> None:
    """Free the entries of a list, which is empty then: all at once, no other thread would run meanwhile."""
    while entries:
        del entries[-FREED_AT_ONCE:]


def retire(snapshots: list[Snapshot]) -> None:
    """Free snapshots that a reload has replaced, of which the list has the only lasting reference.

    What another snapshot shares, or a check under way still holds, stays.
    """
    tables: list[Map[Any, Any]] = []
    with housekeeping():
        while snapshots:
            snapshots[-1].forget()
            tables += snapshots.pop().tables()
        while tables:
            keys = [key for key in tables[-1]]  # noqa: C416  # `list` would be one step
            draft = tables.pop().mutate()
            while keys:
                del draft[keys.pop()]
