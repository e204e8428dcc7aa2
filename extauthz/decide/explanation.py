"""Explains a decision of the rules: every candidate, what it came out as, and the allow that nearly matched.

The verdict is reached a second time, from what is shown, and not copied from the engine: the property test
`tests/property/test_explanation.py` compares the two.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from heapq import nsmallest
from itertools import chain
from typing import Final, Literal

from extauthz.compile.conditions.compiled_policy import CompiledPolicy, Matched
from extauthz.compile.conditions.condition_input import ConditionInput
from extauthz.compile.policy_index import Candidates
from extauthz.compile.roles.role_index import Cell, RoleOutcome
from extauthz.compile.snapshot import Snapshot
from extauthz.decide.authorize import Decision, strongest
from extauthz.decide.explained_conditions import (
    ConditionOutcome,
    ExplainedCondition,
    IsRecorded,
    explain_condition,
    failed,
)
from extauthz.decide.explained_roles import RoleOrigin, role_origins
from extauthz.domain.policy import WILDCARD, AttributePolicy, RoleBinding, RoleRule, SubjectKind
from extauthz.domain.principal import Principal, PrincipalKind
from extauthz.domain.reasons import Effect, Reason
from extauthz.domain.request import RequestFacts
from extauthz.domain.verdict import Denial, Grant, RuleKind, Target

MOST_POLICIES: Final = 500
MOST_RULES: Final = 200
"""The most candidates of each list that are shown: those that matched come first."""
_ROLE_PRIORITY: Final = 0
_SIDES: Final[tuple[Literal["allow", "deny"], ...]] = ("allow", "deny")


@dataclass(frozen=True, slots=True)
class PolicyCandidate:
    """An attribute policy that could have matched: an allow does when true, a deny also when unknown."""

    policy: AttributePolicy
    shadow: bool
    tree: ExplainedCondition

    @property
    def matched(self) -> bool:
        """Whether it matched, as far as what was recorded tells."""
        if self.tree.outcome is ConditionOutcome.TRUE:
            return True
        return self.policy.effect is Effect.DENY and self.tree.outcome is ConditionOutcome.UNKNOWN


@dataclass(frozen=True, slots=True)
class RoleRuleCandidate:
    """A role rule on the resource, action and domain. `matched_by` is the subject that it means, if any."""

    rule: RoleRule
    matched_by: str | None


@dataclass(frozen=True, slots=True)
class NearMiss:
    """The allow that failed by the fewest conditions.

    `failed` are the comparisons of an attribute policy that came out otherwise. What fails of a role rule is
    its subject: `other_subject`. `overridden_by` is a deny that would have decided all the same.
    """

    rule: AttributePolicy | RoleRule
    failed: tuple[ExplainedCondition, ...] = ()
    other_subject: bool = False
    overridden_by: str | None = None

    @property
    def missing(self) -> int:
        """How many conditions failed."""
        return len(self.failed) + self.other_subject


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why the rules decide as they do.

    `certain` is false where a value that was not recorded could change the decision. The counts say how many
    candidates are not listed.
    """

    decision: Decision
    certain: bool
    roles: tuple[RoleOrigin, ...]
    expired: tuple[RoleBinding, ...]
    policies: tuple[PolicyCandidate, ...]
    policies_left_out: int
    rules: tuple[RoleRuleCandidate, ...]
    rules_left_out: int
    near_miss: NearMiss | None


def explain(
    snapshot: Snapshot,
    principal: Principal,
    target: Target,
    request: RequestFacts | None,
    method: str | None,
    now: float,
    *,
    is_recorded: IsRecorded = lambda _attribute: True,
) -> Explanation:
    """Explain what `authorize.decide` says for the same arguments.

    `is_recorded` tells which attributes of the request are known; by default all are.
    """
    subjects = snapshot.subjects(principal, now)
    candidates = snapshot.candidates(target.resource, target.action, principal.domain, target.denied_as)
    peer = None if request is None else request.source_principal
    others: tuple[str, ...] = ()
    if peer is not None and principal.kind is not PrincipalKind.WORKLOAD:
        others = snapshot.bindings.peer_subjects(peer, principal.domain, now).names
    by_rule = _matching(snapshot, candidates.roles, subjects.names, others, principal)
    roles = _outcome_of(snapshot.role_rules_by_id, by_rule)
    facts = ConditionInput(principal, subjects.roles, target, request, method, now)
    explained = {
        compiled.id: (compiled, _explained(snapshot, compiled, facts, is_recorded))
        for compiled in _policies(candidates)
    }
    matches = [
        Matched(compiled, unknown=each.tree.outcome is ConditionOutcome.UNKNOWN)
        for compiled, each in explained.values()
        if each.matched and not each.shadow
    ]
    decision = strongest(matches, roles)
    listed = sorted((each for _, each in explained.values()), key=_policy_order)
    rules = _listed_rules(snapshot, candidates.roles, by_rule)
    origins, expired = role_origins(snapshot.bindings, principal, now)
    return Explanation(
        decision,
        _is_certain(decision, listed),
        origins,
        expired,
        tuple(listed[:MOST_POLICIES]),
        max(0, len(listed) - MOST_POLICIES),
        rules[:MOST_RULES],
        max(0, _count(candidates.roles) - len(rules[:MOST_RULES])),
        None if isinstance(decision, Grant) else _near_miss(decision, listed, rules),
    )


def _explained(
    snapshot: Snapshot, compiled: CompiledPolicy, facts: ConditionInput, is_recorded: IsRecorded
) -> PolicyCandidate:
    policy = snapshot.policies_by_id[compiled.id]
    tree = explain_condition(policy.condition, policy.effect, facts, is_recorded)
    return PolicyCandidate(policy, compiled.shadow, tree)


