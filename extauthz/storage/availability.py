"""Classifies errors that mean an unavailable database, and records the state of the database of one process.

Input: an exception. Output: an `Unavailability`, or None for an error of another kind. `DatabaseState` logs
one event when the database is lost and one when it is back, independent of the number of attempts between
them.
"""

from __future__ import annotations

import errno
import re
import ssl
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import asyncpg
import structlog

from extauthz.settings import SecretFileError
from extauthz.storage.address import InvalidCaError

if TYPE_CHECKING:
    from collections.abc import Callable

    from extauthz.settings import DatabaseHost

_log = structlog.get_logger("extauthz.database")


class Unavailability(StrEnum):
    """Why the database is unavailable. The values are public: REST API, logs and `doctor` show them."""

    LOST = "database_lost"
    UNREACHABLE = "database_unreachable"
    TIMEOUT = "database_timeout"
    REFUSED = "database_refused"
    FILE = "database_file"
    MISSING = "database_missing"
    READ_ONLY = "database_read_only"
    FULL = "database_full"
    SHUTTING_DOWN = "database_shutting_down"
    BUSY = "database_busy"
    FORBIDDEN = "database_forbidden"
    SCHEMA = "database_schema"
    EXHAUSTED = "database_exhausted"
    FAILED = "database_failed"

    @property
    def text(self) -> str:
        """The text for clients; it names no host, no user and no value."""
        return _TEXTS[self]

    @property
    def of_server(self) -> bool:
        """Whether the database as a whole is unavailable; otherwise one statement failed."""
        return self not in _OF_STATEMENT


_TEXTS: Final = {
    Unavailability.LOST: "the connection to the database was lost",
    Unavailability.UNREACHABLE: "the database cannot be reached",
    Unavailability.TIMEOUT: "the database does not answer in time",
    Unavailability.REFUSED: "the database refuses the login of this service",
    Unavailability.FILE: "the file of the database's password or CA cannot be used",
    Unavailability.MISSING: "the database server has no database of the configured name",
    Unavailability.READ_ONLY: "the database server accepts no writes: it is a standby or was set read-only",
    Unavailability.FULL: "the database server has no connection left for this service",
    Unavailability.SHUTTING_DOWN: "the database server is starting up or shutting down",
    Unavailability.BUSY: "the database is busy: a lock or another transaction prevented the statement",
    Unavailability.FORBIDDEN: "the database role of this service lacks a privilege",
    Unavailability.SCHEMA: "the database schema does not fit this version",
    Unavailability.EXHAUSTED: "the database server has no disk space or memory left",
    Unavailability.FAILED: "the database server reports an internal error",
}
_OF_STATEMENT: Final = frozenset(
    {Unavailability.BUSY, Unavailability.FORBIDDEN, Unavailability.SCHEMA, Unavailability.FAILED}
)


class NoAnswerError(TimeoutError):
    """The server did not answer a statement within its timeout; the connection was closed."""


class NotWritableError(Exception):
    """The connected server accepts no writes, so its data may be outdated."""


class NoPrimaryError(ConnectionError):
    """No host of several is a primary that accepts a session; `failures` has the error of each."""

    def __init__(self, failures: tuple[tuple[DatabaseHost, Exception], ...]) -> None:
        """Store the error of each host, in the order in which they were tried."""
        super().__init__("; ".join(f"{host}: {cause_of(error)}" for host, error in failures))
        self.failures = failures


class NotSentError(asyncpg.ConnectionDoesNotExistError):
    """The server had ended the connection before a statement was sent on it."""


class OutcomeUnknownError(Exception):
    """The connection was lost after COMMIT was sent: the transaction is stored entirely or not at all."""


