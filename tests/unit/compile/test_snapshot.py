"""Snapshots: problems across documents, changes, and rules remembered between requests."""

import pytest

from extauthz.compile.snapshot import PolicyChange, Removal, Snapshot, build, derive, empty
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
from extauthz.domain.principal import Authentication, Principal, PrincipalKind
from extauthz.domain.problem import Problem
from extauthz.domain.reasons import Effect
from tests.shipped_model import MODEL


def rule(name: str, obj: str = "doc", *, effect: Effect = Effect.ALLOW, sub: str = "reader") -> RoleRule:
    return RoleRule(name, sub, SubjectKind.ROLE, "*", obj, "read", effect)


def policy(name: str, resource: str = "doc", *, enabled: bool = True, priority: int = 0) -> AttributePolicy:
    return AttributePolicy(
        name, name, resource, ("*",), "*", Effect.DENY, priority, enabled, Mode.ENFORCE, Always()
    )


def inherits(name: str, user: str, role: str, dom: str = "*") -> RoleBinding:
    return RoleBinding(name, user, SubjectKind.ROLE, role, dom)


def resource(name: str, *paths: str, methods: tuple[str, ...] = ("GET",)) -> Resource:
    required = AuthenticationRequirement.REQUIRED
    return Resource(name, "web", tuple(Route(None, methods, path, "read", required) for path in paths))


def alice(*roles: str) -> Principal:
    return Principal(PrincipalKind.USER, "alice", "default", None, roles, Authentication.JWT)


def built(policies: PolicySet) -> Snapshot:
    snapshot = build("default", 1, policies, MODEL)
    assert isinstance(snapshot, Snapshot), snapshot
    return snapshot


def refused(policies: PolicySet) -> list[Problem]:
    problems = build("default", 1, policies, MODEL)
    assert isinstance(problems, list)
    return problems


def changed(snapshot: Snapshot, *changes: PolicyChange) -> Snapshot:
    derived = derive(snapshot, snapshot.revision + 1, changes)
    assert isinstance(derived, Snapshot), derived
    return derived


def roles_say(snapshot: Snapshot, *roles: str, obj: str = "doc") -> str | None:
    subjects = snapshot.subjects(alice(*roles), 0)
    outcome = snapshot.roles.decide(subjects.names, authenticated=True, dom=None, obj=obj, act="read")
    return None if outcome is None else f"{outcome.effect} {outcome.rule_id}"


def matching(snapshot: Snapshot, name: str = "doc") -> list[str]:
    """Return the ids of the policies on these names."""
    return [found.id for group in snapshot.candidates(name, "read", None).enforced for found in group.all]


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


def test_a_tenant_that_wrote_nothing_allows_nothing() -> None:
    snapshot = empty("acme", MODEL)
    assert roles_say(snapshot, "reader", "admin") is None
    assert matching(snapshot) == []


# ---- changes


def test_a_change_replaces_what_it_changes() -> None:
    first = built(PolicySet(role_rules=(rule("r"),), attribute_policies=(policy("p"),)))
    second = changed(first, rule("r", effect=Effect.DENY), policy("p", "other"))
    assert roles_say(second, "reader") == "deny r"
    assert matching(second) == []
    assert matching(second, "other") == ["p"]
    assert (roles_say(first, "reader"), matching(first)) == ("allow r", ["p"])


def test_a_disabled_policy_is_kept_and_never_matches() -> None:
    first = built(PolicySet(attribute_policies=(policy("p"),)))
    second = changed(first, policy("p", enabled=False))
    assert matching(second) == []
    assert "p" in second.policies_by_id
    assert matching(changed(second, policy("p"))) == ["p"]


def test_of_several_changes_of_one_entity_the_last_counts() -> None:
    first = built(PolicySet(role_rules=(rule("kept"),)))
    gone = changed(first, rule("new"), rule("new", "*"), Removal(RoleRule, "new"))
    assert roles_say(gone, "reader", obj="other") is None
    assert gone.digest() == first.digest()
    back = changed(first, Removal(RoleRule, "kept"), rule("kept", "other"))
    assert (roles_say(back, "reader"), roles_say(back, "reader", obj="other")) == (None, "allow kept")


@pytest.mark.parametrize("order", [1, -1])
def test_a_route_moves_between_resources_in_one_revision(order: int) -> None:
    first = built(PolicySet(resources=(resource("a", "/x", "/y"), resource("b", "/z"))))
    moved = [resource("a", "/y"), resource("b", "/z", "/x")][::order]
    second = changed(first, *moved)
    assert second.digest() == built(PolicySet(resources=tuple(moved))).digest()


