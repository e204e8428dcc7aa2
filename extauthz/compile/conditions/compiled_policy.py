"""One attribute policy, compiled."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from extauthz.compile.conditions.compiled_conditions import Evaluate, compile_condition
from extauthz.compile.conditions.condition_input import ConditionInput
from extauthz.compile.conditions.readings import reading_of
from extauthz.compile.conditions.required_values import RequiredValues, required_values
from extauthz.domain.policy import (
    All,
    Always,
    AnyOf,
    AttributeName,
    AttributePolicy,
    Condition,
    Mode,
    Node,
    Not,
    UnreadableCondition,
)
from extauthz.domain.reasons import Effect

_DENY: Final = Effect.DENY  # looked up in its class it costs a call


@dataclass(frozen=True, slots=True)
class CompiledPolicy:
    """An enabled attribute policy, ready to be evaluated."""

    id: str
    effect: Effect
    priority: int
    shadow: bool
    evaluate: Evaluate
    attributes: tuple[str, ...]
    required: tuple[RequiredValues, ...]

    def outcome(self, facts: ConditionInput) -> "Matched | None":
        """Return how the policy matches: an allow when true, a deny when true or unknown."""
        value = self.evaluate(facts)
        if value is True:
            return Matched(self, unknown=False)
        if value is None and self.effect is _DENY:
            return Matched(self, unknown=True)
        return None


@dataclass(frozen=True, slots=True)
class Matched:
    """An attribute policy that matched; `unknown` for a deny that could not be evaluated."""

    policy: CompiledPolicy
    unknown: bool


def compile_policy(policy: AttributePolicy) -> CompiledPolicy:
    """Compile one policy's conditions."""
    return CompiledPolicy(
        id=policy.id,
        effect=policy.effect,
        priority=policy.priority,
        shadow=policy.mode is Mode.SHADOW,
        evaluate=compile_condition(policy.condition, policy.effect),
        attributes=tuple(dict.fromkeys(attribute_names(policy.condition))),
        required=required_values(policy.condition),
    )


def attribute_names(node: Node) -> Iterator[str]:
    """Yield every attribute that the conditions name, in reading order."""
    match node:
        case Always() | UnreadableCondition():
            return
        case Condition(attribute, _, value):
            yield reading_of(attribute)[1]
            if isinstance(value, AttributeName):
                yield reading_of(value.name)[1]
        case Not(condition):
            yield from attribute_names(condition)
        case All(conditions) | AnyOf(conditions):
            for condition in conditions:
                yield from attribute_names(condition)
