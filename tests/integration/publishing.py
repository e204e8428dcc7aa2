"""Publishers that follow a real database, and requests under their policies."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from extauthz.compile.directory import Directory
from extauthz.compile.documents.policy_documents import Reading
from extauthz.compile.roles.role_model import RoleModel, compile_model
from extauthz.compile.snapshot import Snapshot
from extauthz.domain.tenancy import TenancyMode
from extauthz.publish.current import CurrentPolicies
from extauthz.publish.postgres import PostgresPublisher
from extauthz.publish.tenant import Compiler, TenantPolicies
from extauthz.shipped import shipped
from extauthz.storage import feed
from extauthz.storage.connection import open_listener, open_reader
from tests.integration.storage_documents import connected, reader_of
from tests.waiting import until

if TYPE_CHECKING:
    from extauthz.storage.pool import DatabaseAddress
    from extauthz.storage.session import Session

NEVER = 300.0
"""A poll interval that no test waits for."""


def compiler() -> Compiler:
    model = compile_model(shipped("policies/model.conf").read_text("utf-8"))
    assert isinstance(model, RoleModel)
    return Compiler(Reading(), model)


class Follower:
    """A publisher that runs; `connection` is its own, as it is now."""

    def __init__(
        self,
        address: "DatabaseAddress",
        *,
        poll_interval: float,
        clock: Callable[[], float] = time.time,
        max_bytes: int | None = None,
    ) -> None:
        self.current = CurrentPolicies()
        self.failures = 0
        self.connection: Session | None = None
        self.address = address
        self.publisher = PostgresPublisher(
            self._connect,
            self.current,
            compiler(),
            mode=TenancyMode.SELFHOST,
            poll_interval=poll_interval,
            clock=clock,
            on_failure=self._failed,
            open_listener=(lambda: open_listener(address)) if address.listen else None,
            max_bytes=max_bytes,
        )

    async def _connect(self) -> "Session":
        self.connection = await open_reader(self.address)
        return self.connection

    def _failed(self) -> None:
        self.failures += 1

    @property
    def directory(self) -> Directory:
        directory = self.current.current()
        assert directory is not None
        return directory

    @property
    def snapshot(self) -> Snapshot:
        return self.directory.snapshots["default"]

    @property
    def revision(self) -> int | None:
        """The published revision; reading it wakes no waiting caller."""
        directory = self.current.current()
        snapshot = None if directory is None else directory.snapshots.get("default")
        return None if snapshot is None else snapshot.revision

    async def reaches(self, revision: int, *, within: float = 5.0) -> None:
        await until(lambda: self.revision == revision, within=within, what=f"revision {revision}")


@asynccontextmanager
async def following(
    address: "DatabaseAddress",
    *,
    poll_interval: float = NEVER,
    loaded: bool = True,
    clock: Callable[[], float] = time.time,
    max_bytes: int | None = None,
) -> AsyncIterator[Follower]:
    """Run a publisher; `loaded` waits for its first policies."""
    follower = Follower(address, poll_interval=poll_interval, clock=clock, max_bytes=max_bytes)
    task = asyncio.create_task(follower.publisher.run())
    try:
        if loaded:
            await until(lambda: follower.revision is not None, what="the first load")
        yield follower
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def stored(address: "DatabaseAddress") -> Snapshot:
    """Return the policies of the database, loaded whole."""
    async with reader_of(address) as reader:
        documents = await feed.load(reader, "default")
    assert documents is not None
    state = compiler().load(documents)
    assert isinstance(state, TenantPolicies), state
    return state.snapshot


async def behind_our_back(superuser: "DatabaseAddress", *statements: str) -> None:
    """Run SQL as the superuser, whom no row-level security binds, in one transaction.

    A statement that changes no row damages nothing, and fails here.
    """
    async with connected(superuser) as connection, connection.transaction():
        for statement in statements:
            done = await connection.execute(statement)
            assert done not in {"UPDATE 0", "DELETE 0", "INSERT 0 0"}, statement
