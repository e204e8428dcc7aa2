"""A tenant's policies at one revision, compiled and immutable: what a check asks of them.

Input: a principal, a resource, an action, the time. Output: the role rules and attribute policies that apply,
and how the role rules come out. `snapshot_building` compiles snapshots.
"""

from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeVar

from immutables import Map

from extauthz.compile.path_denies import PathDenies
from extauthz.compile.policy_index import Candidates, PolicyIndex
from extauthz.compile.roles.role_index import (
    ANY_WORKLOAD,
    BindingIndex,
    EffectiveSubjects,
    RoleIndex,
    RoleOutcome,
)
from extauthz.compile.roles.role_model import RoleModel
from extauthz.compile.routes.route_index import RouteIndex, index_of
from extauthz.domain.bounded_cache import BoundedCache
from extauthz.domain.policy import (
    AttributePolicy,
    Resource,
    RoleBinding,
    RoleRule,
)
from extauthz.domain.policy_digest import PolicyDigest, counted_digest, digest_of, entities_of
from extauthz.domain.principal import Principal, PrincipalKind
from extauthz.domain.verdict import Target
from extauthz.domain.workload import MAX_LENGTH

_MEMO_ENTRIES: Final = 20_000
# A path can be a resource (`UNMAPPED=path`): what any client chooses is kept while it is as short as a name.
_MEMO_NAME: Final = 256

Value = TypeVar("Value")


class ApplicableRules(NamedTuple):
    """What a principal, a resource and an action determine: subjects, candidate rules, role outcome.

    `ask_peer`: the outcome may be another one for a request that comes from a workload.
    """

    subjects: EffectiveSubjects
    candidates: Candidates
    roles: RoleOutcome | None
    ask_peer: bool


_Memo = BoundedCache[tuple[object, ...], Value]


