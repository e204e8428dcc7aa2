"""Role rules, role bindings and attribute policies in PostgreSQL."""

from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from extauthz.compile.documents.policy_documents import (
    Reading,
    parse_attribute_policy,
    parse_role_binding,
    parse_role_rule,
)
from extauthz.compile.documents.resource_documents import parse_resource
from extauthz.storage import attribute_policies, resources, role_bindings, role_rules
from extauthz.storage.outcome import Conflict, NotFound
from extauthz.storage.pool import tenant_transaction
from extauthz.storage.rows import Document, Page, Stored
from extauthz.storage.write import Change, read
from tests.integration.storage_documents import (
    attempt,
    attribute_policy,
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
    from extauthz.domain.problem import Problem
    from extauthz.storage.pool import Pool
    from tests.integration.conftest import Database


pytestmark = [pytest.mark.anyio, pytest.mark.both_servers]


async def stored_policy(pool: "Pool", policy: Document) -> Stored | None:
    async with tenant_transaction(pool, "default", read_only=True) as connection:
        return await attribute_policies.get(connection, "default", uuid_of(policy))


async def test_a_parsed_document_is_equal_after_storing(database: "Database") -> None:
    problems: list[Problem] = []
    reading = Reading()
    rule = parse_role_rule(
        {"id": new_id(), "sub": "user_123", "dom": "*", "obj": "*", "act": "*", "effect": "deny"},
        "",
        problems,
        reading,
    )
    binding = parse_role_binding(
        role_binding(expires_at="2031-02-03t04:05:06.789012z"), "", problems, reading
    )
    tree = {"type": "CONDITION", "attribute": "user.level", "operator": "gt", "value": Decimal("1.50")}
    minimal = {"id": new_id(), "name": "n", "resource": "*", "effect": "allow", "rule_data": tree}
    policy = parse_attribute_policy(minimal, "", problems, reading)
    raw = resource(routes=[route("/%41/{id}/**", host="A.Example."), route("/b", action="write")])
    made = parse_resource({name: value for name, value in raw.items() if name != "id"}, "", problems)
    assert rule and binding and policy and made, problems  # noqa: PT018 - they only fail together

    async def work(change: Change) -> None:
        await role_rules.create(change, [role_rules.document_of(rule)])
        await role_bindings.create(change, [role_bindings.document_of(binding)])
        document = attribute_policies.document_of(policy, notation="json", rule_data=tree)
        await attribute_policies.create(change, [document])
        document = resources.document_of(made, new_id(), display_name=None, default_roles=[])
        assert isinstance(await resources.create(change, [document]), tuple)

    async with pool_of(database.address, "default") as pool, reader_of(database.address) as reader:
        await succeed(pool, work)
        loaded = await everything(reader)
    (stored_rule,) = loaded.role_rules
    assert parse_role_rule(stored_rule, "", problems, reading) == rule
    assert parse_role_binding(loaded.role_bindings[0], "", problems, reading) == binding
    assert parse_attribute_policy(loaded.attribute_policies[0], "", problems, reading) == policy
    loaded.resources[0].pop("id")
    assert parse_resource(loaded.resources[0], "", problems) == made
    assert problems == []


# Role rules


async def test_the_same_role_rule_again_conflicts_and_names_the_first(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool:
        first, other, again = role_rule(), role_rule(act="write"), role_rule()
        await succeed(pool, lambda change: role_rules.create(change, [first]))
        outcome = await attempt(pool, lambda change: role_rules.create(change, [other, again]))
        assert isinstance(outcome, Conflict)
        assert [(clash.index, clash.id) for clash in outcome.clashes] == [(1, first["id"])]


async def test_an_id_that_is_taken_conflicts(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool:
        first = role_rule()
        await succeed(pool, lambda change: role_rules.create(change, [first]))
        outcome = await attempt(pool, lambda change: role_rules.create(change, [first | {"act": "write"}]))
        assert isinstance(outcome, Conflict)
        assert outcome.ids == (first["id"],)


async def test_the_same_role_rule_twice_in_one_list_conflicts(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool:
        outcome = await attempt(pool, lambda change: role_rules.create(change, [role_rule(), role_rule()]))
        assert isinstance(outcome, Conflict)


async def test_a_replacement_that_equals_another_rule_conflicts(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool:
        one, two = role_rule(), role_rule(act="write")
        await succeed(pool, lambda change: role_rules.create(change, [one, two]))
        outcome = await attempt(pool, lambda change: role_rules.replace(change, two | {"act": "read"}))
        assert isinstance(outcome, Conflict)
        assert outcome.ids == (one["id"],)


async def test_an_absent_row_is_not_found(database: "Database") -> None:
    async with pool_of(database.address, "default", "other") as pool:
        rule = role_rule()
        await succeed(pool, lambda change: role_rules.create(change, [rule]), tenant="other")
        missing = NotFound("role_rule", str(rule["id"]))
        assert await attempt(pool, lambda change: role_rules.replace(change, rule)) == missing
        assert await attempt(pool, lambda change: role_rules.delete(change, uuid_of(rule))) == missing


async def test_rules_are_meant_by_value(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool:
        read_rule, write_rule = role_rule(), role_rule(act="write")
        await succeed(pool, lambda change: role_rules.create(change, [read_rule]))

        async def meant(act: str | None) -> object:
            async with tenant_transaction(pool, "default") as connection:
                found = await role_rules.by_value(
                    connection, "default", sub="finance", dom="*", obj="invoice:read", act=act
                )
            return found.id if isinstance(found, Stored) else found

        assert await meant("read") == read_rule["id"]
        assert await meant("approve") == read_rule["id"]
        await succeed(pool, lambda change: role_rules.create(change, [write_rule]))
        assert await meant("write") == write_rule["id"]
        several = await meant("approve")
        assert isinstance(several, Conflict)
        assert set(several.ids) == {read_rule["id"], write_rule["id"]}
        async with tenant_transaction(pool, "default") as connection:
            nothing = await role_rules.by_value(connection, "default", sub="x", dom="*", obj="y", act=None)
        assert isinstance(nothing, NotFound)


async def test_lists_are_stable_while_others_write(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool:
        rules = [role_rule(sub=f"role-{number}", dom="emea" if number % 2 else "*") for number in range(9)]
        await succeed(pool, lambda change: role_rules.create(change, rules))

        async def page(after: str | None, **filters: Any) -> Page[Stored]:
            outcome = await read(
                pool,
                "default",
                lambda connection: role_rules.page(
                    connection,
                    "default",
                    after=UUID(after) if after else None,
                    limit=4,
                    **filters,
                ),
            )
            assert isinstance(outcome, Page)
            return outcome

        first = await page(None)
        await succeed(pool, lambda change: role_rules.delete(change, uuid_of(rules[0])))
        await succeed(pool, lambda change: role_rules.create(change, [role_rule(sub="late")]))
        second = await page(first.next)
        third = await page(second.next)
        seen = [stored.document["sub"] for part in (first, second, third) for stored in part.items]
        assert sorted(map(str, seen)) == sorted([*(str(rule["sub"]) for rule in rules), "late"])
        assert third.next is None
        assert [stored.document["sub"] for stored in (await page(None, domains=["emea"])).items] == [
            "role-1", "role-3", "role-5", "role-7"
        ]  # fmt: skip
        assert [stored.document["sub"] for stored in (await page(None, sub="role-2", dom="*")).items] == [
            "role-2"
        ]


# Role bindings


async def test_an_expiry_comes_back_as_the_same_instant_in_utc(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool, reader_of(database.address) as reader:
        bound = role_binding(expires_at="2031-01-01T01:00:00.1234567+01:00")
        forever = role_binding(user="bob")
        written = await succeed(pool, lambda change: role_bindings.create(change, [bound, forever]))
        expected = [bound | {"expires_at": "2031-01-01T00:00:00.123456Z"}, forever]
        assert [stored.document for stored in written.value] == expected
        assert (await everything(reader)).role_bindings == expected


async def test_inheritance_is_what_it_will_be_after_the_change(database: "Database") -> None:
    up = role_binding(user="clerk", user_kind="role", role="finance")
    down = role_binding(user="finance", user_kind="role", role="clerk")

    async def close_the_circle(change: Change) -> tuple[Stored, ...] | Conflict:
        created = await role_bindings.create(change, [down, role_binding(user="carol")])
        assert await role_bindings.inheritance(change) == (up, down)
        return created

    async with pool_of(database.address, "default") as pool:
        await succeed(pool, lambda change: role_bindings.create(change, [up]))
        await succeed(pool, close_the_circle)


# Attribute policies


async def test_numbers_come_back_exactly(database: "Database") -> None:
    value = [
        Decimal("0.1"), Decimal("1.50"), Decimal("1E+5"), Decimal("1E-7"), Decimal("-0.0"), 2**80,
        -(2**63) - 1, 0,
        Decimal("123456789012345678901234567890.123456789012345678901234567890"),
    ]  # fmt: skip
    tree = {"type": "CONDITION", "attribute": "user.level", "operator": "in", "value": value}
    policy = attribute_policy(rule_data=tree)
    async with pool_of(database.address, "default") as pool, reader_of(database.address) as reader:
        written = await succeed(pool, lambda change: attribute_policies.create(change, [policy]))
        (loaded,) = (await everything(reader)).attribute_policies
        # What followers got by the change and what a reload reads are the same, to the type of each number.
        assert repr(loaded["rule_data"]["value"]) == repr(written.value[0].document["rule_data"]["value"])  # type: ignore[index]
        assert loaded == written.value[0].document == policy
        same = await succeed(pool, lambda change: attribute_policies.replace(change, loaded))
        assert not same.changed


async def test_true_is_not_equal_to_1(database: "Database") -> None:
    def valued(value: object) -> Document:
        return {"type": "CONDITION", "attribute": "user.level", "operator": "eq", "value": value}

    policy = attribute_policy(rule_data=valued(1))
    async with pool_of(database.address, "default") as pool:
        await succeed(pool, lambda change: attribute_policies.create(change, [policy]))
        other = policy | {"rule_data": valued(True)}
        assert (await succeed(pool, lambda change: attribute_policies.replace(change, other))).changed


async def test_a_policy_written_as_an_expression_is_kept_as_text(database: "Database") -> None:
    policy = attribute_policy(
        format="casbin", rule_data='user.department == "x\\"y"', actions=['a"b\\', "é{,}"]
    )
    async with pool_of(database.address, "default") as pool, reader_of(database.address) as reader:
        await succeed(pool, lambda change: attribute_policies.create(change, [policy]))
        assert (await everything(reader)).attribute_policies == [policy]


async def test_a_deleted_policy_is_kept_aside_and_restored_as_it_was(database: "Database") -> None:
    policy = attribute_policy()
    async with pool_of(database.address, "default") as pool, reader_of(database.address) as reader:
        await succeed(pool, lambda change: attribute_policies.create(change, [policy]))
        await succeed(pool, lambda change: attribute_policies.delete(change, uuid_of(policy)))
        assert (await everything(reader)).attribute_policies == []
        deleted = await stored_policy(pool, policy)
        assert deleted is not None
        assert deleted.deleted_at is not None
        missing = NotFound("attribute_policy", str(policy["id"]))
        assert (
            await attempt(pool, lambda change: attribute_policies.delete(change, uuid_of(policy))) == missing
        )
        assert await attempt(pool, lambda change: attribute_policies.replace(change, policy)) == missing
        async with tenant_transaction(pool, "default") as connection:
            aside = await attribute_policies.page(connection, "default", deleted=True)
            present = await attribute_policies.page(connection, "default")
        assert ([stored.id for stored in aside.items], present.items) == ([policy["id"]], ())
        restored = await succeed(pool, lambda change: attribute_policies.restore(change, uuid_of(policy)))
        assert restored.revision == 3
        assert (await everything(reader)).attribute_policies == [policy]
        again = await succeed(pool, lambda change: attribute_policies.restore(change, uuid_of(policy)))
        assert not again.changed


async def test_every_write_of_a_policy_leaves_a_version(database: "Database") -> None:
    policy = attribute_policy()
    other = policy | {"name": "other", "priority": 2000}
    async with pool_of(database.address, "default") as pool:
        await succeed(pool, lambda change: attribute_policies.create(change, [policy]))
        await succeed(pool, lambda change: attribute_policies.replace(change, other))
        await succeed(pool, lambda change: attribute_policies.delete(change, uuid_of(policy)))
        await succeed(pool, lambda change: attribute_policies.restore(change, uuid_of(policy)))
        async with tenant_transaction(pool, "default") as connection:
            versions = (await attribute_policies.versions(connection, "default", uuid_of(policy))).items
        assert [(version.version, version.deleted, version.document) for version in versions] == [
            (1, False, policy),
            (2, False, other),
            (3, True, other),
            (4, False, other),
        ]
        assert [version.revision for version in versions] == [1, 2, 3, 4]
