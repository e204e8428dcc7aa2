"""The time of a blocking request as a whole: each read and write gets what is left of it."""

import threading
import time
from collections.abc import Iterable
from ssl import SSLContext
from typing import Any

import httpcore2


class Deadline(threading.local):
    """When the request of this thread has to be over."""

    _at = float("inf")

    def set(self, seconds: float) -> None:
        """Begin a request."""
        self._at = time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds that are left. Raises `httpcore2.TimeoutException` when there are none."""
        left = self._at - time.monotonic()
        if left <= 0:
            raise httpcore2.ReadTimeout("timed out")
        return left


class DeadlineBackend(httpcore2.NetworkBackend):
    """Connects as httpcore2 does, within the deadline; the names of its methods are httpcore2's."""

    def __init__(self, deadline: Deadline) -> None:
        """Take the deadlines of the threads."""
        self._deadline = deadline
        self._inner = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002  # what is left goes before
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        """Return a connection."""
        stream = self._inner.connect_tcp(
            host,
            port,
            timeout=self._deadline.left(),
            local_address=local_address,
            socket_options=socket_options,
        )
        return _Stream(stream, self._deadline)

    def sleep(self, seconds: float) -> None:
        """Wait."""
        self._inner.sleep(seconds)


class _Stream(httpcore2.NetworkStream):
    """A connection that stops at the deadline of the thread that uses it."""

    def __init__(self, inner: httpcore2.NetworkStream, deadline: Deadline) -> None:
        self._inner = inner
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        return self._inner.read(max_bytes, timeout=self._deadline.left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        self._inner.write(buffer, timeout=self._deadline.left())

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self,
        ssl_context: SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore2.NetworkStream:
        stream = self._inner.start_tls(ssl_context, server_hostname, timeout=self._deadline.left())
        return _Stream(stream, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)