def test_a_route_that_another_resource_still_has_is_refused() -> None:
    first = built(PolicySet(resources=(resource("a", "/x"),)))
    problems = derive(first, 2, [resource("b", "/y", "/x")])
    assert isinstance(problems, list)
    assert [str(problem) for problem in problems] == [
        "/routes/1: GET /x on every host of resource 'b' is already /x of resource 'a'"
    ]


def test_a_rule_cannot_take_the_id_of_a_policy_unless_the_policy_goes() -> None:
    first = built(PolicySet(attribute_policies=(policy("same"),)))
    problems = derive(first, 2, [rule("same")])
    assert isinstance(problems, list)
    assert [problem.pointer for problem in problems] == ["/id"]
    assert roles_say(changed(first, rule("same"), Removal(AttributePolicy, "same")), "reader") == "allow same"


def test_a_link_that_closes_a_cycle_is_refused_and_one_that_replaces_it_is_not() -> None:
    first = built(PolicySet(role_bindings=(inherits("f", "a", "b"), inherits("g", "b", "c"))))
    problems = derive(first, 2, [inherits("h", "c", "a", dom="d1")])
    assert isinstance(problems, list)
    assert [str(problem) for problem in problems] == [
        "/role: in domain 'd1' the roles inherit in a cycle: a -> b -> c -> a"
    ]
    assert isinstance(derive(first, 2, [inherits("f", "a", "x"), inherits("h", "c", "a")]), Snapshot)


def test_removing_what_is_not_there_changes_nothing() -> None:
    first = built(PolicySet(role_rules=(rule("r"),)))
    kinds = (RoleRule, RoleBinding, AttributePolicy, Resource)
    second = changed(first, *(Removal(kind, "nobody") for kind in kinds))
    assert second.digest() == first.digest()
    assert second.revision == 2


def test_one_change_among_many_shares_the_rest() -> None:
    first = built(
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
    assert built(PolicySet(role_rules=rules)).digest() == built(PolicySet(role_rules=rules[::-1])).digest()
    assert built(PolicySet(role_rules=rules)).digest() != built(PolicySet(role_rules=rules[1:])).digest()


# ---- what is remembered


def test_the_remembered_rules_of_a_principal_end_with_its_bindings() -> None:
    bound = RoleBinding("g", "alice", SubjectKind.USER, "reader", "*", expires_at=100.0)
    snapshot = built(PolicySet(role_bindings=(bound,)))

    def roles(now: float) -> tuple[str, ...]:
        return snapshot.subjects(alice(), now).roles

    assert [roles(now) for now in (99.0, 99.9, 100.0, 101.0)] == [("reader",), ("reader",), (), ()]
    # A clock that steps back finds the binding again, as a deny on the role must.
    assert roles(99.0) == ("reader",)


def test_remembered_rules_are_never_those_of_another_principal() -> None:
    bound = RoleBinding("g", "alice", SubjectKind.USER, "reader", "d1")
    snapshot = built(PolicySet(role_bindings=(bound,)))

    def roles(kind: PrincipalKind, domain: str | None, *own: str) -> tuple[str, ...]:
        principal = Principal(kind, "alice", "default", domain, own, Authentication.JWT)
        return snapshot.subjects(principal, 0).roles

    assert roles(PrincipalKind.USER, "d1") == ("reader",)
    assert roles(PrincipalKind.SERVICE, "d1") == ()
    assert roles(PrincipalKind.USER, None) == ()
    assert roles(PrincipalKind.USER, "d2") == ()
    assert roles(PrincipalKind.USER, "d1", "x") == ("reader", "x")


def test_long_paths_are_not_kept_in_memory() -> None:
    snapshot = empty("default", MODEL)
    for number in range(300):
        snapshot.candidates(f"/{number}" + "x" * 8_000, "get", None)
    assert len(snapshot._candidates) == 0


def test_a_derived_snapshot_remembers_nothing_of_its_predecessor() -> None:
    first = built(PolicySet(role_rules=(rule("r"),), attribute_policies=(policy("p"),)))
    assert (roles_say(first, "reader"), matching(first)) == ("allow r", ["p"])
    second = changed(first, Removal(AttributePolicy, "p"), Removal(RoleRule, "r"))
    assert (roles_say(second, "reader"), matching(second)) == (None, [])


def test_candidates_come_with_the_highest_priority_first_and_the_lowest_id_among_equals() -> None:
    names = [("b", 0), ("a", 0), ("z", 5), ("y", -5)]
    policies = tuple(policy(name, priority=level) for name, level in names)
    assert matching(built(PolicySet(attribute_policies=policies))) == ["z", "a", "b", "y"]


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
    first = built(PolicySet(attribute_policies=(guarded,)))
    second = changed(first, rule("r"))
    (ours,) = second.candidates("doc", "read", None).enforced[0].all
    (same,) = first.candidates("doc", "write", None).enforced[0].all
    assert ours is same
    assert ours.attributes == ("user.id",)
