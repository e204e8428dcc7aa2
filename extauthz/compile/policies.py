"""Attribute policies as a keyed index, and the compiled form of one policy."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Final

from immutables import Map

from extauthz.compile.attributes import Question, Shown, shown
from extauthz.compile.comparisons import Evaluate, compile_condition
from extauthz.compile.roles import Cell
from extauthz.domain.policy import (
    WILDCARD,
    All,
    Always,
    AnyOf,
    AttributeName,
    AttributePolicy,
    Condition,
    Mode,
    Node,
    Not,
    Unreadable,
)
from extauthz.domain.reasons import Effect

CellKey = tuple[str, str, str]
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

    def outcome(self, question: Question) -> "Matched | None":
        """Return how the policy matches: an allow when true, a deny when true or unknown."""
        value = self.evaluate(question)
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
    )


def attribute_names(node: Node) -> Iterator[str]:
    """Yield every attribute that the conditions name, in reading order."""
    match node:
        case Always() | Unreadable():
            return
        case Condition(attribute, _, value):
            yield attribute
            if isinstance(value, AttributeName):
                yield value.name
        case Not(condition):
            yield from attribute_names(condition)
        case All(conditions) | AnyOf(conditions):
            for condition in conditions:
                yield from attribute_names(condition)


@dataclass(frozen=True, slots=True)
class Candidates:
    """Everything that may match one (resource, action, domain), gathered once.

    Policies come with the highest priority first. `attributes` are the names that their conditions read;
    `shown` are those whose value the decision log may show, with what reads it.
    """

    roles: tuple[Cell, ...] = ()
    enforced: tuple[CompiledPolicy, ...] = ()
    shadow: tuple[CompiledPolicy, ...] = ()
    attributes: Mapping[str, None] = field(default_factory=dict)
    shown: tuple[tuple[str, Shown], ...] = ()


_NO_CELL: Final[Map[str, CompiledPolicy]] = Map()


@dataclass(frozen=True, slots=True)
class PolicyIndex:
    """The attribute policies of one tenant. Immutable: a change returns another that shares the rest."""

    cells: Map[CellKey, Map[str, CompiledPolicy]] = field(default_factory=Map)

    def with_policy(self, policy: AttributePolicy) -> "PolicyIndex":
        """Return the index with the policy added; a disabled one is not in the index."""
        if not policy.enabled:
            return self
        compiled = compile_policy(policy)
        return self._each_cell(policy, lambda cell: cell.set(policy.id, compiled))

    def without_policy(self, policy: AttributePolicy) -> "PolicyIndex":
        """Return the index with the policy taken out."""
        return self._each_cell(policy, lambda cell: cell.delete(policy.id) if policy.id in cell else cell)

    def _each_cell(
        self, policy: AttributePolicy, change: Callable[[Map[str, CompiledPolicy]], Map[str, CompiledPolicy]]
    ) -> "PolicyIndex":
        cells = self.cells
        actions = (WILDCARD,) if WILDCARD in policy.actions else policy.actions
        for action in actions:
            key = (policy.resource, action, policy.domain)
            cell = change(cells.get(key, _NO_CELL))
            if cell:
                cells = cells.set(key, cell)
            elif key in cells:
                cells = cells.delete(key)
        return PolicyIndex(cells)

    def candidates(
        self,
        resource: str,
        action: str,
        domain: str | None,
        roles: tuple[Cell, ...] = (),
        denied_as: tuple[str, ...] = (),
    ) -> Candidates:
        """Return every enabled policy on these names or on `*`, in the order in which they decide.

        `denied_as` are further names of the resource, on which only denies count.
        """
        found = list(self._on((resource, WILDCARD), action, domain))
        if denied_as:
            found += [p for p in self._on(denied_as, action, domain) if p.effect is Effect.DENY]
        if not found:
            return Candidates(roles)
        attributes = dict.fromkeys(name for policy in found for name in policy.attributes)
        found.sort(key=lambda policy: (-policy.priority, policy.id))
        return Candidates(
            roles=roles,
            enforced=tuple(policy for policy in found if not policy.shadow),
            shadow=tuple(policy for policy in found if policy.shadow),
            attributes=attributes,
            shown=tuple((name, read) for name in attributes if (read := shown(name)) is not None),
        )

    def _on(self, resources: tuple[str, ...], action: str, domain: str | None) -> Iterator[CompiledPolicy]:
        actions = dict.fromkeys((action, WILDCARD))
        domains = (WILDCARD,) if domain is None else (domain, WILDCARD)
        for key in product(dict.fromkeys(resources), actions, domains):
            yield from self.cells.get(key, _NO_CELL).values()
