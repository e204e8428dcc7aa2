"""Typed condition trees become three-valued functions of a request (`ConditionInput`)."""

from collections.abc import Callable

from extauthz.compile.conditions.attribute_names import attribute_named, presence, resolver
from extauthz.compile.conditions.comparisons import Compare, Test, TextTest
from extauthz.compile.conditions.condition_input import ConditionInput, Resolver
from extauthz.compile.conditions.operators import EQ, OPERATORS
from extauthz.compile.conditions.values import ABSENT, UNKNOWN, Kleene, Missing, negated
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

Evaluate = Callable[[ConditionInput], Kleene]


def compile_condition(node: Node, effect: Effect) -> Evaluate:
    """Turn a typed tree into a function of the condition input: true, false or unknown (None)."""
    match node:
        case Always():
            return lambda _facts: True
        case UnreadableCondition():
            return lambda _facts: None
        case Not(condition):
            inner = compile_condition(condition, effect)
            return lambda facts: negated(inner(facts))
        case All(conditions):
            if len(conditions) == 1:
                return compile_condition(conditions[0], effect)
            return _conjunction(tuple(compile_condition(condition, effect) for condition in conditions))
        case AnyOf(conditions):
            if len(conditions) == 1:
                return compile_condition(conditions[0], effect)
            return _disjunction(tuple(compile_condition(condition, effect) for condition in conditions))
        case Condition():
            return _comparison(node, effect)


def _conjunction(parts: tuple[Evaluate, ...]) -> Evaluate:
    """Kleene's AND as `values.every` has it, without a generator for each request."""

    def evaluate(facts: ConditionInput) -> Kleene:
        outcome: Kleene = True
        for part in parts:
            value = part(facts)
            if value is False:
                return False
            if value is None:
                outcome = None
        return outcome

    return evaluate


def _disjunction(parts: tuple[Evaluate, ...]) -> Evaluate:
    """Kleene's OR as `values.some` has it, without a generator for each request."""

    def evaluate(facts: ConditionInput) -> Kleene:
        outcome: Kleene = False
        for part in parts:
            value = part(facts)
            if value is True:
                return True
            if value is None:
                outcome = None
        return outcome

    return evaluate


def _comparison(condition: Condition, effect: Effect) -> Evaluate:
    operator, value = OPERATORS[condition.operator], condition.value
    if operator.reads_presence:
        there = presence(condition.attribute)
        return there if value is True else lambda facts: negated(there(facts))
    left = resolver(condition.attribute, effect)
    if isinstance(value, AttributeName):
        assert operator.compare is not None, "the parser refuses it"
        right = resolver(value.name, effect)
        return _two_sided(left, right, operator.compare, when_absent=operator.when_absent)
    attribute = attribute_named(condition.attribute)
    if operator.prepare_text is not None and attribute.read_text is None:
        if operator is EQ and isinstance(value, str):
            return _text_equality(left, value)
        holds = operator.prepare_text(value)
        if holds is not None:
            return _text_test(left, holds, when_absent=operator.when_absent)
    return _one_sided(left, operator.test(attribute, value), when_absent=operator.when_absent)


def _text_equality(left: Resolver, wanted: str) -> Evaluate:
    """`_text_test` for the commonest condition, without its call."""

    def evaluate(facts: ConditionInput) -> Kleene:
        value = left(facts)
        if type(value) is str:
            return value == wanted
        return False if value is ABSENT else None

    return evaluate


def _text_test(left: Resolver, holds: TextTest, *, when_absent: bool) -> Evaluate:
    """A comparison of text alone; a value of another kind is unknown."""

    def evaluate(facts: ConditionInput) -> Kleene:
        value = left(facts)
        if type(value) is str:
            return holds(value)
        return when_absent if value is ABSENT else None

    return evaluate


def _one_sided(left: Resolver, holds: Test, *, when_absent: bool) -> Evaluate:
    def evaluate(facts: ConditionInput) -> Kleene:
        value = left(facts)
        if isinstance(value, Missing):
            return when_absent if value is ABSENT else None
        return holds(value)

    return evaluate


def _two_sided(left: Resolver, right: Resolver, holds: Compare, *, when_absent: bool) -> Evaluate:
    def evaluate(facts: ConditionInput) -> Kleene:
        ours, theirs = left(facts), right(facts)
        if ours is UNKNOWN or theirs is UNKNOWN:
            return None
        if ours is ABSENT or theirs is ABSENT:
            return when_absent
        return holds(ours, theirs)

    return evaluate
