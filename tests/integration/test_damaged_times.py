"""Times that PostgreSQL can hold and Python cannot: access is removed although a row has one."""

from typing import TYPE_CHECKING, Final

import pytest

from tests.integration.publishing import behind_our_back
from tests.integration.rest_harness import Api, rest, rule
from tests.integration.test_rest_damaged_rows import (
    ANNOUNCE,
    BINDINGS,
    COUNT_UP,
    KEYS,
    POLICIES,
    RESOURCES,
    RULES,
    store,
)

if TYPE_CHECKING:
    from tests.integration.conftest import Database

pytestmark = pytest.mark.anyio
COLUMNS: Final = (
    ("attribute_policies", "created_at"),
    ("attribute_policies", "updated_at"),
    ("attribute_policy_versions", "created_at"),
    ("role_rules", "created_at"),
    ("role_rules", "updated_at"),
    ("role_bindings", "created_at"),
    ("role_bindings", "updated_at"),
    ("resources", "created_at"),
    ("resources", "updated_at"),
    ("service_api_keys", "created_at"),
    ("service_api_keys", "updated_at"),
    ("service_api_keys", "last_used_at"),
    ("tenants", "created_at"),
    ("tenants", "updated_at"),
    ("policy_changes", "created_at"),
)


async def reads(api: Api, *paths: str) -> None:
    for path in paths:
        assert (await api.get(path)).status == 200, path


@pytest.mark.parametrize("moment", ["20000-01-01Z", "4000-01-01Z BC", "infinity", "-infinity"])
async def test_access_is_removed_whatever_the_times_of_the_rows_are(
    database: "Database", moment: str
) -> None:
    async with rest(database) as api:
        stored = await store(api)
        changes = [f"UPDATE {table} SET {column} = '{moment}'" for table, column in COLUMNS]
        await behind_our_back(database.superuser, *changes, COUNT_UP, ANNOUNCE)
        assert await stored.decides() == 200

        versions = f"{POLICIES}/{stored.allow_policy}/versions"
        await reads(api, RULES, BINDINGS, POLICIES, RESOURCES, KEYS, versions, "/api/v1/audit")
        gone = (await api.delete(f"{RULES}/{stored.allow_rule}")).succeeded(204)
        assert await api.services.wait_for("default", gone.revision, 10)
        assert await stored.decides(gone.revision) == 403
        (await api.post(RULES, rule(sub="eve", effect="deny"))).succeeded(201)
        for path, row in (
            (POLICIES, stored.allow_policy),
            (BINDINGS, stored.binding),
            (KEYS, stored.key),
            (RESOURCES, f"{stored.resource}?cascade=true"),
        ):
            (await api.delete(f"{path}/{row}")).succeeded(204)
