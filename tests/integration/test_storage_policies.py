"""Resources, role rules, role bindings and attribute policies in PostgreSQL."""

from decimal import Decimal
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from extauthz.compile.documents import (
    Reading,
    parse_attribute_policy,
    parse_resource,
    parse_role_binding,
    parse_role_rule,
)
from extauthz.storage import attribute_policies, resources, role_bindings, role_rules
from extauthz.storage.outcome import Conflict, Invalid, NotFound, Stale
from extauthz.storage.pool import tenant_transaction
from extauthz.storage.rows import Document, Page, Stored
from extauthz.storage.write import Change, Written, read
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
)

if TYPE_CHECKING:
    from extauthz.domain.problem import Problem
    from extauthz.storage.pool import Pool
    from tests.integration.conftest import Database

pytestmark = pytest.mark.anyio


def uuid_of(document: Document) -> UUID:
    return UUID(str(document["id"]))


async def stored_policy(pool: "Pool", policy: Document) -> Stored | None:
    async with tenant_transaction(pool, "default", read_only=True) as connection:
        return await attribute_policies.get(connection, "default", uuid_of(policy))


async def create_one(pool: "Pool", noun: ModuleType, document: Document, **options: bool) -> object:
    return await attempt(pool, lambda change: noun.create(change, [document], **options))


async def test_what_was_read_from_a_document_is_the_same_after_storing(database: "Database") -> None:
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
    assert parse_role_rule(loaded.role_rules[0], "", problems, reading) == rule
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


