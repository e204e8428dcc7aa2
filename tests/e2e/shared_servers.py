"""What the tests of a folder share, started when it is first needed and ended with the last of them."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any, TypeVar

Value = TypeVar("Value")


class SharedServers:
    """Servers that run until they are ended; one that is needed again starts anew."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self._running = ExitStack()
        self._values: dict[str, Any] = {}

    def running(self, name: str, start: Callable[[], AbstractContextManager[Value]]) -> Value:
        """Return what a function starts, started once for its name."""
        if name not in self._values:
            self._values[name] = self._running.enter_context(start())
        value: Value = self._values[name]
        return value

    def end(self) -> None:
        """End all that runs, in the reverse order."""
        self._values.clear()
        self._running.close()
