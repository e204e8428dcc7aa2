"""Recorded shapes in PostgreSQL: counts that are exact, bounds, pages, decisions, erasure."""

from collections.abc import Collection
from typing import TYPE_CHECKING
from uuid import UUID

import asyncpg
import pytest
from anyio import create_task_group, fail_after, sleep

from extauthz.domain.reasons import Effect, Reason
from extauthz.recording.documents import Counted, day_of
from extauthz.recording.shape import ABSENT, FOLDED, Shape, literal
from extauthz.storage import recorded_shapes
from extauthz.storage.pool import tenant_transaction
from extauthz.storage.recorded_shapes import Recorded, RecordedDay
from extauthz.storage.recording_senders import BatchPart
from extauthz.storage.recordings import RecordingStore
from tests.integration.storage_documents import connected, pool_of
from tests.recording_parts import HOUR, INSTANCE, counted, decision_id, shape

if TYPE_CHECKING:
    from extauthz.storage.pool import Pool
    from tests.integration.conftest import Database

pytestmark = [pytest.mark.anyio, pytest.mark.both_servers]

WAITING_FOR_THE_LOCK = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
WAITING_FOR_A_LOCK = "SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted"
READ = frozenset({"user.id", "resource.id"})


def store(pool: "Pool", attributes: Collection[str] = (), max_shapes: int = 200_000) -> RecordingStore:
    return RecordingStore(pool, lambda _tenant: frozenset(attributes), max_shapes=max_shapes)


async def kept(pool: "Pool", tenant: str = "default") -> list[Recorded]:
    async with tenant_transaction(pool, tenant, read_only=True) as connection:
        found: list[Recorded] = []
        for day in await recorded_shapes.days(connection, tenant):
            known = await recorded_shapes.contexts(connection, tenant, day.day)
            page = await recorded_shapes.shapes(connection, tenant, day.day, known)
            while page:
                found += page
                page = await recorded_shapes.shapes(connection, tenant, day.day, known, after=page[-1].key)
        return found


async def days(pool: "Pool", domains: Collection[str] | None = None) -> list[RecordedDay]:
    async with tenant_transaction(pool, "default", read_only=True) as connection:
        return await recorded_shapes.days(connection, "default", domains)


def part(number: int, *counts: Counted, instance: str = INSTANCE) -> BatchPart:
    return BatchPart(instance, number, counts)


