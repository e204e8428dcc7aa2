"""Opens one connection to the primary among several hosts, within a timeout, from the settings alone.

Input: a `DatabaseAddress`. Output: a `Session`. Errors: `NoPrimaryError`, `StandbyError`, `PoolerFoundError`,
and those of asyncpg.

INVARIANT: every parameter that asyncpg would read from `PG*` variables or the home directory is passed.

A connection pooler shares a session between clients. Therefore no setting outlives a transaction, the startup
message has no parameter that PgBouncer refuses, and no statement has a name. A pooler that is not declared in
POSTGRES_POOLER is detected, because the backend process id of the session differs from the one in the startup
response, and is treated as one that pools transactions.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import asyncpg
from asyncpg.connect_utils import SessionAttribute

from extauthz.settings import DatabaseHost, Pooler
from extauthz.storage.availability import DatabaseState, NoPrimaryError, NotWritableError
from extauthz.storage.session import Session, transaction

if TYPE_CHECKING:
    from extauthz.storage.address import DatabaseAddress

CONNECT_TIMEOUT_S: Final = 3.0
"""Timeout for opening one connection. The hosts share it, so that the last one is tried too."""
_STATEMENT_CACHE_SIZE: Final = 100

_SERVER: Final = (
    "SELECT pg_catalog.pg_is_in_recovery() AS standby, pg_catalog.pg_backend_pid() AS pid,"
    " (SELECT reset_val FROM pg_catalog.pg_settings WHERE name = 'default_transaction_read_only') = 'on'"
    " AS read_only"
)
_FAILURES: Final = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


class StandbyError(NotWritableError, ConnectionError):
    """The server is a standby: it accepts no writes, and its data may be outdated."""


class PoolerFoundError(ConnectionError):
    """POSTGRES_LISTEN_HOST leads to a connection pooler instead of PostgreSQL."""


@dataclass(frozen=True, slots=True)
class _Arguments:
    """The arguments that are the same for every host."""

    address: DatabaseAddress
    application: str
    password: str
    standby: bool


class _ServerState(NamedTuple):
    standby: bool
    pid: int
    read_only: bool


async def connect(
    address: DatabaseAddress,
    *,
    application: str = "extauthz",
    standby: bool = False,
    state: DatabaseState | None = None,
) -> Session:
    """Return a connection to the first host that is a primary and accepts writes.

    If no host accepts writes, return a primary that is read-only by default; with `standby` also a standby.
    The timeout is `CONNECT_TIMEOUT_S`. `state` records the result, and later those of statements.

    Raises:
        SecretFileError: the password file is unreadable or invalid.
        InvalidCaError: the CA file is unreadable or invalid.
        NoPrimaryError: there are several hosts, and no host is suitable.
        Exception: there is a single host, and asyncpg raised it; `outcome.refusal_of` classifies it.
    """
    try:
        session = await _connected(address, application, standby=standby)
    except Exception as error:
        if state is not None:
            state.connecting_failed(error)
        raise
    session.state = state
    if state is not None:
        state.connected()
    return session


async def _connected(address: DatabaseAddress, application: str, *, standby: bool) -> Session:
    arguments = _Arguments(address, application, address.current_password(), standby)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + CONNECT_TIMEOUT_S
    failures: list[tuple[DatabaseHost, Exception]] = []
    second_best: tuple[_ServerState, Session] | None = None
    try:
        for left, host in zip(range(len(address.hosts) - 1, -1, -1), address.hosts, strict=True):
            try:
                server, session = await _within((deadline - loop.time()) / (left + 1), host, arguments)
            except _FAILURES as error:
                failures.append((host, error))
                continue
            if not server.standby and not server.read_only:
                return session
            # A primary is preferred to a standby, and an earlier host to a later one.
            if second_best is None or (second_best[0].standby and not server.standby):
                second_best, rejected = (server, session), second_best
            else:
                rejected = (server, session)
            if rejected is not None:
                rejected[1].terminate()
        if second_best is not None:
            session, second_best = second_best[1], None
            return session
    finally:
        if second_best is not None:
            second_best[1].terminate()
    raise _refusal(failures)


async def open_reader(address: DatabaseAddress) -> Session:
    """Return the read-only connection of a sidecar, for `pool.reader_transaction`.

    Raises:
        Exception: as `connect`.
    """
    session = await connect(address, application="extauthz-sidecar")
    if not session.pooled:
        try:
            await session.execute("SET default_transaction_read_only = on", timeout=CONNECT_TIMEOUT_S)
        except BaseException:
            session.terminate()
            raise
    return session


async def open_listener(address: DatabaseAddress) -> Session:
    """Return a connection for notifications, directly to PostgreSQL (POSTGRES_LISTEN_HOST).

    Raises:
        PoolerFoundError: POSTGRES_LISTEN_HOST leads to a pooler.
        Exception: as `connect`.
    """
    session = await connect(address.for_notifications, application="extauthz-listener")
    if session.pooled:
        session.terminate()
        raise PoolerFoundError(
            f"POSTGRES_LISTEN_HOST {session.host} is a connection pooler: list PostgreSQL itself"
        )
    return session


async def _within(seconds: float, host: DatabaseHost, arguments: _Arguments) -> tuple[_ServerState, Session]:
    try:
        async with asyncio.timeout(seconds):
            return await _opened(host, arguments)
    except TimeoutError:
        raise TimeoutError(f"no answer within {seconds:.1f} s") from None


async def _opened(host: DatabaseHost, arguments: _Arguments) -> tuple[_ServerState, Session]:
    """Open a session to one host, and examine its server."""
    pooler = arguments.address.pooler
    server, session = await _looked_at(host, arguments, named_statements=pooler is Pooler.NONE)
    # PostgreSQL's BackendKeyData holds the process id of the backend; a pooler sends an invented one.
    direct = server.pid == session.get_server_pid()
    if pooler is Pooler.NONE and not direct:
        # Connect again without named statements, which collide on a shared session.
        session.terminate()
        server, session = await _looked_at(host, arguments, named_statements=False)
        pooler, session.undeclared_pooler = Pooler.TRANSACTION, True
    session.direct = direct
    session.pooler = pooler
    if server.standby and not arguments.standby:
        session.terminate()
        raise StandbyError("it is a standby (pg_is_in_recovery), which accepts no writes")
    return server, session


async def _looked_at(
    host: DatabaseHost, arguments: _Arguments, *, named_statements: bool
) -> tuple[_ServerState, Session]:
    session = await _session(host, arguments, named_statements=named_statements)
    try:
        # One transaction and an unnamed statement, because the session may be shared.
        async with transaction(session, readonly=True):
            row = await (await session.prepare(_SERVER, name="")).fetchrow()
        assert row is not None
        session.host = host
        return _ServerState(row["standby"], row["pid"], row["read_only"]), session
    except BaseException:
        session.terminate()
        raise


async def _session(host: DatabaseHost, arguments: _Arguments, *, named_statements: bool) -> Session:
    address = arguments.address
    tls = address.tls_of(host)

    async def opened(context: ssl.SSLContext | None) -> Session:
        session: Session = await asyncpg.connect(
            host=host.host,
            port=host.port,
            user=address.user,
            password=arguments.password,
            database=address.database,
            ssl=False if context is None else context,
            # asyncpg reads each of these from a PG* variable if it is not passed.
            direct_tls=False,
            target_session_attrs=SessionAttribute.any,
            krbsrvname="postgres",
            gsslib="gssapi",
            connection_class=Session,
            timeout=CONNECT_TIMEOUT_S,
            statement_cache_size=_STATEMENT_CACHE_SIZE if named_statements else 0,
            server_settings={"application_name": arguments.application},
        )
        return session

    if address.sslmode_of(host) != "prefer":
        return await opened(tls)
    try:
        return await opened(tls)
    except (ConnectionError, ssl.SSLError, asyncpg.InvalidAuthorizationSpecificationError) as error:
        if not _may_take_plaintext(error):
            raise
    return await opened(None)


def _may_take_plaintext(error: Exception) -> bool:
    """Return whether the server refused TLS, so that `prefer` falls back; not the network or the password."""
    if isinstance(error, asyncpg.InvalidPasswordError):
        return False
    # asyncpg raises ConnectionError itself, not a subclass, if the server has no TLS.
    return not isinstance(error, ConnectionError) or type(error) is ConnectionError


def _refusal(failures: list[tuple[DatabaseHost, Exception]]) -> Exception:
    if len(failures) == 1:
        return failures[0][1]
    errors = [error for _, error in failures]
    if isinstance(errors[0], asyncpg.PostgresError) and len({type(error) for error in errors}) == 1:
        return errors[0]
    return NoPrimaryError(tuple(failures))
