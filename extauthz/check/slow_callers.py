"""Calls whose message does not come: each of them keeps one of a server's few threads waiting."""

import threading
import time
from collections.abc import Iterator
from typing import TypeVar

import grpc

_Message = TypeVar("_Message")


class SlowCallers:
    """Waits for the messages of calls, and ends the calls that take longer than they may.

    Ending a call is an RPC error, which the caller has earned: there is no whole message to judge.
    """

    def __init__(self, patience_s: float) -> None:
        """Take how long a message may take; it is looked at twice in that time."""
        self._patience_s = patience_s
        self._lock = threading.Lock()
        self._waiting: dict[int, tuple[float, grpc.ServicerContext]] = {}
        self._ended = threading.Event()

    def start(self) -> None:
        """Begin to end calls."""
        threading.Thread(target=self._watch, name="slow-callers", daemon=True).start()

    def stop(self) -> None:
        """End no more calls."""
        self._ended.set()

    def message(
        self, messages: Iterator[_Message], context: grpc.ServicerContext, empty: _Message
    ) -> _Message:
        """Return the first message of a call; `empty` when it ended without one that could be taken."""
        call = id(context)
        with self._lock:
            self._waiting[call] = (time.monotonic(), context)
        try:
            return next(messages, empty)
        except grpc.RpcError:
            return empty
        finally:
            with self._lock:
                del self._waiting[call]

    def _watch(self) -> None:
        while not self._ended.wait(self._patience_s / 2):
            late = time.monotonic() - self._patience_s
            with self._lock:
                waiting = tuple(self._waiting.values())
            for since, context in waiting:
                if since < late:
                    context.cancel()  # type: ignore[no-untyped-call]
