"""Long work of one request, which lets the other requests of the process have their turn."""

import asyncio
import time
from typing import Final

_LONGEST_S: Final = 0.005


class Turns:
    """Ends the turn of a request once it took 5 ms."""

    def __init__(self) -> None:
        """Begin a turn."""
        self._began = time.perf_counter()

    async def next(self) -> None:
        """Wait until the others had their turn, where this one was long enough."""
        if time.perf_counter() - self._began > _LONGEST_S:
            await asyncio.sleep(0)
            self._began = time.perf_counter()
