"""A tenant's policies that are larger than POLICY_MAX_BYTES are refused; the last good ones stay in force."""

from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from extauthz.storage import feed, role_rules
from extauthz.storage.outcome import Refusal
from extauthz.storage.write import Change
from tests.integration.publishing import behind_our_back, following
from tests.integration.rest_harness import rest, rule
from tests.integration.storage_documents import pool_of, reader_of, role_rule, succeed
from tests.waiting import until

if TYPE_CHECKING:
    from extauthz.storage.pool import Pool
    from tests.integration.conftest import Database

pytestmark = pytest.mark.anyio

LIMIT = 4_096
ROLE_RULES = "/api/v1/resources/policies"
POLICIES = "/api/v1/abac/policies"
NAME = "x" * 200


async def add(pool: "Pool", *subs: str) -> list[str]:
    """Create role rules in one change and return their ids."""
    rules = [role_rule(sub=sub) for sub in subs]
    written = await succeed(pool, lambda change: role_rules.create(change, rules))
    return [stored.id for stored in written.value]


async def remove(pool: "Pool", ids: list[str]) -> None:
    """Delete role rules in one change."""

    async def work(change: Change) -> bool:
        for rule_id in ids:
            assert not isinstance(await role_rules.delete(change, UUID(rule_id)), Refusal)
        return True

    await succeed(pool, work)


def many(letter: str, count: int) -> list[str]:
    """Return names of 200 characters."""
    return [f"{letter}{number}".ljust(200, letter) for number in range(count)]


async def test_the_size_limit_counts_the_text_of_the_rows(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool, reader_of(database.address) as reader:
        async with feed.one_moment(reader):
            empty = await feed.octets(reader, "default")
        one = role_rule(sub="caf\u00e9", sub_kind="role", dom="*", obj="doc", act="read", effect="allow")
        await succeed(pool, lambda change: role_rules.create(change, [one]))
        async with feed.one_moment(reader):
            assert await feed.octets(reader, "default") - empty == len("caf\u00e9role*docreadallow".encode())


async def test_policies_that_grow_beyond_the_limit_are_refused_until_they_fit(
    database: "Database", capfd: pytest.CaptureFixture[str]
) -> None:
    async with pool_of(database.address, "default") as pool:
        await add(pool, "first")
        async with following(database.address, max_bytes=LIMIT) as follower:

            def subs() -> set[str]:
                return {found.sub for found in follower.snapshot.role_rules_by_id.values()}

            ids = await add(pool, *many("a", 10))
            await until(lambda: len(subs()) == 11, what="a change within the limit")
            more = await add(pool, *many("b", 12))
            await until(lambda: "default" in follower.publisher.problems, what="the refusal")
            (problem,) = follower.publisher.problems["default"]
            assert problem.message.startswith("the policies have ")
            assert problem.message.endswith(f" bytes, POLICY_MAX_BYTES allows {LIMIT}")
            assert len(subs()) == 11
            assert "default" in follower.directory.lagging
            assert follower.failures >= 1
            logged = "".join(capfd.readouterr())
            assert "policies_refused" in logged
            assert f"POLICY_MAX_BYTES allows {LIMIT}" in logged

            await remove(pool, ids)
            await until(lambda: subs() == {"first", *many("b", 12)}, what="the smaller policies")
            assert not follower.publisher.problems
            assert not follower.directory.lagging
            await remove(pool, more)
            await until(lambda: subs() == {"first"}, what="following again")


async def test_policies_that_are_too_large_at_the_start_are_not_read(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool:
        ids = await add(pool, *many("a", 30))
        async with following(database.address, loaded=False, max_bytes=LIMIT) as follower:
            await until(lambda: "default" in follower.publisher.problems, what="the refusal")
            assert follower.revision is None
            await remove(pool, ids[:20])
            await until(lambda: follower.revision is not None, what="policies that fit")
            assert len(follower.snapshot.role_rules_by_id) == 10


async def test_a_reload_that_is_too_large_leaves_the_last_good_policies(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool:
        await add(pool, "first")
        async with following(database.address, max_bytes=LIMIT) as follower:
            await add(pool, *many("a", 30))
            await behind_our_back(
                database.superuser,
                "DELETE FROM policy_changes",
                "UPDATE tenants SET revision = revision + 1 WHERE tenant_id = 'default'",
                "SELECT pg_notify('extauthz_policy', 'default:0')",
            )
            await until(lambda: "default" in follower.publisher.problems, what="the refusal")
            assert [found.sub for found in follower.snapshot.role_rules_by_id.values()] == ["first"]


async def test_a_write_that_no_process_would_read_is_refused(database: "Database") -> None:
    async with rest(database, max_bytes=LIMIT) as api:
        for number in range(3):
            (await api.post(ROLE_RULES, rule(sub=f"{number}{NAME}"))).succeeded(201)
        document = {
            "name": "large",
            "resource": "doc",
            "effect": "deny",
            "rule_data": {
                "type": "CONDITION",
                "attribute": "user.id",
                "operator": "in",
                "value": [f"{number}" * 100 for number in range(10, 35)],
            },
        }
        problem = (await api.post(POLICIES, document)).problem(422)
        assert f"POLICY_MAX_BYTES allows {LIMIT}" in problem["errors"][0]["message"]
        small = document | {"rule_data": {"type": "ALWAYS"}}
        created = (await api.post(POLICIES, small)).succeeded(201)
        path = f"{POLICIES}/{created.body['id']}"
        (await api.put(path, document)).problem(422)
        assert (await api.get(path)).body["rule_data"] == {"type": "ALWAYS"}


async def test_policies_that_are_too_large_can_be_made_smaller(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool:
        ids = await add(pool, *many("a", 30))
    async with rest(database, loaded=False, max_bytes=LIMIT) as api:
        (await api.post(ROLE_RULES, rule())).problem(422)
        replaced = await api.put(f"{ROLE_RULES}/{ids[0]}", rule())
        assert f"POLICY_MAX_BYTES allows {LIMIT}" in replaced.problem(422)["errors"][0]["message"]
        for rule_id in ids[:20]:
            (await api.delete(f"{ROLE_RULES}/{rule_id}")).succeeded(204)
        (await api.post(ROLE_RULES, rule())).succeeded(201)
