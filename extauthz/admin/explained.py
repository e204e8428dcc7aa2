"""Explanations as the API shows them.

A domain admin does not see what rules and bindings of every domain say: of those the id, the effect, and
whether they matched. INVARIANT: nothing here reads a provider, a key or a credential.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from extauthz.admin.named_decisions import message_of
from extauthz.admin.past_view import View
from extauthz.compile.conditions.operators import OPERATORS
from extauthz.compile.conditions.readings import reading_of
from extauthz.compile.conditions.values import Missing
from extauthz.decide.explained_conditions import ConditionOutcome, ExplainedCondition
from extauthz.decide.explained_roles import RoleOrigin
from extauthz.decide.explanation import Explanation, NearMiss, PolicyCandidate, RoleRuleCandidate
from extauthz.domain.policy import (
    All,
    Always,
    AnyOf,
    AttributeName,
    AttributePolicy,
    Condition,
    Not,
    RoleBinding,
    RoleRule,
    UnreadableCondition,
)
from extauthz.domain.principal import Principal
from extauthz.domain.reasons import Effect, Reason
from extauthz.domain.time_text import rfc3339
from extauthz.domain.verdict import Denial, Grant, Rule, Target
from extauthz.rest.authorization import sees_decisions_of
from extauthz.rest.context import RequestContext
from extauthz.storage.rows import Document

MAX_TEXT = 1024
"""The most characters that are shown of a value."""

SeesDomain = Callable[[str], bool]


_REASONS: Final = {reason.value: reason for reason in Reason}
DECISION: Final = ("decision", "reason", "matched_rule_id")
"""The members of a decision, in answers as in lines of the decision log."""


def decision_json(effect: Effect, reason: Reason, rule: Rule | None) -> Document:
    """Return what was decided: the effect, the reason, and the rule that decided (None: no rule)."""
    return {
        "decision": effect.value,
        "reason": reason.value,
        "matched_rule_id": None if rule is None else rule.id,
    }


def decided_by(explanation: Explanation) -> Document:
    """Return what the rules of an explanation decide."""
    match explanation.decision:
        case Grant(rule):
            return decision_json(Effect.ALLOW, Reason.RULE_MATCHED, rule)
        case Denial(reason, rule):
            return decision_json(Effect.DENY, reason, rule)


def answer_of(
    ctx: RequestContext,
    view: View,
    decided: Document,
    principal: Principal | None,
    target: Target | None,
    explanation: Explanation | None,
    *,
    recorded: Document | None = None,
    agrees: bool | None = None,
    rules_asked: bool = False,
) -> Document:
    """Return the answer: what is decided on the policies of a view, and why.

    `recorded` is the decision of a line or a recorded request, `agrees` whether it is the same. There may be
    no explanation though `rules_asked`.
    """
    notes = list(view.notes)
    if explanation is None:
        if not rules_asked:
            notes.append("the decision was made before rules were asked: there are no candidates")
        details: Document = {
            "certain": True, "roles": [], "expired_bindings": [], "candidates": [], "candidates_left_out": 0,
            "near_miss": None,
        }  # fmt: skip
    else:
        details = _details(explanation, lambda domain: sees_decisions_of(ctx.caller, domain))
        if not explanation.certain:
            notes.append("a value that was not recorded could change the decision: see not_recorded")
    return {
        **decided,
        "message": message_of(Effect(str(decided["decision"])), _REASONS[str(decided["reason"])]),
        "recorded": recorded,
        "agrees": agrees,
        "time": rfc3339(_moment(view.now)),
        "policies": view.policies,
        "principal": None if principal is None else _principal(principal, explanation),
        "target": None if target is None else _target(target),
        **details,
        "notes": notes,
    }


def _principal(principal: Principal, explanation: Explanation | None) -> Document:
    return {
        "id": principal.id,
        "kind": principal.kind.value,
        "domain": principal.domain,
        "roles": [] if explanation is None else [origin.role for origin in explanation.roles],
    }


def _target(target: Target) -> Document:
    return {
        "resource": plain(target.resource),
        "action": plain(target.action),
        "parameters": {name: plain(value) for name, value in target.parameters.items()},
    }


def _details(explanation: Explanation, sees: SeesDomain) -> Document:
    return {
        "certain": explanation.certain,
        "roles": [_role(origin, sees) for origin in explanation.roles],
        "expired_bindings": [_binding(each) for each in explanation.expired if sees(each.dom)],
        "candidates": [
            *(_policy(each, sees) for each in explanation.policies),
            *(_rule(each, sees) for each in explanation.rules),
        ],
        "candidates_left_out": explanation.policies_left_out + explanation.rules_left_out,
        "near_miss": None if explanation.near_miss is None else _near_miss(explanation.near_miss, sees),
    }


def _role(origin: RoleOrigin, sees: SeesDomain) -> Document:
    return {
        "role": origin.role,
        "from_credential": origin.from_credential,
        "bindings": [
            _binding(each) if sees(each.dom) else {"id": each.id, "domain": each.dom}
            for each in origin.bindings
        ],
    }


def _binding(binding: RoleBinding) -> Document:
    expires_at = binding.expires_at
    return {
        "id": binding.id,
        "member": binding.user,
        "member_kind": binding.user_kind.value,
        "role": binding.role,
        "domain": binding.dom,
        "expires_at": None if expires_at is None else rfc3339(_moment(expires_at)),
    }


def _policy(candidate: PolicyCandidate, sees: SeesDomain) -> Document:
    policy = candidate.policy
    shown: Document = {
        "id": policy.id,
        "kind": "attribute",
        "effect": policy.effect.value,
        "domain": policy.domain,
        "priority": policy.priority,
        "mode": policy.mode.value,
        "outcome": candidate.tree.outcome.value,
        "matched": candidate.matched,
    }
    if sees(policy.domain):
        shown |= {"name": policy.name, "condition": _condition(candidate.tree)}
    return shown


def _rule(candidate: RoleRuleCandidate, sees: SeesDomain) -> Document:
    rule = candidate.rule
    shown: Document = {
        "id": rule.id,
        "kind": "role",
        "effect": rule.effect.value,
        "domain": rule.dom,
        "matched": candidate.matched_by is not None,
    }
    if sees(rule.dom):
        shown |= {
            "subject": rule.sub,
            "subject_kind": rule.sub_kind.value,
            "resource": rule.obj,
            "action": rule.act,
            "matched_by": candidate.matched_by,
        }
    return shown


def _near_miss(miss: NearMiss, sees: SeesDomain) -> Document:
    rule = miss.rule
    domain = rule.domain if isinstance(rule, AttributePolicy) else rule.dom
    shown: Document = {
        "id": rule.id,
        "kind": "attribute" if isinstance(rule, AttributePolicy) else "role",
        "domain": domain,
        "failed_conditions": miss.missing,
        "overridden_by": miss.overridden_by,
    }
    if not sees(domain):
        return shown
    shown["failed"] = [_condition(each) for each in miss.failed]
    if isinstance(rule, RoleRule) and miss.other_subject:
        shown["needs_subject"] = {"subject": rule.sub, "subject_kind": rule.sub_kind.value}
    return shown


def _condition(explained: ExplainedCondition) -> Document:
    outcome: Document = {"outcome": explained.outcome.value}
    parts = [_condition(part) for part in explained.parts]
    match explained.node:
        case Always():
            return outcome | {"type": "ALWAYS"}
        case UnreadableCondition():
            return outcome | {"type": "UNREADABLE"}
        case Not():
            return {"type": "NOT"} | outcome | {"condition": parts[0]}
        case All():
            return {"type": "AND"} | outcome | {"conditions": parts}
        case AnyOf():
            return {"type": "OR"} | outcome | {"conditions": parts}
        case Condition() as condition:
            value = condition.value
            names = [condition.attribute, *([value.name] if isinstance(value, AttributeName) else ())]
            shown = named(condition.attribute) | {
                "operator": condition.operator,
                "value": named(value.name) if isinstance(value, AttributeName) else plain(value),
            }
            return {"type": "CONDITION"} | shown | outcome | {"saw": _saw(explained, names)}


def _saw(explained: ExplainedCondition, names: list[str]) -> list[Document]:
    if explained.outcome is ConditionOutcome.NOT_RECORDED:
        return [named(name) | {"state": "not_recorded"} for name in names]
    condition = explained.node
    assert isinstance(condition, Condition)
    if OPERATORS[condition.operator].reads_presence:
        return [named(names[0]) | {"state": "present" if explained.saw[0] else "absent"}]
    return [named(name) | _value(value) for name, value in zip(names, explained.saw, strict=True)]


def named(name: str) -> Document:
    """Return an attribute as conditions name it."""
    reading, attribute = reading_of(name)
    found: Document = {"attribute": attribute}
    return found if reading is None else found | {"as": reading.name}


def _value(value: object) -> Document:
    if isinstance(value, Missing):
        return {"state": value.value}
    shown = plain(value)
    return {"state": "unknown"} if shown is None else {"state": "value", "value": shown}


def plain(value: object) -> object:
    """Return a value as JSON has it, long texts cut; None for one that conditions do not compare."""
    match value:
        case bool() | int() | Decimal():
            return value
        case str():
            return value if len(value) <= MAX_TEXT else value[:MAX_TEXT] + "…"
        case tuple():
            return [plain(entry) for entry in value[:MAX_TEXT]]
        case datetime():
            return rfc3339(value)
        case IPv4Address() | IPv6Address():
            return str(value)
        case _:
            return None


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
