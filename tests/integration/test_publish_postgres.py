"""A publisher publishes the policies of the database, whatever happens to its connection."""

import asyncio
import gc
import json
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from extauthz.compile.snapshot import Snapshot
from extauthz.demo.processes import free_port
from extauthz.domain.reasons import Effect
from extauthz.domain.tenancy import TenancyMode
from extauthz.publish.current import CurrentPolicies
from extauthz.publish.postgres import SETTLED_ROWS, PostgresPublisher
from extauthz.storage import attribute_policies, resources, role_bindings, role_rules
from extauthz.storage.pool import open_reader
from extauthz.storage.write import Change
from tests.integration.publishing import Follower, behind_our_back, compiler, following, stored
from tests.integration.storage_documents import (
    attribute_policy,
    new_id,
    pool_of,
    reader_of,
    resource,
    role_binding,
    role_rule,
    route,
    succeed,
)
from tests.volume import volume
from tests.waiting import until

if TYPE_CHECKING:
    from extauthz.storage.pool import Pool
    from tests.integration.conftest import Database

pytestmark = [pytest.mark.anyio, pytest.mark.both_servers]

COUNT_UP = "UPDATE tenants SET revision = revision + 1, updated_at = now()"
ANNOUNCE = "SELECT pg_notify('extauthz_policy', 'default:0')"


async def add(pool: "Pool", **members: object) -> int:
    """Add a rule, and return the revision that it is in effect at."""
    rule = role_rule(**members)
    return (await succeed(pool, lambda change: role_rules.create(change, [rule]))).revision


async def is_what_is_stored(follower: Follower, database: "Database") -> None:
    expected = await stored(database.address)
    await follower.reaches(expected.revision)
    assert follower.snapshot.digest() == expected.digest()


async def deafen(follower: Follower) -> None:
    """Let every notification pass the publisher by."""
    assert follower.connection is not None
    await follower.connection.execute("UNLISTEN *")


