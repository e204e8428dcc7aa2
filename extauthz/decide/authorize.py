"""The decision: attribute policies and role rules applied to one request.

docs/reference/policy-language.md#decision has the definition.

The rules, in the order in which the code states them:

1. an allow matches when true; a deny matches when true or unknown;
2. role rules give one outcome, at priority 0; of those that mean the workload that a request of another
   principal comes from, only denies count;
3. the highest priority at which something matched decides; there deny beats unknown deny beats allow;
4. among those that decide, attribute policies come before role rules, then the lowest id;
5. nothing matched is deny; a shadow policy never decides.
"""

from collections.abc import Mapping
from typing import Final

from extauthz.compile.conditions.compiled_policy import Matched
from extauthz.compile.conditions.condition_input import ConditionInput
from extauthz.compile.policy_index import Candidates, PolicyGroup
from extauthz.compile.roles.role_index import RoleOutcome
from extauthz.compile.snapshot import Snapshot
from extauthz.domain.policy import MIN_PRIORITY
from extauthz.domain.principal import Principal
from extauthz.domain.reasons import Effect, Reason
from extauthz.domain.request import RequestFacts
from extauthz.domain.verdict import Denial, Grant, Rule, RuleKind, ShadowOutcome, Target

_NO_ATTRIBUTES: Final[Mapping[str, object]] = {}
_ROLE_PRIORITY: Final = 0

Decision = Grant | Denial
_NOTHING_MATCHED: Final = Denial(Reason.NO_MATCHING_RULE)


def decide(
    snapshot: Snapshot,
    principal: Principal,
    target: Target,
    request: RequestFacts | None,
    method: str | None,
    now: float,
) -> tuple[Decision, tuple[str, ...]]:
    """Return the decision, and the roles that the principal had in it.

    `request` is None for a question about a subject, which no request stands behind; `now` is POSIX
    seconds and the only clock that conditions see.
    """
    rules = snapshot.applicable_rules(principal, target.resource, target.action, target.denied_as, now)
    if rules.ask_peer and request is not None and request.source_principal is not None:
        rules = snapshot.through_peer(rules, principal, request.source_principal, target, now)
    candidates, roles = rules.candidates, rules.subjects.roles
    if not candidates.enforced and not candidates.shadow:
        return _of_roles(rules.roles), roles
    facts = ConditionInput(principal, roles, target, request, method, now)
    return _of_candidates(candidates, facts, rules.roles), roles


def decide_by_roles(
    snapshot: Snapshot, principal: Principal, target: Target, now: float
) -> tuple[Decision, tuple[str, ...]]:
    """Return what role rules alone decide, and the roles that the principal had in it."""
    subjects, _, roles, _ = snapshot.applicable_rules(
        principal, target.resource, target.action, target.denied_as, now
    )
    return _of_roles(roles), subjects.roles


def _of_candidates(candidates: Candidates, facts: ConditionInput, roles: RoleOutcome | None) -> Decision:
    matches: list[Matched] = []
    decided_at = MIN_PRIORITY if roles is None else _ROLE_PRIORITY
    for group in candidates.enforced:
        if group.top < decided_at:
            break
        for policies in group.that_may_match(facts):
            for policy in policies:
                if policy.priority < decided_at:
                    break
                matched = policy.outcome(facts)
                if matched is not None:
                    matches.append(matched)
                    decided_at = policy.priority
    shadow = _shadows(candidates.shadow, facts, matches, roles) if candidates.shadow else ()
    used = _used(candidates, facts)
    decision = strongest(matches, roles)
    if isinstance(decision, Grant):
        return Grant(decision.rule, shadow, used)
    return Denial(decision.reason, decision.rule, shadow, used)


def strongest(matches: list[Matched], roles: RoleOutcome | None) -> Decision:
    """Decide among what matched; only the highest priority counts."""
    if not matches:
        return _of_roles(roles)
    top = max(matched.policy.priority for matched in matches)
    if roles is not None and top < _ROLE_PRIORITY:
        return _of_roles(roles)
    here = [matched for matched in matches if matched.policy.priority == top]
    role = roles if top == _ROLE_PRIORITY else None
    for deny_is_unknown in (False, True):
        denies = [
            matched.policy.id
            for matched in here
            if matched.policy.effect is Effect.DENY and matched.unknown is deny_is_unknown
        ]
        if denies:
            reason = Reason.CONDITION_UNKNOWN if deny_is_unknown else Reason.RULE_MATCHED
            return Denial(reason, Rule(min(denies), RuleKind.ATTRIBUTE))
        if role is not None and role.effect is Effect.DENY:
            return _of_roles(role)
    # INVARIANT: no deny is left here, and `here` is not empty, so an allow was granted by a named rule.
    return Grant(Rule(min(matched.policy.id for matched in here), RuleKind.ATTRIBUTE))


def _of_roles(roles: RoleOutcome | None) -> Decision:
    return _NOTHING_MATCHED if roles is None else roles.decision


def _shadows(
    shadow: tuple[PolicyGroup, ...],
    facts: ConditionInput,
    matches: list[Matched],
    roles: RoleOutcome | None,
) -> tuple[ShadowOutcome, ...]:
    """Return what the decision would be with each shadow policy enforced, one at a time, by id."""
    without = _effect(strongest(matches, roles))
    would = {policy.id: without for group in shadow for policy in group.all}
    for group in shadow:
        for policies in group.that_may_match(facts):
            for policy in policies:
                matched = policy.outcome(facts)
                if matched is not None:
                    would[policy.id] = _effect(strongest([*matches, matched], roles))
    return tuple(ShadowOutcome(rule_id, would[rule_id]) for rule_id in sorted(would))


def _effect(decision: Decision) -> Effect:
    return Effect.ALLOW if isinstance(decision, Grant) else Effect.DENY


def _used(candidates: Candidates, facts: ConditionInput) -> Mapping[str, object]:
    """Name the attributes that conditions read; only resource attributes and the action with their value."""
    if not candidates.shown:
        return candidates.attributes
    target = facts.target
    used: dict[str, object] = {**candidates.attributes}
    for name, read in candidates.shown:
        used[name] = read(target)
    return used
