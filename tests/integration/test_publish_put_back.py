"""A revision that was put back by hand, as after a partial restore, with newer change records left."""

from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
import structlog

from extauthz.domain.reasons import Effect
from extauthz.domain.tenancy import TenancyMode
from extauthz.publish.current import CurrentPolicies
from extauthz.publish.postgres import PostgresPublisher
from extauthz.publish.tenant import Compiler
from extauthz.publish.write_validation import PolicyGate
from extauthz.storage import audit, feed, role_rules
from extauthz.storage.connection import open_reader
from extauthz.storage.rows import Page
from extauthz.storage.write import read
from tests.integration.publishing import Follower, behind_our_back, compiler, following, stored
from tests.integration.storage_documents import (
    connected,
    everything,
    pool_of,
    reader_of,
    role_rule,
    succeed,
)
from tests.waiting import until

if TYPE_CHECKING:
    from extauthz.storage.pool import Pool
    from extauthz.storage.session import Session
    from tests.integration.conftest import Database

pytestmark = pytest.mark.anyio

ANNOUNCE = "SELECT pg_notify('extauthz_policy', 'default:0')"
SUBS = ("first", "second", "third", "fourth")


async def add(pool: "Pool", **members: object) -> int:
    rule = role_rule(**members)
    return (await succeed(pool, lambda change: role_rules.create(change, [rule]))).revision


async def written(pool: "Pool") -> None:
    """Write the rules of `SUBS` at the revisions 1 to 4."""
    assert [await add(pool, sub=sub) for sub in SUBS] == [1, 2, 3, 4]


def put_back(*subs: str, revision: int) -> tuple[str, ...]:
    """Return the SQL that restores rules and revision, and leaves the change records as they are."""
    kept = ", ".join(f"'{sub}'" for sub in subs)
    return (f"DELETE FROM role_rules WHERE sub NOT IN ({kept})", f"UPDATE tenants SET revision = {revision}")


async def follows(follower: Follower, database: "Database") -> None:
    expected = await stored(database.address)
    await follower.reaches(expected.revision)
    assert follower.snapshot.digest() == expected.digest()


async def test_writes_go_on_above_the_records_that_were_left_and_discard_them(database: "Database") -> None:
    async with (
        pool_of(database.address, "default") as pool,
        following(database.address) as follower,
        reader_of(database.address) as reader,
    ):
        await written(pool)
        await follower.reaches(4)
        await behind_our_back(database.superuser, *put_back("first", revision=1), ANNOUNCE)
        await follower.reaches(1)

        with structlog.testing.capture_logs() as logged:
            assert await add(pool, sub="after") == 5
        await follows(follower, database)
        assert await add(pool, sub="next") == 6
        await follows(follower, database)

        (line,) = [line for line in logged if line["event"] == "change_records_discarded"]
        assert (line["tenant"], line["after_revision"], line["up_to_revision"], line["records"]) == (
            "default", 1, 4, 3,
        )  # fmt: skip
        async with feed.one_moment(reader):
            changes = await feed.changes_since(reader, {"default": 0})
        assert [(change.revision, change.predecessor) for change in changes] == [(1, 0), (5, 1), (6, 5)]
        page = await read(pool, "default", lambda connection: audit.page(connection, "default"))
        assert isinstance(page, Page)
        (event,) = [event for event in page.items if event.kind == "change_records"]
        assert event.action == "discard"
        assert event.after == {"after_revision": 1, "up_to_revision": 4, "records": 3}


@pytest.mark.parametrize("back_to", [0, 1, 3])
async def test_a_sidecar_that_did_not_see_it_reloads(database: "Database", back_to: int) -> None:
    async with pool_of(database.address, "default") as pool, following(database.address) as follower:
        await written(pool)
        await follower.reaches(4)
        # In one transaction with what follows: no poll falls between.
        await behind_our_back(database.superuser, *put_back(*SUBS[:back_to], "none", revision=back_to))
        revision = await add(pool, sub="after")
        assert revision == 5
        await follower.reaches(revision)
        await follows(follower, database)
        assert {rule.sub for rule in follower.snapshot.role_rules_by_id.values()} == {
            *SUBS[:back_to], "after",
        }  # fmt: skip


async def test_a_record_that_was_left_is_never_applied(database: "Database") -> None:
    """The revision is counted up again by hand, onto numbers that old records have."""
    async with pool_of(database.address, "default") as pool, following(database.address) as follower:
        await written(pool)
        await follower.reaches(4)
        await behind_our_back(database.superuser, *put_back("first", revision=1), ANNOUNCE)
        await follower.reaches(1)
        for revision in (2, 3):
            await behind_our_back(database.superuser, f"UPDATE tenants SET revision = {revision}", ANNOUNCE)
            await follower.reaches(revision)
            await follows(follower, database)
            assert [rule.sub for rule in follower.snapshot.role_rules_by_id.values()] == ["first"]