async def test_counts_of_equal_shapes_are_added_up(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool:
        one, other = store(pool), store(pool)

        await one.add("default", part(1, counted(shape(), 3, number=10), counted(shape(order="8"))))
        await other.add("default", part(2, counted(shape(), 2, revision=5, number=20)))
        await one.add("default", part(3, counted(shape(), 1, HOUR - 1, number=30)))

        found = {each.shape: each for each in await kept(pool) if each.day == day_of(HOUR)}
        first = found[shape()].tally
        assert first.hours[HOUR % 24] == 5
        assert (first.first, first.last) == (1, 5)
        assert [revision for _, revision in first.decisions][-2:] == [5, 5]
        assert found[shape(order="8")].tally.requests == 1
        assert sum(each.requests for each in await days(pool)) == 7


async def test_a_batch_counts_once_whatever_the_order(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool:
        recording = store(pool)
        other = str(UUID(int=8))
        for number in (2, 1, 2, 1, 3, 200, 3, 150, 150, 1):
            await recording.add("default", part(number, counted(shape())))
        await store(pool).add("default", part(1, counted(shape()), instance=other))

        # 150 is within the window behind 200; 3 and 1 had counted before.
        (found,) = await kept(pool)
        assert found.tally.requests == 6


async def test_batches_that_arrive_together_all_count(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool:
        recording = store(pool)
        async with create_task_group() as senders:
            for number in range(20):
                senders.start_soon(
                    recording.add,
                    "default",
                    part(1, counted(shape(order=str(number % 5))), instance=str(UUID(int=number))),
                )

        assert sorted(each.tally.requests for each in await kept(pool)) == [4, 4, 4, 4, 4]


async def test_first_batches_of_a_day_that_arrive_at_several_replicas_all_count(database: "Database") -> None:
    hour = HOUR + 24
    async with pool_of(database.address, "default") as one, pool_of(database.address) as other:
        await store(one).add("default", part(1, counted(shape())))
        async with (
            connected(database.address) as holder,
            create_task_group() as senders,
            holder.transaction(),
        ):
            await holder.execute("SELECT pg_advisory_xact_lock(hashtext('extauthz recordings'))")
            for number, pool in enumerate((one, other), 2):
                batch = part(number, counted(shape(), hour=hour))
                senders.start_soon(store(pool).add, "default", batch)
            with fail_after(10):
                while await holder.fetchval(WAITING_FOR_THE_LOCK) < 2:  # noqa: ASYNC110  # of other sessions
                    await sleep(0.01)

        assert sum(each.requests for each in await days(one)) == 3


async def test_replicas_that_drop_the_same_days_at_once_drop_each_once(database: "Database") -> None:
    yesterday = day_of(HOUR - 24)
    dropped = list[int]()

    async def drop(pool: "Pool") -> None:
        found = await recorded_shapes.drop_before(pool, day_of(HOUR))
        assert isinstance(found, int)
        dropped.append(found)

    async with pool_of(database.address, "default") as one, pool_of(database.address) as other:
        await store(one).add("default", part(1, counted(shape(), hour=HOUR - 24)))
        async with (
            connected(database.address) as holder,
            create_task_group() as replicas,
            holder.transaction(),
        ):
            await holder.execute(f"SELECT 1 FROM recorded_contexts_{yesterday:%Y%m%d}")
            for pool in (one, other):
                replicas.start_soon(drop, pool)
            with fail_after(10):
                while await holder.fetchval(WAITING_FOR_A_LOCK) < 2:  # noqa: ASYNC110  # of other sessions
                    await sleep(0.01)

    assert sorted(dropped) == [0, 2]


async def test_values_beyond_the_bound_are_folded_and_counts_stay_exact(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool:
        for start in range(0, 3_000, 500):
            batch = [counted(shape(order=str(number))) for number in range(start, start + 500)]
            # Another process continues what the one before began.
            await store(pool).add("default", part(start + 1, *batch))

        found = await kept(pool)
        (day,) = await days(pool)
        assert len(found) == 1_001
        assert sum(each.tally.requests for each in found) == 3_000 == day.requests
        (folded,) = (each for each in found if each.shape.slot("{id}") == FOLDED)
        assert folded.tally.requests == 2_000
        assert [tuple(slot) for slot in day.folded] == [("/orders/{id}", "{id}", False)]


async def test_a_slot_that_a_rule_reads_keeps_more_values(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool:
        batch = [counted(shape(order=str(number))) for number in range(1_500)]

        await store(pool, READ).add("default", part(1, *batch))

        assert len(await kept(pool)) == 1_500


async def test_the_widest_slot_that_nothing_reads_folds_at_the_bound_of_shapes(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool:
        recording = store(pool, {"user.id"}, max_shapes=50)
        for number in range(12):
            batch = [counted(shape(f"user-{user}", str(number))) for user in range(5)]
            await recording.add("default", part(number + 1, *batch))

        found = await kept(pool)
        (day,) = await days(pool)
        assert {each.shape.slot("{id}") for each in found} == {FOLDED}
        assert {each.shape.slot("user.id") for each in found} == {
            literal(f"user-{user}") for user in range(5)
        }
        assert [each.tally.requests for each in found] == [12] * 5
        assert (day.shapes, day.requests, day.lost) == (5, 60, 0)
        assert [tuple(slot) for slot in day.folded] == [("/orders/{id}", "{id}", True)]


async def test_shapes_without_room_are_counted_as_lost(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool:
        recording = store(pool, max_shapes=2)
        roles = [counted(shape(own_roles=(f"role-{number}",)), 2) for number in range(4)]

        await recording.add("default", part(1, *roles))
        await recording.add("default", part(2, *roles))

        (day,) = await days(pool)
        assert (day.shapes, day.requests, day.lost) == (2, 8, 8)


async def test_the_shape_of_a_recent_decision_is_found(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool:
        denied = shape(effect=Effect.DENY, reason=Reason.NO_MATCHING_RULE, rule=None)
        recording = store(pool)
        for number in range(1, 21):
            await recording.add("default", part(number, counted(denied, number=number)))

        async def found(number: int, domains: Collection[str] | None = None) -> Shape | None:
            async with tenant_transaction(pool, "default", read_only=True) as connection:
                recorded = await recorded_shapes.shape_of_decision(
                    connection, "default", UUID(decision_id(number)), domains
                )
                return None if recorded is None else recorded.shape

        assert await found(20) == denied
        assert await found(5) == denied
        assert await found(4) is None
        assert await found(20, ["sales"]) == denied
        assert await found(20, ["other"]) is None


async def test_domains_have_their_own_counts(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool:
        await store(pool).add(
            "default", part(1, counted(shape(), 3), counted(shape(domain=None)), counted(shape(domain="hr")))
        )

        (whole,) = await days(pool)
        (sales,) = await days(pool, ["sales"])
        assert (whole.shapes, whole.requests) == (3, 5)
        assert (sales.shapes, sales.requests) == (1, 3)
        assert await days(pool, ["none"]) == []


async def test_a_subject_is_erased_and_counts_stay(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool:
        recording = store(pool)
        await recording.add(
            "default",
            part(
                1,
                counted(shape("alice", "7"), 2),
                counted(shape("alice", "8"), 3),
                counted(shape("bob", "alice")),
                counted(shape("bob", "9")),
            ),
        )

        async with tenant_transaction(pool, "default") as connection:
            erased = await recorded_shapes.erase_subject(connection, "default", "alice")
        await recording.add("default", part(2, counted(shape("bob", "9"))))

        found = await kept(pool)
        assert erased == 3
        assert not any(literal("alice") in dict(each.shape.slots).values() for each in found)
        texts = {(each.shape.slot("user.id"), each.shape.slot("{id}")): each.tally.requests for each in found}
        assert texts == {
            (FOLDED, FOLDED): 5,
            (literal("bob"), FOLDED): 1,
            (literal("bob"), literal("9")): 2,
        }
        (day,) = await days(pool)
        assert (day.shapes, day.requests) == (3, 8)


async def test_a_tenant_sees_its_own_shapes_alone(database: "Database") -> None:
    async with pool_of(database.address, "default", "acme") as pool:
        await store(pool).add("default", part(1, counted(shape())))
        await store(pool).add("acme", part(1, counted(shape(tenant="acme"), 2)))

        assert [each.shape.tenant for each in await kept(pool)] == ["default"]
        assert [each.tally.requests for each in await kept(pool, "acme")] == [2]
        async with tenant_transaction(pool, "acme") as connection:
            assert await connection.fetchval("SELECT count(*) FROM recorded_shapes") == 1
            name = f"recorded_shapes_{day_of(HOUR):%Y%m%d}"
            # A partition by itself shows no row, even to the owner.
            assert await connection.fetchval(f"SELECT count(*) FROM {name}") == 0


async def test_old_days_are_dropped(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool:
        await store(pool).add("default", part(1, counted(shape()), counted(shape(), 1, HOUR - 72)))
        assert len(await days(pool)) == 2

        assert await recorded_shapes.forget_before(pool, "default", day_of(HOUR - 24)) is None
        assert await recorded_shapes.drop_before(pool, day_of(HOUR - 24)) == 2
        assert await recorded_shapes.drop_before(pool, day_of(HOUR - 24)) == 0

        assert [each.day for each in await days(pool)] == [day_of(HOUR)]
        assert len(await kept(pool)) == 1


async def test_days_far_away_get_no_partition(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool:
        for hour in (HOUR - 24 * 30, HOUR + 24 * 30):
            with pytest.raises(asyncpg.InvalidParameterValueError):
                await store(pool).add("default", part(1, counted(shape(), 1, hour)))
        assert ABSENT not in [str(day) for day in await days(pool)]


async def test_a_shape_takes_at_most_300_octets(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool:
        recording = store(pool, READ)
        number = 0
        for batch in range(10):
            some = []
            for _ in range(1_000):
                number += 1
                given = shape(f"{number % 97:08x}-4d1f-4b6e-8f6e-a{number:011x}", f"ord-{number:08d}")
                some.append(counted(given, number % 3 + 1, number=number * 10))
            await recording.add("default", part(2 * batch + 1, *some))
            # What was counted again leaves old rows until PostgreSQL's vacuum.
            await recording.add("default", part(2 * batch + 2, *some[:200]))

        async with tenant_transaction(pool, "default") as connection:
            name = f"recorded_shapes_{day_of(HOUR):%Y%m%d}"
            octets = await connection.fetchval("SELECT pg_total_relation_size($1::regclass)", name)
            shapes = await connection.fetchval("SELECT count(*) FROM recorded_shapes")
        assert shapes == 10_000
        assert octets / shapes <= 300, octets / shapes
