"""Change notifications (LISTEN): on the publisher's session, past a connection pooler, or none.

LISTEN belongs to a session. A pooler that shares sessions by transactions leaves it on one that others use,
and delivers nothing. Then the database is polled, and a connection to PostgreSQL itself
(POSTGRES_LISTEN_HOST) says earlier that there is something to read. What it says is never relied on.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from extauthz.storage.write import CHANNEL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from extauthz.storage.session import Session

_FIRST_RETRY_S: Final = 0.2
_LONGEST_RETRY_S: Final = 10.0
_LISTEN_WITHIN_S: Final = 3.0
_UNLISTEN_WITHIN_S: Final = 1.0

_log = structlog.get_logger("extauthz.publish")


class OpenListener(Protocol):
    """Opens a connection to PostgreSQL itself."""

    async def __call__(self) -> Session:
        """Return a connection that keeps its session."""


class ChangeNotifications:
    """Has `wake` called for every change that PostgreSQL announces, where that can be had."""

    def __init__(
        self, wake: Callable[[], None], *, poll_interval: float, open_listener: OpenListener | None = None
    ) -> None:
        """Take what to call. `open_listener` is for a database behind a pooler."""
        self._wake = wake
        self._poll_interval = poll_interval
        self._open_listener = open_listener
        self._said = False
        self._lost = False

    @contextlib.asynccontextmanager
    async def on(self, reader: Session) -> AsyncIterator[None]:
        """Listen on the publisher's own session while inside, if that is where notifications come from."""
        if not reader.listens or (reader.pooled and self._open_listener is not None):
            self._say_polled(reader)
            yield
            return
        await reader.add_listener(CHANNEL, self._notified)
        try:
            yield
        finally:
            if reader.pooled:
                # The session goes on to another client; the pooler may be told to reset nothing.
                with contextlib.suppress(Exception):
                    async with asyncio.timeout(_UNLISTEN_WITHIN_S):
                        await reader.remove_listener(CHANNEL, self._notified)

    async def run(self) -> None:
        """Listen past the pooler until cancelled; a lost connection is opened again with back-off."""
        delay = _FIRST_RETRY_S
        while self._open_listener is not None:
            ended = asyncio.Event()
            try:
                session = await self._open_listener()
                try:
                    session.add_termination_listener(lambda *_, ended=ended: ended.set())
                    async with asyncio.timeout(_LISTEN_WITHIN_S):
                        await session.add_listener(CHANNEL, self._notified)
                    self._say_listening(session)
                    delay = _FIRST_RETRY_S
                    # What was announced before LISTEN took effect.
                    self._wake()
                    await ended.wait()
                finally:
                    session.terminate()
            except Exception as error:  # noqa: BLE001  # whatever is wrong, polling goes on; try again
                self._say_lost(error)
            else:
                self._say_lost(ConnectionError("the connection was closed"))
            await asyncio.sleep(delay * (0.5 + random.random()))  # noqa: S311  # spreads reconnections
            delay = min(delay * 2, _LONGEST_RETRY_S)

    def _notified(self, *_: object) -> None:
        self._wake()

    def _say_polled(self, reader: Session) -> None:
        if self._said:
            return
        self._said = True
        if reader.undeclared_pooler:
            _log.warning(
                "database_pooler_undeclared",
                message="a connection pooler answers at POSTGRES_HOST and POSTGRES_POOLER is not set; it is "
                "treated as POSTGRES_POOLER=transaction",
            )
        if self._open_listener is None:
            _log.info(
                "policy_changes_polled",
                message="changes are found by polling alone: set POSTGRES_LISTEN_HOST to PostgreSQL itself "
                "for notifications",
                poll_interval=self._poll_interval,
            )

    def _say_listening(self, session: Session) -> None:
        self._lost = False
        _log.info("policy_changes_announced", message="notifications past the pooler", host=str(session.host))

    def _say_lost(self, error: Exception) -> None:
        if self._lost:
            return
        self._lost = True
        _log.error(
            "policy_changes_not_announced",
            message="POSTGRES_LISTEN_HOST cannot be used; changes are found by polling until it can",
            error=str(error) or type(error).__name__,
            poll_interval=self._poll_interval,
        )