_BY_CLASS: Final[tuple[tuple[type[BaseException], Unavailability], ...]] = (
    # The first matching class decides, so a subclass precedes its base class.
    (NotWritableError, Unavailability.READ_ONLY),
    (SecretFileError, Unavailability.FILE),
    (InvalidCaError, Unavailability.FILE),
    (asyncpg.ReadOnlySQLTransactionError, Unavailability.READ_ONLY),
    (asyncpg.TargetServerAttributeNotMatched, Unavailability.READ_ONLY),
    (asyncpg.InvalidAuthorizationSpecificationError, Unavailability.REFUSED),
    (asyncpg.ObjectNotInPrerequisiteStateError, Unavailability.REFUSED),
    (asyncpg.InvalidCatalogNameError, Unavailability.MISSING),
    (asyncpg.DatabaseDroppedError, Unavailability.MISSING),
    (asyncpg.TooManyConnectionsError, Unavailability.FULL),
    (asyncpg.InsufficientResourcesError, Unavailability.EXHAUSTED),
    (asyncpg.QueryCanceledError, Unavailability.BUSY),
    (asyncpg.OperatorInterventionError, Unavailability.SHUTTING_DOWN),
    (asyncpg.TransactionRollbackError, Unavailability.BUSY),
    # A migration changed the schema while the connection was open.
    (asyncpg.InvalidCachedStatementError, Unavailability.BUSY),
    (asyncpg.OutdatedSchemaCacheError, Unavailability.BUSY),
    (asyncpg.InsufficientPrivilegeError, Unavailability.FORBIDDEN),
    (asyncpg.UndefinedTableError, Unavailability.SCHEMA),
    (asyncpg.UndefinedColumnError, Unavailability.SCHEMA),
    (asyncpg.UndefinedFunctionError, Unavailability.SCHEMA),
    (asyncpg.UndefinedObjectError, Unavailability.SCHEMA),
    (asyncpg.InvalidSchemaNameError, Unavailability.SCHEMA),
    (asyncpg.PostgresSystemError, Unavailability.FAILED),
    (asyncpg.InternalServerError, Unavailability.FAILED),
    (asyncpg.PostgresConnectionError, Unavailability.LOST),
    (asyncpg.InterfaceError, Unavailability.LOST),
    (asyncpg.ProtocolError, Unavailability.LOST),
    (TimeoutError, Unavailability.TIMEOUT),
    (ssl.SSLError, Unavailability.REFUSED),
    (ConnectionRefusedError, Unavailability.UNREACHABLE),
    (ConnectionResetError, Unavailability.LOST),
    (BrokenPipeError, Unavailability.LOST),
)
# PgBouncer reports most refusals with one SQLSTATE (08P01), so only the text distinguishes them.
_BY_TEXT: Final = (
    (re.compile(r"no more connections allowed|too many connections"), Unavailability.FULL),
    (re.compile(r"no such database|database .* does not exist"), Unavailability.MISSING),
    (re.compile(r"no such user|auth[a-z]* failed|login rejected|not allowed"), Unavailability.REFUSED),
    (re.compile(r"shutting down|suspended|paused"), Unavailability.SHUTTING_DOWN),
    (re.compile(r"timeout"), Unavailability.TIMEOUT),
)  # fmt: skip
_TIMED_OUT: Final = frozenset({errno.ETIMEDOUT, errno.EHOSTDOWN})
_LEVELS_THAT_END_A_SESSION: Final = frozenset({"FATAL", "PANIC"})
_SPACE: Final = re.compile(r"\s+")
_LONGEST_CAUSE: Final = 300
_NAMED: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, NotWritableError)
"""Errors that are logged without the name of their class."""


