"""A PostgreSQL session: asyncpg's connection with a timeout for every statement.

Input: SQL. Output: rows. Errors: `NoAnswerError`, `OutcomeUnknownError`, and those of asyncpg.

A server that is stopped, or behind a network that drops packets, neither answers nor closes the connection.
Each statement therefore has a timeout; a session that exceeds it is closed at once. TCP keepalive closes the
socket of an unreachable peer too.
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
    NotSentError,
    OutcomeUnknownError,
    cause_of,
    unavailability_of,
)
from extauthz.telemetry.spans import OpenSpan, SpanKind, current_span, running

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
"""A connection, opened alone or acquired from a pool."""

ANSWER_WITHIN_S: Final = 4.0
"""Timeout of a statement. A REST request that waits for a stopped server is answered within 5 s."""
UNBOUNDED: Final = float("inf")
CLOSE_WITHIN_S: Final = 1.0
_MAX_QUERY_LENGTH: Final = 1_000
KEEPALIVE_IDLE_S: Final = 5
KEEPALIVE_INTERVAL_S: Final = 2
KEEPALIVE_PROBES: Final = 3
USER_TIMEOUT_MS: Final = 5_000
"""TCP_USER_TIMEOUT: how long sent data may stay unacknowledged before the kernel closes the connection."""
_OPTIONS: Final = (
    ("TCP_KEEPIDLE", KEEPALIVE_IDLE_S),
    ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL_S),
    ("TCP_KEEPCNT", KEEPALIVE_PROBES),
    ("TCP_USER_TIMEOUT", USER_TIMEOUT_MS),
)


_log = structlog.get_logger("extauthz.database")


class Session(_Base):
    """A connection that leaves no state in its session.

    The timeout of a statement is `timeout` in seconds, else `ANSWER_WITHIN_S`; a statement that exceeds it
    raises `NoAnswerError`. `state`, if set, records failures.
    """

    __slots__ = ("direct", "encrypted", "host", "pooler", "state", "undeclared_pooler")

    def __init__(self, protocol: Any, transport: Any, *rest: Any) -> None:
        """Wrap the protocol and the transport that asyncpg created."""
        super().__init__(protocol, transport, *rest)
        self.encrypted = transport.get_extra_info("ssl_object") is not None
        self.host: DatabaseHost | None = None
        self.direct = True
        """Whether PostgreSQL itself is the peer."""
        self.pooler = Pooler.NONE
        """How a connection pooler shares the session with other clients."""
        self.undeclared_pooler = False
        self.state: DatabaseState | None = None
        # asyncpg would change `jit` of the session to query types, and not restore it in a pooled session.
        capabilities: Any = self._server_caps  # type: ignore[has-type]
        self._server_caps = capabilities._replace(jit=False)
        _end_when_the_peer_is_gone(transport.get_extra_info("socket"))

    @property
    def pooled(self) -> bool:
        """Whether a connection pooler gives the session to other clients."""
        return self.pooler is not Pooler.NONE

    @property
    def listens(self) -> bool:
        """Whether the connection keeps its session, which LISTEN requires."""
        return self.pooler is not Pooler.TRANSACTION

    def get_reset_query(self) -> str:
        """Return no query: settings are local to transactions, and RESET ALL would reset another client's."""
        return ""

    async def execute(self, query: str, *args: object, timeout: float | None = None) -> str:  # noqa: ASYNC109
        """Run statements, as asyncpg does."""
        async with self._answer(timeout, query):
            status = await super().execute(query, *args)
        if query == "COMMIT;" and status != "COMMIT":
            # PostgreSQL answers ROLLBACK if an earlier statement failed and its error was ignored.
            raise asyncpg.InFailedSQLTransactionError("the transaction was rolled back at its end")
        return status

    async def executemany(
        self, command: str, args: Iterable[Sequence[object]], *, timeout: float | None = None  # noqa: ASYNC109
    ) -> None:  # fmt: skip
        """Run a statement for each of the arguments, as asyncpg does."""
        async with self._answer(timeout, command):
            await super().executemany(command, args)

    async def copy_from_query(
        self, query: str, *args: object, output: Any, timeout: float | None = None, **options: Any  # noqa: ASYNC109
    ) -> str:  # fmt: skip
        """Send the rows of a query to `output`, as asyncpg does; without arguments nothing is prepared."""
        async with self._answer(timeout, query):
            return await super().copy_from_query(query, *args, output=output, **options)

    async def fetch(self, query: str, *args: object, timeout: float | None = None, **options: Any) -> Any:  # noqa: ASYNC109
        """Return all rows, as asyncpg does."""
        async with self._answer(timeout, query):
            return await super().fetch(query, *args, **options)

    async def fetchval(self, query: str, *args: object, column: int = 0, timeout: float | None = None) -> Any:  # noqa: ASYNC109
        """Return a column of the first row, as asyncpg does."""
        async with self._answer(timeout, query):
            return await super().fetchval(query, *args, column=column)

    async def fetchrow(self, query: str, *args: object, timeout: float | None = None, **options: Any) -> Any:  # noqa: ASYNC109
        """Return the first row, as asyncpg does."""
        async with self._answer(timeout, query):
            return await super().fetchrow(query, *args, **options)

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Close the connection; wait at most `CLOSE_WITHIN_S` seconds for the server."""
        within = CLOSE_WITHIN_S if timeout is None else min(timeout, CLOSE_WITHIN_S)
        try:
            async with asyncio.timeout(within):
                await super().close()
        except Exception:  # noqa: BLE001  # a connection that cannot send Terminate is closed too
            self.terminate()

    @contextlib.asynccontextmanager
    async def answers_by(self, deadline: float) -> AsyncIterator[None]:
        """Close the connection unless the statements inside are answered by `deadline` (the loop's clock)."""
        bound = asyncio.timeout_at(deadline)
        try:
            async with bound:
                yield
        except TimeoutError as error:
            if not bound.expired():
                raise
            raise self._given_up("no transaction could be started in time") from error

    @contextlib.asynccontextmanager
    async def _answer(self, within: float | None, query: str) -> AsyncIterator[None]:
        seconds = ANSWER_WITHIN_S if within is None else within
        bound = asyncio.timeout(None if seconds == UNBOUNDED else seconds)
        try:
            async with bound:
                around = current_span()
                if around is None:
                    yield
                else:
                    with running(self._span(around, query)):
                        yield
        except TimeoutError as error:
            if not bound.expired():
                raise
            raise self._given_up(f"no answer to a statement within {seconds:g} s") from error
        except asyncpg.InternalClientError as error:
            # asyncpg read the server's last words while no statement ran, and not yet the end of the
            # connection. It refuses the statement as its own mistake, and has not sent it.
            self.terminate()
            lost = NotSentError("the server has ended the connection")
            self._failed(lost)
            raise lost from error
        except Exception as error:
            self._failed(error)
            raise

    def _span(self, around: OpenSpan, query: str) -> OpenSpan:
        """Begin the span of a statement: its text, which has no value but by parameters."""
        words = query.split(None, 1)
        operation = words[0].rstrip(";").upper() if words else ""
        attributes: dict[str, str | int] = {
            "db.system.name": "postgresql",
            "db.operation.name": operation,
            "db.query.text": query[:_MAX_QUERY_LENGTH],
        }
        if self.host is not None:
            attributes |= {"server.address": self.host.host, "server.port": self.host.port}
        return around.child(operation, SpanKind.CLIENT, attributes)

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
    """Run the body as one transaction. Its error is raised unchanged, also if the rollback fails.

    The transaction must have begun by `deadline` (the loop's clock).

    Raises:
        NotSentError: the server had ended the connection before COMMIT was sent: nothing is stored.
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
        # Cancelled: the running statement is not awaited.
        connection.terminate()
        raise
    try:
        if _is_closed(connection):
            raise NotSentError("the server has ended the connection")
        await begun.commit()
    except NotSentError:
        raise
    except asyncpg.PostgresError as error:
        refused = getattr(error, "severity_en", None) == "ERROR"
        if readonly or refused or isinstance(error, asyncpg.InFailedSQLTransactionError):
            raise
        raise OutcomeUnknownError(cause_of(error)) from error
    except (OSError, asyncpg.InterfaceError) as error:
        if readonly:
            raise
        raise OutcomeUnknownError(cause_of(error)) from error


def _is_closed(connection: Connection) -> bool:
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:
        # The pool already released the connection, which was closed while in use.
        return True


async def _rolled_back(connection: Connection, rollback: Callable[[], Any]) -> None:
    if _is_closed(connection):
        return
    try:
        await rollback()
    except asyncpg.InterfaceError:
        # It was closed meanwhile.
        return
    except Exception:  # noqa: BLE001  # the error of the body is the one to raise
        connection.terminate()
    except BaseException:
        connection.terminate()
        raise


def _end_when_the_peer_is_gone(opened: socket.socket | None) -> None:
    if opened is None or opened.family == socket.AF_UNIX:
        return
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _OPTIONS:
        # Linux has all of these options; other systems lack some.
        if (option := getattr(socket, name, None)) is not None:
            opened.setsockopt(socket.IPPROTO_TCP, option, value)
