"""How one connection is opened: to the primary among the hosts, within a bound, from the settings alone.

INVARIANT: whatever asyncpg would take from `PG*` variables or the home directory is given explicitly.

Behind a connection pooler a session is shared with other clients. Therefore nothing is set that outlives a
transaction, startup has no parameter that PgBouncer refuses, and no statement has a name. A pooler that is
not declared (POSTGRES_POOLER) is noticed, because the session that answers is not the one that greeted, and
is treated as one that pools transactions.
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
"""The bound on opening one connection. Hosts that do not answer share it, so that the last is tried too."""
_STATEMENT_CACHE_SIZE: Final = 100

_SERVER: Final = (
    "SELECT pg_catalog.pg_is_in_recovery() AS standby, pg_catalog.pg_backend_pid() AS pid,"
    " (SELECT reset_val FROM pg_catalog.pg_settings WHERE name = 'default_transaction_read_only') = 'on'"
    " AS read_only"
)
_FAILURES: Final = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)


class StandbyError(NotWritableError, ConnectionError):
    """The server is a standby: it takes no writes and confirms nothing."""


class PoolerFoundError(ConnectionError):
    """A connection pooler answers where PostgreSQL itself is needed."""


@dataclass(frozen=True, slots=True)
class _Arguments:
    """What is the same for every host."""

    address: DatabaseAddress
    application: str
    password: str
    standby: bool


class _Server(NamedTuple):
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
    """Return a connection to the first host that is a primary and takes writes.

    Where no host takes writes, a primary that is read-only by default is returned; with `standby` also a
    standby. It is ready within `CONNECT_TIMEOUT_S` or refused. `state` is told what comes of it, and of the
    statements later.

    Raises:
        SecretFileError: the password's file cannot be used now.
        InvalidCaError: the CA's file cannot be used now.
        NoPrimaryError: several hosts, and none will do.
        Exception: of a single host, whatever asyncpg raises; `outcome.refusal_of` names it.
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
    second_best: tuple[_Server, Session] | None = None
    try:
        for left, host in zip(range(len(address.hosts) - 1, -1, -1), address.hosts, strict=True):
            try:
                server, session = await _within((deadline - loop.time()) / (left + 1), host, arguments)
            except _FAILURES as error:
                failures.append((host, error))
                continue
            if not server.standby and not server.read_only:
                return session
            # A primary before a standby, else the earlier one.
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
    """Return a sidecar's connection: it reads, in transactions of `pool.reader_transaction`.

    Raises:
        Exception: what `connect` raises.
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
    """Return a connection for notifications to PostgreSQL itself, past the pooler.

    Raises:
        PoolerFoundError: POSTGRES_LISTEN_HOST leads to a pooler.
        Exception: what `connect` raises.
    """
    session = await connect(address.for_notifications, application="extauthz-listener")
    if session.pooled:
        session.terminate()
        raise PoolerFoundError(
            f"POSTGRES_LISTEN_HOST {session.host} is a connection pooler: name PostgreSQL itself"
        )
    return session


async def _within(seconds: float, host: DatabaseHost, arguments: _Arguments) -> tuple[_Server, Session]:
    try:
        async with asyncio.timeout(seconds):
            return await _opened(host, arguments)
    except TimeoutError:
        raise TimeoutError(f"no answer within {seconds:.1f} s") from None


async def _opened(host: DatabaseHost, arguments: _Arguments) -> tuple[_Server, Session]:
    """Open a session of one host and look at the server behind it."""
    pooler = arguments.address.pooler
    server, session = await _looked_at(host, arguments, named_statements=pooler is Pooler.NONE)
    # PostgreSQL greets with the process id of the backend; a pooler makes one up.
    direct = server.pid == session.get_server_pid()
    if pooler is Pooler.NONE and not direct:
        # Once more: statements with names collide on a shared session.
        session.terminate()
        server, session = await _looked_at(host, arguments, named_statements=False)
        pooler, session.undeclared_pooler = Pooler.TRANSACTION, True
    session.direct = direct
    session.pooler = pooler
    if server.standby and not arguments.standby:
        session.terminate()
        raise StandbyError("it is a standby (pg_is_in_recovery), which takes no writes")
    return server, session


async def _looked_at(
    host: DatabaseHost, arguments: _Arguments, *, named_statements: bool
) -> tuple[_Server, Session]:
    session = await _session(host, arguments, named_statements=named_statements)
    try:
        # One transaction and a statement without a name: whether the session is shared is not known yet.
        async with transaction(session, readonly=True):
            row = await (await session.prepare(_SERVER, name="")).fetchrow()
        assert row is not None
        session.host = host
        return _Server(row["standby"], row["pid"], row["read_only"]), session
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
            # Unset, each of these is read from a variable PG*.
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
    """Tell whether it was TLS that the server refused (libpq's `prefer`), not the network or the password."""
    if isinstance(error, asyncpg.InvalidPasswordError):
        return False
    # asyncpg says by a bare ConnectionError that the server has no TLS.
    return not isinstance(error, ConnectionError) or type(error) is ConnectionError


def _refusal(failures: list[tuple[DatabaseHost, Exception]]) -> Exception:
    if len(failures) == 1:
        return failures[0][1]
    errors = [error for _, error in failures]
    if isinstance(errors[0], asyncpg.PostgresError) and len({type(error) for error in errors}) == 1:
        return errors[0]
    return NoPrimaryError(tuple(failures))
