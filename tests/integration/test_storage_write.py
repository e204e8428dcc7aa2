"""The write path: atomic changes, numbered without gaps, recorded and announced."""

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID

import asyncpg
import pytest

from extauthz.domain.problem import Problem
from extauthz.storage import audit, feed, role_rules
from extauthz.storage.outcome import Conflict, DatabaseUnavailable, Invalid, NotFound, Refusal
from extauthz.storage.pool import open_pool
from extauthz.storage.rows import Page
from extauthz.storage.tenants import ensure_tenant
from extauthz.storage.write import CHANNEL, KEPT_REVISIONS, MAX_CHANGES, Change, Written, read
from tests.integration.storage_documents import (
    ACTOR,
    attempt,
    connected,
    everything,
    pool_of,
    reader_of,
    role_rule,
    succeed,
)

if TYPE_CHECKING:
    from tests.integration.conftest import Database

pytestmark = [pytest.mark.anyio, pytest.mark.both_servers]


async def test_a_change_is_recorded_audited_and_announced(database: "Database") -> None:
    announced: asyncio.Queue[str] = asyncio.Queue()
    async with pool_of(database.address, "default") as pool, reader_of(database.address) as reader:
        await reader.add_listener(CHANNEL, lambda *arguments: announced.put_nowait(str(arguments[3])))
        rule = role_rule()
        written = await succeed(pool, lambda change: role_rules.create(change, [rule]))
        assert (written.revision, written.changed) == (1, True)
        assert [stored.document for stored in written.value] == [rule]
        assert await asyncio.wait_for(announced.get(), 5) == "default:1"
        assert await feed.changes_since(reader, {"default": 0}) == [
            feed.TenantChange("default", 1, 0, (feed.RowChange("role_rule", str(rule["id"]), rule),))
        ]
        assert (await feed.heads(reader)).revisions == {"default": 1}
        trail = await read(pool, "default", lambda connection: audit.page(connection, "default"))
        assert isinstance(trail, Page)
        (event,) = trail.items
        assert (event.action, event.kind, event.entity_id) == ("create", "role_rule", rule["id"])
        assert (event.before, event.after, event.revision) == (None, rule, 1)
        assert event.actor == ACTOR.document()


