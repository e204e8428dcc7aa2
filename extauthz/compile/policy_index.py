"""Attribute policies as a keyed index: what can match one (resource, action, domain), in groups.

A policy whose condition requires a value of an attribute (`required_values`) is found by that value, which is
read once for all policies of the group. Every other policy is always evaluated. INVARIANT: a policy is left
out only where its condition is false, or unknown and the policy an allow; neither matches.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Final

from immutables import Map

from extauthz.compile.conditions.attribute_names import resolver, shown
from extauthz.compile.conditions.attributes import Shown
from extauthz.compile.conditions.compiled_policy import CompiledPolicy, compile_policy
from extauthz.compile.conditions.condition_input import ConditionInput, Resolver
from extauthz.compile.conditions.required_values import TYPES, Lookup, RequiredValues
from extauthz.compile.conditions.values import ABSENT
from extauthz.compile.roles.role_index import Cell, CellKey
from extauthz.domain.policy import WILDCARD, AttributePolicy, Scalar
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


@dataclass(frozen=True, slots=True)
class CellGroups:
    """The policies of one cell, grouped. `attributes` are the names that their conditions read."""

    enforced: tuple[PolicyGroup, ...]
    shadow: tuple[PolicyGroup, ...]
    attributes: Mapping[str, None]

    @classmethod
    def of(cls, policies: Iterable[CompiledPolicy]) -> "CellGroups":
        """Group the policies of one cell, those that decide and those that do not apart."""
        policies = tuple(policies)
        return cls(
            enforced=grouped(policy for policy in policies if not policy.shadow),
            shadow=grouped(policy for policy in policies if policy.shadow),
            attributes=dict.fromkeys(name for policy in policies for name in policy.attributes),
        )


class PolicyCell:
    """The policies on one (resource, action, domain) as written, `*` included, by id. Immutable."""

    __slots__ = ("_groups", "policies")

    def __init__(self, policies: Map[str, CompiledPolicy]) -> None:
        """Take the policies; they are grouped when they are first asked for."""
        self.policies = policies
        self._groups: CellGroups | None = None

    @property
    def groups(self) -> CellGroups:
        """The policies, grouped once; snapshots share a cell that none of their changes concerns."""
        if self._groups is None:
            self._groups = CellGroups.of(self.policies.values())
        return self._groups

    def denies(self) -> CellGroups:
        """Return the denies alone."""
        return CellGroups.of(policy for policy in self.policies.values() if policy.effect is Effect.DENY)


@dataclass(frozen=True, slots=True)
class Candidates:
    """Everything that may match one (resource, action, domain), gathered once.

    Enforced groups come with the highest priority first. `attributes` are the names that conditions read;
    `shown` are those whose value the decision log may show, with what reads it.
    """

    roles: tuple[Cell, ...] = ()
    enforced: tuple[PolicyGroup, ...] = ()
    shadow: tuple[PolicyGroup, ...] = ()
    attributes: Mapping[str, None] = field(default_factory=dict)
    shown: tuple[tuple[str, Shown], ...] = ()


_EMPTY_CELL: Final = PolicyCell(Map())


@dataclass(frozen=True, slots=True)
class PolicyIndex:
    """The attribute policies of one tenant. Immutable: a change returns another that shares the rest."""

    cells: Map[CellKey, PolicyCell] = field(default_factory=Map)
    names: Map[str, int] = field(default_factory=Map)
    """The attributes that conditions of enabled policies read, and how many policies read each."""

    def with_policy(self, policy: AttributePolicy) -> "PolicyIndex":
        """Return the index with the policy added; a disabled one is not in the index."""
        if not policy.enabled:
            return self
        compiled = compile_policy(policy)
        index = self._each_cell(policy, lambda cell: cell.set(policy.id, compiled))
        names = self.names
        for name in compiled.attributes:
            names = names.set(name, names.get(name, 0) + 1)
        return PolicyIndex(index.cells, names)

    def without_policy(self, policy: AttributePolicy) -> "PolicyIndex":
        """Return the index with the policy taken out."""
        known = self._known(policy)
        if known is None:
            return self
        index = self._each_cell(policy, lambda cell: cell.delete(policy.id) if policy.id in cell else cell)
        names = self.names
        for name in known.attributes:
            readers = names[name] - 1
            names = names.set(name, readers) if readers else names.delete(name)
        return PolicyIndex(index.cells, names)

    def _known(self, policy: AttributePolicy) -> CompiledPolicy | None:
        for key in _cell_keys(policy):
            if key in self.cells and policy.id in self.cells[key].policies:
                return self.cells[key].policies[policy.id]
        return None

    def _each_cell(
        self, policy: AttributePolicy, change: Callable[[Map[str, CompiledPolicy]], Map[str, CompiledPolicy]]
    ) -> "PolicyIndex":
        cells = self.cells
        for key in _cell_keys(policy):
            before = cells.get(key, _EMPTY_CELL).policies
            policies = change(before)
            if policies is before:
                continue
            cells = cells.set(key, PolicyCell(policies)) if policies else cells.delete(key)
        return PolicyIndex(cells, self.names)

    def group(self, policies: Iterable[AttributePolicy]) -> None:
        """Group the cells that these policies are in or were in, so that no request has to wait for that."""
        for key in {key for policy in policies for key in _cell_keys(policy)}:
            if key in self.cells:
                _ = self.cells[key].groups

    def candidates(
        self,
        resource: str,
        action: str,
        domain: str | None,
        roles: tuple[Cell, ...] = (),
        denied_as: tuple[str, ...] = (),
    ) -> Candidates:
        """Return every enabled policy on these names or on `*`.

        `denied_as` are further names of the resource, on which only denies count.
        """
        found = [cell.groups for cell in self._on((resource, WILDCARD), action, domain)]
        found += [cell.denies() for cell in self._on(denied_as, action, domain)]
        if not found:
            return Candidates(roles)
        first, *others = (each.attributes for each in found)
        attributes = dict.fromkeys(name for each in (first, *others) for name in each) if others else first
        enforced = sorted((group for each in found for group in each.enforced), key=lambda group: -group.top)
        return Candidates(
            roles=roles,
            enforced=tuple(enforced),
            shadow=tuple(group for each in found for group in each.shadow),
            attributes=attributes,
            shown=tuple((name, read) for name in attributes if (read := shown(name)) is not None),
        )

    def _on(self, resources: tuple[str, ...], action: str, domain: str | None) -> Iterator[PolicyCell]:
        actions = dict.fromkeys((action, WILDCARD))
        domains = (WILDCARD,) if domain is None else (domain, WILDCARD)
        for key in product(dict.fromkeys(resources), actions, domains):
            cell = self.cells.get(key)
            if cell is not None:
                yield cell


def _cell_keys(policy: AttributePolicy) -> Iterator[CellKey]:
    actions = (WILDCARD,) if WILDCARD in policy.actions else policy.actions
    return ((policy.resource, action, policy.domain) for action in actions)
