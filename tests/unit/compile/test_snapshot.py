"""Snapshots: rules remembered between requests, the order of candidates, a tenant without policies."""

from extauthz.compile.snapshot import empty
from extauthz.domain.policy import PolicySet, RoleBinding, SubjectKind
from extauthz.domain.principal import Authentication, Principal, PrincipalKind
from tests.compiled_policies import alice, compiled, matching, policy, roles_say
from tests.shipped_model import MODEL


def test_a_tenant_that_wrote_nothing_allows_nothing() -> None:
    snapshot = empty("acme", MODEL)
    assert roles_say(snapshot, "reader", "admin") is None
    assert matching(snapshot) == []


def test_the_remembered_rules_of_a_principal_end_with_its_bindings() -> None:
    bound = RoleBinding("g", "alice", SubjectKind.USER, "reader", "*", expires_at=100.0)
    snapshot = compiled(PolicySet(role_bindings=(bound,)))

    def roles(now: float) -> tuple[str, ...]:
        return snapshot.subjects(alice(), now).roles

    assert [roles(now) for now in (99.0, 99.9, 100.0, 101.0)] == [("reader",), ("reader",), (), ()]
    # A clock that steps back finds the binding again, as a deny on the role must.
    assert roles(99.0) == ("reader",)


def test_remembered_rules_are_never_those_of_another_principal() -> None:
    bound = RoleBinding("g", "alice", SubjectKind.USER, "reader", "d1")
    snapshot = compiled(PolicySet(role_bindings=(bound,)))

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


def test_candidates_come_with_the_highest_priority_first_and_the_lowest_id_among_equals() -> None:
    names = [("b", 0), ("a", 0), ("z", 5), ("y", -5)]
    policies = tuple(policy(name, priority=level) for name, level in names)
    assert matching(compiled(PolicySet(attribute_policies=policies))) == ["z", "a", "b", "y"]