async def test_an_update_is_audited_with_before_and_after(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool:
        rule = role_rule()
        await succeed(pool, lambda change: role_rules.create(change, [rule]))
        other = rule | {"effect": "deny"}
        await succeed(pool, lambda change: role_rules.replace(change, other))
        await succeed(pool, lambda change: role_rules.delete(change, UUID(str(rule["id"]))))
        trail = await read(pool, "default", lambda connection: audit.page(connection, "default"))
        assert isinstance(trail, Page)
        assert [(event.action, event.before, event.after) for event in trail.items] == [
            ("delete", other, None),
            ("update", rule, other),
            ("create", None, rule),
        ]


async def test_a_change_without_effect_keeps_the_revision(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool, reader_of(database.address) as reader:
        rule = role_rule()
        await succeed(pool, lambda change: role_rules.create(change, [rule]))
        same = await succeed(pool, lambda change: role_rules.replace(change, rule))
        assert (same.revision, same.changed) == (1, False)
        assert (await feed.heads(reader)).revisions == {"default": 1}


async def test_a_refusal_after_a_row_was_written_stores_nothing(database: "Database") -> None:
    async def work(change: Change) -> Refusal:
        assert isinstance(await role_rules.create(change, [role_rule()]), tuple)
        return Invalid((Problem("/x", "is wrong"),))

    async with pool_of(database.address, "default") as pool, reader_of(database.address) as reader:
        assert isinstance(await attempt(pool, work), Invalid)
        documents = await everything(reader)
        assert (documents.revision, documents.role_rules) == (0, [])


async def test_an_exception_stores_nothing_and_is_raised_to_the_caller(database: "Database") -> None:
    async def work(change: Change) -> None:
        await role_rules.create(change, [role_rule()])
        raise ZeroDivisionError

    async with pool_of(database.address, "default") as pool, reader_of(database.address) as reader:
        with pytest.raises(ZeroDivisionError):
            await attempt(pool, work)
        assert (await everything(reader)).revision == 0


async def test_validation_sees_the_effects_and_can_refuse(database: "Database") -> None:
    seen: list[str] = []

    async def validate(change: Change) -> Refusal | None:
        seen.extend(row.id for row in change.rows)
        return Invalid((Problem("", "would not compile"),))

    async with pool_of(database.address, "default") as pool, reader_of(database.address) as reader:
        rule = role_rule()
        outcome = await attempt(pool, lambda change: role_rules.create(change, [rule]), validate=validate)
        assert isinstance(outcome, Invalid)
        assert seen == [rule["id"]]
        assert (await everything(reader)).role_rules == []


async def test_an_unknown_tenant_is_not_found(database: "Database") -> None:
    async with pool_of(database.address) as pool:
        outcome = await attempt(
            pool, lambda change: role_rules.create(change, [role_rule()]), tenant="nobody"
        )
        assert outcome == NotFound("tenant", "nobody")


async def test_racing_writers_number_their_commits_without_gaps(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool, reader_of(database.address) as reader:

        async def one(number: int) -> int:
            rule = role_rule(sub=f"role-{number % 40}")
            outcome = await attempt(pool, lambda change: role_rules.create(change, [rule]))
            assert isinstance(outcome, Written | Conflict)
            return outcome.revision if isinstance(outcome, Written) else 0

        revisions = await asyncio.gather(*(one(number) for number in range(80)))
        assert sorted(revision for revision in revisions if revision) == list(range(1, 41))
        changes = await feed.changes_since(reader, {"default": 0})
        assert [(change.predecessor, change.revision) for change in changes] == [
            (number - 1, number) for number in range(1, 41)
        ]
        followed = {row.id: row.row for change in changes for row in change.rows or ()}
        assert followed == {str(rule["id"]): rule for rule in (await everything(reader)).role_rules}


async def test_a_huge_change_makes_readers_reload(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool, reader_of(database.address) as reader:
        rules = [role_rule(sub=f"role-{number}") for number in range(MAX_CHANGES + 1)]
        await succeed(pool, lambda change: role_rules.create(change, rules))
        (change,) = await feed.changes_since(reader, {"default": 0})
        assert change.rows is None
        assert len((await everything(reader)).role_rules) == len(rules)


async def test_history_is_kept_for_a_bounded_number_of_revisions(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool, reader_of(database.address) as reader:
        await succeed(pool, lambda change: role_rules.create(change, [role_rule()]))
        async with connected(database.superuser) as superuser:
            await superuser.execute("UPDATE tenants SET revision = $1", KEPT_REVISIONS + 64 * 4 - 1 - 16)
        await succeed(pool, lambda change: role_rules.create(change, [role_rule(sub="b")]))
        (change,) = await feed.changes_since(reader, {"default": 0})
        assert change.revision == KEPT_REVISIONS + 64 * 4 - 16


async def test_a_writer_killed_before_its_commit_leaves_nothing(database: "Database") -> None:
    async def work(change: Change) -> None:
        await role_rules.create(change, [role_rule()])
        backend = await change.connection.fetchval("SELECT pg_backend_pid()")
        async with connected(database.superuser) as superuser:
            await superuser.execute("SELECT pg_terminate_backend($1, 5000)", backend)

    async with pool_of(database.address, "default") as pool, reader_of(database.address) as reader:
        assert isinstance(await attempt(pool, work), DatabaseUnavailable)
        assert (await everything(reader)).revision == 0
        await succeed(pool, lambda change: role_rules.create(change, [role_rule()]))


async def test_a_database_that_is_away_is_a_value(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool:
        database.server.stop()
        try:
            outcome = await attempt(pool, lambda change: role_rules.create(change, [role_rule()]))
            assert isinstance(outcome, DatabaseUnavailable)
            answer = await read(pool, "default", lambda connection: role_rules.page(connection, "default"))
            assert isinstance(answer, DatabaseUnavailable)
            assert isinstance(await ensure_tenant(pool, "other", "other"), DatabaseUnavailable)
        finally:
            database.server.start()
        written = await succeed(pool, lambda change: role_rules.create(change, [role_rule()]))
        assert written.revision == 1


async def test_a_pool_opens_while_the_database_is_away(database: "Database") -> None:
    database.server.stop()
    try:
        async with open_pool(database.address) as pool:
            assert isinstance(await ensure_tenant(pool, "other", "other"), DatabaseUnavailable)
    finally:
        database.server.start()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_events SET action = 'nothing'",
        "DELETE FROM audit_events",
        "TRUNCATE audit_events",
        "UPDATE audit_events SET action = 'nothing' WHERE false",
    ],
)
async def test_audit_events_are_never_altered_not_even_by_their_owner(
    database: "Database", statement: str
) -> None:
    async with pool_of(database.address, "default") as pool:
        await succeed(pool, lambda change: role_rules.create(change, [role_rule()]))
        for address in (database.address, database.superuser):
            async with connected(address) as connection:
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(statement)


async def test_the_audit_trail_is_read_in_pages(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool:
        rules = [role_rule(sub=f"role-{number}") for number in range(5)]
        await succeed(pool, lambda change: role_rules.create(change, rules))

        async def page(after: UUID | None) -> Page[audit.AuditEvent]:
            outcome = await read(
                pool, "default", lambda connection: audit.page(connection, "default", after=after, limit=2)
            )
            assert isinstance(outcome, Page)
            return outcome

        first = await page(None)
        second = await page(UUID(first.next))
        third = await page(UUID(second.next))
        assert [len(part.items) for part in (first, second, third)] == [2, 2, 1]
        assert third.next is None
        found = [event.entity_id for part in (first, second, third) for event in part.items]
        assert sorted(map(str, found)) == sorted(str(rule["id"]) for rule in rules)