def _policies(candidates: Candidates) -> Iterator[CompiledPolicy]:
    for group in (*candidates.enforced, *candidates.shadow):
        yield from group.all


def _policy_order(candidate: PolicyCandidate) -> tuple[bool, bool, int, str]:
    return not candidate.matched, candidate.shadow, -candidate.policy.priority, candidate.policy.id


def _matching(
    snapshot: Snapshot,
    cells: tuple[Cell, ...],
    subjects: tuple[str, ...],
    peers: tuple[str, ...],
    principal: Principal,
) -> dict[str, str]:
    """Return the ids of the role rules that mean the principal, or deny its peer, with the subject named."""
    everyone = (WILDCARD,) if snapshot.roles.model.everyone else ()
    authenticated = principal.kind is not PrincipalKind.ANONYMOUS
    found: dict[str, str] = {}
    for cell in cells:
        for side, names in (
            (cell.deny, (*subjects, *everyone, *peers)),
            (cell.allow, (*subjects, *(everyone if authenticated else ()))),
        ):
            for name in names:
                for rule_id in side.get(name, ()):
                    found.setdefault(rule_id, name)
    return found


def _outcome_of(rules: Mapping[str, RoleRule], matching: Mapping[str, str]) -> RoleOutcome | None:
    for effect in (Effect.DENY, Effect.ALLOW):
        ids = [rule_id for rule_id in matching if rules[rule_id].effect is effect]
        if ids:
            return RoleOutcome(effect, min(ids))
    return None


def _listed_rules(
    snapshot: Snapshot, cells: tuple[Cell, ...], matching: Mapping[str, str]
) -> tuple[RoleRuleCandidate, ...]:
    """Return the role rules that matched, and after them other allows and denies, by id: the lowest ones."""
    rules = snapshot.role_rules_by_id
    unmatched: list[str] = []
    for side in _SIDES:
        # A deny may be under several subjects. Of a million rules in a cell each is only looked at.
        lowest = dict.fromkeys(nsmallest(len(matching) + 4 * MOST_RULES, _ids(cells, side)))
        unmatched += [rule_id for rule_id in lowest if rule_id not in matching][:MOST_RULES]
    return tuple(
        RoleRuleCandidate(rules[rule_id], matching.get(rule_id))
        for rule_id in (*sorted(matching), *unmatched)
    )


def _ids(cells: tuple[Cell, ...], side: Literal["allow", "deny"]) -> Iterator[str]:
    return chain.from_iterable(chain.from_iterable(getattr(cell, side).values() for cell in cells))


def _count(cells: tuple[Cell, ...]) -> int:
    allows = sum(sum(map(len, cell.allow.values())) for cell in cells)
    return allows + len(set(_ids(cells, "deny")))


def _is_certain(decision: Decision, policies: list[PolicyCandidate]) -> bool:
    """Whether no policy that a missing value concerns could take the decision."""
    decided_at = None if decision.rule is None else _priority(decision, policies)
    for each in policies:
        if each.shadow or each.tree.outcome is not ConditionOutcome.NOT_RECORDED:
            continue
        if decided_at is None or each.policy.priority > decided_at:
            return False
        # At the same priority a deny that is certain wins over every allow.
        if each.policy.priority == decided_at and not (
            each.policy.effect is Effect.ALLOW and isinstance(decision, Denial)
        ):
            return False
    return True


def _priority(decision: Decision, policies: list[PolicyCandidate]) -> int:
    if decision.rule is not None and decision.rule.kind is RuleKind.ATTRIBUTE:
        for each in policies:
            if each.policy.id == decision.rule.id:
                return each.policy.priority
    return _ROLE_PRIORITY


def _near_miss(
    decision: Denial, policies: list[PolicyCandidate], rules: tuple[RoleRuleCandidate, ...]
) -> NearMiss | None:
    """Return the allow that failed by the fewest conditions: of equals the policy with the highest priority.

    A deny that would have decided all the same counts as one more.
    """
    deny = None if decision.reason is Reason.NO_MATCHING_RULE or decision.rule is None else decision.rule.id
    decided_at = _priority(decision, policies)

    def overriding(priority: int) -> str | None:
        return deny if deny is not None and priority <= decided_at else None

    found: list[tuple[tuple[int, bool, int, str], NearMiss]] = []
    for each in policies:
        missing = None if each.shadow or each.policy.effect is Effect.DENY else failed(each.tree)
        if missing is not None:
            by = overriding(each.policy.priority)
            rank = (len(missing) + (by is not None), False, -each.policy.priority, each.policy.id)
            found.append((rank, NearMiss(each.policy, missing, overridden_by=by)))
    by = overriding(_ROLE_PRIORITY)
    nearest = _nearest_rule(rules)
    if nearest is not None:
        other = nearest.matched_by is None
        rank = (other + (by is not None), True, _ROLE_PRIORITY, nearest.rule.id)
        found.append((rank, NearMiss(nearest.rule, other_subject=other, overridden_by=by)))
    return min(found, key=lambda each: each[0])[1] if found else None


def _nearest_rule(rules: tuple[RoleRuleCandidate, ...]) -> RoleRuleCandidate | None:
    """Return the allow that matched, else the one for a role, else any other: of equals the lowest id."""
    allows = (each for each in rules if each.rule.effect is Effect.ALLOW)
    return min(
        allows,
        key=lambda each: (
            each.matched_by is None,
            each.rule.sub_kind is not SubjectKind.ROLE,
            each.rule.id,
        ),
        default=None,
    )
