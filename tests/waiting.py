"""Waits for an event that nothing announces: a condition is evaluated repeatedly, for a bounded time.

A condition often asks a process that is starting. Asked every 10 ms it would spend a tenth of the start's CPU
time on answers: pauses grow with the time that has passed, so that a wait ends at most a tenth later.
"""

import asyncio
import math
import time
from collections.abc import Callable, Iterator
from typing import Final

_SHORTEST_PAUSE_S: Final = 0.01
_LONGEST_PAUSE_S: Final = 0.05


def await_true(condition: Callable[[], object], *, within: float = 10.0, what: str = "") -> float:
    """Wait until a condition holds; return the seconds it took.

    Raises:
        AssertionError: it did not hold in time.
    """
    began = time.monotonic()
    while not condition():
        assert time.monotonic() < began + within, f"not within {within} s: {what}"
        time.sleep(pause(time.monotonic() - began))
    return time.monotonic() - began


async def until(condition: Callable[[], object], *, within: float = 5.0, what: str = "") -> float:
    """Wait as `await_true` does, while the event loop goes on."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() < began + within, f"not within {within} s: {what}"
        await asyncio.sleep(pause(time.monotonic() - began))
    return time.monotonic() - began


def paced(every_s: float = 0.05, *, for_s: float = math.inf) -> Iterator[None]:
    """Yield at once and then every `every_s` seconds, until `for_s` seconds have passed.

    For what a test asks repeatedly: without pauses it takes the CPU time of the process that answers.
    """
    began = time.monotonic()
    while time.monotonic() < began + for_s:
        yield
        time.sleep(every_s)


def pause(waited_s: float) -> float:
    """Return the seconds until the condition is evaluated again, after a wait of `waited_s` seconds."""
    return min(max(_SHORTEST_PAUSE_S, waited_s / 10), _LONGEST_PAUSE_S)
