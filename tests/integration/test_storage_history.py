"""History: each earlier revision comes back as it was, and no write can leave it out."""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

import asyncpg
import pytest

from extauthz.domain.service_key import secret_digest
from extauthz.publish.retention import forget_old_history
from extauthz.storage import (
    attribute_policies,
    feed,
    history,
    hosts,
    resources,
    revisions,
    role_bindings,
    role_rules,
    service_keys,
    tenants,
)
from extauthz.storage.pool import tenant_transaction
from extauthz.storage.write import read
from tests.integration.storage_documents import (
    attribute_policy,
    connected,
    everything,
    new_id,
    pool_of,
    reader_of,
    resource,
    role_binding,
    role_rule,
    route,
    succeed,
    uuid_of,
)

if TYPE_CHECKING:
    from extauthz.storage.pool import Pool
    from extauthz.storage.rows import Document
    from extauthz.storage.write import Change
    from tests.integration.conftest import Database

pytestmark = [pytest.mark.anyio, pytest.mark.both_servers]


async def at(pool: "Pool", revision: int, tenant: str = "default") -> feed.TenantDocuments | history.NotKept:
    found = await read(pool, tenant, lambda connection: history.policies_at(connection, tenant, revision))
    assert isinstance(found, feed.TenantDocuments | history.NotKept), found
    return found


def tables(documents: object) -> object:
    assert isinstance(documents, feed.TenantDocuments), documents
    return {
        "revision": documents.revision,
        "status": documents.status,
        "hosts": documents.config.hosts,
        "rows": [
            sorted(table, key=lambda document: str(document["id"]))
            for table in (
                documents.resources,
                documents.role_rules,
                documents.role_bindings,
                documents.attribute_policies,
            )
        ],
    }


class Writer:
    """Writes of every kind, one revision each, drawn by chance."""

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)
        self._rules: list[Document] = []
        self._bindings: list[Document] = []
        self._resources: list[Document] = []
        self._policies: list[Document] = []
        self._gone: list[Document] = []
        self._count = 0

    def _one(self, rows: "list[Document]") -> "Document":
        return self._draw.choice(rows)

    async def write(self, change: "Change") -> object:
        self._count += 1
        works = [self._rule, self._binding, self._resource, self._policy, self._hosts, self._status]
        return await self._draw.choice(works)(change)

    async def _rule(self, change: "Change") -> object:
        if self._rules and self._draw.random() < 0.3:
            row = self._rules.pop(self._draw.randrange(len(self._rules)))
            return await role_rules.delete(change, uuid_of(row))
        if self._rules and self._draw.random() < 0.4:
            row = self._one(self._rules)
            row |= {"act": f"act-{self._count}"}
            return await role_rules.replace(change, row)
        rows = [role_rule(obj=f"o{self._count}-{number}") for number in range(self._draw.randrange(1, 4))]
        self._rules += rows
        return await role_rules.create(change, rows)

    async def _binding(self, change: "Change") -> object:
        if self._bindings and self._draw.random() < 0.4:
            row = self._bindings.pop()
            return await role_bindings.delete(change, uuid_of(row))
        row = role_binding(user=f"user-{self._count}")
        if self._draw.random() < 0.5:
            row["expires_at"] = "2031-05-06T07:08:09.123456Z"
        self._bindings.append(row)
        return await role_bindings.create(change, [row])

    async def _resource(self, change: "Change") -> object:
        if self._resources and self._draw.random() < 0.5:
            row = self._one(self._resources)
            row |= {"name": f"thing:{self._count}", "routes": [route(f"/renamed/{self._count}")]}
            return await resources.replace(change, row)
        row = resource(name=f"thing:{self._count}", routes=[route(f"/thing/{self._count}/{{id}}")])
        self._resources.append(row)
        return await resources.create(change, [row])

    async def _policy(self, change: "Change") -> object:
        choice = self._draw.random()
        if self._gone and choice < 0.2:
            row = self._gone.pop()
            self._policies.append(row)
            return await attribute_policies.restore(change, uuid_of(row))
        if self._policies and choice < 0.4:
            row = self._policies.pop()
            self._gone.append(row)
            return await attribute_policies.delete(change, uuid_of(row))
        if self._policies and choice < 0.6:
            row = self._one(self._policies)
            row |= {"priority": self._count}
            return await attribute_policies.replace(change, row)
        condition = {"type": "CONDITION", "attribute": "user.level", "operator": "gte", "value": 1.50}
        row = attribute_policy(name=f"p{self._count}", rule_data=condition)
        self._policies.append(row)
        return await attribute_policies.create(change, [row])

    async def _hosts(self, change: "Change") -> object:
        return await hosts.replace(change, [f"h{self._draw.randrange(4)}.local", f"n{self._count}.local"])

    async def _status(self, change: "Change") -> object:
        return await tenants.replace(
            change, name=f"name {self._count}", status=self._draw.choice(list(tenants.TenantStatus))
        )


