"""The `casbin` check of the health endpoint: requests whose outcome is known, decided on real role rules."""

from collections.abc import Iterable

import pytest

from extauthz.compile.roles.role_index import RoleIndex, RoleOutcome
from extauthz.compile.roles.role_model import RoleModel
from extauthz.domain.policy import RoleRule, SubjectKind
from extauthz.domain.reasons import Effect
from extauthz.runtime.readiness import decides_as_known

KINDS = {"*": SubjectKind.ANY}


def rule(
    sub: str, effect: Effect, *, obj: str = "invoice:read", dom: str = "*", act: str = "read"
) -> RoleRule:
    kind = KINDS.get(sub, SubjectKind.ROLE if effect is Effect.ALLOW else SubjectKind.ANY)
    return RoleRule(
        id=f"{sub}-{effect}-{obj}", sub=sub, sub_kind=kind, dom=dom, obj=obj, act=act, effect=effect
    )


def index(*rules: RoleRule) -> RoleIndex:
    return RoleIndex.of(rules, RoleModel())


@pytest.mark.parametrize(
    "rules",
    [
        [],
        [rule("finance", Effect.ALLOW)],
        [rule("finance", Effect.DENY)],
        [rule("finance", Effect.ALLOW), rule("finance", Effect.DENY)],
        [rule("finance", Effect.ALLOW, dom="acme", act="*"), rule("*", Effect.DENY, obj="*", act="*")],
        [rule("*", Effect.ALLOW, obj="*", act="*")],
    ],
    ids=["none", "allow", "deny", "both", "overruled", "everyone"],
)
def test_rules_that_decide_as_written_pass(rules: list[RoleRule]) -> None:
    assert decides_as_known(index(*rules))


def test_a_model_without_wildcards_passes() -> None:
    model = RoleModel(everyone=False, wild_domain=False, wild_object=False, wild_action=False)
    assert decides_as_known(RoleIndex.of([rule("*", Effect.ALLOW, obj="*", act="*")], model))


class Broken(RoleIndex):
    """An index that answers everything alike."""

    __slots__ = ()
    answer: RoleOutcome | None = None

    def decide(
        self, subjects: Iterable[str], *, authenticated: bool, dom: str | None, obj: str, act: str
    ) -> RoleOutcome | None:
        return self.answer


class AllowsAll(Broken):
    __slots__ = ()
    answer = RoleOutcome(Effect.ALLOW, "any")


@pytest.mark.parametrize("broken", [Broken, AllowsAll])
def test_rules_that_decide_otherwise_do_not(broken: type[Broken]) -> None:
    known = index(rule("finance", Effect.ALLOW))
    assert not decides_as_known(broken(known.model, known.cells))
