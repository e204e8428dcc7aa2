"""The queries of sidecars: heads, whole tenants, changes; each of one moment, and equal to each other."""

import random
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg
import pytest

from extauthz.storage import attribute_policies, feed, resources, role_bindings, role_rules
from extauthz.storage.session import Session
from extauthz.storage.tenants import ensure_tenant
from extauthz.storage.write import Change
from tests.integration.storage_documents import (
    attribute_policy,
    connected,
    everything,
    pool_of,
    reader_of,
    resource,
    role_binding,
    role_rule,
    route,
    succeed,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from extauthz.storage.pool import Pool
    from extauthz.storage.rows import Document
    from tests.integration.conftest import Database

pytestmark = [pytest.mark.anyio, pytest.mark.both_servers]


async def test_a_tenant_is_created_once(database: "Database") -> None:
    async with pool_of(database.address) as pool, reader_of(database.address) as reader:
        assert (await feed.heads(reader)).revisions == {}
        assert await feed.load(reader, "default") is None
        assert await ensure_tenant(pool, "default", "Default") is True
        assert await ensure_tenant(pool, "default", "Default") is False
        assert (await feed.heads(reader)).revisions == {"default": 0}
        assert await everything(reader) == feed.TenantDocuments("default", "active", 0, [], [], [], [])


async def test_heads_and_changes_are_per_tenant(database: "Database") -> None:
    async with pool_of(database.address, "acme", "globex") as pool, reader_of(database.address) as reader:
        for tenant in ("acme", "acme", "globex"):
            rule = role_rule(sub=str(random.random()))
            await succeed(pool, partial(role_rules.create, documents=[rule]), tenant=tenant)
        assert (await feed.heads(reader)).revisions == {"acme": 2, "globex": 1}
        changes = await feed.changes_since(reader, {"acme": 1, "globex": 0, "unknown": 0})
        assert [(change.tenant, change.predecessor, change.revision) for change in changes] == [
            ("acme", 1, 2),
            ("globex", 0, 1),
        ]


async def test_a_load_reads_one_snapshot_of_the_database(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool, reader_of(database.address) as reader:
        async with feed.one_moment(reader):
            before = await feed.heads(reader)
            await succeed(pool, lambda change: role_rules.create(change, [role_rule()]))
            documents = await everything(reader)
            assert (documents.revision, documents.role_rules) == (before.revisions["default"], [])
            assert await feed.changes_since(reader, before.revisions) == []
        assert len((await everything(reader)).role_rules) == 1


async def test_a_reader_cannot_write(database: "Database") -> None:
    async with pool_of(database.address, "default"), reader_of(database.address) as reader:
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await reader.execute("UPDATE tenants SET status = 'suspended'")


def follow(state: "dict[tuple[str, str], Document]", change: feed.TenantChange) -> None:
    for row in change.rows or ():
        if row.row is None:
            state.pop((row.kind, row.id), None)
        else:
            state[row.kind, row.id] = row.row


def loaded(documents: feed.TenantDocuments) -> "dict[tuple[str, str], Document]":
    kinds = {
        "resource": documents.resources,
        "role_rule": documents.role_rules,
        "role_binding": documents.role_bindings,
        "attribute_policy": documents.attribute_policies,
    }
    return {(kind, str(row["id"])): row for kind, rows in kinds.items() for row in rows}


async def one_random_write(pool: "Pool", dice: random.Random, documents: feed.TenantDocuments) -> None:
    number = dice.randrange(10**6)

    def some(rows: "Iterable[Document]") -> UUID:
        return UUID(str(dice.choice([*rows])["id"]))

    async def work(change: Change) -> object:
        match dice.randrange(10):
            case 0:
                new = resource(name=f"r{number}", defaultRoles=["a", "b"], routes=[route(f"/r{number}")])
                return await resources.create(change, [new])
            case 1 if documents.resources:
                return await resources.replace(
                    change, dice.choice(documents.resources) | {"displayName": "x"}
                )
            case 2 if documents.resources:
                return await resources.delete(change, some(documents.resources))
            case 3 | 4 | 5:
                return await role_rules.create(change, [role_rule(sub=f"s{number}")])
            case 6 if documents.role_rules:
                return await role_rules.delete(change, some(documents.role_rules))
            case 7:
                new = role_binding(user=f"u{number}", expires_at="2030-02-03T04:05:06.7Z")
                return await role_bindings.create(change, [new])
            case 8 if documents.attribute_policies:
                chosen = some(documents.attribute_policies)
                await attribute_policies.delete(change, chosen)
                return await attribute_policies.restore(change, chosen) if number % 2 else None
            case _:
                tree = {"type": "CONDITION", "attribute": "user.x", "operator": "eq", "value": number / 4}
                return await attribute_policies.create(change, [attribute_policy(rule_data=tree)])

    await succeed(pool, work)


async def test_following_changes_ends_where_loading_does(database: "Database") -> None:
    dice = random.Random(7)
    async with pool_of(database.address, "default") as pool, reader_of(database.address) as reader:
        state: dict[tuple[str, str], Document] = {}
        revision = 0
        for _ in range(60):
            documents = await everything(reader)
            await one_random_write(pool, dice, documents)
            for change in await feed.changes_since(reader, {"default": revision}):
                assert change.predecessor == revision
                follow(state, change)
                revision = change.revision
        documents = await everything(reader)
        assert documents.revision == revision
        assert state == loaded(documents)


async def test_the_feed_leaves_out_deleted_tenants_and_marks_suspended_ones(database: "Database") -> None:
    async with pool_of(database.address, "gone", "held") as pool, reader_of(database.address) as reader:
        async with connected(database.superuser) as superuser:
            await superuser.execute("UPDATE tenants SET deleted_at = now() WHERE tenant_id = 'gone'")
            await superuser.execute("UPDATE tenants SET status = 'suspended' WHERE tenant_id = 'held'")
        assert (await feed.heads(reader)).revisions == {"held": 0}
        assert await feed.load(reader, "gone") is None
        assert (await everything(reader, "held")).status == "suspended"
        # its slug is never given out again
        assert await ensure_tenant(pool, "gone", "again") is False


async def test_names_with_backslashes_are_read_as_they_were_written(database: "Database") -> None:
    rules = [role_rule(sub=sub, obj="\\N", act="a\\tb") for sub in ("\\", "\\\\n", "caf\u00e9", "it's")]
    async with pool_of(database.address, "default") as pool, reader_of(database.address) as reader:
        await succeed(pool, partial(role_rules.create, documents=rules))
        assert (await everything(reader)).role_rules == rules


async def test_a_tenant_without_statistics_is_read_in_the_order_of_its_index(
    database: "Database", monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = [role_rule(sub=f"role-{number}") for number in range(3_000)]
    asked: list[str] = []
    copied: list[str] = []
    copy = Session.copy_from_query

    async def noted(self: Session, query: str, *args: object, **options: Any) -> str:
        copied.append(query)
        return await copy(self, query, *args, **options)

    monkeypatch.setattr(Session, "copy_from_query", noted)
    async with pool_of(database.address, "default") as pool, reader_of(database.address) as reader:
        await succeed(pool, partial(role_rules.create, documents=rules))
        async with feed.one_moment(reader):
            with reader.query_logger(lambda query: asked.append(query.query)):
                found = await feed.documents(reader, "default")
            assert found is not None
            assert list(found.role_rules) == rules
            settings = [query for query in asked if query.startswith("SET LOCAL")]
            assert await reader.fetchval("SHOW enable_sort") == "on"
            await reader.execute(settings[0])
            (of_rules,) = copied
            plan = [line["QUERY PLAN"] for line in await reader.fetch(f"EXPLAIN {of_rules}")]
            assert not any("Sort" in line for line in plan), plan
