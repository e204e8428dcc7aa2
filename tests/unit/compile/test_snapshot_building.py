"""Compiling snapshots: problems between entities, changes of a predecessor, what both share."""

import pytest

from extauthz.compile.snapshot import Snapshot
from extauthz.compile.snapshot_building import PolicyChange, Removal, build, derive
from extauthz.domain.policy import (
    All,
    Always,
    AttributePolicy,
    AuthenticationRequirement,
    Condition,
    Mode,
    PolicySet,
    Resource,
    RoleBinding,
    RoleRule,
    Route,
    SubjectKind,
)
from extauthz.domain.problem import Problem
from extauthz.domain.reasons import Effect
from tests.compiled_policies import compiled, matching, policy, roles_say, rule
from tests.shipped_model import MODEL


def inherits(name: str, user: str, role: str, dom: str = "*") -> RoleBinding:
    return RoleBinding(name, user, SubjectKind.ROLE, role, dom)


def resource(name: str, *paths: str, methods: tuple[str, ...] = ("GET",)) -> Resource:
    required = AuthenticationRequirement.REQUIRED
    return Resource(name, "web", tuple(Route(None, methods, path, "read", required) for path in paths))


def refused(policies: PolicySet) -> list[Problem]:
    problems = build("default", 1, policies, MODEL)
    assert isinstance(problems, list)
    return problems


def changed(snapshot: Snapshot, *changes: PolicyChange) -> Snapshot:
    derived = derive(snapshot, snapshot.revision + 1, changes)
    assert isinstance(derived, Snapshot), derived
    return derived


# ---- between documents


def test_all_problems_across_documents_are_reported_at_once() -> None:
    problems = refused(
        PolicySet(
            resources=(resource("a", "/x"), resource("a"), resource("b", "/y", "/x")),
            role_rules=(rule("one"), rule("one")),
            role_bindings=(inherits("g", "a", "b"), inherits("g", "b", "a")),
            attribute_policies=(policy("two"), policy("one")),
        )
    )
    assert sorted(problem.pointer for problem in problems) == [
        "/attribute_policies/1",
        "/resources/1",
        "/resources/2/routes/1",
        "/role_bindings",
        "/role_bindings/1",
        "/role_rules/1",
    ]


def test_a_conflict_of_routes_names_both() -> None:
    (problem,) = refused(PolicySet(resources=(resource("a", "/x/{id}"), resource("b", "/x/{name}"))))
    assert problem.pointer == "/resources/1/routes/0"
    assert problem.message == (
        "GET /x/{name} on every host of resource 'b' is already /x/{id} of resource 'a'"
    )


def test_a_repeated_id_names_the_place_of_the_first() -> None:
    (problem,) = refused(PolicySet(role_rules=(rule("same"),), attribute_policies=(policy("same"),)))
    assert str(problem) == "/attribute_policies/0: 'same' is already used at /role_rules/0"


def test_an_expired_link_still_makes_a_cycle() -> None:
    expired = RoleBinding("g", "b", SubjectKind.ROLE, "a", "*", expires_at=1.0)
    (problem,) = refused(PolicySet(role_bindings=(inherits("f", "a", "b"), expired)))
    assert "cycle: a -> b -> a" in problem.message


# ---- changes


def test_a_change_replaces_what_it_changes() -> None:
    first = compiled(PolicySet(role_rules=(rule("r"),), attribute_policies=(policy("p"),)))
    second = changed(first, rule("r", effect=Effect.DENY), policy("p", "other"))
    assert roles_say(second, "reader") == "deny r"
    assert matching(second) == []
    assert matching(second, "other") == ["p"]
    assert (roles_say(first, "reader"), matching(first)) == ("allow r", ["p"])


def test_a_disabled_policy_is_kept_and_never_matches() -> None:
    first = compiled(PolicySet(attribute_policies=(policy("p"),)))
    second = changed(first, policy("p", enabled=False))
    assert matching(second) == []
    assert "p" in second.policies_by_id
    assert matching(changed(second, policy("p"))) == ["p"]


def test_of_several_changes_of_one_entity_the_last_counts() -> None:
    first = compiled(PolicySet(role_rules=(rule("kept"),)))
    gone = changed(first, rule("new"), rule("new", "*"), Removal(RoleRule, "new"))
    assert roles_say(gone, "reader", obj="other") is None
    assert gone.digest() == first.digest()
    back = changed(first, Removal(RoleRule, "kept"), rule("kept", "other"))
    assert (roles_say(back, "reader"), roles_say(back, "reader", obj="other")) == (None, "allow kept")


