"""What an explanation lists where there are more candidates than fit."""

from extauthz.compile.snapshot import Snapshot
from extauthz.decide.explanation import MOST_RULES, explain
from extauthz.domain.policy import (
    AuthenticationRequirement,
    PolicySet,
    RoleBinding,
    RoleRule,
    SubjectKind,
)
from extauthz.domain.principal import Authentication, Principal, PrincipalKind
from extauthz.domain.reasons import Effect
from extauthz.domain.verdict import Target
from tests.compiled_policies import compiled

ALICE = Principal(PrincipalKind.USER, "alice", "default", None, ("staff",), Authentication.JWT)
TARGET = Target("default", "doc", "read", "web", {}, AuthenticationRequirement.REQUIRED)
MANY = MOST_RULES + 50


def rule(
    name: str, sub: str, kind: SubjectKind = SubjectKind.USER, effect: Effect = Effect.ALLOW
) -> RoleRule:
    return RoleRule(name, sub, kind, "*", "doc", "read", effect)


def with_rules(*rules: RoleRule, bindings: tuple[RoleBinding, ...] = ()) -> Snapshot:
    return compiled(PolicySet(role_rules=rules, role_bindings=bindings))


def others(effect: Effect = Effect.ALLOW) -> list[RoleRule]:
    return [rule(f"{effect.value}-{number:04}", f"user-{number}", effect=effect) for number in range(MANY)]


def test_the_rules_that_matched_are_listed_whatever_their_ids() -> None:
    snapshot = with_rules(*others(), rule("zz", "alice"))
    found = explain(snapshot, ALICE, TARGET, None, None, 0.0)
    assert [each.rule.id for each in found.rules[:2]] == ["zz", "allow-0000"]
    assert (len(found.rules), found.rules_left_out) == (MOST_RULES, MANY + 1 - MOST_RULES)
    assert found.near_miss is None


def test_an_allow_is_the_near_miss_however_many_denies_there_are() -> None:
    snapshot = with_rules(*others(Effect.DENY), rule("zz", "director", SubjectKind.ROLE), rule("za", "bob"))
    found = explain(snapshot, ALICE, TARGET, None, None, 0.0)
    assert found.near_miss is not None
    assert (found.near_miss.rule.id, found.near_miss.missing) == ("zz", 1)


def test_a_binding_that_has_expired_is_named_and_gives_no_role() -> None:
    bound = RoleBinding("b", "alice", SubjectKind.USER, "director", "*", expires_at=10.0)
    snapshot = with_rules(rule("r", "director", SubjectKind.ROLE), bindings=(bound,))
    before = explain(snapshot, ALICE, TARGET, None, None, 9.0)
    assert [origin.role for origin in before.roles] == ["director", "staff"]
    after = explain(snapshot, ALICE, TARGET, None, None, 10.0)
    assert [origin.role for origin in after.roles] == ["staff"]
    assert after.expired == (bound,)
