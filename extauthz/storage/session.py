"""A session of PostgreSQL: asyncpg's connection that never waits without a bound.

A server that is stopped, or behind a network that drops packets, answers nothing and closes nothing. Each
statement therefore has a bound; a session that exceeds it is closed at once and never used again. The kernel
ends the socket, too, when the peer is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import asyncpg
import structlog

from extauthz.settings import Pooler
from extauthz.storage.availability import (
    DatabaseState,
    NoAnswerError,
    OutcomeUnknownError,
    cause_of,
    unavailability_of,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

    from asyncpg.transaction import Transaction

    from extauthz.settings import DatabaseHost

    _Base = asyncpg.Connection[asyncpg.Record]
else:
    _Base = asyncpg.Connection

Connection: TypeAlias = (
    "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
)
"""A connection, its own or borrowed from a pool."""

ANSWER_WITHIN_S: Final = 4.0
"""How long a statement may take. A REST request that waits for a stopped server is answered within 5 s."""
UNBOUNDED: Final = float("inf")
CLOSE_WITHIN_S: Final = 1.0
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


_log = structlog.get_logger("extauthz.database")


class Session(_Base):
    """A connection that leaves no state; its statements have a bound: `timeout`, else `ANSWER_WITHIN_S`.

    A statement that exceeds its bound raises `NoAnswerError`. `state`, when set, is told what fails.
    """

    __slots__ = ("direct", "encrypted", "host", "pooler", "state", "undeclared_pooler")

    def __init__(self, protocol: Any, transport: Any, *rest: Any) -> None:
        """Take what asyncpg made."""
        super().__init__(protocol, transport, *rest)
        self.encrypted = transport.get_extra_info("ssl_object") is not None
        self.host: DatabaseHost | None = None
        self.direct = True
        """Whether PostgreSQL itself is the peer."""
        self.pooler = Pooler.NONE
        """How the session behind the connection is shared with other clients."""
        self.undeclared_pooler = False
        self.state: DatabaseState | None = None
        # asyncpg would switch `jit` on the session, and leave it set, to ask about types.
        capabilities: Any = self._server_caps  # type: ignore[has-type]
        self._server_caps = capabilities._replace(jit=False)
        _end_when_the_peer_is_gone(transport.get_extra_info("socket"))

    @property
    def pooled(self) -> bool:
        """Whether a connection pooler hands the session to other clients."""
        return self.pooler is not Pooler.NONE

    @property
    def listens(self) -> bool:
        """Whether the connection keeps its session, which LISTEN needs."""
        return self.pooler is not Pooler.TRANSACTION

    def get_reset_query(self) -> str:
        """Return none: all settings are local to transactions. RESET ALL would also undo another client's."""
        return ""

    async def execute(self, query: str, *args: object, timeout: float | None = None) -> str:  # noqa: ASYNC109
        """Run statements, as asyncpg does."""
        async with self._answer(timeout):
            status = await super().execute(query, *args)
        if query == "COMMIT;" and status != "COMMIT":
            # PostgreSQL answers ROLLBACK where a statement before it failed and its error was passed over.
            raise asyncpg.InFailedSQLTransactionError("the transaction was rolled back at its end")
        return status

    async def executemany(
        self, command: str, args: Iterable[Sequence[object]], *, timeout: float | None = None  # noqa: ASYNC109
    ) -> None:  # fmt: skip
        """Run a statement for each of the arguments, as asyncpg does."""
        async with self._answer(timeout):
            await super().executemany(command, args)

    async def fetch(self, query: str, *args: object, timeout: float | None = None, **options: Any) -> Any:  # noqa: ASYNC109
        """Return all rows, as asyncpg does."""
        async with self._answer(timeout):
            return await super().fetch(query, *args, **options)

    async def fetchval(self, query: str, *args: object, column: int = 0, timeout: float | None = None) -> Any:  # noqa: ASYNC109
        """Return a column of the first row, as asyncpg does."""
        async with self._answer(timeout):
            return await super().fetchval(query, *args, column=column)

    async def fetchrow(self, query: str, *args: object, timeout: float | None = None, **options: Any) -> Any:  # noqa: ASYNC109
        """Return the first row, as asyncpg does."""
        async with self._answer(timeout):
            return await super().fetchrow(query, *args, **options)

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Close, and after `CLOSE_WITHIN_S` seconds without waiting for the server."""
        within = CLOSE_WITHIN_S if timeout is None else min(timeout, CLOSE_WITHIN_S)
        try:
            async with asyncio.timeout(within):
                await super().close()
        except Exception:  # noqa: BLE001  # a connection that cannot say goodbye is closed all the same
            self.terminate()

    @contextlib.asynccontextmanager
    async def answers_by(self, deadline: float) -> AsyncIterator[None]:
        """Close the connection unless the statements inside are answered at `deadline` (the loop's clock)."""
        bound = asyncio.timeout_at(deadline)
        try:
            async with bound:
                yield
        except TimeoutError as error:
            if not bound.expired():
                raise
            raise self._given_up("no transaction could be begun in time") from error

    @contextlib.asynccontextmanager
    async def _answer(self, within: float | None) -> AsyncIterator[None]:
        seconds = ANSWER_WITHIN_S if within is None else within
        bound = asyncio.timeout(None if seconds == UNBOUNDED else seconds)
        try:
            async with bound:
                yield
        except TimeoutError as error:
            if not bound.expired():
                raise
            raise self._given_up(f"no answer to a statement within {seconds:g} s") from error
        except Exception as error:
            self._failed(error)
            raise

    def _given_up(self, cause: str) -> NoAnswerError:
        self.terminate()
        error = NoAnswerError(cause)
        self._failed(error)
        return error

    def _failed(self, error: Exception) -> None:
        kind = unavailability_of(error)
        if kind is None or self.state is None:
            return
        if kind.of_server:
            self.state.answering_failed(error)
        else:
            _log.warning("database_statement_failed", kind=kind.value, cause=cause_of(error))


@contextlib.asynccontextmanager
async def transaction(
    connection: Connection, *, isolation: str | None = None, readonly: bool, deadline: float | None = None
) -> AsyncIterator[None]:
    """Run what is inside as one transaction; an error in it is raised as it is, whatever the rollback does.

    `deadline` is when it has to have begun (the loop's clock).

    Raises:
        OutcomeUnknownError: the connection was lost while the transaction was committed.
    """
    begun: Transaction = connection.transaction(isolation=cast("Any", isolation), readonly=readonly)
    if deadline is None:
        await begun.start()
    else:
        async with cast("Session", connection).answers_by(deadline):
            await begun.start()
    try:
        yield
    except Exception:
        await _rolled_back(connection, begun.rollback)
        raise
    except BaseException:
        # Cancelled: the statement that was waited for is not waited for any longer.
        connection.terminate()
        raise
    try:
        await begun.commit()
    except asyncpg.PostgresError as error:
        refused = getattr(error, "severity_en", None) == "ERROR"
        if readonly or refused or isinstance(error, asyncpg.InFailedSQLTransactionError):
            raise
        raise OutcomeUnknownError(cause_of(error)) from error
    except (OSError, asyncpg.InterfaceError) as error:
        if readonly:
            raise
        raise OutcomeUnknownError(cause_of(error)) from error


async def _rolled_back(connection: Connection, rollback: Callable[[], Any]) -> None:
    try:
        if not connection.is_closed():
            await rollback()
    except asyncpg.InterfaceError:
        # The pool has taken a connection back that was closed in use.
        return
    except Exception:  # noqa: BLE001  # the error that led here is the one to tell
        connection.terminate()
    except BaseException:
        connection.terminate()
        raise


def _end_when_the_peer_is_gone(opened: socket.socket | None) -> None:
    if opened is None or opened.family == socket.AF_UNIX:
        return
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _OPTIONS:
        # Linux has all of them; elsewhere some go by other names.
        if (option := getattr(socket, name, None)) is not None:
            opened.setsockopt(socket.IPPROTO_TCP, option, value)