@pytest.mark.parametrize("order", [1, -1])
def test_a_route_moves_between_resources_in_one_revision(order: int) -> None:
    first = compiled(PolicySet(resources=(resource("a", "/x", "/y"), resource("b", "/z"))))
    moved = [resource("a", "/y"), resource("b", "/z", "/x")][::order]
    second = changed(first, *moved)
    assert second.digest() == compiled(PolicySet(resources=tuple(moved))).digest()


def test_a_route_that_another_resource_still_has_is_refused() -> None:
    first = compiled(PolicySet(resources=(resource("a", "/x"),)))
    problems = derive(first, 2, [resource("b", "/y", "/x")])
    assert isinstance(problems, list)
    assert [str(problem) for problem in problems] == [
        "/routes/1: GET /x on every host of resource 'b' is already /x of resource 'a'"
    ]


def test_a_rule_cannot_take_the_id_of_a_policy_unless_the_policy_goes() -> None:
    first = compiled(PolicySet(attribute_policies=(policy("same"),)))
    problems = derive(first, 2, [rule("same")])
    assert isinstance(problems, list)
    assert [problem.pointer for problem in problems] == ["/id"]
    assert roles_say(changed(first, rule("same"), Removal(AttributePolicy, "same")), "reader") == "allow same"


def test_a_link_that_closes_a_cycle_is_refused_and_one_that_replaces_it_is_not() -> None:
    first = compiled(PolicySet(role_bindings=(inherits("f", "a", "b"), inherits("g", "b", "c"))))
    problems = derive(first, 2, [inherits("h", "c", "a", dom="d1")])
    assert isinstance(problems, list)
    assert [str(problem) for problem in problems] == [
        "/role: in domain 'd1' the roles inherit in a cycle: a -> b -> c -> a"
    ]
    assert isinstance(derive(first, 2, [inherits("f", "a", "x"), inherits("h", "c", "a")]), Snapshot)


def test_removing_what_is_not_there_changes_nothing() -> None:
    first = compiled(PolicySet(role_rules=(rule("r"),)))
    kinds = (RoleRule, RoleBinding, AttributePolicy, Resource)
    second = changed(first, *(Removal(kind, "nobody") for kind in kinds))
    assert second.digest() == first.digest()
    assert second.revision == 2


def test_one_change_among_many_shares_the_rest() -> None:
    first = compiled(
        PolicySet(
            resources=tuple(resource(f"r{number}", f"/{number}") for number in range(500)),
            role_rules=tuple(rule(f"r{number}", f"doc{number}") for number in range(500)),
            attribute_policies=tuple(policy(f"p{number}", f"doc{number}") for number in range(500)),
        )
    )
    second = changed(first, rule("new", "doc7"))
    assert second.policies is first.policies
    assert second.routes is first.routes
    assert second.bindings is first.bindings
    assert second.roles.cells["doc8", "read", "*"] is first.roles.cells["doc8", "read", "*"]
    assert second.roles.cells["doc7", "read", "*"] is not first.roles.cells["doc7", "read", "*"]


def test_a_digest_does_not_depend_on_the_order_of_writing() -> None:
    rules = (rule("a"), rule("b", "other"), rule("c", sub="writer"))
    digest = compiled(PolicySet(role_rules=rules)).digest()
    assert digest == compiled(PolicySet(role_rules=rules[::-1])).digest()
    assert digest != compiled(PolicySet(role_rules=rules[1:])).digest()


def test_a_derived_snapshot_remembers_nothing_of_its_predecessor() -> None:
    first = compiled(PolicySet(role_rules=(rule("r"),), attribute_policies=(policy("p"),)))
    assert (roles_say(first, "reader"), matching(first)) == ("allow r", ["p"])
    second = changed(first, Removal(AttributePolicy, "p"), Removal(RoleRule, "r"))
    assert (roles_say(second, "reader"), matching(second)) == (None, [])


def test_conditions_are_compiled_once_and_shared_by_later_snapshots() -> None:
    guarded = AttributePolicy(
        "p",
        "p",
        "doc",
        ("read", "write"),
        "*",
        Effect.DENY,
        0,
        True,
        Mode.ENFORCE,
        All((Condition("user.id", "eq", "x"), Always())),
    )
    first = compiled(PolicySet(attribute_policies=(guarded,)))
    second = changed(first, rule("r"))
    (ours,) = second.candidates("doc", "read", None).enforced[0].all
    (same,) = first.candidates("doc", "write", None).enforced[0].all
    assert ours is same
    assert ours.attributes == ("user.id",)
