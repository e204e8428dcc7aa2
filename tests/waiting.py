"""Waits for an event that nothing announces: a condition is evaluated repeatedly, for a bounded time."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

_PAUSE_S: Final = 0.01


def await_true(condition: Callable[[], object], *, within: float = 10.0, what: str = "") -> float:
    """Wait until a condition holds; return the seconds it took.

    Raises:
        AssertionError: it did not hold in time.
    """
    began = time.monotonic()
    while not condition():
        assert time.monotonic() < began + within, f"not within {within} s: {what}"
        time.sleep(_PAUSE_S)
    return time.monotonic() - began


async def until(condition: Callable[[], object], *, within: float = 5.0, what: str = "") -> float:
    """Wait as `await_true` does, while the event loop goes on."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() < began + within, f"not within {within} s: {what}"
        await asyncio.sleep(_PAUSE_S)
    return time.monotonic() - began
