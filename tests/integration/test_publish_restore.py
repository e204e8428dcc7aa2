"""A database restored to an earlier moment starts a new epoch, and every reader follows it."""

import asyncio
import subprocess
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from extauthz.storage import role_rules
from tests.integration.publishing import Follower, following, stored
from tests.integration.serving import database_environment, environment, finished
from tests.integration.storage_documents import connected, pool_of, role_rule, succeed
from tests.waiting import until

if TYPE_CHECKING:
    from extauthz.demo.postgres import EmbeddedPostgres
    from extauthz.storage.pool import Pool
    from tests.integration.conftest import Database

pytestmark = pytest.mark.anyio


async def add(pool: "Pool", sub: str) -> int:
    rule = role_rule(sub=sub)
    return (await succeed(pool, lambda change: role_rules.create(change, [rule]))).revision


def subjects(follower: Follower) -> set[str]:
    return {rule.sub for rule in follower.snapshot.role_rules_by_id.values()}


def run(server: "EmbeddedPostgres", program: str, database: "Database", *arguments: str | Path) -> None:
    address = database.superuser
    finished = subprocess.run(
        [server._program(program), *map(str, arguments)],
        env={
            "PGHOST": address.host,
            "PGPORT": str(address.port),
            "PGUSER": address.user,
            "PGPASSWORD": address.password,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr


async def test_every_reader_converges_on_the_restored_policies_and_on_later_changes(
    database: "Database", tmp_path: Path
) -> None:
    server, name, dump = database.server, database.address.database, tmp_path / "dump"
    async with pool_of(database.address, "default") as pool:
        for number in range(5):
            await add(pool, f"before-{number}")
    async with (
        following(database.address, poll_interval=0.3) as one,
        following(database.address) as other,
    ):
        await asyncio.to_thread(run, server, "pg_dump", database, "-Fc", "-f", dump, name)
        async with pool_of(database.address) as pool:
            lost = [await add(pool, f"lost-{number}") for number in range(3)]
        for follower in (one, other):
            await follower.reaches(lost[-1])
            assert "lost-2" in subjects(follower)
        epoch = one.directory.epoch

        await asyncio.to_thread(run, server, "dropdb", database, "--force", name)
        await asyncio.to_thread(run, server, "createdb", database, "--owner", database.address.user, name)
        await asyncio.to_thread(run, server, "pg_restore", database, "-d", name, dump)
        migrated = await asyncio.to_thread(
            finished, "migrate", "--new-epoch", environ=environment(database_environment(database.address))
        )
        assert migrated.returncode == 0, migrated.stderr
        async with pool_of(database.address) as pool:
            # The very revisions that the lost writes had.
            assert [await add(pool, f"after-{number}") for number in range(3)] == lost

        expected = await stored(database.address)
        async with connected(database.address) as connection:
            begun = await connection.fetchval("SELECT epoch::text FROM cluster_state")
        assert begun != epoch
        for follower in (one, other):
            await until(partial(follows, follower, begun), within=10, what="the new epoch")
            await follower.reaches(lost[-1])
            assert follower.snapshot.digest() == expected.digest()
            assert subjects(follower) == {f"before-{n}" for n in range(5)} | {f"after-{n}" for n in range(3)}


def follows(follower: Follower, epoch: str) -> bool:
    return follower.directory.epoch == epoch
