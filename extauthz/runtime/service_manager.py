"""Messages to systemd (sd_notify(3)): the process is ready, it is stopping, it is alive.

Input: NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID of the environment. Output: datagrams to the socket.
Without systemd nothing is sent; a message that cannot be sent changes nothing.
"""

import contextlib
import os
import socket
from collections.abc import Mapping
from typing import Final, Self

_READY: Final = b"READY=1"
_STOPPING: Final = b"STOPPING=1"
_ALIVE: Final = b"WATCHDOG=1"
_MICROSECONDS: Final = 1_000_000


class ServiceManager:
    """Where to send messages, and how often the watchdog expects one (seconds; None: it does not)."""

    def __init__(self, address: str | None, watchdog_s: float | None) -> None:
        """Take the address as NOTIFY_SOCKET has it."""
        self._address = address
        # Half of the time that systemd waits, as sd_watchdog_enabled(3) recommends.
        self._alive_every_s = None if watchdog_s is None else watchdog_s / 2
        self._alive_at: float | None = None
        self._said_ready = False

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Self:
        """Return the service manager that an environment names."""
        address = environ.get("NOTIFY_SOCKET") or None
        interval, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
        is_asked = interval.isascii() and interval.isdigit() and pid in {"", str(os.getpid())}
        return cls(address, int(interval) / _MICROSECONDS if is_asked and int(interval) else None)

    def ready(self) -> None:
        """Say that the process is ready, for the first time."""
        if not self._said_ready:
            self._said_ready = True
            self._send(_READY)

    def stopping(self) -> None:
        """Say that the process is stopping."""
        self._send(_STOPPING)

    def alive(self, now: float) -> None:
        """Say that the process is alive, if the watchdog expects it at `now` (monotonic seconds)."""
        if self._alive_every_s is None:
            return
        if self._alive_at is None or now - self._alive_at >= self._alive_every_s:
            self._alive_at = now
            self._send(_ALIVE)

    def _send(self, message: bytes) -> None:
        if self._address is None:
            return
        # "@" stands for the NUL byte of the abstract namespace.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.setblocking(False)
            channel.connect(address)
            channel.send(message)
