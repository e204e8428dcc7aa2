"""Policies to judge recorded requests on: a snapshot that tells what of a request its answer depends on.

The engine is the same. Only what it is asked differs: a route for a path of which a part is folded, and
rules for a principal whose id is folded.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from functools import partial
from typing import Final

from extauthz.compile.conditions.attribute_names import resolver
from extauthz.compile.conditions.condition_input import Resolver
from extauthz.compile.directory import Directory
from extauthz.compile.policy_index import Candidates
from extauthz.compile.roles.role_index import Cell
from extauthz.compile.routes.route_index import RouteIndex
from extauthz.compile.snapshot import ApplicableRules, Snapshot
from extauthz.domain.policy import (
    WILDCARD,
    All,
    AnyOf,
    AttributeName,
    AttributePolicy,
    Condition,
    Mode,
    Node,
    Not,
    Resource,
    SubjectKind,
)
from extauthz.domain.principal import Principal, PrincipalKind
from extauthz.domain.reasons import Effect
from extauthz.domain.tenancy import TenancyMode
from extauthz.domain.time_text import parse_time
from extauthz.domain.verdict import Target
from extauthz.recording.not_known import CannotSayError
from extauthz.recording.recorded_principal import PartlyKnown
from extauthz.recording.recorded_routes import RecordedRoutes

_TIMED: Final = frozenset({"env.time", "env.hour", "env.weekday"})
_EVER: Final = float("inf")


@dataclass(slots=True)
class Noticed:
    """What a judgement turned out to depend on."""

    time: bool = False


@dataclass(frozen=True, slots=True)
class ReplayPolicies(Snapshot):
    """A snapshot for replay. Shadow policies, which never decide, are left out.

    `instants` are the times (POSIX seconds) that conditions compare the time with, and at which bindings end;
    `compared_with_time` are the attributes that conditions compare it with.
    """

    noticed: Noticed = field(default_factory=Noticed, compare=False)
    instants: tuple[float, ...] = ()
    compared_with_time: tuple[str, ...] = ()
    bound: Mapping[tuple[str, SubjectKind], frozenset[str]] = field(default_factory=dict, compare=False)
    """The roles that principals of a kind are bound to, by domain and kind, inherited ones included."""
    _named: dict[tuple[object, ...], bool] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(cls, snapshot: Snapshot, live: Snapshot | None = None) -> "ReplayPolicies":
        """Return the policies of a snapshot, for replay; those of a draft with the `live` ones."""
        members = {
            each.name: getattr(snapshot, each.name)
            for each in fields(Snapshot)
            if not each.name.startswith("_")
        }
        for policy in snapshot.policies_by_id.values():
            if policy.mode is Mode.SHADOW:
                members["policies"] = members["policies"].without_policy(policy)
        members["routes"] = RecordedRoutes.of(snapshot.routes, (live or snapshot).routes)
        enforced = [
            policy
            for policy in snapshot.policies_by_id.values()
            if policy.enabled and policy.mode is not Mode.SHADOW
        ]
        compared = [value for policy in enforced for value in _compared_with_time(policy)]
        ends = {each.expires_at for each in snapshot.bindings_by_id.values() if each.expires_at is not None}
        instants = {value for value in compared if isinstance(value, float)} | ends
        return cls(
            **members,
            instants=tuple(sorted(instants)),
            compared_with_time=tuple({value: None for value in compared if isinstance(value, str)}),
            bound=_bound_roles(snapshot),
        )

    @property
    def directory(self) -> Directory:
        """The directory of this tenant alone."""
        return Directory(TenancyMode.SAAS, {self.tenant: self})

    def applicable_rules(
        self, principal: Principal, resource: str, action: str, denied_as: tuple[str, ...], now: float
    ) -> ApplicableRules:
        """Return the rules that apply; raises CannotSayError where they depend on an id that is folded."""
        found = Snapshot.applicable_rules(self, _with_an_id(principal), resource, action, denied_as, now)
        if isinstance(principal, PartlyKnown) and "id" in principal.missing:
            self._require_no_name(principal, found, (resource, action, denied_as))
        subjects, candidates = found.subjects, found.candidates
        if (
            subjects.valid_until != _EVER
            or subjects.valid_from != -_EVER
            or not _TIMED.isdisjoint(candidates.attributes)
        ):
            self.noticed.time = True
        return found

    def candidates(
        self, resource: str, action: str, domain: str | None, denied_as: tuple[str, ...] = ()
    ) -> Candidates:
        """Return the rules that may match. They show no values for a log, which would have to be read."""
        found = Snapshot.candidates(self, resource, action, domain, denied_as)
        return replace(found, shown=()) if found.shown else found

    def through_peer(
        self, rules: ApplicableRules, principal: Principal, peer: str, target: Target, now: float
    ) -> ApplicableRules:
        """Return the rules for a request that comes from a workload."""
        found = Snapshot.through_peer(self, rules, _with_an_id(principal), peer, target, now)
        if found.subjects.valid_until != _EVER or found.subjects.valid_from != -_EVER:
            self.noticed.time = True
        return found

    def routes_of(self, resource: Resource) -> RouteIndex:
        """Return the index of one resource's own routes."""
        return RecordedRoutes.of(Snapshot.routes_of(self, resource))

    def resolvers(self) -> Iterator[Resolver]:
        """Yield what reads each attribute that is compared with the time."""
        return map(partial(resolver, effect=Effect.DENY), self.compared_with_time)

    def _require_no_name(
        self, principal: PartlyKnown, rules: ApplicableRules, target: tuple[object, ...]
    ) -> None:
        key = (principal.kind, principal.domain, *target)
        named = self._named.get(key)
        if named is None:
            named = self._named[key] = self._names(principal.kind, principal.domain, rules)
        if named:
            raise CannotSayError(principal.missing["id"])

    def _names(self, kind: PrincipalKind, domain: str | None, rules: ApplicableRules) -> bool:
        """Tell whether the rules mean principals of the kind by name, or by a role that they may have."""
        if kind is PrincipalKind.WORKLOAD:
            # The prefixes of its name are subjects, too.
            return bool(self.bindings.of_workloads) or any(map(_mentions_workloads, rules.candidates.roles))
        roles = {
            role
            for each in (domain, WILDCARD)
            if each is not None
            for role in self.bound.get((each, SubjectKind(kind.value)), ())
        }
        if roles and "user.roles" in rules.candidates.attributes:
            return True
        prefix = f"{kind.value}:"
        wanted = {f"role:{role}" for role in roles}
        return any(
            subject in wanted or subject.startswith(prefix)
            for cell in rules.candidates.roles
            for side in (cell.allow, cell.deny)
            for subject in side
        )


