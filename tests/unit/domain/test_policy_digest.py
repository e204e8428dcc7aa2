"""The digest of a policy set: order-independent, followed by changes, and stable over versions."""

from decimal import Decimal
from typing import NamedTuple

import pytest

from extauthz.domain import policy_digest
from extauthz.domain.forwarding import Forwarding
from extauthz.domain.policy import (
    All,
    Always,
    AttributeName,
    AttributePolicy,
    AuthenticationRequirement,
    Condition,
    Entity,
    Mode,
    Node,
    Not,
    Resource,
    RoleBinding,
    RoleRule,
    Route,
    SubjectKind,
)
from extauthz.domain.policy_digest import counted_digest, digest_of, entity_hash, rule_text
from extauthz.domain.reasons import Effect

RULE = RoleRule("r1", "finance", SubjectKind.ROLE, "*", "invoice:read", "read", Effect.ALLOW)
BINDING = RoleBinding("b1", "alice", SubjectKind.USER, "finance", "emea", 1_800_000_000.0)
ROUTE = Route(None, ("GET",), "/invoices/{id}", "read", AuthenticationRequirement.REQUIRED)
RESOURCE = Resource("invoice:read", "billing", (ROUTE,))


def policy(value: object, attribute: str = "user.id") -> AttributePolicy:
    condition = Condition(attribute, "EQ", value)  # type: ignore[arg-type]
    return AttributePolicy(
        "p1", "own", "invoice:read", ("read",), "*", Effect.ALLOW, 10, True, Mode.ENFORCE, condition
    )


class LaterRule(NamedTuple):
    """A role rule of a later version, with members that may be absent."""

    id: str
    sub: str
    note: str | None = None
    owner: str | None = None


def test_a_member_that_a_later_version_adds_to_rules_changes_no_digest() -> None:
    assert rule_text(LaterRule("r1", "finance")) == "r1\0finance"
    written = [
        LaterRule("r1", "finance"),
        LaterRule("r1", "finance", note="x"),
        LaterRule("r1", "finance", owner="x"),
        LaterRule("r1", "finance", note="x", owner="x"),
    ]
    assert len({rule_text(rule) for rule in written}) == len(written)


def test_the_digest_of_these_policies_never_changes() -> None:
    # A stored digest of a revision is compared with digests that later versions count.
    assert counted_digest([RULE]) == "d39d131c178bc00e0d0e2dcd68b91dd530481ce0349426a44370c59323e8d320"
    assert (
        counted_digest([RULE, BINDING, RESOURCE, policy("alice")])
        == "3d9dbe8499b48ae5b3ea12170b83ef5f19f457b1f3bf7a2692fa5d86161fe9f0"
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (policy(1), policy(True)),
        (policy(1), policy("1")),
        (policy(1), policy(Decimal("1.1"))),
        (policy(10), policy(Decimal("1.0"))),
        (policy(Decimal("1e5000")), policy(Decimal("1e5001"))),
        (policy(Decimal("-0.5")), policy(Decimal("0.5"))),
        (policy("user.name"), policy(AttributeName("user.name"))),
        (policy(("a", "b")), policy(("b", "a"))),
        (RULE, RULE._replace(effect=Effect.DENY)),
        (RULE, RULE._replace(sub="inv", obj="ancefinoice:read")),
        (RESOURCE, Resource("invoice:read", "billing", (ROUTE,), require_bound=True)),
        (
            Resource("r", "s", forwarding=Forwarding(assertion=False)),
            Resource("r", "s", forwarding=Forwarding(removes_authorization=True)),
        ),
        (BINDING, RoleBinding("b1", "alice", SubjectKind.USER, "finance", "emea")),
    ],
)
def test_other_policies_have_another_digest(one: Entity, other: Entity) -> None:
    assert entity_hash(one) != entity_hash(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, Decimal(1)),
        (100, Decimal("1e2")),
        (-100, Decimal("-100.00")),
        (0, Decimal("-0.0")),
        (Decimal("1.5"), Decimal("1.500")),
        (Decimal("15e-1"), Decimal("1.5")),
        (Decimal("1e5000"), Decimal("10e4999")),
    ],
)
def test_one_number_in_two_notations_is_the_same_policy(one: object, other: object) -> None:
    assert entity_hash(policy(one)) == entity_hash(policy(other))


def test_nested_conditions_are_told_apart() -> None:
    trees: list[Node] = [Always(), Not(Always()), All((Always(),)), All((Not(Always()), Always())), All(())]
    made = {
        entity_hash(
            AttributePolicy("p", "p", "r", ("a",), "*", Effect.DENY, 0, True, Mode.ENFORCE, condition)
        )
        for condition in trees
    }
    assert len(made) == len(trees)


def test_a_change_and_its_undoing_lead_back_to_the_same_digest() -> None:
    whole = digest_of({"r1": RULE}, {"b1": BINDING})
    other = RULE._replace(act="write")
    there = whole.changed([RULE], [other])
    assert there.text == counted_digest([other, BINDING])
    assert there.changed([other], [RULE]).text == whole.text == counted_digest([RULE, BINDING])


def test_a_large_set_is_counted_once_and_its_changes_wait_for_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy_digest, "COUNTED_AT_ONCE", 1)
    whole = digest_of({"r1": RULE}, {"b1": BINDING})
    changed = whole.changed([], [RESOURCE])
    assert (whole.text, changed.text) == (None, None)
    assert (changed.begin_count(), whole.begin_count()) == (True, False)
    assert whole.counted() == counted_digest([RULE, BINDING])
    assert changed.text == counted_digest([RULE, BINDING, RESOURCE])
    assert not changed.begin_count()
