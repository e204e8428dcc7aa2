"""A TCP proxy on loopback that a test can cut, refuse, slow down or stall, as a network does."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from enum import Enum
from typing import TYPE_CHECKING, Self

from extauthz.demo.processes import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Callable

_CHUNK = 65_536
_TICK_S = 0.02


class State(Enum):
    """What the gate does with bytes and with new connections."""

    OPEN = "open"
    """Connections are accepted and bytes forwarded."""
    CUT = "cut"
    """Connections are accepted by the kernel and stay, but no byte is forwarded and none is closed."""
    REFUSED = "refused"
    """Connections are closed, new ones too."""


class TcpGate:
    """Forwards `port` to the target on loopback; every state change also holds for open connections."""

    def __init__(self, target: int | Callable[[], int]) -> None:
        """Take the port of the target, or a function that returns the one of the moment."""
        self._target = target if callable(target) else lambda: target
        self._state = State.OPEN
        self._stall_after: int | None = None
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._listener = socket.create_server((LOOPBACK, 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def open(self) -> None:
        """Forward again. Connections that were cut continue where they stopped."""
        self._stall_after = None
        self._state = State.OPEN

    def cut(self) -> None:
        """Forward nothing and close nothing: what a partition or a firewall that drops packets looks like."""
        self._state = State.CUT

    def refuse(self) -> None:
        """Close every connection, present and new."""
        self._state = State.REFUSED
        self.drop_connections()

    def drop_connections(self) -> None:
        """Close the present connections; the state of the gate applies to new ones."""
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def stall_after(self, octets: int) -> None:
        """Forward this many more octets from the target on each connection, then behave as cut."""
        self._stall_after = octets

    @property
    def connections(self) -> int:
        """How many connections pass through the gate now."""
        with self._lock:
            return len(self._pairs)

    def close(self) -> None:
        """End everything."""
        self._closing.set()
        self.drop_connections()
        self._thread.join()
        self._listener.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        while not self._closing.is_set():
            readable, _, _ = select.select([self._listener], [], [], _TICK_S)
            if not readable:
                continue
            client, _ = self._listener.accept()
            if self._state is State.REFUSED:
                client.close()
                continue
            threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        while self._state is State.CUT and not self._closing.is_set():
            self._closing.wait(_TICK_S)
        with client:
            try:
                target = socket.create_connection((LOOPBACK, self._target()), timeout=5)
            except OSError:
                return
            with target:
                pair = (client, target)
                with self._lock:
                    self._pairs.add(pair)
                try:
                    self._forward(client, target)
                finally:
                    with self._lock:
                        self._pairs.discard(pair)

    def _forward(self, client: socket.socket, target: socket.socket) -> None:
        left = self._stall_after
        while not self._closing.is_set():
            if self._state is State.REFUSED:
                return
            if self._state is State.CUT:
                self._closing.wait(_TICK_S)
                continue
            try:
                readable, _, _ = select.select([client, target], [], [], _TICK_S)
                for source in readable:
                    chunk = source.recv(_CHUNK)
                    if not chunk:
                        return
                    if source is target and self._stall_after is not None:
                        left = self._stall_after if left is None else left
                        if len(chunk) > left:
                            self._state = State.CUT
                            chunk = chunk[:left]
                        left -= len(chunk)
                    (target if source is client else client).sendall(chunk)
            except OSError:
                return