def _mentions_workloads(cell: Cell) -> bool:
    return any(subject.startswith("workload:") for side in (cell.allow, cell.deny) for subject in side)


def _with_an_id(principal: Principal) -> Principal:
    """Return the principal, or its stand-in where its id is not known.

    Raises CannotSayError for its roles.
    """
    if not isinstance(principal, PartlyKnown) or "id" not in principal.missing:
        return principal
    assert isinstance(principal.roles, tuple)
    return principal.stand_in


def _bound_roles(snapshot: Snapshot) -> Mapping[tuple[str, SubjectKind], frozenset[str]]:
    direct: dict[tuple[str, SubjectKind], set[str]] = {}
    parents: dict[str, set[str]] = {}
    for binding in snapshot.bindings_by_id.values():
        if binding.user_kind is SubjectKind.ROLE:
            # Of every domain: roles beyond those that there are lead to "cannot say", never to an answer.
            parents.setdefault(binding.user, set()).add(binding.role)
        else:
            direct.setdefault((binding.dom, binding.user_kind), set()).add(binding.role)
    return {key: frozenset(_inherited(roles, parents)) for key, roles in direct.items()}


def _inherited(roles: set[str], parents: Mapping[str, set[str]]) -> set[str]:
    found, frontier = set(roles), list(roles)
    while frontier:
        for role in parents.get(frontier.pop(), ()):
            if role not in found:
                found.add(role)
                frontier.append(role)
    return found


def _compared_with_time(policy: AttributePolicy) -> Iterator[float | str]:
    """Yield the times that a policy compares the time with, as POSIX seconds, and attributes by name."""
    waiting: list[Node] = [policy.condition]
    while waiting:
        match waiting.pop():
            case Not(condition):
                waiting.append(condition)
            case All(conditions) | AnyOf(conditions):
                waiting.extend(conditions)
            case Condition(attribute, _, AttributeName(other)):
                if "env.time" in (attribute, other):
                    yield other if attribute == "env.time" else attribute
            case Condition("env.time", _, literal):
                for each in literal if isinstance(literal, tuple) else (literal,):
                    moment = parse_time(each)
                    if isinstance(moment, datetime):
                        yield moment.timestamp()
            case _:
                continue
