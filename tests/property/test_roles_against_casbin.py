"""The role index answers what pycasbin answers, used exactly as the policy language defines the oracle.

Enforced once per request for the subject, on a fresh enforcer with the shipped model, the `*` domain matcher
registered and one temporary `g` line per token role in the request's domain; kinds are prefixes.
"""

import os
import random
from collections import Counter
from typing import Any, Final

import casbin
import pytest

from extauthz.compile.roles.role_index import BindingIndex, RoleIndex
from extauthz.domain.policy import RoleBinding, RoleRule, SubjectKind
from extauthz.domain.principal import ANONYMOUS, Authentication, Principal, PrincipalKind
from extauthz.domain.reasons import Effect
from extauthz.shipped import shipped
from tests.shipped_model import MODEL

VERIFY = os.environ.get("EXTAUTHZ_VERIFY") == "1"
SETS = 20_000 if VERIFY else 400
SHARDS = 4
REQUESTS = 6

MODEL_TEXT = shipped("policies/model.conf").read_text("utf-8")
NOW: Final = 1_000.0
# Nine roles make a chain of eight links. People, services and roles share names.
CHAIN: Final = [f"r{number}" for number in range(9)]
ROLES: Final = [*CHAIN, "alice", "user:alice", "role:r1", "anonymous"]
PEOPLE: Final = ["alice", "bob", "r1", "role:r1", "user:alice", "anonymous"]
SERVICES: Final = ["alice", "builder", "r2"]
DOMAINS: Final = ["d1", "d2"]
WORKLOADS: Final = ["alice", "spiffe://td", "spiffe://td/a", "spiffe://td/a/b", "spiffe://tdx/a"]
WRITTEN_WORKLOADS: Final = [*WORKLOADS, "spiffe://td/**", "spiffe://td/a/**"]
OBJECTS: Final = ["doc", "file"]
ACTIONS: Final = ["read", "write"]
MEMBERS: Final = {
    SubjectKind.USER: PEOPLE, SubjectKind.SERVICE: SERVICES, SubjectKind.WORKLOAD: WRITTEN_WORKLOADS
}  # fmt: skip


def drawn_rule(rng: random.Random, number: int) -> RoleRule:
    effect = rng.choice([Effect.ALLOW, Effect.ALLOW, Effect.DENY])
    sub = rng.choice(["*", "*", *ROLES, *PEOPLE, *SERVICES])
    kinds = [SubjectKind.ROLE, SubjectKind.ROLE, SubjectKind.USER, SubjectKind.SERVICE]
    if rng.random() < 0.2:
        sub, kinds = rng.choice(WRITTEN_WORKLOADS), [SubjectKind.WORKLOAD]
    if effect is Effect.DENY:
        kinds.append(SubjectKind.ANY)
    return RoleRule(
        id=f"{rng.choice('abc')}{number}",
        sub=sub,
        sub_kind=SubjectKind.ANY if sub == "*" else rng.choice(kinds),
        dom=rng.choice(["*", "*", *DOMAINS]),
        obj=rng.choice(["*", *OBJECTS]),
        act=rng.choice(["*", *ACTIONS]),
        effect=effect,
    )


def drawn_binding(rng: random.Random, number: int) -> RoleBinding:
    kinds = [SubjectKind.USER, SubjectKind.SERVICE, SubjectKind.WORKLOAD, SubjectKind.ROLE, SubjectKind.ROLE]
    kind = rng.choice(kinds)
    if kind is SubjectKind.ROLE:
        # A role inherits from one that comes later, so there is no cycle and never a ninth link.
        lower = rng.randrange(len(CHAIN) - 1)
        user, role = CHAIN[lower], CHAIN[min(lower + rng.randint(1, 2), 8)]
    else:
        user, role = rng.choice(MEMBERS[kind]), rng.choice(ROLES)
    return RoleBinding(
        id=f"g{number}",
        user=user,
        user_kind=kind,
        role=role,
        dom=rng.choice(["*", *DOMAINS]),
        expires_at=rng.choice([None, None, None, NOW - 1, NOW, NOW + 1]),
    )


def whole_chain(rng: random.Random) -> list[RoleBinding]:
    """Return eight links from r0 to r8, each in every domain or in one of them."""
    return [
        RoleBinding(f"c{lower}", CHAIN[lower], SubjectKind.ROLE, CHAIN[lower + 1], rng.choice(["*", "d1"]))
        for lower in range(8)
    ]


def drawn_principal(rng: random.Random) -> Principal:
    drawn = rng.random()
    if drawn < 0.12:
        return ANONYMOUS
    if drawn < 0.2:
        return Principal(PrincipalKind.WORKLOAD, rng.choice(WORKLOADS), None, None, (), Authentication.MTLS)
    kind, names = (PrincipalKind.USER, PEOPLE) if rng.random() < 0.7 else (PrincipalKind.SERVICE, SERVICES)
    roles = tuple(sorted(rng.sample(ROLES, rng.choice([0, 1, 1, 2, 3]))))
    domain = rng.choice([None, "d1", "d1", "d2"])
    return Principal(kind, rng.choice(names), "default", domain, roles, Authentication.JWT)


# ---- the oracle


