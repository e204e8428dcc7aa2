"""Counters of writes beyond the range of 32 bits: no counter ever stops a write."""

from typing import TYPE_CHECKING, Final

import pytest

from tests.integration.publishing import behind_our_back
from tests.integration.rest_harness import rest, rule

if TYPE_CHECKING:
    from tests.integration.conftest import Database

pytestmark = pytest.mark.anyio
POLICIES: Final = "/api/v1/abac/policies"
RULES: Final = "/api/v1/resources/policies"
DENY: Final = {
    "name": "closed", "resource": "invoice:read", "effect": "deny", "rule_data": {"type": "ALWAYS"}
}  # fmt: skip


@pytest.mark.parametrize("last", [2**31 - 1, 2**32 - 1, 2**53])
async def test_a_policy_is_written_after_any_number_of_versions(database: "Database", last: int) -> None:
    async with rest(database) as api:
        policy = (await api.post(POLICIES, DENY)).succeeded(201).body
        path = f"{POLICIES}/{policy['id']}"
        await behind_our_back(
            database.superuser,
            f"UPDATE attribute_policies SET version = {last}",
            f"UPDATE attribute_policy_versions SET version = {last}",
        )
        assert (await api.get(path)).succeeded(200).body["version"] == last
        assert (await api.put(path, DENY | {"priority": 1})).succeeded(200).body["version"] == last + 1
        assert (await api.patch(path, {"priority": 2})).succeeded(200).body["version"] == last + 2
        (await api.delete(path)).succeeded(204)
        assert (await api.post(f"{path}/restore")).succeeded(200).body["version"] == last + 4

        seen: list[int] = []
        page = f"{path}/versions?limit=1"
        while True:
            found = (await api.get(page)).succeeded(200).body
            seen += [each["version"] for each in found["items"]]
            if found["next_cursor"] is None:
                break
            page = f"{path}/versions?limit=1&cursor={found['next_cursor']}"
        assert seen == [last, last + 1, last + 2, last + 3, last + 4]


@pytest.mark.parametrize("last", [2**31 - 1, 2**32 - 1, 2**53])
async def test_rules_are_written_after_any_number_of_revisions(database: "Database", last: int) -> None:
    async with rest(database) as api:
        await behind_our_back(database.superuser, f"UPDATE tenants SET revision = {last}")
        created = (await api.post(RULES, rule(sub="eve", effect="deny"))).succeeded(201)
        assert created.revision == last + 1
        assert await api.services.wait_for("default", created.revision, 10)
        path = f"{RULES}/{created.body['id']}"
        (await api.delete(path, If_Match=f'"{last}"')).problem(412)
        assert (await api.delete(path, If_Match=created.headers["ETag"])).succeeded(204).revision == last + 2
