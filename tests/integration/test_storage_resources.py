"""Resources in PostgreSQL: their routes, their default roles, and the rules that name them."""

from functools import partial
from typing import TYPE_CHECKING

import pytest

from extauthz.storage import attribute_policies, resources, role_rules
from extauthz.storage.outcome import Conflict
from extauthz.storage.pool import tenant_transaction
from extauthz.storage.write import Change
from tests.integration.storage_documents import (
    attempt,
    attribute_policy,
    everything,
    new_id,
    pool_of,
    reader_of,
    resource,
    role_rule,
    route,
    succeed,
    uuid_of,
)

if TYPE_CHECKING:
    from tests.integration.conftest import Database

pytestmark = [pytest.mark.anyio, pytest.mark.both_servers]


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


async def test_a_default_role_whose_rule_exists_does_not_conflict(database: "Database") -> None:
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
        assert [row.before for row in change.rows] == [*rules, *policies]

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