async def test_a_change_is_announced(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool, following(database.address) as follower:
        await follower.reaches(await add(pool), within=1)
        await is_what_is_stored(follower, database)


async def test_a_change_arrives_without_a_notification_at_the_next_poll(database: "Database") -> None:
    async with (
        pool_of(database.address, "default") as pool,
        following(database.address, poll_interval=0.5) as polling,
        following(database.address) as waiting,
    ):
        await deafen(polling)
        await deafen(waiting)

        revision = await add(pool)

        await polling.reaches(revision, within=1)
        assert waiting.revision == revision - 1


async def test_a_killed_connection_is_opened_again_and_misses_nothing(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool, following(database.address) as follower:
        killed = follower.connection
        await behind_our_back(
            database.superuser,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'extauthz-sidecar' AND datname = current_database()",
        )
        revision = await add(pool)

        await follower.reaches(revision, within=5)
        assert follower.connection is not killed
        await follower.reaches(await add(pool, sub="other"), within=1)


async def test_policies_grow_old_also_when_the_clock_is_put_back(database: "Database") -> None:
    an_hour_s = 3600.0
    put_back_s = 0.0

    async with (
        pool_of(database.address, "default"),
        following(database.address, clock=lambda: time.time() - put_back_s) as follower,
    ):
        assert follower.connection is not None
        confirmed_at = follower.directory.confirmed_at
        follower.address = replace(database.address, port=free_port())
        put_back_s = an_hour_s
        await follower.connection.close()

        await until(
            lambda: follower.directory.confirmed_at < confirmed_at - an_hour_s + 1, what="the time put right"
        )
        age_s = time.time() - an_hour_s - follower.directory.confirmed_at
        assert 0 <= age_s < an_hour_s


async def test_a_change_is_applied_as_a_change(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool, following(database.address) as follower:
        await follower.reaches(await add(pool, sub="first"))
        (first,) = follower.snapshot.role_rules_by_id.values()

        await follower.reaches(await add(pool, sub="second"))

        # The very object: nothing was read again.
        assert follower.snapshot.role_rules_by_id[first.id] is first


async def test_changes_of_many_tenants_between_two_looks_are_applied_each_to_its_own(
    database: "Database",
) -> None:
    slugs = ("acme", "globex", "initech")

    async def write_for(pool: "Pool", slug: str, sub: str) -> None:
        rule = role_rule(sub=sub)
        await succeed(pool, lambda change: role_rules.create(change, [rule]), tenant=slug)

    async with pool_of(database.address, *slugs) as pool, reader_of(database.address) as reader:
        current = CurrentPolicies()
        publisher = PostgresPublisher(
            partial(open_reader, database.address), current, compiler(), mode=TenancyMode.SAAS
        )
        for slug in slugs:
            await write_for(pool, slug, "first")
        await publisher.refresh(reader)
        before = {slug: snapshot_of(current, slug) for slug in slugs}

        for round_number in range(3):
            for slug in slugs[:2]:
                await write_for(pool, slug, f"{slug}-{round_number}")
        await publisher.refresh(reader)

        for slug in slugs[:2]:
            found = snapshot_of(current, slug)
            own = {f"{slug}-{round_number}" for round_number in range(3)}
            assert {rule.sub for rule in found.role_rules_by_id.values()} == {"first", *own}
            # The very objects: nothing was read again.
            for rule_id, rule in before[slug].role_rules_by_id.items():
                assert found.role_rules_by_id[rule_id] is rule
        assert snapshot_of(current, "initech") is before["initech"]


async def test_followed_changes_are_frozen_for_the_garbage_collector(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool, reader_of(database.address) as reader:
        current = CurrentPolicies()
        publisher = PostgresPublisher(
            partial(open_reader, database.address), current, compiler(), mode=TenancyMode.SELFHOST
        )
        await publisher.refresh(reader)
        published = []

        # Many small changes are as many objects as a few large ones.
        for _ in range(11):
            rules = [role_rule(sub=f"sub-{number}", obj=new_id()) for number in range(SETTLED_ROWS // 10)]
            await succeed(pool, partial(role_rules.create, documents=rules))
            await publisher.refresh(reader)
            published.append(snapshot_of(current, "default"))

        searched = {id(each) for each in gc.get_objects()}
        assert [id(snapshot) in searched for snapshot in published] == [False] * 10 + [True]
        assert gc.isenabled()


def snapshot_of(current: CurrentPolicies, tenant: str) -> Snapshot:
    directory = current.current()
    assert directory is not None
    return directory.snapshots[tenant]


async def test_two_publishers_and_racing_writes_end_on_the_same_policies(
    database: "Database",
) -> None:
    writes, writers = volume(300, verify=1_000), 8

    async with (
        pool_of(database.address, "default", max_size=writers) as pool,
        following(database.address, poll_interval=0.2) as one,
        following(database.address) as other,
    ):
        numbers = iter(range(writes))

        async def writer(own: int) -> None:
            rules: list[UUID] = []
            for number in numbers:
                await succeed(pool, mixed_work(own, number, rules))

        await asyncio.gather(*(writer(own) for own in range(writers)))

        expected = await stored(database.address)
        assert expected.revision == writes
        for follower in (one, other):
            await follower.reaches(writes)
            assert follower.snapshot.digest() == expected.digest()
            assert follower.failures == 0


def mixed_work(own: int, number: int, rules: list[UUID]) -> Any:
    """Return one of all kinds of writes; `rules` are those that this writer has."""

    async def work(change: Change) -> object:
        name = f"thing-{own}-{number}:read"
        match number % 5:
            case 0 | 1:
                rule = role_rule(obj=name, effect=("allow", "deny")[number % 2])
                rules.append(UUID(str(rule["id"])))
                return await role_rules.create(change, [rule])
            case 2 if rules:
                return await role_rules.delete(change, rules.pop())
            case 3:
                document = resource(name=name, routes=[route(f"/{own}/{number}/{{id}}")])
                return await resources.create(change, [document])
            case 4:
                return await attribute_policies.create(change, [attribute_policy(resource=name)])
            case _:
                return await role_bindings.create(change, [role_binding(user=name)])

    return work


async def test_a_gap_in_revisions_reloads_the_policies(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool, following(database.address) as follower:
        await follower.reaches(await add(pool, sub="first"))
        kept = follower.snapshot.role_rules_by_id

        await behind_our_back(
            database.superuser, "UPDATE role_rules SET sub = 'changed'", COUNT_UP, COUNT_UP, ANNOUNCE
        )

        await is_what_is_stored(follower, database)
        assert [rule.sub for rule in follower.snapshot.role_rules_by_id.values()] == ["changed"]
        assert kept != follower.snapshot.role_rules_by_id
        await follower.reaches(await add(pool, sub="next"))


async def test_a_revision_that_goes_backward_is_a_reload(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool, following(database.address) as follower:
        for sub in ("first", "second", "third"):
            await follower.reaches(await add(pool, sub=sub))

        await behind_our_back(
            database.superuser,
            "DELETE FROM role_rules WHERE sub <> 'first'",
            "DELETE FROM policy_changes WHERE revision > 1",
            "UPDATE tenants SET revision = 1",
            ANNOUNCE,
        )

        await follower.reaches(1)
        await is_what_is_stored(follower, database)
        await follower.reaches(await add(pool, sub="another second"))
        await is_what_is_stored(follower, database)


async def test_a_new_epoch_is_a_reload_even_at_the_same_revision(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool, following(database.address) as follower:
        await follower.reaches(await add(pool))
        before = follower.directory.epoch

        await behind_our_back(
            database.superuser,
            "UPDATE role_rules SET sub = 'restored'",
            "UPDATE cluster_state SET epoch = gen_random_uuid()",
            "SELECT pg_notify('extauthz_policy', 'epoch')",
        )

        await until(lambda: follower.directory.epoch != before)
        assert [rule.sub for rule in follower.snapshot.role_rules_by_id.values()] == ["restored"]


async def test_a_change_too_large_to_record_is_a_reload(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool, following(database.address) as follower:
        many = [role_rule(obj=f"thing-{number}") for number in range(5_001)]
        written = await succeed(pool, lambda change: role_rules.create(change, many))

        await follower.reaches(written.revision)
        assert len(follower.snapshot.role_rules_by_id) == len(many)


async def test_a_broken_row_keeps_its_last_good_version_and_never_drops_a_deny(
    database: "Database", capfd: pytest.CaptureFixture[str]
) -> None:
    async with pool_of(database.address, "default") as pool, following(database.address) as follower:
        await follower.reaches(await add(pool, sub="mallory", sub_kind="any", effect="deny"))
        good = follower.snapshot
        confirmed = follower.directory.confirmed("default")

        await behind_our_back(
            database.superuser,
            "ALTER TABLE role_rules DROP CONSTRAINT role_rules_effect_check,"
            " DROP CONSTRAINT role_rules_named_any_denies",
            "UPDATE role_rules SET effect = 'perhaps'",
            COUNT_UP,
            ANNOUNCE,
        )

        await until(lambda: follower.failures == 1, what="the alarm")
        await follower.reaches(2)
        assert follower.snapshot.digest() == good.digest()
        assert [rule.effect for rule in good.role_rules_by_id.values()] == [Effect.DENY]
        # Other changes are followed; it grows old from the last time that it was known to be right.
        await follower.reaches(await add(pool, sub="later"))
        rules = {rule.sub: rule.effect for rule in follower.snapshot.role_rules_by_id.values()}
        assert rules == {"mallory": Effect.DENY, "later": Effect.ALLOW}
        assert follower.failures == 1
        assert follower.directory.confirmed("default") <= confirmed + 5
        assert follower.directory.confirmed("default") < follower.directory.confirmed_at
        assert "perhaps" in "".join(capfd.readouterr())

        await behind_our_back(
            database.superuser,
            "UPDATE role_rules SET effect = 'deny' WHERE effect = 'perhaps'",
            COUNT_UP,
            ANNOUNCE,
        )

        await is_what_is_stored(follower, database)
        await until(
            lambda: follower.directory.confirmed("default") == follower.directory.confirmed_at,
            what="the confirmation",
        )


@pytest.mark.parametrize(
    "changes",
    [
        [{"op": "upsert", "kind": "role_rule", "id": "x", "row": {"effect": "perhaps"}}],
        [{"op": "upsert", "kind": "something_newer", "id": "x", "row": {}}],
        [{"op": "delete", "kind": "something_newer", "id": "x"}],
        [{"op": "upsert", "kind": "role_rule", "id": "x", "row": "text"}],
        [7],
        "text",
        {},
    ],
    ids=lambda changes: json.dumps(changes)[:60],
)
async def test_a_change_record_that_makes_no_sense_is_a_reload(database: "Database", changes: object) -> None:
    async with pool_of(database.address, "default") as pool, following(database.address) as follower:
        await follower.reaches(await add(pool))

        await behind_our_back(
            database.superuser,
            "UPDATE role_rules SET sub = 'changed'",
            COUNT_UP,
            "INSERT INTO policy_changes (tenant_id, revision, predecessor, changes)"
            f" VALUES ('default', 2, 1, '{json.dumps(changes)}')",
            ANNOUNCE,
        )

        await is_what_is_stored(follower, database)
        assert follower.failures == 0
