"""The findings of doctor in a real database, with the roles of deploy/postgres and with others."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

from extauthz.commands.doctor.database import examine_database, examine_posture
from extauthz.settings import Settings, load_settings
from extauthz.storage.posture import Posture

if TYPE_CHECKING:
    from extauthz.proxyconfig.findings import Finding
    from tests.integration.conftest import Database

pytestmark = pytest.mark.both_servers

ROLES = Path(__file__).resolve().parents[2] / "deploy" / "postgres" / "roles.sql"
PASSWORD = "a-password-of-the-test"


def execute(database: "Database", *statements: str) -> None:
    async def run() -> None:
        at = database.superuser
        connection = await asyncpg.connect(
            host=at.host, port=at.port, user=at.user, password=at.password, database=at.database, ssl=False
        )
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run())


def examine(
    database: "Database", *, user: str | None = None, password: str | None = None, **more: str
) -> "list[Finding]":
    at = database.address
    environ = {
        "POSTGRES_HOST": at.host,
        "POSTGRES_PORT": str(at.port),
        "POSTGRES_USER": user or at.user,
        "POSTGRES_PASSWORD": password or at.password,
        "POSTGRES_DB": at.database,
        **more,
    }
    settings = load_settings(environ, serving=False)
    assert isinstance(settings, Settings)
    return asyncio.run(examine_database(settings))


def codes(found: "list[Finding]") -> set[tuple[str, str]]:
    return {(one.severity.value, one.code) for one in found}


def test_the_shipped_database_roles_cause_no_finding(database: "Database") -> None:
    execute(database, ROLES.read_text())
    for role in ("extauthz_writer", "extauthz_reader"):
        execute(database, f"ALTER ROLE {role} PASSWORD '{PASSWORD}'")
        assert examine(database, user=role, password=PASSWORD) == []


def test_the_owner_is_mentioned_unless_it_migrates(database: "Database") -> None:
    assert codes(examine(database)) == {("warning", "role-owns-tables")}
    assert examine(database, MIGRATE_ON_START="true") == []


def test_a_superuser_and_a_role_that_may_become_one_are_errors(database: "Database") -> None:
    superuser = database.superuser
    found = examine(database, user=superuser.user, password=superuser.password)
    assert ("error", "role-superuser") in codes(found)
    assert superuser.password not in str(found)

    execute(
        database,
        f"CREATE ROLE climber LOGIN CREATEDB PASSWORD '{PASSWORD}'",
        f"GRANT {superuser.user} TO climber",
    )
    try:
        climbing = codes(examine(database, user="climber", password=PASSWORD))
        assert {("error", "role-superuser"), ("warning", "role-too-powerful")} <= climbing
    finally:
        execute(database, "DROP ROLE climber")


def test_a_role_above_row_level_security_is_an_error(database: "Database") -> None:
    execute(
        database,
        f"CREATE ROLE above LOGIN BYPASSRLS PASSWORD '{PASSWORD}'",
        "GRANT SELECT ON schema_migrations TO above",
        "GRANT UPDATE ON audit_events TO above",
    )
    try:
        found = codes(examine(database, user="above", password=PASSWORD))
        assert found == {("error", "role-bypasses-row-security"), ("warning", "grants-too-wide")}
    finally:
        execute(database, "DROP OWNED BY above", "DROP ROLE above")


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("ALTER TABLE role_rules NO FORCE ROW LEVEL SECURITY", "not forced on role_rules"),
        ("ALTER TABLE role_rules DISABLE ROW LEVEL SECURITY", "off on role_rules"),
    ],
)
def test_row_level_security_that_was_taken_back_is_an_error(
    database: "Database", statement: str, words: str
) -> None:
    execute(database, statement)

    (found,) = [one for one in examine(database) if one.code == "row-security"]

    assert words in found.message


def test_a_schema_that_is_behind_is_an_error(empty_database: "Database") -> None:
    assert codes(examine(empty_database)) == {("error", "schema-behind")}


def test_a_schema_of_another_version_is_an_error(database: "Database") -> None:
    execute(database, "INSERT INTO schema_migrations VALUES (9999, '9999_future.sql', 'x')")

    assert ("error", "schema-unusable") in codes(examine(database))


def test_a_database_that_does_not_answer_or_refuses_is_an_error(database: "Database") -> None:
    for more in ({"POSTGRES_PORT": "1"}, {"POSTGRES_DB": "nothing"}, {"POSTGRES_SSLMODE": "require"}):
        assert codes(examine(database, **more)) == {("error", "database-unusable")}
    wrong = examine(database, password="not-the-password")
    assert codes(wrong) == {("error", "database-unusable")}
    assert "not-the-password" not in str(wrong)


SAFE = Posture(
    server_version=18,
    encrypted=True,
    role="extauthz_writer",
    superuser=False,
    bypasses_row_security=False,
    may_become=(),
    creates=(),
    owned=(),
    unprotected=(),
    unforced=(),
    without_policy=(),
    rewritable=(),
)


@pytest.mark.parametrize(
    ("posture", "environ", "expected"),
    [
        (SAFE, {"POSTGRES_SSLMODE": "verify-full"}, set()),
        (SAFE, {"POSTGRES_SSLMODE": "require"}, {("warning", "database-unverified")}),
        (SAFE, {}, {("warning", "database-unverified")}),
        (replace(SAFE, encrypted=False), {}, {("error", "database-plaintext")}),
        (replace(SAFE, encrypted=False), {"POSTGRES_HOST": "127.0.0.1"}, set()),
        (replace(SAFE, server_version=13), {"POSTGRES_HOST": "::1"}, {("warning", "database-old")}),
        (replace(SAFE, without_policy=("x",)), {"POSTGRES_HOST": "::1"}, {("error", "row-security")}),
    ],
)
def test_off_loopback_the_connection_is_encrypted_and_verified(
    posture: Posture, environ: dict[str, str], expected: set[tuple[str, str]]
) -> None:
    settings = load_settings({"POSTGRES_HOST": "db.example.com"} | environ, serving=False)
    assert isinstance(settings, Settings)

    assert codes(list(examine_posture(posture, settings))) == expected


def read_only(found: "list[Finding]") -> list[str]:
    return [one.message for one in found if one.code == "database-read-only"]


def test_the_setting_that_makes_a_server_read_only_is_named(database: "Database") -> None:
    name = database.address.database
    execute(database, ROLES.read_text(), f"ALTER ROLE extauthz_reader PASSWORD '{PASSWORD}'")
    for statement, reset, named in (
        (
            f"ALTER DATABASE {name} SET default_transaction_read_only = on",
            f"ALTER DATABASE {name} RESET default_transaction_read_only",
            f"ALTER DATABASE {name}",
        ),
        (
            "ALTER ROLE extauthz_reader SET default_transaction_read_only = on",
            "ALTER ROLE extauthz_reader RESET default_transaction_read_only",
            "ALTER ROLE extauthz_reader",
        ),
        (
            f"ALTER ROLE extauthz_reader IN DATABASE {name} SET default_transaction_read_only = 'true'",
            f"ALTER ROLE extauthz_reader IN DATABASE {name} RESET default_transaction_read_only",
            f"ALTER ROLE extauthz_reader IN DATABASE {name}",
        ),
    ):
        execute(database, statement)
        (message,) = read_only(examine(database, user="extauthz_reader", password=PASSWORD))
        assert f"set by {named}:" in message
        execute(database, "SET default_transaction_read_only = off", reset)
    assert examine(database, user="extauthz_reader", password=PASSWORD) == []


def test_a_role_set_read_only_is_named_and_roles_sql_corrects_it(
    database: "Database",
) -> None:
    execute(database, ROLES.read_text(), f"ALTER ROLE extauthz_writer PASSWORD '{PASSWORD}'")
    execute(database, "ALTER ROLE extauthz_reader SET default_transaction_read_only = on")
    (message,) = read_only(examine(database, user="extauthz_writer", password=PASSWORD))
    assert "'extauthz_reader'" in message
    execute(database, ROLES.read_text())
    assert examine(database, user="extauthz_writer", password=PASSWORD) == []


def test_change_records_above_the_revision_are_named(database: "Database") -> None:
    execute(
        database,
        "INSERT INTO tenants (tenant_id, name, revision) VALUES ('acme', 'a', 5), ('globex', 'g', 3)",
        "INSERT INTO policy_changes (tenant_id, revision, predecessor)"
        " VALUES ('acme', 5, 4), ('globex', 7, 6)",
    )
    (found,) = [one for one in examine(database) if one.code == "revision-put-back"]
    assert "'globex' is at revision 3 and has change records up to 7" in found.message


def test_a_refusal_names_its_kind(database: "Database") -> None:
    (found,) = examine(database, password="not the password")
    assert found.code == "database-unusable"
    assert "database_refused" in found.message
    assert "not the password" not in str(found)
