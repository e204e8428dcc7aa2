"""A session of PostgreSQL: asyncpg's connection with a socket that ends when the peer is gone."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, Final

import asyncpg

if TYPE_CHECKING:
    from extauthz.settings import DatabaseHost

    _Base = asyncpg.Connection[asyncpg.Record]
else:
    _Base = asyncpg.Connection

KEEPALIVE_IDLE_S: Final = 5
KEEPALIVE_INTERVAL_S: Final = 2
KEEPALIVE_PROBES: Final = 3
USER_TIMEOUT_MS: Final = 5_000
"""How long sent data may go without the peer's acknowledgement before the kernel ends the connection."""
_OPTIONS: Final = (
    ("TCP_KEEPIDLE", KEEPALIVE_IDLE_S),
    ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL_S),
    ("TCP_KEEPCNT", KEEPALIVE_PROBES),
    ("TCP_USER_TIMEOUT", USER_TIMEOUT_MS),
)


class Session(_Base):
    """A connection whose socket ends when the peer is gone, and that needs no reset between its users."""

    __slots__ = ("encrypted", "host", "pooled")

    def __init__(self, protocol: Any, transport: Any, *rest: Any) -> None:
        """Take what asyncpg made."""
        super().__init__(protocol, transport, *rest)
        self.encrypted = transport.get_extra_info("ssl_object") is not None
        self.host: DatabaseHost | None = None
        self.pooled = False
        """Whether a connection pooler shares the server's sessions with others."""
        _end_when_the_peer_is_gone(transport.get_extra_info("socket"))

    def get_reset_query(self) -> str:
        """Return none: all settings are local to transactions. RESET ALL would also undo another client's."""
        return ""


def _end_when_the_peer_is_gone(opened: socket.socket | None) -> None:
    if opened is None or opened.family == socket.AF_UNIX:
        return
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _OPTIONS:
        # Linux has all of them; elsewhere some go by other names.
        if (option := getattr(socket, name, None)) is not None:
            opened.setsockopt(socket.IPPROTO_TCP, option, value)
