"""Several database hosts: the primary is found, and none that is dead, silent or a standby is waited for."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import asyncpg
import pytest

from extauthz.demo.postgres import EmbeddedPostgres
from extauthz.demo.processes import LOOPBACK, free_port
from extauthz.settings import DatabaseHost
from extauthz.storage.availability import NoPrimaryError
from extauthz.storage.connection import CONNECT_TIMEOUT_S, StandbyError
from extauthz.storage.outcome import DatabaseUnavailable, refusal_of
from extauthz.storage.pool import DatabaseAddress, connect, open_pool, open_reader
from extauthz.storage.session import KEEPALIVE_IDLE_S, USER_TIMEOUT_MS
from tests.folder_postgres import postgres_in_folder

if TYPE_CHECKING:
    from extauthz.storage.session import Session
    from tests.integration.conftest import Database

pytestmark = [pytest.mark.anyio, pytest.mark.both_servers]

PASSWORD = "the-same-on-every-server"


@contextlib.contextmanager
def silent_host() -> Iterator[DatabaseHost]:
    """A host that accepts connections and never answers, as a stopped process does."""
    with socket.create_server((LOOPBACK, 0)) as listener:
        yield DatabaseHost(LOOPBACK, listener.getsockname()[1])


def dead_host() -> DatabaseHost:
    return DatabaseHost(LOOPBACK, free_port())


def among(address: DatabaseAddress, *hosts: DatabaseHost) -> DatabaseAddress:
    first, *others = hosts
    return replace(address, host=first.host, port=first.port, fallbacks=tuple(others))


def of(address: DatabaseAddress) -> DatabaseHost:
    return DatabaseHost(address.host, address.port)


@contextlib.asynccontextmanager
async def opened(address: DatabaseAddress) -> "AsyncIterator[Session]":
    session = await connect(address)
    try:
        yield session
    finally:
        await session.close()


def address_of(server: EmbeddedPostgres) -> DatabaseAddress:
    return DatabaseAddress(LOOPBACK, server.port, "extauthz", PASSWORD, "extauthz")


def give_password(server: EmbeddedPostgres, *statements: str) -> None:
    async def run() -> None:
        superuser = await asyncpg.connect(server.superuser_dsn, ssl=False)
        await superuser.execute(f"ALTER ROLE extauthz PASSWORD '{PASSWORD}'")
        for statement in statements:
            await superuser.execute(statement)
        await superuser.close()

    asyncio.run(run())


@pytest.fixture(scope="module")
def standby() -> Iterator[EmbeddedPostgres]:
    """A server in recovery: it answers reads, and takes no writes."""
    with postgres_in_folder() as server:
        server.start()
        give_password(server)
        server.stop()
        (server.folder / "data" / "standby.signal").touch()
        server.start()
        yield server


@pytest.fixture(scope="module")
def read_only() -> Iterator[EmbeddedPostgres]:
    """An old primary that was left up with writing switched off."""
    with postgres_in_folder() as server:
        server.start()
        give_password(
            server, "ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()"
        )
        yield server


@pytest.fixture(scope="module")
def primary() -> Iterator[EmbeddedPostgres]:
    with postgres_in_folder() as server:
        server.start()
        give_password(server)
        yield server


async def test_a_dead_and_a_silent_host_do_not_cost_the_whole_bound(primary: EmbeddedPostgres) -> None:
    address = address_of(primary)
    with silent_host() as silent:
        began = time.monotonic()
        async with opened(among(address, dead_host(), silent, of(address))) as session:
            assert session.host == of(address)
        assert time.monotonic() - began < CONNECT_TIMEOUT_S

        began = time.monotonic()
        with pytest.raises(NoPrimaryError) as refused:
            await connect(among(address, silent, dead_host(), silent))
        assert time.monotonic() - began < CONNECT_TIMEOUT_S + 1
        assert "no answer within" in str(refused.value)
        assert isinstance(refusal_of(refused.value), DatabaseUnavailable)


async def test_the_primary_is_found_among_standbys(
    primary: EmbeddedPostgres, standby: EmbeddedPostgres, read_only: EmbeddedPostgres
) -> None:
    address = address_of(primary)
    for first in (standby, read_only):
        for opening in (connect, open_reader):
            session = await opening(among(address, of(address_of(first)), of(address)))
            assert session.host == of(address)
            await session.close()
        async with open_pool(among(address, of(address_of(first)), of(address)), max_size=1) as pool:
            assert await pool.fetchval("SHOW port") == str(primary.port)


async def test_a_standby_is_refused_by_name_also_when_it_is_the_only_host(standby: EmbeddedPostgres) -> None:
    address = address_of(standby)
    with pytest.raises(StandbyError, match="standby"):
        await connect(address)
    with pytest.raises(NoPrimaryError, match=f"{address.port}: it is a standby"):
        await connect(among(address, dead_host(), of(address)))
    session = await connect(address, standby=True)
    assert await session.fetchval("SELECT pg_is_in_recovery()") is True
    await session.close()


async def test_a_primary_without_writes_is_better_than_none(
    read_only: EmbeddedPostgres, standby: EmbeddedPostgres
) -> None:
    address = address_of(read_only)
    for hosts in ((standby, read_only), (read_only, standby)):
        session = await connect(among(address, *(of(address_of(each)) for each in hosts)), standby=True)
        assert session.host == of(address)
        await session.close()


async def test_a_refusal_by_every_host_keeps_its_exception_type(primary: EmbeddedPostgres) -> None:
    address = replace(address_of(primary), password="wrong")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await connect(among(address, of(address), of(address)))


async def test_every_socket_ends_when_the_peer_is_gone(database: "Database") -> None:
    def options(session: "Session") -> tuple[int, int, int]:
        opened_socket: socket.socket = session._transport.get_extra_info("socket")  # type: ignore[attr-defined]
        return (
            opened_socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
            opened_socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
            opened_socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
        )

    expected = (1, KEEPALIVE_IDLE_S, USER_TIMEOUT_MS)
    for opening in (connect, open_reader):
        session = await opening(database.address)
        assert options(session) == expected
        await session.close()
    async with open_pool(database.address) as pool, pool.acquire() as pooled:
        assert options(pooled._con) == expected  # type: ignore[attr-defined]
