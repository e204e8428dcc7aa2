"""Unreadable rows of a tenant are replaced by their last good version, or by a deny."""

from dataclasses import replace
from typing import Any

import pytest

from extauthz.compile.documents.policy_documents import Reading
from extauthz.domain.policy import MAX_PRIORITY, AttributePolicy, RoleRule, SubjectKind, UnreadableCondition
from extauthz.domain.reasons import Effect
from extauthz.publish.tenant import Compiler, TenantPolicies
from extauthz.storage.feed import RowChange, TenantDocuments
from tests.integration.storage_documents import attribute_policy, resource, role_binding, role_rule, route
from tests.shipped_model import MODEL

Document = dict[str, Any]


def id_of(row: Document) -> str:
    return str(row["id"])


COMPILER = Compiler(Reading(), MODEL)
BROKEN = {"type": "CONDITION", "attribute": "user.id", "operator": "resembles", "value": "x"}


def documents(revision: int = 1, **tables: list[Document]) -> TenantDocuments:
    return TenantDocuments(
        "default",
        "active",
        revision,
        tables.get("resources", []),
        tables.get("role_rules", []),
        tables.get("role_bindings", []),
        tables.get("attribute_policies", []),
    )


def salvaged(after: TenantDocuments, before: TenantDocuments | None = None) -> TenantPolicies:
    known = None if before is None else COMPILER.salvage(before)
    assert known is None or isinstance(known, TenantPolicies)
    found = COMPILER.salvage(after, known)
    assert isinstance(found, TenantPolicies), found
    return found


def stand_in(policy: Document) -> AttributePolicy | None:
    state = salvaged(documents(2, attribute_policies=[policy]), documents())
    assert list(state.unreadable) == [("attribute_policy", id_of(policy))]
    return state.snapshot.policies_by_id.get(id_of(policy))


def test_rows_without_problems_are_complete() -> None:
    state = salvaged(documents(role_rules=[role_rule()]))
    assert (state.is_complete, dict(state.unreadable)) == (True, {})


def test_a_first_state_with_an_unreadable_row_is_not_complete() -> None:
    state = salvaged(documents(attribute_policies=[attribute_policy(rule_data=BROKEN)]))
    assert not state.is_complete


def test_the_last_good_version_of_a_row_stays() -> None:
    good = attribute_policy(rule_data={"type": "ALWAYS"}, priority=7)
    bad = good | {"rule_data": BROKEN, "priority": 9}
    state = salvaged(documents(2, attribute_policies=[bad]), documents(attribute_policies=[good]))
    assert state.is_complete
    assert state.snapshot.policies_by_id[id_of(good)].priority == 7
    assert state.snapshot.revision == 2
    (row,) = state.unreadable.values()
    assert row.kept
    assert row.problem.pointer == f"/attribute_policy/{good['id']}/rule_data/operator"


@pytest.mark.parametrize("members", [{"effect": "allow"}, {"enabled": False}, {"mode": "shadow"}])
def test_a_new_row_that_could_only_allow_or_decides_nothing_is_dropped(members: Document) -> None:
    assert stand_in(attribute_policy(rule_data=BROKEN, **members)) is None


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, {}),
        ({"effect": "perhaps"}, {}),
        ({"effect": None}, {}),
        ({"enabled": "yes"}, {}),
        ({"mode": "audit"}, {}),
        ({"resource": "in\u200bvoice"}, {"resource": "*"}),
        ({"resource": 7}, {"resource": "*"}),
        ({"actions": "read"}, {"actions": ("*",)}),
        ({"actions": ["read", 7]}, {"actions": ("read", "*")}),
        ({"domain": ""}, {"domain": "*"}),
        ({"priority": "high"}, {"priority": MAX_PRIORITY}),
        ({"priority": 2**40}, {"priority": MAX_PRIORITY}),
        ({"priority": True}, {"priority": MAX_PRIORITY}),
    ],
)
def test_any_other_new_row_is_a_deny_in_its_widest_meaning(members: Document, expected: Document) -> None:
    usual = {"resource": "invoice:read", "actions": ["read"], "domain": "emea", "priority": 5}
    found = stand_in(attribute_policy(**({"rule_data": BROKEN, **usual} | members)))
    assert found is not None
    assert (found.effect, found.condition) == (Effect.DENY, UnreadableCondition())
    wanted = {"resource": "invoice:read", "actions": ("read",), "domain": "emea", "priority": 5} | expected
    assert {name: getattr(found, name) for name in wanted} == wanted


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"effect": "allow", "sub": "a\u200bb"}, None),
        ({"effect": "perhaps"}, ("finance", SubjectKind.ROLE, "*", "invoice:read", "read")),
        ({"effect": "deny", "sub": "a\u200bb"}, ("*", SubjectKind.ANY, "*", "invoice:read", "read")),
        ({"effect": "deny", "obj": ""}, ("finance", SubjectKind.ROLE, "*", "*", "read")),
        ({"effect": "deny", "sub_kind": "team"}, ("finance", SubjectKind.ANY, "*", "invoice:read", "read")),
    ],
)
def test_a_new_role_rule_is_a_deny_or_nothing(members: Document, expected: tuple[object, ...] | None) -> None:
    rule = role_rule(**members)
    state = salvaged(documents(2, role_rules=[rule]), documents())
    found: RoleRule | None = state.snapshot.role_rules_by_id.get(id_of(rule))
    assert (None if found is None else found[1:6]) == expected
    assert found is None or found.effect is Effect.DENY


