"""Constraints of the database, which hold without the checks of the API."""

from typing import TYPE_CHECKING

import pytest

from extauthz.storage import attribute_policies, role_bindings, role_rules
from extauthz.storage.outcome import Invalid
from extauthz.storage.write import Written
from tests.integration.storage_documents import (
    attempt,
    attribute_policy,
    create_one,
    pool_of,
    role_binding,
    role_rule,
)

if TYPE_CHECKING:
    from tests.integration.conftest import Database

pytestmark = [pytest.mark.anyio, pytest.mark.both_servers]


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
    role_rule(sub_kind="Workload"),
    role_rule(id="not-a-uuid"),
    role_rule(sub=None),
    role_rule(sub="\ud800"),
    role_rule(sub="漢" * 256, obj="漢" * 256, act="漢" * 256, dom="漢" * 256),
)


async def test_an_invalid_role_rule_is_refused_as_a_value(database: "Database") -> None:
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


async def test_an_invalid_attribute_policy_is_refused_as_a_value(database: "Database") -> None:
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


async def test_an_invalid_role_binding_is_refused_as_a_value(database: "Database") -> None:
    async with pool_of(database.address, "default") as pool:
        for document in BAD_ROLE_BINDINGS:
            outcome = await create_one(pool, role_bindings, document)
            assert isinstance(outcome, Invalid), document
