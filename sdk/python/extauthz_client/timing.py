"""The clocks and the pause of the client. Callers use `timing.pause(...)`: a test replaces one function."""

import asyncio
import time


def wall_clock() -> float:
    """Return the seconds since the epoch, for dates that servers send."""
    return time.time()


def elapsed() -> float:
    """Return seconds of a clock that never goes back, for the lifetime of a token."""
    return time.monotonic()


async def pause(seconds: float) -> None:
    """Wait before the next attempt."""
    await asyncio.sleep(seconds)


def pause_blocking(seconds: float) -> None:
    """Wait before the next attempt, in a thread."""
    time.sleep(seconds)
