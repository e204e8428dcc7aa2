"""The connection that follows PostgreSQL: opened again with back-off, used at each change and each interval.

INVARIANT: the connection listens before the first question, so no commit falls between the two.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING, Final, Protocol

from extauthz.publish.notifications import ChangeNotifications, OpenListener

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from extauthz.storage.availability import DatabaseState
    from extauthz.storage.pool import Connection
    from extauthz.storage.session import Session

_FIRST_RETRY_S: Final = 0.1
_LONGEST_RETRY_S: Final = 5.0
_OVERDUE_S: Final = 1.5
"""A database that has not answered a poll for so long is reported as unavailable, before its bound passes."""


class Connect(Protocol):
    """Opens a connection of the publisher."""

    async def __call__(self) -> Session:
        """Return a connection that only reads."""


class DatabasePolling:
    """Calls `refresh` with an open connection: at each notification, and `pause()` seconds after the last."""

    def __init__(
        self,
        connect: Connect,
        refresh: Callable[[Connection], Awaitable[None]],
        *,
        pause: Callable[[], float],
        on_failure: Callable[[], None],
        steady: Callable[[], float],
        poll_interval: float,
        open_listener: OpenListener | None,
        database: DatabaseState,
    ) -> None:
        """Take what to call. `on_failure` is told of each connection that was lost or could not be opened.

        `open_listener` is for notifications past a connection pooler, `poll_interval` for what is logged.
        """
        self._connect = connect
        self._refresh = refresh
        self._pause = pause
        self._on_failure = on_failure
        self._steady = steady
        self._database = database
        self._wake = asyncio.Event()
        self._notifications = ChangeNotifications(
            self._notified, poll_interval=poll_interval, open_listener=open_listener
        )
        self._available = False
        self._asked_at: float | None = None

    @property
    def available(self) -> bool:
        """Whether a database that takes writes answered last time, and no question is overdue."""
        asked_at = self._asked_at
        return self._available and (asked_at is None or self._steady() - asked_at < _OVERDUE_S)

    def asked(self, at: float) -> None:
        """Note that the database was asked now (steady clock)."""
        self._asked_at = at

    def answered(self) -> None:
        """Note that the database answered."""
        self._asked_at = None

    def wake(self) -> None:
        """Ask the database now."""
        self._wake.set()

    async def run(self) -> None:
        """Follow the database until cancelled; a lost connection is opened again with back-off."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._notifications.run())
            group.create_task(self._reconnect())

    async def _reconnect(self) -> None:
        delay = _FIRST_RETRY_S
        while True:
            self._asked_at = None
            try:
                connection = await self._connected()
                try:
                    connection.add_termination_listener(self._notified)
                    async with self._notifications.on(connection):
                        await self._follow(connection)
                except Exception as error:
                    self._database.following_failed(error)
                    raise
                finally:
                    connection.terminate()
            except Exception:  # noqa: BLE001  # whatever is wrong with the database, try again
                self._on_failure()
            else:
                delay = _FIRST_RETRY_S
            if self._available:
                delay = _FIRST_RETRY_S
            self._available = False
            await asyncio.sleep(delay * (0.5 + random.random() / 2))  # noqa: S311  # spreads reconnections
            delay = min(delay * 2, _LONGEST_RETRY_S)

    async def _connected(self) -> Session:
        try:
            connection = await self._connect()
        except Exception as error:
            self._database.connecting_failed(error)
            raise
        self._database.connected()
        return connection

    async def _follow(self, connection: Connection) -> None:
        while not connection.is_closed():
            self._wake.clear()
            await self._refresh(connection)
            self._available = True
            self._database.followed()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause()):
                    await self._wake.wait()

    def _notified(self, *_: object) -> None:
        self._wake.set()