def _memo() -> BoundedCache[tuple[object, ...], Value]:
    return BoundedCache(_MEMO_ENTRIES)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The compiled policies of one tenant at one revision.

    The memos hold answers that follow from the rest; they are not part of the value. INVARIANT: an entry
    is only ever computed from this snapshot, and outlives no binding it was computed from.
    """

    tenant: str
    revision: int
    roles: RoleIndex
    bindings: BindingIndex = field(default_factory=BindingIndex)
    policies: PolicyIndex = field(default_factory=PolicyIndex)
    path_denies: PathDenies = field(default_factory=PathDenies)
    routes: RouteIndex = field(default_factory=RouteIndex)
    resources_by_name: Map[str, Resource] = field(default_factory=Map)
    role_rules_by_id: Map[str, RoleRule] = field(default_factory=Map)
    bindings_by_id: Map[str, RoleBinding] = field(default_factory=Map)
    policies_by_id: Map[str, AttributePolicy] = field(default_factory=Map)
    policy_digest: PolicyDigest = field(default_factory=digest_of, compare=False, repr=False)
    _applicable_rules: _Memo[ApplicableRules] = field(default_factory=_memo, compare=False, repr=False)
    _through_peers: _Memo[ApplicableRules] = field(default_factory=_memo, compare=False, repr=False)
    _subjects: _Memo[EffectiveSubjects] = field(default_factory=_memo, compare=False, repr=False)
    _candidates: _Memo[Candidates] = field(default_factory=_memo, compare=False, repr=False)
    _own_routes: dict[str, RouteIndex] = field(default_factory=dict, compare=False, repr=False)

    def applicable_rules(
        self, principal: Principal, resource: str, action: str, denied_as: tuple[str, ...], now: float
    ) -> ApplicableRules:
        """Return the rules that apply to a principal, a resource and an action at `now` (POSIX seconds)."""
        kind, domain = principal.kind, principal.domain
        key = (resource, action, denied_as, kind, principal.id, domain, principal.roles)
        known = self._applicable_rules.get(key)
        if known is not None:
            subjects = known[0]
            if subjects.valid_from <= now < subjects.valid_until:
                return known
        subjects = self.subjects(principal, now)
        candidates = self.candidates(resource, action, domain, denied_as)
        roles = self.roles.decide_in(
            candidates.roles, subjects.names, authenticated=kind is not PrincipalKind.ANONYMOUS
        )
        # A workload that is the principal has its names among the subjects.
        ask_peer = kind is not PrincipalKind.WORKLOAD and (
            bool(self.bindings.of_workloads) or any(ANY_WORKLOAD in cell.deny for cell in candidates.roles)
        )
        found = ApplicableRules(subjects, candidates, roles, ask_peer)
        if len(resource) <= _MEMO_NAME:
            self._applicable_rules.put(key, found)
        return found

    def through_peer(
        self, rules: ApplicableRules, principal: Principal, peer: str, target: Target, now: float
    ) -> ApplicableRules:
        """Return the rules for a request of `principal` that comes from the workload `peer`.

        Denies on the workload and on its roles hold for the request; allows do not.
        """
        names = (target.resource, target.action, target.denied_as)
        key = (*names, principal.kind, principal.id, principal.domain, principal.roles, peer)
        known = self._through_peers.get(key)
        if known is not None:
            subjects = known.subjects
            if subjects.valid_from <= now < subjects.valid_until:
                return known
        own, other = rules.subjects, self.bindings.peer_subjects(peer, principal.domain, now)
        roles = self.roles.decide_in(
            rules.candidates.roles,
            own.names,
            authenticated=principal.kind is not PrincipalKind.ANONYMOUS,
            peer=other.names,
        )
        subjects = EffectiveSubjects(
            own.names,
            own.roles,
            max(own.valid_from, other.valid_from),
            min(own.valid_until, other.valid_until),
        )
        found = ApplicableRules(subjects, rules.candidates, roles, ask_peer=True)
        if len(target.resource) <= _MEMO_NAME and len(peer) <= MAX_LENGTH:
            self._through_peers.put(key, found)
        return found

    def subjects(self, principal: Principal, now: float) -> EffectiveSubjects:
        """Return the principal's subject and roles under these bindings at `now` (POSIX seconds)."""
        key = (principal.kind, principal.id, principal.domain, principal.roles)
        known = self._subjects.get(key)
        if known is not None and known.valid_from <= now < known.valid_until:
            return known
        found = self.bindings.subjects(principal, now)
        self._subjects.put(key, found)
        return found

    def candidates(
        self, resource: str, action: str, domain: str | None, denied_as: tuple[str, ...] = ()
    ) -> Candidates:
        """Return the role rules and attribute policies that may match.

        `denied_as` are further names of the resource, on which only denies count.
        """
        key = (resource, action, domain, denied_as)
        known = self._candidates.get(key)
        if known is not None:
            return known
        roles = self.roles.matching(domain, resource, action, denied_as)
        found = self.policies.candidates(resource, action, domain, roles, denied_as)
        if len(resource) <= _MEMO_NAME:
            self._candidates.put(key, found)
        return found

    def routes_of(self, resource: Resource) -> RouteIndex:
        """Return the index of one resource's own routes, for a proxy that names the resource itself."""
        known = self._own_routes.get(resource.name)
        if known is None:
            known = self._own_routes[resource.name] = index_of([resource])
        return known

    def forget(self) -> None:
        """Empty the memos; the snapshot can still be asked."""
        for memo in (self._applicable_rules, self._through_peers, self._subjects, self._candidates):
            memo.clear()

    def tables(self) -> list[Map[Any, Any]]:
        """Return the maps that hold one entry or more for each entity."""
        return [
            self.resources_by_name,
            self.role_rules_by_id,
            self.bindings_by_id,
            self.policies_by_id,
            self.roles.cells,
            self.bindings.edges,
            self.policies.cells,
        ]

    def digest(self) -> str:
        """Return the digest of everything that decides, counted anew; `policy_digest` follows the changes."""
        return counted_digest(
            entities_of(
                self.resources_by_name, self.role_rules_by_id, self.bindings_by_id, self.policies_by_id
            )
        )


def empty(tenant: str, model: RoleModel, revision: int = 0) -> Snapshot:
    """Return the snapshot of a tenant that has written nothing: it allows nothing."""
    return Snapshot(tenant, revision, RoleIndex(model))
