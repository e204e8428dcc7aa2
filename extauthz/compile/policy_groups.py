"""Attribute policies grouped by the values that they require: only those that can match are evaluated.

A policy whose condition requires a value of an attribute (`required_values`) is found by that value, which is
read once for all policies of the group. Every other policy is always evaluated. INVARIANT: a policy is left
out only where its condition is false, or unknown and the policy an allow; neither matches.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from extauthz.compile.attributes import resolver
from extauthz.compile.compiled_policy import CompiledPolicy
from extauthz.compile.condition_input import ConditionInput, Resolver
from extauthz.compile.required_values import TYPES, Lookup, RequiredValues
from extauthz.compile.values import ABSENT
from extauthz.domain.policy import Scalar
from extauthz.domain.reasons import Effect

_SHARED_BY: Final = 4
"""An attribute that fewer policies look up is not worth reading for itself: they are evaluated instead."""

Policies = tuple[CompiledPolicy, ...]


@dataclass(frozen=True, slots=True)
class PolicyGroup:
    """Policies of one mode. Of every tuple the highest priority comes first, then the lowest id."""

    all: Policies

    @property
    def top(self) -> int:
        """The highest priority of the group."""
        return self.all[0].priority

    def that_may_match(self, _facts: ConditionInput, /) -> tuple[Policies, ...]:
        """Return every policy that can match, some perhaps more than once."""
        return (self.all,)


@dataclass(frozen=True, slots=True)
class _RequiringValue(PolicyGroup):
    """Policies that require a value of one attribute, by that value."""

    read: Resolver
    types: frozenset[type]
    by_value: dict[object, Policies]
    denies: Policies

    def that_may_match(self, facts: ConditionInput, /) -> tuple[Policies, ...]:
        value = self.read(facts)
        if type(value) in self.types:
            return (self.by_value[value],) if value in self.by_value else ()
        # A value of another kind, or none that is certain, makes the condition unknown: denies match then.
        return () if value is ABSENT else (self.denies,)


@dataclass(frozen=True, slots=True)
class _RequiringEntry(_RequiringValue):
    """Policies that require a value among the entries of one attribute, which is a list."""

    def that_may_match(self, facts: ConditionInput, /) -> tuple[Policies, ...]:
        entries = self.read(facts)
        if type(entries) is not tuple:
            return () if entries is ABSENT else (self.denies,)
        found: list[Policies] = []
        is_certain = True
        for entry in entries:
            if type(entry) not in self.types:
                is_certain = False
            elif entry in self.by_value:
                found.append(self.by_value[entry])
        # An entry of another kind makes it unknown whether the list has a value that is not found in it.
        if not is_certain:
            found.append(self.denies)
        return tuple(found)


def grouped(policies: Iterable[CompiledPolicy]) -> tuple[PolicyGroup, ...]:
    """Group policies, each by the one of its required values that it shares with the fewest others."""
    ordered = sorted(policies, key=lambda policy: (-policy.priority, policy.id))
    lookups = Counter(lookup for policy in ordered for lookup in {each.lookup for each in policy.required})
    sharing = Counter(
        (required.lookup, value)
        for policy in ordered
        for required in policy.required
        for value in required.values
    )

    def shared_with(required: RequiredValues) -> int:
        return max(sharing[required.lookup, value] for value in required.values)

    members: dict[Lookup, list[tuple[CompiledPolicy, frozenset[Scalar]]]] = {}
    others: list[CompiledPolicy] = []
    for policy in ordered:
        choice = [required for required in policy.required if lookups[required.lookup] >= _SHARED_BY]
        if choice:
            chosen = min(choice, key=shared_with)
            members.setdefault(chosen.lookup, []).append((policy, chosen.values))
        else:
            others.append(policy)
    groups = tuple(_group(lookup, found) for lookup, found in members.items())
    return (PolicyGroup(tuple(others)), *groups) if others else groups


def _group(lookup: Lookup, members: list[tuple[CompiledPolicy, frozenset[Scalar]]]) -> PolicyGroup:
    by_value: dict[object, list[CompiledPolicy]] = {}
    for policy, values in members:
        for value in values:
            by_value.setdefault(value, []).append(policy)
    policies = tuple(policy for policy, _ in members)
    return (_RequiringEntry if lookup.lists else _RequiringValue)(
        all=policies,
        # What is absent for a deny is absent or unknown for an allow, which matches in neither case.
        read=resolver(lookup.attribute, Effect.DENY),
        types=TYPES[lookup.kind],
        by_value={value: tuple(found) for value, found in by_value.items()},
        denies=tuple(policy for policy in policies if policy.effect is Effect.DENY),
    )