def enforced(
    rules: list[RoleRule], bindings: list[RoleBinding], principal: Principal, obj: str, act: str
) -> bool:
    model = casbin.Model()
    model.load_model_from_text(MODEL_TEXT)
    enforcer = casbin.Enforcer(model)
    enforcer.add_named_domain_matching_func("g", lambda domain, line: line in ("*", domain))
    for rule in rules:
        for subject in prefixed(rule):
            enforcer.add_policy(subject, rule.dom, rule.obj, rule.act, rule.effect.value)
    for binding in bindings:
        if binding.expires_at is None or binding.expires_at > NOW:
            enforcer.add_grouping_policy(
                f"{binding.user_kind}:{binding.user}", f"role:{binding.role}", binding.dom
            )
    anonymous = principal.kind is PrincipalKind.ANONYMOUS
    subject = "anonymous" if anonymous else f"{principal.kind}:{principal.id}"
    domain = principal.domain or ""
    for role in principal.roles:
        enforcer.add_grouping_policy(subject, f"role:{role}", domain)
    if principal.kind is PrincipalKind.WORKLOAD:
        # One line for each prefix, and one for each role that is bound to it.
        for prefix in prefixes(str(principal.id)):
            enforcer.add_grouping_policy(subject, f"workload:{prefix}", domain)
            for binding in bindings:
                in_force = binding.expires_at is None or binding.expires_at > NOW
                if in_force and (binding.user_kind, binding.user) == (SubjectKind.WORKLOAD, prefix):
                    enforcer.add_grouping_policy(subject, f"role:{binding.role}", binding.dom)
    return bool(enforcer.enforce(subject, domain, obj, act))


def prefixes(workload: str) -> list[str]:
    if not workload.startswith("spiffe://"):
        return []
    domain, *segments = workload.removeprefix("spiffe://").split("/")
    return ["/".join([f"spiffe://{domain}", *segments[:n], "**"]) for n in range(len(segments) + 1)]


def prefixed(rule: RoleRule) -> list[str]:
    if rule.sub == "*":
        return ["*"]
    every = ["role", "user", "service", "workload"]
    kinds = every if rule.sub_kind is SubjectKind.ANY else [rule.sub_kind.value]
    return [f"{kind}:{rule.sub}" for kind in kinds]


# ---- the implementation


class Index:
    """Rules and bindings put in one by one, some of them taken out again."""

    def __init__(self, rng: random.Random, rules: list[RoleRule], bindings: list[RoleBinding]) -> None:
        extra = [drawn_rule(rng, 100 + number) for number in range(3)]
        roles = RoleIndex.of([*rules[::2], *extra], MODEL)
        for rule in rules[1::2]:
            roles = roles.with_rule(rule)
        for rule in extra:
            roles = roles.without_rule(rule)
        self.roles = roles
        self.bindings = BindingIndex()
        for binding in bindings:
            self.bindings = self.bindings.with_binding(binding)

    def decide(self, principal: Principal, obj: str, act: str) -> Any:
        return self.roles.decide(
            self.bindings.subjects(principal, NOW).names,
            authenticated=principal.kind is not PrincipalKind.ANONYMOUS,
            dom=principal.domain,
            obj=obj,
            act=act,
        )


def drawn(rng: random.Random) -> tuple[list[RoleRule], list[RoleBinding]]:
    rules = [drawn_rule(rng, number) for number in range(rng.choice([0, 2, 6, 14]))]
    bindings = [drawn_binding(rng, number) for number in range(rng.choice([0, 3, 9]))]
    if rng.random() < 0.4:
        bindings += whole_chain(rng)
    return rules, bindings


@pytest.mark.timeout(3600 if VERIFY else 300)
@pytest.mark.parametrize("shard", range(SHARDS))
def test_the_index_allows_what_casbin_allows(shard: int) -> None:
    for seed in range(shard, SETS, SHARDS):
        rng = random.Random(seed)
        rules, bindings = drawn(rng)
        index = Index(rng, rules, bindings)
        for _ in range(REQUESTS):
            principal, obj, act = drawn_principal(rng), rng.choice(OBJECTS), rng.choice(ACTIONS)
            outcome = index.decide(principal, obj, act)
            allowed = outcome is not None and outcome.effect is Effect.ALLOW
            asked = f"seed {seed}: {principal} {obj} {act}"
            assert allowed is enforced(rules, bindings, principal, obj, act), asked
            if outcome is not None:
                assert any(rule.id == outcome.rule_id and rule.effect is outcome.effect for rule in rules)


def test_the_comparison_covers_every_outcome_for_every_kind_of_subject() -> None:
    met: Counter[str] = Counter()
    for seed in range(800):
        rng = random.Random(seed)
        index = Index(rng, *drawn(rng))
        for _ in range(REQUESTS):
            principal = drawn_principal(rng)
            outcome = index.decide(principal, rng.choice(OBJECTS), rng.choice(ACTIONS))
            met[f"{principal.kind} {outcome.effect if outcome else 'nothing'}"] += 1
    assert set(met) == {
        f"{kind} {outcome}" for kind in PrincipalKind for outcome in ("allow", "deny", "nothing")
    }
    assert min(met.values()) >= 5


@pytest.mark.parametrize("effect", list(Effect))
def test_the_eighth_link_still_counts(effect: Effect) -> None:
    rng = random.Random(1)
    rules = [
        RoleRule("top", "r8", SubjectKind.ROLE, "*", "doc", "read", effect),
        RoleRule("all", "*", SubjectKind.ANY, "*", "doc", "read", Effect.ALLOW),
    ]
    bindings = [*whole_chain(rng), RoleBinding("own", "bob", SubjectKind.USER, "r0", "d1")]
    bob = Principal(PrincipalKind.USER, "bob", "default", "d1", (), Authentication.JWT)
    by_token = Principal(PrincipalKind.USER, "eve", "default", "d1", ("r0",), Authentication.JWT)
    for principal in (bob, by_token):
        outcome = Index(rng, rules, bindings).decide(principal, "doc", "read")
        assert outcome.effect is effect
        assert enforced(rules, bindings, principal, "doc", "read") is (effect is Effect.ALLOW)