def unavailability_of(error: BaseException) -> Unavailability | None:
    """Return why the database is unavailable; None if the error is about a value, or a bug of extauthz.

    asyncpg raises `InterfaceError` both for its misuse and for a closed connection; both are `LOST`.
    """
    if isinstance(error, OutcomeUnknownError) and error.__cause__ is not None:
        return unavailability_of(error.__cause__)
    if isinstance(error, NoPrimaryError):
        kinds = [unavailability_of(failure) for _, failure in error.failures]
        return Unavailability.READ_ONLY if Unavailability.READ_ONLY in kinds else kinds[0]
    if isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError):
        # asyncpg's own DataError: an argument does not match its type.
        return None
    if isinstance(error, asyncpg.LockNotAvailableError):
        return Unavailability.BUSY
    if isinstance(error, asyncpg.ConnectionDoesNotExistError) and isinstance(
        error.__cause__, asyncpg.PostgresError
    ):
        # The cause is the server's reason for closing the connection.
        return unavailability_of(error.__cause__) or Unavailability.LOST
    if isinstance(error, asyncpg.ProtocolViolationError):
        text = str(error)
        return next((kind for pattern, kind in _BY_TEXT if pattern.search(text)), Unavailability.LOST)
    for kind_of_error, kind in _BY_CLASS:
        if isinstance(error, kind_of_error):
            return kind
    if isinstance(error, OSError):
        return _of_os_error(error)
    if isinstance(error, asyncpg.PostgresError) and (
        getattr(error, "severity_en", None) in _LEVELS_THAT_END_A_SESSION
    ):
        return Unavailability.LOST
    return None


def _of_os_error(error: OSError) -> Unavailability:
    if error.errno in _TIMED_OUT:
        return Unavailability.TIMEOUT
    if isinstance(error, ConnectionError) and error.errno is None:
        # asyncpg raises it if TLS is required and the server has none.
        return Unavailability.REFUSED
    return Unavailability.UNREACHABLE


def cause_of(error: BaseException) -> str:
    """Return the text of an error in one line. PostgreSQL's texts name user and database, not a password."""
    text = _SPACE.sub(" ", str(error)).strip() or type(error).__name__
    return text[:_LONGEST_CAUSE]


@dataclass(frozen=True, slots=True)
class Loss:
    """Why the database is unavailable, and since when (monotonic seconds)."""

    kind: Unavailability
    cause: str
    since: float


class DatabaseState:
    """Whether this process can use its database: open connections, run statements, follow policy changes.

    The three are separate because each can fail alone: a server at its connection limit refuses new
    connections and still answers on open ones.
    """

    def __init__(self, steady: Callable[[], float] = time.monotonic) -> None:
        """Begin without a failure; `steady` returns monotonic seconds."""
        self._steady = steady
        self._connecting: Loss | None = None
        self._answering: Loss | None = None
        self._following: Loss | None = None
        self._told: set[Unavailability] = set()
        self._lost_at = 0.0

    @property
    def loss(self) -> Loss | None:
        """The current failure; None if there is none."""
        return self._connecting or self._answering or self._following

    @property
    def refuses_connections(self) -> bool:
        """Whether the last attempt to open a connection failed."""
        return self._connecting is not None

    def connected(self) -> None:
        """Record that a connection was opened."""
        self._connecting = None
        self._tell_back()

    def connecting_failed(self, error: BaseException) -> None:
        """Record that no connection could be opened."""
        self._connecting = self._lost(error)

    def answered(self) -> None:
        """Record that a server that accepts writes answered."""
        self._answering = None
        self._tell_back()

    def answering_failed(self, error: BaseException) -> None:
        """Record that an open connection was lost, or that the server accepts no writes."""
        self._answering = self._lost(error)

    def followed(self) -> None:
        """Record that the policies were confirmed to be current."""
        self._following = None
        self._tell_back()

    def following_failed(self, error: BaseException) -> None:
        """Record that the policies could not be confirmed to be current."""
        self._following = self._lost(error)

    def _lost(self, error: BaseException) -> Loss:
        kind = unavailability_of(error) or Unavailability.FAILED
        cause = cause_of(error) if isinstance(error, _NAMED) else f"{type(error).__name__}: {cause_of(error)}"
        loss = Loss(kind, cause, self._steady())
        if not self._told:
            self._lost_at = loss.since
        if kind not in self._told:
            # A restarting server causes several kinds in turn; each is logged once until it is back.
            self._told.add(kind)
            _log.error("database_lost", kind=kind.value, message=kind.text, cause=cause)
        return loss

    def _tell_back(self) -> None:
        if self._told and self.loss is None:
            self._told.clear()
            _log.info("database_back", lost_s=round(self._steady() - self._lost_at, 1))
