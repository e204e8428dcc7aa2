"""Says in words why policies gave an answer, for the examples of a replay."""

from collections.abc import Callable

from extauthz.compile.snapshot import Snapshot
from extauthz.domain.policy import WILDCARD, AttributePolicy, RoleRule, SubjectKind
from extauthz.domain.reasons import Effect, Reason
from extauthz.domain.verdict import RuleKind
from extauthz.recording.rejudge import Outcome

Sees = Callable[[str], bool]
"""Whether the reader may see what rules of a domain say."""


def because(outcome: Outcome, policies: Snapshot, sees: Sees = lambda _domain: True) -> str:
    """Return one sentence: the rule that decided and what it says, or why none did."""
    rule = outcome.rule
    if rule is None:
        target = outcome.target
        if outcome.reason is Reason.NO_MATCHING_RULE and target is not None:
            return f"no rule allows the action {target.action!r} on {target.resource!r}"
        return outcome.reason.text
    if rule.kind is RuleKind.ROLE:
        role_rule = policies.role_rules_by_id.get(rule.id)
        if role_rule is None or not sees(role_rule.dom):
            return f"role rule {rule.id}"
        return _role_rule(role_rule)
    policy = policies.policies_by_id.get(rule.id)
    if policy is None or not sees(policy.domain):
        return f"attribute policy {rule.id}"
    unknown = outcome.reason is Reason.CONDITION_UNKNOWN
    return _attribute_policy(policy, outcome.effect, unknown=unknown)


def _role_rule(rule: RoleRule) -> str:
    if rule.sub == WILDCARD:
        subject = "everyone" if rule.effect is Effect.DENY else "every authenticated caller"
    else:
        kind = "" if rule.sub_kind is SubjectKind.ANY else f"{rule.sub_kind.value} "
        subject = f"{kind}{rule.sub!r}"
    return f"role rule {rule.id} {_does(rule.effect)} {subject} {_what(rule.act, rule.obj, rule.dom)}"


def _attribute_policy(policy: AttributePolicy, effect: Effect, *, unknown: bool) -> str:
    action = WILDCARD if WILDCARD in policy.actions else ", ".join(policy.actions)
    what = f"{_does(effect)} {_what(action, policy.resource, policy.domain)}"
    verdict = (
        "its conditions cannot be evaluated, and a deny then counts" if unknown else "its conditions hold"
    )
    return f"attribute policy {policy.id} (priority {policy.priority}) {what}: {verdict}"


def _does(effect: Effect) -> str:
    return "allows" if effect is Effect.ALLOW else "denies"


def _what(action: str, resource: str, domain: str) -> str:
    actions = "every action" if action == WILDCARD else f"{action!r}"
    on = "every resource" if resource == WILDCARD else f"{resource!r}"
    where = "" if domain == WILDCARD else f" in the domain {domain!r}"
    return f"{actions} on {on}{where}"