async def test_a_row_written_since_it_was_read_is_stale(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool:
        rule = role_rule()
        await succeed(pool, lambda change: role_rules.create(change, [rule]))
        changed = await succeed(
            pool,
            lambda change: role_rules.replace(change, rule | {"effect": "deny"}, expected_revision=1),
        )
        assert isinstance(changed.value, Stored)
        assert changed.value.revision == 2
        assert await attempt(
            pool, lambda change: role_rules.replace(change, rule, expected_revision=1)
        ) == Stale("role_rule", str(rule["id"]), 1, 2)
        assert isinstance(
            await attempt(pool, lambda change: role_rules.delete(change, uuid_of(rule), expected_revision=1)),
            Stale,
        )


async def test_a_replacement_that_equals_another_rule_conflicts(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool:
        one, two = role_rule(), role_rule(act="write")
        await succeed(pool, lambda change: role_rules.create(change, [one, two]))
        outcome = await attempt(pool, lambda change: role_rules.replace(change, two | {"act": "read"}))
        assert isinstance(outcome, Conflict)
        assert outcome.ids == (one["id"],)


async def test_what_is_not_there_is_not_found(database: "Database") -> None:
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

        async def page(after: str | None, **filters: Any) -> Page:
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
        assert list(written.value) == expected
        assert (await everything(reader)).role_bindings == expected


async def test_inheritance_is_what_it_will_be_after_the_change(database: "Database") -> None:
    up = role_binding(user="clerk", user_kind="role", role="finance")
    down = role_binding(user="finance", user_kind="role", role="clerk")

    async def close_the_circle(change: Change) -> tuple[Document, ...] | Conflict:
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
        assert repr(loaded["rule_data"]["value"]) == repr(written.value[0]["rule_data"]["value"])  # type: ignore[index]
        assert loaded == written.value[0] == policy
        same = await succeed(pool, lambda change: attribute_policies.replace(change, loaded))
        assert not same.changed


async def test_true_is_not_taken_for_one(database: "Database") -> None:
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


# Resources


async def test_default_roles_are_applied_once_ever(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool, reader_of(database.address) as reader:
        first = resource(defaultRoles=["finance", "audit"])
        await succeed(pool, lambda change: resources.create(change, [first]))
        rules = (await everything(reader)).role_rules
        assert sorted((rule["sub"], rule["obj"], rule["act"], rule["effect"]) for rule in rules) == [
            ("audit", "invoice:read", "read", "allow"),
            ("finance", "invoice:read", "read", "allow"),
        ]

        async def drop(change: Change) -> None:
            for rule in rules:
                await role_rules.delete(change, uuid_of(rule))
            await resources.delete(change, uuid_of(first))

        await succeed(pool, drop)
        await succeed(pool, lambda change: resources.create(change, [first | {"id": new_id()}]))
        assert (await everything(reader)).role_rules == []


async def test_a_default_role_that_has_its_rule_already_is_no_conflict(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool, reader_of(database.address) as reader:
        rule = role_rule()
        await succeed(pool, lambda change: role_rules.create(change, [rule]))
        await succeed(pool, lambda change: resources.create(change, [resource(defaultRoles=["finance"])]))
        assert (await everything(reader)).role_rules == [rule]


async def test_a_route_that_is_claimed_conflicts_and_names_its_resource(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool, reader_of(database.address) as reader:
        first = resource(routes=[route("/invoices/{id}", methods=["GET", "POST"])])
        await succeed(pool, lambda change: resources.create(change, [first]))
        for taken in (
            route("/invoices/{number}"),
            route("/invoices/{number}", methods=["PUT", "POST"]),
        ):
            other = resource(name="other:read", routes=[route("/elsewhere"), taken])
            outcome = await attempt(pool, partial(resources.create, documents=[other]))
            assert isinstance(outcome, Conflict)
            assert (outcome.kind, outcome.ids) == ("route", (first["id"],))
            assert "invoice:read" in outcome.clashes[0].message
        free = resource(
            name="other:read",
            routes=[
                route("/invoices/{id}", methods=["*"]),
                route("/invoices/{id}", host="a.example"),
                route("/invoices/{id}/**"),
                route("/invoices/id"),
            ],
        )
        await succeed(pool, lambda change: resources.create(change, [free]))
        assert (await everything(reader)).resources == [first, free]


async def test_a_route_claimed_twice_in_one_list_conflicts(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool:
        both = [resource(routes=[route()]), resource(name="other:read", routes=[route()])]
        outcome = await attempt(pool, lambda change: resources.create(change, both))
        assert isinstance(outcome, Conflict)
        assert [clash.index for clash in outcome.clashes] == [1]
        twice = [resource(routes=[route(), route("/invoices/{other}")])]
        assert isinstance(await attempt(pool, lambda change: resources.create(change, twice)), Conflict)


async def test_replacing_and_deleting_resources_sets_their_routes_free(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool:
        first, second = resource(routes=[route()]), resource(name="other:read", routes=[])
        await succeed(pool, lambda change: resources.create(change, [first, second]))
        claiming = second | {"routes": [route()]}
        refused = await attempt(pool, lambda change: resources.replace(change, claiming))
        assert isinstance(refused, Conflict)
        await succeed(pool, lambda change: resources.replace(change, first | {"routes": []}))
        await succeed(pool, lambda change: resources.replace(change, claiming))
        assert not (await succeed(pool, lambda change: resources.replace(change, claiming))).changed
        await succeed(pool, lambda change: resources.delete(change, uuid_of(second)))
        await succeed(pool, lambda change: resources.replace(change, first))


async def test_a_resource_name_that_is_taken_conflicts(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool:
        first = resource()
        await succeed(pool, lambda change: resources.create(change, [first]))
        outcome = await attempt(
            pool, lambda change: resources.create(change, [resource(name="a"), resource()])
        )
        assert isinstance(outcome, Conflict)
        assert [(clash.index, clash.id) for clash in outcome.clashes] == [(1, first["id"])]
        async with tenant_transaction(pool, "default") as connection:
            found = await resources.by_names(connection, "default", ["invoice:read", "a"])
        assert {name: stored.id for name, stored in found.items()} == {"invoice:read": first["id"]}


async def test_rules_that_name_a_resource_are_found(database: "Database") -> None:
    rule, policy, gone = role_rule(), attribute_policy(), attribute_policy()

    async def work(change: Change) -> None:
        await role_rules.create(change, [rule, role_rule(obj="other")])
        await attribute_policies.create(change, [policy, gone, attribute_policy(resource="other")])
        await attribute_policies.delete(change, uuid_of(gone))

    async with pool_of(database.address, "default") as pool:
        await succeed(pool, work)
        async with tenant_transaction(pool, "default") as connection:
            rules = await role_rules.on_resource(connection, "default", "invoice:read", limit=10)
            none = await role_rules.on_resource(connection, "default", "invoice:read", limit=0)
            policies = await attribute_policies.on_resource(connection, "default", "invoice:read")
        assert [stored.document for stored in rules] == [rule]
        assert none == ()
        assert policies == (policy["id"],)


async def test_many_rules_are_deleted_in_as_many_statements_as_one(database: "Database") -> None:
    rules = [role_rule(sub=f"role {number}") for number in range(30)]
    policies = [attribute_policy() for _ in range(30)]
    statements: list[str] = []

    async def stored(change: Change) -> None:
        await role_rules.create(change, rules)
        await attribute_policies.create(change, policies)

    async def deleted(change: Change) -> None:
        found = await role_rules.on_resource(change.connection, "default", "invoice:read", limit=100)
        with change.connection.query_logger(lambda record: statements.append(record.query)):
            await role_rules.delete_all(change, found)
            await attribute_policies.delete_all(change, [str(policy["id"]) for policy in policies])
        assert [effect.before for effect in change.effects] == [*rules, *policies]

    async with pool_of(database.address, "default") as pool:
        await succeed(pool, stored)
        await succeed(pool, deleted)
        async with tenant_transaction(pool, "default") as connection:
            assert (await role_rules.page(connection, "default")).items == ()
            assert (await attribute_policies.page(connection, "default")).items == ()
            aside = (await attribute_policies.page(connection, "default", deleted=True)).items
            history = await attribute_policies.versions(connection, "default", uuid_of(policies[0]))
    assert len([each for each in statements if "SAVEPOINT" not in each]) == 3
    assert [stored.version for stored in aside] == [2] * 30
    assert [(version.version, version.deleted) for version in history.items] == [(1, False), (2, True)]


# What the database refuses by itself


BAD_ROLE_RULES = (
    role_rule(effect="permit"),
    role_rule(effect="ALLOW"),
    role_rule(sub=""),
    role_rule(sub=" finance"),
    role_rule(sub="fin\u200bance"),
    role_rule(sub="cafe\u0301"),
    role_rule(sub="fin\nance"),
    role_rule(sub="fin\0ance"),
    role_rule(sub="x" * 257),
    role_rule(sub="*"),
    role_rule(sub="finance", sub_kind="any"),
    role_rule(sub_kind="workload"),
    role_rule(id="not-a-uuid"),
    role_rule(sub=None),
    role_rule(sub="\ud800"),
    role_rule(sub="漢" * 256, obj="漢" * 256, act="漢" * 256, dom="漢" * 256),
)


async def test_a_bad_role_rule_is_refused_as_a_value(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool:
        for document in BAD_ROLE_RULES:
            outcome = await create_one(pool, role_rules, document)
            assert isinstance(outcome, Invalid), document


BAD_ATTRIBUTE_POLICIES = (
    attribute_policy(effect="allow", priority=1001),
    attribute_policy(effect="allow", priority=-1001),
    attribute_policy(priority=2**31),
    attribute_policy(actions=[]),
    attribute_policy(actions=[""]),
    attribute_policy(mode="audit"),
    attribute_policy(format="rego"),
    attribute_policy(rule_data="user.id == 1"),
    attribute_policy(format="casbin"),
    attribute_policy(rule_data={"type": "x" * 2**20}),
)


async def test_a_bad_attribute_policy_is_refused_as_a_value(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool:
        for document in BAD_ATTRIBUTE_POLICIES:
            outcome = await create_one(pool, attribute_policies, document)
            assert isinstance(outcome, Invalid), document


BY_DOMAIN_ADMINS = (
    (attribute_policy(domain="emea", effect="allow", priority=0), True),
    (attribute_policy(domain="emea", effect="deny", priority=1000), True),
    (attribute_policy(domain="emea", effect="allow", priority=1), False),
    (attribute_policy(domain="emea", effect="deny", priority=1001), False),
    (attribute_policy(domain="*", effect="allow", priority=0), False),
)


async def test_a_domain_admin_stays_in_its_domain_and_band(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool:
        for document, good in BY_DOMAIN_ADMINS:
            outcome = await create_one(pool, attribute_policies, document, by_domain_admin=True)
            assert isinstance(outcome, Written if good else Invalid), document


async def test_a_domain_admin_writes_no_wildcard_rule(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool:
        outcome = await attempt(
            pool, lambda change: role_rules.create(change, [role_rule()], by_domain_admin=True)
        )
        assert isinstance(outcome, Invalid)


BAD_ROLE_BINDINGS = (
    role_binding(user_kind="any"),
    role_binding(user="finance", user_kind="role"),
    role_binding(user=""),
    role_binding(dom=""),
)


async def test_a_bad_role_binding_is_refused_as_a_value(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool:
        for document in BAD_ROLE_BINDINGS:
            outcome = await create_one(pool, role_bindings, document)
            assert isinstance(outcome, Invalid), document