@pytest.mark.parametrize("seed", range(3))
async def test_each_revision_comes_back_as_it_was(database: "Database", seed: int) -> None:
    writer = Writer(seed)
    seen: list[feed.TenantDocuments] = []
    async with pool_of(database.address, "default") as pool, reader_of(database.address) as reader:
        for _ in range(40):
            written = await succeed(pool, writer.write)
            seen.append(await everything(reader))
            assert seen[-1].revision == written.revision
        for documents in seen:
            assert tables(await at(pool, documents.revision)) == tables(documents)


async def test_a_write_behind_the_application_is_kept_too(database: "Database") -> None:
    rule = role_rule()
    async with pool_of(database.address, "default") as pool, reader_of(database.address) as reader:
        await succeed(pool, lambda change: role_rules.create(change, [rule]))
        before = await everything(reader)
        await succeed(pool, lambda change: role_bindings.create(change, [role_binding()]))
        async with tenant_transaction(pool, "default") as connection:
            await connection.execute("UPDATE tenants SET revision = revision + 1")
            await connection.execute("UPDATE role_rules SET effect = 'deny', revision = 3")
            await connection.execute("DELETE FROM role_bindings")
        assert tables(await at(pool, 1)) == tables(before)
        changed = await at(pool, 3)
        assert isinstance(changed, feed.TenantDocuments)
        assert (changed.role_rules, changed.role_bindings) == ([rule | {"effect": "deny"}], [])


