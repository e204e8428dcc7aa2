"""A condition tree with what each part of it came out as, and the values that it saw.

Leaves are evaluated by the functions that decide (`compile_condition`); above them hold Kleene's tables. One
outcome is added: a value that was not recorded makes a condition `not_recorded` where it matters, which is
not the engine's unknown: nothing is said about what the engine saw.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from extauthz.compile.conditions.attribute_names import presence, resolver
from extauthz.compile.conditions.compiled_conditions import compile_condition
from extauthz.compile.conditions.condition_input import ConditionInput
from extauthz.compile.conditions.operators import OPERATORS
from extauthz.compile.conditions.readings import reading_of
from extauthz.domain.policy import (
    All,
    Always,
    AnyOf,
    AttributeName,
    Condition,
    Node,
    Not,
    UnreadableCondition,
)
from extauthz.domain.reasons import Effect


class ConditionOutcome(StrEnum):
    """What a condition came out as."""

    TRUE = "true"
    FALSE = "false"
    UNKNOWN = "unknown"
    NOT_RECORDED = "not_recorded"


IsRecorded = Callable[[str], bool]
"""Tells of an attribute, by its plain name, whether its value in the request is known."""


@dataclass(frozen=True, slots=True)
class ExplainedCondition:
    """A node, its outcome and its parts.

    `saw` are the values of the attributes that a comparison names, the left one first: a value, `ABSENT` or
    `UNKNOWN`; for an operator that asks for presence, whether the attribute is there. Empty where one of them
    was not recorded.
    """

    node: Node
    outcome: ConditionOutcome
    parts: tuple["ExplainedCondition", ...] = ()
    saw: tuple[object, ...] = ()


def explain_condition(
    node: Node, effect: Effect, facts: ConditionInput, is_recorded: IsRecorded
) -> ExplainedCondition:
    """Return the tree of a policy with the effect, evaluated on a request."""
    match node:
        case Always():
            return ExplainedCondition(node, ConditionOutcome.TRUE)
        case UnreadableCondition():
            return ExplainedCondition(node, ConditionOutcome.UNKNOWN)
        case Condition():
            return _comparison(node, effect, facts, is_recorded)
        case Not(condition):
            part = explain_condition(condition, effect, facts, is_recorded)
            return ExplainedCondition(node, _NEGATED.get(part.outcome, part.outcome), (part,))
        case All(conditions):
            parts = tuple(explain_condition(each, effect, facts, is_recorded) for each in conditions)
            return ExplainedCondition(
                node, _combined(parts, ConditionOutcome.FALSE, ConditionOutcome.TRUE), parts
            )
        case AnyOf(conditions):
            parts = tuple(explain_condition(each, effect, facts, is_recorded) for each in conditions)
            return ExplainedCondition(
                node, _combined(parts, ConditionOutcome.TRUE, ConditionOutcome.FALSE), parts
            )


_NEGATED = {ConditionOutcome.TRUE: ConditionOutcome.FALSE, ConditionOutcome.FALSE: ConditionOutcome.TRUE}


def _combined(
    parts: tuple[ExplainedCondition, ...], decisive: ConditionOutcome, neutral: ConditionOutcome
) -> ConditionOutcome:
    """Combine by Kleene's AND or OR; what was not recorded could be any outcome that is left."""
    found = {part.outcome for part in parts}
    for outcome in (decisive, ConditionOutcome.NOT_RECORDED, ConditionOutcome.UNKNOWN):
        if outcome in found:
            return outcome
    return neutral


def _comparison(
    condition: Condition, effect: Effect, facts: ConditionInput, is_recorded: IsRecorded
) -> ExplainedCondition:
    names = [condition.attribute]
    if isinstance(condition.value, AttributeName):
        names.append(condition.value.name)
    if not all(is_recorded(reading_of(name)[1]) for name in names):
        return ExplainedCondition(condition, ConditionOutcome.NOT_RECORDED)
    value = compile_condition(condition, effect)(facts)
    outcome = {True: ConditionOutcome.TRUE, False: ConditionOutcome.FALSE, None: ConditionOutcome.UNKNOWN}[
        value
    ]
    if OPERATORS[condition.operator].reads_presence:
        return ExplainedCondition(condition, outcome, saw=(presence(condition.attribute)(facts),))
    return ExplainedCondition(condition, outcome, saw=tuple(resolver(name, effect)(facts) for name in names))


def failed(explained: ExplainedCondition, *, wanted: bool = True) -> tuple[ExplainedCondition, ...] | None:
    """Return the fewest comparisons that would have to come out otherwise for the tree to be as wanted.

    None: whatever they come out as, it is not.
    """
    match explained.node:
        case Condition():
            is_so = explained.outcome is (ConditionOutcome.TRUE if wanted else ConditionOutcome.FALSE)
            return () if is_so else (explained,)
        case Always():
            return () if wanted else None
        case UnreadableCondition():
            return None
        case Not():
            return failed(explained.parts[0], wanted=not wanted)
        case node:
            parts = [failed(part, wanted=wanted) for part in explained.parts]
            possible = [part for part in parts if part is not None]
            if isinstance(node, All) is wanted:
                every = tuple(condition for part in possible for condition in part)
                return every if len(possible) == len(parts) else None
            return min(possible, key=len, default=None)