async def test_the_same_number_with_another_state_is_a_reload(database: "Database") -> None:
    """Put back together with its records: the next write has a number that a sidecar knows already."""
    async with pool_of(database.address, "default") as pool, following(database.address) as follower:
        await written(pool)
        await follower.reaches(4)
        await behind_our_back(
            database.superuser,
            *put_back("first", "second", "third", revision=3),
            "DELETE FROM policy_changes WHERE revision > 3",
        )
        assert await add(pool, sub="another fourth", effect=Effect.DENY.value, sub_kind="any") == 4
        expected = await stored(database.address)
        await until(lambda: follower.snapshot.digest() == expected.digest(), what="the state of the new 4")
        assert follower.revision == 4


async def test_what_was_read_when_the_connection_is_lost_is_read_again(database: "Database") -> None:
    """It was read whole, and is not in force: another tenant was being followed."""
    usual, lost = compiler(), False

    class Losing(Compiler):
        """Loses the connection when it follows the first change."""

        def apply(self, *change: Any) -> Any:
            nonlocal lost
            if not lost:
                lost = True
                connection.terminate()
            return super().apply(*change)

    async with pool_of(database.address, "default", "zeta") as pool:

        async def connect() -> "Session":
            """Open the connection to read `default` whole, after a change of `zeta`."""
            await succeed(
                pool,
                lambda change: role_rules.create(change, [role_rule(sub=str(change.revision))]),
                tenant="zeta",
            )
            return await open_reader(database.address)

        await written(pool)
        connection = await open_reader(database.address)
        current = CurrentPolicies()
        publisher = PostgresPublisher(
            connect, current, Losing(usual.reading, usual.model), mode=TenancyMode.SELFHOST
        )
        await publisher.refresh(connection)
        await behind_our_back(
            database.superuser,
            "DELETE FROM role_rules WHERE sub = 'fourth'",
            "DELETE FROM policy_changes WHERE tenant_id = 'default' AND revision > 3",
            "UPDATE tenants SET revision = 3 WHERE tenant_id = 'default'",
        )
        assert await add(pool, sub="another fourth") == 4
        # With a limit the policies of `zeta` are measured, over the connection that is lost then.
        publisher.sizes.max_bytes = 10**9
        with pytest.raises(asyncpg.InterfaceError):
            await publisher.refresh(connection)
        assert lost
        connection = await open_reader(database.address)
        async with feed.one_moment(connection):
            assert list((await feed.heads(connection)).revisions) == ["default", "zeta"]
        await publisher.refresh(connection)
        await connection.close()
        directory, expected = current.current(), await stored(database.address)
        assert directory is not None
        assert directory.snapshots["default"].digest() == expected.digest()


async def test_records_above_the_revision_are_reported_when_a_tenant_is_read(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool, reader_of(database.address) as reader:
        await written(pool)
        with structlog.testing.capture_logs() as logged:
            await everything(reader)
        assert logged == []
        await behind_our_back(database.superuser, *put_back("first", revision=1))
        with structlog.testing.capture_logs() as logged:
            assert (await everything(reader)).revision == 1
        (line,) = logged
        assert line["event"] == "change_records_ignored"
        assert (line["tenant"], line["revision"], line["newest_record"]) == ("default", 1, 4)
        async with feed.one_moment(reader):
            assert await feed.changes_since(reader, {"default": 1}) == []


async def test_validation_knows_the_revision_before(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool, following(database.address) as follower:
        await written(pool)
        await follower.reaches(4)
        await behind_our_back(database.superuser, *put_back("first", revision=1), ANNOUNCE)
        await follower.reaches(1)
        gate = PolicyGate(compiler(), follower.publisher.state)
        outcome = await succeed(
            pool,
            lambda change: role_rules.create(change, [role_rule(sub="x")]),
            validate=gate.validate,
        )
        assert outcome.revision == 5
        await follows(follower, database)


async def test_work_without_effect_leaves_records_and_revision_alone(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool, reader_of(database.address) as reader:
        await written(pool)
        await behind_our_back(database.superuser, *put_back("first", revision=1))

        async def nothing(_change: object) -> None:
            return None

        outcome = await succeed(pool, nothing)
        assert (outcome.revision, outcome.changed) == (1, False)
        assert (await everything(reader)).revision == 1
        rows = await _records(database)
        assert rows == [1, 2, 3, 4]


async def _records(database: "Database") -> list[int]:
    async with connected(database.superuser) as superuser:
        rows = await superuser.fetch("SELECT revision FROM policy_changes ORDER BY revision")
    return [row["revision"] for row in rows]