async def test_a_version_without_its_tenant_is_refused(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool:
        await succeed(pool, lambda change: role_rules.create(change, [role_rule()]))
        async with connected(database.superuser) as superuser:
            await superuser.execute("DELETE FROM tenants")
            with pytest.raises(asyncpg.NotNullViolationError):
                await superuser.execute("DELETE FROM role_rules")


async def test_keys_are_kept_without_anything_secret(database: "Database") -> None:
    document = {"id": f"sak_{new_id()}", "name": "follower", "scopes": ["identity"], "domain": "emea"}
    secret = bytes(range(32))
    async with pool_of(database.address, "default") as pool:
        await succeed(pool, lambda change: service_keys.create(change, document, secret=secret))
        used = await service_keys.note_used(pool, "default", {str(document["id"]): datetime.now(UTC)})
        assert used is None
        async with tenant_transaction(pool, "default") as connection:
            assert await connection.fetchval("SELECT count(*) FROM row_history") == 0
        await succeed(pool, lambda change: service_keys.revoke(change, str(document["id"])))

        async def keys(revision: int) -> list[dict[str, object]]:
            found = await read(
                pool,
                "default",
                lambda connection: history.registered_at(connection, "default", "service_key", revision),
            )
            assert isinstance(found, list)
            return found

        (valid,), (revoked,) = await keys(1), await keys(2)
        assert (valid["name"], valid["domain"], valid["revoked_at"]) == ("follower", "emea", None)
        assert revoked["revoked_at"] is not None
        assert await keys(0) == []
        for columns in (valid, revoked):
            assert not {"secret_sha256", "last_used_at"} & columns.keys()
        async with tenant_transaction(pool, "default") as connection:
            kept = await connection.fetchval("SELECT string_agg(document::text, '') FROM row_history")
        assert secret_digest(secret).hex() not in kept


async def test_revisions_are_found_by_time_and_forgotten_by_age(database: "Database") -> None:
    rule = role_rule()
    async with pool_of(database.address, "default") as pool, reader_of(database.address) as reader:
        await succeed(pool, lambda change: role_rules.create(change, [rule]))
        for number in range(4):
            await succeed(pool, partial(role_rules.replace, document=rule | {"act": f"act-{number}"}))
        live = await everything(reader)
        third = tables(await at(pool, 3))
        async with tenant_transaction(pool, "default") as connection:
            found = [await revisions.in_force(connection, "default", number) for number in range(6)]
            assert [each and each.number for each in found] == [None, 1, 2, 3, 4, 5]
            times = [each.written_at for each in found if each is not None]
            assert times == sorted(times)
            by_time = await revisions.at_time(connection, "default", times[2])
            assert by_time is not None
            assert by_time.number == 3
            assert await revisions.at_time(connection, "default", times[0] - timedelta(seconds=1)) is None
            assert await revisions.forget_before(connection, "default", times[0] - timedelta(days=1)) == 0
            assert await revisions.forget_before(connection, "default", times[2]) == 2
        assert tables(await at(pool, 3)) == third
        assert tables(await at(pool, 5)) == tables(live)
        for revision in (0, 2):
            gone = await at(pool, revision)
            assert isinstance(gone, history.NotKept)
            assert (gone.first and gone.first.number, gone.newest) == (3, 5)
        later = await at(pool, 6)
        assert isinstance(later, history.NotKept)
        async with tenant_transaction(pool, "default") as connection:
            assert await revisions.forget_before(connection, "default", datetime.now(UTC)) == 2
            assert await connection.fetchval("SELECT count(*) FROM row_history") == 0
        assert tables(await at(pool, 5)) == tables(live)


async def test_a_deleted_tenant_keeps_no_history(database: "Database") -> None:
    async with pool_of(database.address, "default", "acme") as pool:
        for tenant in ("default", "acme"):
            await succeed(pool, lambda change: role_rules.create(change, [role_rule()]), tenant=tenant)
        await succeed(pool, tenants.delete, tenant="acme")
        async with tenant_transaction(pool, "acme") as connection:
            assert await connection.fetchval("SELECT count(*) FROM row_history") == 0
        assert isinstance(await at(pool, 1), feed.TenantDocuments)
        assert isinstance(await at(pool, 1, "acme"), history.NotKept)


async def test_old_history_is_deleted_by_age_while_the_process_runs(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool:
        rule = role_rule()
        await succeed(pool, lambda change: role_rules.create(change, [rule]))
        await succeed(pool, lambda change: role_rules.delete(change, uuid_of(rule)))
        later = (datetime.now(UTC) + timedelta(days=31)).timestamp()

        async def kept() -> int:
            async with tenant_transaction(pool, "default") as connection:
                return int(await connection.fetchval("SELECT count(*) FROM row_history"))

        for days, left in ((32, 1), (30, 0)):
            passed = asyncio.Event()

            def names(passed: asyncio.Event = passed) -> list[str]:
                if passed.is_set():
                    raise asyncio.CancelledError
                passed.set()
                return ["default"]

            with pytest.raises(asyncio.CancelledError):
                await forget_old_history(pool, names, days, clock=lambda: later, every=0)
            assert await kept() == left


async def test_history_of_before_a_restore_is_discarded_by_the_next_write(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool, reader_of(database.address) as reader:
        rules = [role_rule(sub=sub) for sub in ("first", "second", "third")]
        for rule in rules:
            await succeed(pool, partial(role_rules.create, documents=[rule]))
        async with connected(database.superuser) as superuser:
            await superuser.execute("DELETE FROM role_rules WHERE sub <> 'first'")
            await superuser.execute("DELETE FROM policy_changes WHERE revision > 1")
            await superuser.execute("UPDATE tenants SET revision = 1")
        restored = await everything(reader)
        written = await succeed(pool, partial(role_rules.create, documents=[role_rule(sub="another")]))
        assert written.revision == 2
        assert tables(await at(pool, 1)) == tables(restored)
        assert tables(await at(pool, 2)) == tables(await everything(reader))