def test_the_published_one_of_two_equal_routes_stays() -> None:
    first = resource(name="first", routes=[route("/a/{x}")])
    second = resource(name="second", routes=[route("/b")])
    before = documents(resources=[first, second])
    stolen = second | {"routes": [route("/a/{y}")]}
    for rows in ([first, stolen], [stolen, first]):
        state = salvaged(documents(2, resources=rows), before)
        assert list(state.unreadable) == [("resource", id_of(second))]
        kept = state.snapshot.resources_by_name
        assert [kept[name].routes[0].path for name in ("first", "second")] == ["/a/{x}", "/b"]


def test_the_binding_that_closes_a_cycle_of_roles_is_left_out() -> None:
    lines = [
        role_binding(user=lower, user_kind="role", role=upper)
        for lower, upper in (("a", "b"), ("b", "c"), ("x", "y"))
    ]
    closing = role_binding(user="c", user_kind="role", role="a")
    state = salvaged(documents(2, role_bindings=[closing, *lines]), documents(role_bindings=lines))
    assert list(state.unreadable) == [("role_binding", id_of(closing))]
    assert set(state.snapshot.bindings_by_id) == {id_of(line) for line in lines}
    assert "the roles inherit in a cycle: a -> b -> c -> a" in state.problems[0].message


def test_a_binding_without_a_last_good_version_is_left_out_and_others_stay() -> None:
    good = role_binding()
    bad = role_binding(user="mal\u200blory")
    state = salvaged(documents(2, role_bindings=[good, bad]), documents(role_bindings=[good]))
    assert set(state.snapshot.bindings_by_id) == {id_of(good)}


def test_changes_are_followed_and_repair_or_remove_the_row() -> None:
    good = attribute_policy()
    bad = good | {"rule_data": BROKEN}
    state = salvaged(documents(2, attribute_policies=[bad]), documents(attribute_policies=[good]))
    rule = role_rule(effect="deny")
    followed = COMPILER.apply(state, 3, [RowChange("role_rule", id_of(rule), rule)])
    assert isinstance(followed, TenantPolicies)
    assert id_of(rule) in followed.snapshot.role_rules_by_id
    assert followed.unreadable.keys() == state.unreadable.keys()
    repaired = COMPILER.apply(
        followed, 4, [RowChange("attribute_policy", id_of(good), good | {"priority": 3})]
    )
    assert isinstance(repaired, TenantPolicies)
    assert (dict(repaired.unreadable), repaired.snapshot.policies_by_id[id_of(good)].priority) == ({}, 3)
    removed = COMPILER.apply(followed, 4, [RowChange("attribute_policy", id_of(good), None)])
    assert isinstance(removed, TenantPolicies)
    assert (dict(removed.unreadable), len(removed.snapshot.policies_by_id)) == ({}, 0)


def test_a_stand_in_does_not_count_as_the_last_good_version() -> None:
    first = attribute_policy(rule_data=BROKEN, resource="a")
    once = salvaged(documents(2, attribute_policies=[first]), documents())
    moved = first | {"resource": "b"}
    again = COMPILER.salvage(documents(3, attribute_policies=[moved]), once)
    assert isinstance(again, TenantPolicies)
    assert again.snapshot.policies_by_id[id_of(first)].resource == "b"
    allowing = COMPILER.salvage(documents(3, attribute_policies=[moved | {"effect": "allow"}]), once)
    assert isinstance(allowing, TenantPolicies)
    assert not allowing.snapshot.policies_by_id
    assert replace(allowing, unreadable={}).is_complete
