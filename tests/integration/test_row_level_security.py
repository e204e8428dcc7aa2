"""Row-level security alone keeps tenants apart: every query here leaves its WHERE clause out."""

import os
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import asyncpg
import pytest

from extauthz.shipped import shipped
from extauthz.storage import attribute_policies, feed, resources, role_bindings, role_rules
from extauthz.storage.migrate import migrate, read_migrations
from extauthz.storage.pool import connect, open_pool, tenant_transaction
from extauthz.storage.tenants import ensure_tenant
from extauthz.storage.write import Change
from tests.integration.storage_documents import (
    attribute_policy,
    connected,
    new_id,
    pool_of,
    reader_of,
    resource,
    role_binding,
    role_rule,
    route,
    succeed,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from extauthz.storage.pool import Connection, Pool
    from tests.integration.conftest import Database

pytestmark = [pytest.mark.anyio, pytest.mark.both_servers]

TENANTS: Final = ("acme", "globex")
CONFIGURED: Final = {"tenants", "tenant_hosts", "identity_providers"}
OPERATED: Final = CONFIGURED | {"identity_provider_issuers"}
SNAPSHOT: Final = CONFIGURED | {
    "resources", "role_rules", "role_bindings", "attribute_policies", "policy_changes", "policy_heads",
    "service_api_keys", "replay_jobs",
}  # fmt: skip
ROLES = Path(__file__).resolve().parents[2] / "deploy" / "postgres" / "roles.sql"


async def tables(connection: "Connection") -> list[str]:
    records = await connection.fetch(
        "SELECT c.relname AS name FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid"
        " WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relnamespace = 'public'::regnamespace"
        " AND a.attname = 'tenant_id' ORDER BY 1"
    )
    return [record["name"] for record in records]


async def visible(connection: "Connection") -> dict[str, list[str]]:
    """Return whose rows every table shows, asked without any condition."""
    return {
        table: [
            row["tenant_id"]
            for row in await connection.fetch(f"SELECT DISTINCT tenant_id FROM {table} ORDER BY 1")
        ]
        for table in await tables(connection)
    }


async def fill(pool: "Pool") -> None:
    """Put at least one row of each tenant into every table."""
    for tenant in TENANTS:

        async def work(change: Change, tenant: str = tenant) -> None:
            new = resource(defaultRoles=["reader"], routes=[route()])
            await resources.create(change, [new])
            await role_bindings.create(change, [role_binding()])
            await attribute_policies.create(change, [attribute_policy()])
            for scopes, revoked in ((["identity"], False), (["identity"], True), (["check"], False)):
                await change.connection.execute(
                    "INSERT INTO service_api_keys"
                    " (tenant_id, id, name, secret_sha256, scopes, revoked_at, revision)"
                    " VALUES ($1, $2, 'key', $3, $4, CASE WHEN $5 THEN now() END, 1)",
                    tenant,
                    new_id(),
                    os.urandom(32),
                    scopes,
                    revoked,
                )
            await change.connection.execute(
                "INSERT INTO idempotency_keys (tenant_id, caller, key, request_sha256)"
                " VALUES ($1, 'alice', 'a key', $2)",
                tenant,
                bytes(32),
            )
            await change.connection.execute(
                "INSERT INTO row_history (tenant_id, kind, id, from_revision, to_revision, document)"
                " VALUES ($1, 'role_rule', 'r', 0, 1, '{}')",
                tenant,
            )
            await change.connection.execute(
                "WITH draft AS (INSERT INTO drafts (tenant_id, id, base_revision, created_by)"
                " VALUES ($1, $2, 0, '{}') RETURNING tenant_id, id), changed AS (INSERT INTO draft_changes"
                " (tenant_id, draft_id, number, author, action, kind, row_id)"
                " SELECT tenant_id, id, 1, '{}', 'create', 'role_rule', id FROM draft)"
                " INSERT INTO draft_rows (tenant_id, draft_id, kind, row_id)"
                " SELECT tenant_id, id, 'role_rule', id FROM draft",
                tenant,
                new_id(),
            )
            await change.connection.execute(
                "INSERT INTO policy_tests (tenant_id, id, name, request, expect, revision)"
                " VALUES ($1, $2, 'test', '{}', '{}', 1)",
                tenant,
                new_id(),
            )
            await change.connection.execute(
                "INSERT INTO draft_approvals (tenant_id, draft_id, approver_kind, approver_id, actor,"
                " comment, version, draft_digest, live_revision, replay_id)"
                " SELECT tenant_id, id, 'user', 'x', '{}', 'c', 1, '', 0, id FROM drafts"
                " WHERE tenant_id = $1",
                tenant,
            )
            await change.connection.execute(
                "INSERT INTO change_guards (tenant_id, document, revision) VALUES ($1, '{}', 1)", tenant
            )
            await change.connection.execute(
                "INSERT INTO replay_jobs (tenant_id, id, draft_id, draft_version, requested_by)"
                " SELECT tenant_id, id, id, 1, '{}' FROM drafts WHERE tenant_id = $1",
                tenant,
            )
            await change.connection.execute(
                "INSERT INTO policy_heads (tenant_id, serial, envelope) VALUES ($1, 1, $2)", tenant, b"{}"
            )
            await change.connection.execute(
                "INSERT INTO policy_bodies (tenant_id, sha256, octets) VALUES ($1, $2, $3)",
                tenant,
                "0" * 64,
                b"",
            )
            await change.connection.execute(
                "INSERT INTO recording_senders (tenant_id, instance, highest, seen) VALUES ($1, $2, 1, 0)",
                tenant,
                new_id(),
            )
            await change.connection.execute("SELECT add_recording_day(current_date)")
            for table, columns, values in (
                ("recording_days", "day", "current_date"),
                ("recorded_contexts", "day, id, document", "current_date, 1, '{}'"),
                (
                    "recorded_shapes",
                    "day, seq, context, key, slots, counts, decisions",
                    "current_date, 1, 1, 1, '', '', ''",
                ),
            ):
                statement = f"INSERT INTO {table} (tenant_id, {columns}) VALUES ($1, {values})"
                await change.connection.execute(statement, tenant)
            await change.connection.execute(
                "INSERT INTO sidecars (tenant_id, instance, version, live_until) VALUES ($1, $2, '1', now())",
                tenant,
                new_id(),
            )

        await succeed(pool, work, tenant=tenant)
        async with tenant_transaction(pool, tenant, operator=True) as connection:
            await connection.execute(
                "INSERT INTO tenant_hosts (tenant_id, host) VALUES ($1, $2)", tenant, f"{tenant}.local"
            )
            await connection.execute(
                "WITH provider AS (INSERT INTO identity_providers (tenant_id, id, issuer, audience, revision)"
                " VALUES ($1, $2, $3, '\"mesh\"', 1) RETURNING tenant_id, id)"
                " INSERT INTO identity_provider_issuers (tenant_id, provider_id, issuer)"
                " SELECT tenant_id, id, $3 || '/alias' FROM provider",
                tenant,
                new_id(),
                f"https://{tenant}",
            )


@asynccontextmanager
async def filled(database: "Database") -> "AsyncIterator[Pool]":
    async with pool_of(database.address, *TENANTS) as pool:
        await fill(pool)
        yield pool


async def test_every_table_of_tenants_forces_row_level_security(database: "Database") -> None:
    async with connected(database.address) as connection:
        assert len(await tables(connection)) == 31
        loose = await connection.fetch(
            "SELECT relname FROM pg_class WHERE relname = ANY($1)"
            " AND NOT (relrowsecurity AND relforcerowsecurity)",
            await tables(connection),
        )
        assert loose == []


async def test_without_a_tenant_there_are_no_rows_not_even_for_the_owner(database: "Database") -> None:
    async with filled(database), connected(database.address) as connection:
        nothing: dict[str, list[str]] = {table: [] for table in await tables(connection)}
        assert await visible(connection) == nothing
        for setting in ("tenant", "operator", "reader", "key_id"):
            await connection.execute(f"SET extauthz.{setting} = ''")
        assert await visible(connection) == nothing
        async with connected(database.superuser) as superuser:
            assert set(map(tuple, (await visible(superuser)).values())) == {TENANTS}


async def test_a_tenant_sees_its_own_rows_only(database: "Database") -> None:
    async with filled(database) as pool:
        for tenant in TENANTS:
            async with tenant_transaction(pool, tenant) as connection:
                assert set(map(tuple, (await visible(connection)).values())) == {(tenant,)}


async def test_a_tenant_cannot_write_or_move_rows_into_another(database: "Database") -> None:
    async with filled(database) as pool:
        for statement in (
            (
                "INSERT INTO role_rules (tenant_id, id, sub, sub_kind, dom, obj, act, effect, revision)"
                " SELECT 'globex', gen_random_uuid(), 'x', sub_kind, dom, obj, act, effect, 1 FROM role_rules"
            ),
            "UPDATE role_rules SET tenant_id = 'globex'",
            (
                "INSERT INTO audit_events (tenant_id, id, actor, action, kind)"
                " VALUES ('globex', gen_random_uuid(), '{}', 'create', 'role_rule')"
            ),
            "INSERT INTO tenant_hosts (tenant_id, host) VALUES ('globex', 'x.local')",
            "INSERT INTO policy_changes (tenant_id, revision, predecessor) VALUES ('globex', 9, 8)",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                async with tenant_transaction(pool, "acme") as connection:
                    await connection.execute(statement)


async def test_a_write_without_a_condition_hits_only_the_own_tenant(database: "Database") -> None:
    async with filled(database) as pool:
        async with tenant_transaction(pool, "acme") as connection:
            for table in (
                "route_claims",
                "resources",
                "role_rules",
                "attribute_policies",
                "service_api_keys",
            ):
                await connection.execute(f"DELETE FROM {table}")
            await connection.execute("UPDATE tenants SET name = 'changed'")
        async with connected(database.superuser) as superuser:
            shown = await visible(superuser)
            assert shown["resources"] == shown["role_rules"] == shown["service_api_keys"] == ["globex"]
            assert await superuser.fetchval("SELECT count(*) FROM tenants WHERE name = 'changed'") == 1


async def test_an_operator_sees_configurations_of_all_and_policies_of_none(database: "Database") -> None:
    async with filled(database) as pool, tenant_transaction(pool, "nobody", operator=True) as connection:
        expected = {table: list(TENANTS) if table in OPERATED else [] for table in await tables(connection)}
        assert await visible(connection) == expected


async def test_the_database_role_of_a_sidecar_reads_every_table_of_a_snapshot(database: "Database") -> None:
    async with filled(database), reader_of(database.address) as reader:
        expected = {table: list(TENANTS) if table in SNAPSHOT else [] for table in await tables(reader)}
        assert await visible(reader) == expected
        keys = await reader.fetch("SELECT scopes, revoked_at FROM service_api_keys")
        assert [(key["scopes"], key["revoked_at"]) for key in keys] == [(["identity"], None)] * 2


async def test_a_presented_key_shows_exactly_its_own_row(database: "Database") -> None:
    async with filled(database) as pool, connected(database.superuser) as superuser:
        key = await superuser.fetchval(
            "SELECT id::text FROM service_api_keys WHERE tenant_id = 'globex' LIMIT 1"
        )
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT set_config('extauthz.key_id', $1, true)", key)
            found = await connection.fetch("SELECT id::text FROM service_api_keys")
            assert [row["id"] for row in found] == [key]
            assert await connection.execute("UPDATE service_api_keys SET revoked_at = now()") == "UPDATE 0"


async def test_hosts_and_issuers_belong_to_one_tenant_even_unseen(database: "Database") -> None:
    async with filled(database) as pool:
        for statement in (
            "INSERT INTO tenant_hosts (tenant_id, host) VALUES ('acme', 'globex.local')",
            (
                "INSERT INTO identity_providers (tenant_id, id, issuer, audience, revision, active)"
                " VALUES ('acme', gen_random_uuid(), 'https://globex', '\"mesh\"', 1, false)"
            ),
            (
                "INSERT INTO identity_provider_issuers (tenant_id, provider_id, issuer)"
                " SELECT tenant_id, id, 'https://globex/alias' FROM identity_providers"
            ),
        ):
            with pytest.raises(asyncpg.UniqueViolationError):
                async with tenant_transaction(pool, "acme") as connection:
                    await connection.execute(statement)


# Separate roles


async def grant_roles(database: "Database") -> None:
    async with connected(database.superuser) as superuser:
        await superuser.execute(ROLES.read_text())
        for role in ("owner", "writer", "reader"):
            await superuser.execute(f"ALTER ROLE extauthz_{role} PASSWORD 'pw-{role}'")


async def test_separate_roles_do_their_work_and_no_more(empty_database: "Database") -> None:
    await grant_roles(empty_database)
    migrations = read_migrations(shipped("migrations"))
    assert isinstance(migrations, tuple)
    owner = await connect(empty_database.as_user("extauthz_owner", "pw-owner"))
    assert await migrate(owner, migrations) == migrations
    await owner.close()
    await grant_roles(empty_database)

    writer = empty_database.as_user("extauthz_writer", "pw-writer")
    async with open_pool(writer) as pool:
        for tenant in TENANTS:
            assert await ensure_tenant(pool, tenant, tenant) is True
        await fill(pool)
        rule = role_rule()
        await succeed(pool, lambda change: role_rules.create(change, [rule]), tenant="acme")
        await succeed(pool, lambda change: role_rules.replace(change, rule | {"act": "*"}), tenant="acme")
        async with tenant_transaction(pool, "acme", read_only=True) as connection:
            assert set(map(tuple, (await visible(connection)).values())) == {("acme",)}
        for statement in (
            "UPDATE audit_events SET action = 'x'",
            "DELETE FROM audit_events",
            "DELETE FROM tenants",
            "UPDATE cluster_state SET epoch = gen_random_uuid()",
            "ALTER TABLE role_rules NO FORCE ROW LEVEL SECURITY",
            "DROP POLICY own_tenant ON role_rules",
            "CREATE TABLE mine (a int)",
            "DELETE FROM schema_migrations",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                async with tenant_transaction(pool, "acme") as connection:
                    await connection.execute(statement)

    async with reader_of(empty_database.as_user("extauthz_reader", "pw-reader")) as reader:
        assert set((await feed.heads(reader)).revisions) == set(TENANTS)
        documents = await feed.load(reader, "acme")
        assert documents is not None
        assert len(documents.role_rules) == 2
        assert len(await feed.changes_since(reader, {"acme": 0})) == 3
        keys = await reader.fetch(
            "SELECT tenant_id, id, secret_sha256, scopes, expires_at FROM service_api_keys"
        )
        assert len(keys) == 2
        await reader.execute("SET default_transaction_read_only = off; SET extauthz.tenant = 'acme'")
        for statement in (
            "SELECT * FROM audit_events",
            "SELECT * FROM attribute_policy_versions",
            "SELECT * FROM route_claims",
            "SELECT * FROM drafts",
            "SELECT * FROM draft_rows",
            "SELECT * FROM replay_jobs",
            "SELECT description FROM service_api_keys",
            "UPDATE tenants SET revision = 0",
            "INSERT INTO policy_changes (tenant_id, revision, predecessor) VALUES ('acme', 99, 98)",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await reader.execute(statement)
