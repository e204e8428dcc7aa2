"""Role rules and role bindings as a keyed index: the meaning of `policies/model.conf` without scanning.

A rule sits in one cell, keyed by object, action and domain as written (`*` included), under its subjects in
Casbin's prefixed form. A request looks at the at most eight cells that its names and `*` make up.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Final, TypeVar

from immutables import Map, MapMutation

from extauthz.compile.persistent_maps import map_of
from extauthz.compile.roles.inheritance import Inheritance
from extauthz.compile.roles.role_model import RoleModel
from extauthz.domain.policy import WILDCARD, RoleBinding, RoleRule, SubjectKind
from extauthz.domain.principal import Principal, PrincipalKind
from extauthz.domain.reasons import Effect, Reason
from extauthz.domain.verdict import Denial, Grant, Rule, RuleKind
from extauthz.domain.workload import names_of, peer_problem

ANONYMOUS_SUBJECT: Final = "anonymous"
_NEVER: Final = float("inf")

# Looked up in its class, a member of an enumeration costs a call.
_ALLOW: Final = Effect.ALLOW
_NO_SUBJECTS: Final[Map[str, tuple[str, ...]]] = Map()

CellKey = tuple[str, str, str]


ANY_WORKLOAD: Final = "workload:"
"""In the denies of a cell: every deny on a workload. The name of a workload is not empty."""


def rule_subjects(rule: RoleRule) -> tuple[str, ...]:
    """Return the rule's subjects as Casbin sees them: one, or four for kind `any` with a name."""
    if rule.sub == WILDCARD:
        return (WILDCARD,)
    if rule.sub_kind is SubjectKind.ANY:
        return (f"role:{rule.sub}", f"user:{rule.sub}", f"service:{rule.sub}", f"workload:{rule.sub}")
    return (f"{rule.sub_kind.value}:{rule.sub}",)


def _indexed_subjects(rule: RoleRule) -> tuple[str, ...]:
    """Return the names under which a cell has the rule."""
    subjects = rule_subjects(rule)
    names_workload = rule.effect is Effect.DENY and subjects[-1].startswith(ANY_WORKLOAD)
    return (*subjects, ANY_WORKLOAD) if names_workload else subjects


def request_subject(principal: Principal) -> str:
    """Return `r.sub`: always prefixed; `anonymous` without a credential."""
    if principal.kind is PrincipalKind.ANONYMOUS:
        return ANONYMOUS_SUBJECT
    return f"{principal.kind.value}:{principal.id}"


def request_subjects(principal: Principal) -> tuple[str, ...]:
    """Return `r.sub`, and for a workload the prefixes of its name: a temporary `g` line for each."""
    if principal.kind is PrincipalKind.WORKLOAD and principal.id is not None:
        return workload_subjects(principal.id)
    return (request_subject(principal),)


def workload_subjects(peer: str) -> tuple[str, ...]:
    """Return the subjects of rules and bindings that mean a workload."""
    return tuple(f"workload:{name}" for name in names_of(peer))


@dataclass(frozen=True, slots=True)
class Cell:
    """The rules on one (object, action, domain): subject to rule ids, the lowest first."""

    allow: Map[str, tuple[str, ...]] = _NO_SUBJECTS
    deny: Map[str, tuple[str, ...]] = _NO_SUBJECTS

    def changed(self, rule: RoleRule, *, present: bool) -> "Cell":
        """Return the cell with the rule added or taken out."""
        side = self.allow if rule.effect is Effect.ALLOW else self.deny
        for subject in _indexed_subjects(rule):
            ids = tuple(known for known in side.get(subject, ()) if known != rule.id)
            if present:
                ids = tuple(sorted((*ids, rule.id)))
            if ids:
                side = side.set(subject, ids)
            elif subject in side:
                side = side.delete(subject)
        return Cell(side, self.deny) if rule.effect is Effect.ALLOW else Cell(self.allow, side)


_EMPTY_CELL: Final = Cell()


@dataclass(frozen=True, slots=True)
class RoleOutcome:
    """What all role rules together say: one effect, from the rule with the lowest id that has it."""

    effect: Effect
    rule_id: str
    decision: Grant | Denial = field(init=False)

    def __post_init__(self) -> None:
        rule = Rule(self.rule_id, RuleKind.ROLE)
        # INVARIANT: only an explicit allow grants.
        decision = Grant(rule) if self.effect is Effect.ALLOW else Denial(Reason.RULE_MATCHED, rule)
        object.__setattr__(self, "decision", decision)


@dataclass(frozen=True, slots=True)
class RoleIndex:
    """The role rules of one tenant. Immutable: a change returns another index that shares what it can."""

    model: RoleModel
    cells: Map[CellKey, Cell] = field(default_factory=Map)

    @classmethod
    def of(cls, rules: Iterable[RoleRule], model: RoleModel) -> "RoleIndex":
        """Index many rules at once; the same as adding them one by one, in a fraction of the time."""
        grouped: dict[tuple[str, str, str], list[RoleRule]] = {}
        for rule in rules:
            names = rule[3:6]  # domain, object, action
            known = grouped.get(names)
            if known is None:
                grouped[names] = [rule]
            else:
                known.append(rule)
        subjects: dict[tuple[str, SubjectKind, Effect], tuple[str, ...]] = {}
        cells: MapMutation[CellKey, Cell] = Map[CellKey, Cell]().mutate()
        while grouped:
            # One by one: many freed at once would keep every other thread waiting.
            (dom, obj, act), own = grouped.popitem()
            cells[obj, act, dom] = _cell(own, subjects)
        return cls(model, cells.finish())

    def with_rule(self, rule: RoleRule) -> "RoleIndex":
        """Return the index with the rule added."""
        return self._changed(rule, present=True)

    def without_rule(self, rule: RoleRule) -> "RoleIndex":
        """Return the index with the rule taken out."""
        return self._changed(rule, present=False)

    def _changed(self, rule: RoleRule, *, present: bool) -> "RoleIndex":
        key = (rule.obj, rule.act, rule.dom)
        cell = self.cells.get(key, _EMPTY_CELL).changed(rule, present=present)
        if not cell.allow and not cell.deny:
            return RoleIndex(self.model, self.cells.delete(key) if key in self.cells else self.cells)
        return RoleIndex(self.model, self.cells.set(key, cell))

    def decide(
        self, subjects: Iterable[str], *, authenticated: bool, dom: str | None, obj: str, act: str
    ) -> RoleOutcome | None:
        """Return what the rules on these names say; see `decide_in`."""
        return self.decide_in(self.matching(dom, obj, act), subjects, authenticated=authenticated)

    def matching(
        self, dom: str | None, obj: str, act: str, denied_as: tuple[str, ...] = ()
    ) -> tuple[Cell, ...]:
        """Return the cells whose rules can match, at most eight: each name as it is, or `*`.

        `denied_as` are further names of the object, on which only denies count.
        """
        cells, domains, actions = self.cells, self.model.domains(dom), self.model.actions(act)
        keys = product(self.model.objects(obj), actions, domains)
        found = tuple(cell for key in keys if (cell := cells.get(key)) is not None)
        if not denied_as:
            return found
        denying = (cells.get(key, _EMPTY_CELL) for key in product(denied_as, actions, domains))
        return (*found, *(Cell(deny=cell.deny) for cell in denying if cell.deny))

    def decide_in(
        self,
        matching: tuple[Cell, ...],
        subjects: Iterable[str],
        *,
        authenticated: bool,
        peer: Iterable[str] = (),
    ) -> RoleOutcome | None:
        """Return deny if any deny matches, else allow if any allow matches, else nothing.

        `subjects` are the request's own subject and its roles, prefixed; `*` is added here: in an allow it
        means every authenticated principal, in a deny everyone. `peer` are the names of the workload that
        the request of another principal comes from: only denies count for it.
        """
        allowed: str | None = None
        denied: str | None = None
        everyone = self.model.everyone
        for cell in matching:
            if cell.deny:
                denied = _lowest(cell.deny, subjects, denied, everyone=everyone)
                if peer:
                    denied = _lowest(cell.deny, peer, denied, everyone=False)
            if denied is None and cell.allow:
                allowed = _lowest(cell.allow, subjects, allowed, everyone=everyone and authenticated)
        if denied is not None:
            return RoleOutcome(Effect.DENY, denied)
        return RoleOutcome(Effect.ALLOW, allowed) if allowed is not None else None


def _cell(
    rules: Iterable[RoleRule], subjects: dict[tuple[str, SubjectKind, Effect], tuple[str, ...]]
) -> Cell:
    """Return the cell of rules with the same object, action and domain.

    `subjects` are the names of `_indexed_subjects` that are known; those of these rules are added.
    """
    allow: dict[str, list[str]] = {}
    deny: dict[str, list[str]] = {}
    for rule in rules:
        rule_id, effect = rule.id, rule.effect
        written = (rule.sub, rule.sub_kind, effect)
        names = subjects.get(written)
        if names is None:
            names = subjects[written] = _indexed_subjects(rule)
        side = allow if effect is _ALLOW else deny
        for name in names:
            if name in side:
                side[name].append(rule_id)
            else:
                side[name] = [rule_id]
    return Cell(_side(allow), _side(deny))


def _side(ids_by_subject: dict[str, list[str]]) -> Map[str, tuple[str, ...]]:
    if not ids_by_subject:
        return _NO_SUBJECTS
    return map_of(
        (subject, (ids[0],) if len(ids) == 1 else tuple(sorted(ids)))
        for subject, ids in ids_by_subject.items()
    )


def _lowest(
    side: Map[str, tuple[str, ...]], subjects: Iterable[str], best: str | None, *, everyone: bool
) -> str | None:
    for subject in subjects:
        ids = side.get(subject)
        if ids is not None and (best is None or ids[0] < best):
            best = ids[0]
    if everyone:
        ids = side.get(WILDCARD)
        if ids is not None and (best is None or ids[0] < best):
            best = ids[0]
    return best


@dataclass(frozen=True, slots=True)
class EffectiveSubjects:
    """The subject and the roles of a principal in one domain: its own, bound and inherited ones.

    Valid from `valid_from` on and before `valid_until` (POSIX seconds), where a binding expires; a clock may
    step back.
    """

    names: tuple[str, ...]
    roles: tuple[str, ...]
    valid_from: float
    valid_until: float


@dataclass(frozen=True, slots=True)
class BindingIndex:
    """Role bindings by domain and bound name. Immutable, like the rules."""

    edges: Map[tuple[str, str], Map[str, RoleBinding]] = field(default_factory=Map)
    inheriting: Map[str, Map[str, None]] = field(default_factory=Map)
    """The roles that inherit, by the domain of the line."""
    heirs: Map[tuple[str, str], Map[str, Map[str, None]]] = field(default_factory=Map)
    """The roles that inherit a role, by domain and that role, with the ids of the lines that say so."""
    of_workloads: Map[str, RoleBinding] = field(default_factory=Map)
    """The bindings of workloads, by id."""

    def with_binding(self, binding: RoleBinding) -> "BindingIndex":
        """Return the index with the binding added."""
        key = _edge_key(binding)
        edges = self.edges.set(key, self.edges.get(key, _NO_EDGES).set(binding.id, binding))
        if binding.user_kind is SubjectKind.WORKLOAD:
            return replace(self, edges=edges, of_workloads=self.of_workloads.set(binding.id, binding))
        if binding.user_kind is not SubjectKind.ROLE:
            return replace(self, edges=edges)
        domain, name = key
        inherited = (domain, f"role:{binding.role}")
        heirs = self.heirs.get(inherited, _NO_NAMES)
        return BindingIndex(
            edges,
            self.inheriting.set(domain, self.inheriting.get(domain, _NO_IDS).set(name, None)),
            self.heirs.set(inherited, heirs.set(name, heirs.get(name, _NO_IDS).set(binding.id, None))),
            self.of_workloads,
        )

    def without_binding(self, binding: RoleBinding) -> "BindingIndex":
        """Return the index with the binding taken out."""
        key = _edge_key(binding)
        known = self.edges.get(key, _NO_EDGES)
        if binding.id not in known:
            return self
        edges = _without(self.edges, key, known.delete(binding.id))
        if binding.user_kind is SubjectKind.WORKLOAD:
            return replace(self, edges=edges, of_workloads=self.of_workloads.delete(binding.id))
        if binding.user_kind is not SubjectKind.ROLE:
            return replace(self, edges=edges)
        domain, name = key
        inheriting = self.inheriting
        if key not in edges:
            inheriting = _without(inheriting, domain, inheriting[domain].delete(name))
        inherited = (domain, f"role:{binding.role}")
        heirs = self.heirs[inherited]
        heirs = _without(heirs, name, heirs[name].delete(binding.id))
        return BindingIndex(edges, inheriting, _without(self.heirs, inherited, heirs), self.of_workloads)

    def subjects(self, principal: Principal, now: float) -> EffectiveSubjects:
        """Return the principal's own subject and its roles: its own, bound and inherited ones."""
        own = request_subjects(principal)
        return self._closure([*own, *(f"role:{role}" for role in principal.roles)], principal.domain, now)

    def peer_subjects(self, peer: str, domain: str | None, now: float) -> EffectiveSubjects:
        """Return the names of the workload that a request in `domain` comes from, and its roles.

        A peer whose name is malformed may be any workload: every deny on one means it, and it has the roles
        of all.
        """
        if peer_problem(peer) is None:
            return self._closure(list(workload_subjects(peer)), domain, now)
        bound = (binding for binding in self.of_workloads.values() if binding.dom in (domain, WILDCARD))
        return self._closure([ANY_WORKLOAD, *(f"role:{binding.role}" for binding in bound)], domain, now)

    def _closure(self, frontier: list[str], domain: str | None, now: float) -> EffectiveSubjects:
        """Return these names, and the roles that they have in a domain."""
        valid_from, valid_until = -_NEVER, _NEVER
        found = dict.fromkeys(frontier)
        domains = (WILDCARD,) if domain is None else (domain, WILDCARD)
        while frontier:
            name = frontier.pop()
            for each in domains:
                for binding in self.edges.get((each, name), _NO_BINDINGS).values():
                    expires_at = binding.expires_at
                    if expires_at is not None:
                        if expires_at <= now:
                            valid_from = max(valid_from, expires_at)
                            continue
                        valid_until = min(valid_until, expires_at)
                    role = f"role:{binding.role}"
                    if role not in found:
                        found[role] = None
                        frontier.append(role)
        roles = tuple(sorted(name.removeprefix("role:") for name in found if name.startswith("role:")))
        return EffectiveSubjects(tuple(found), roles, valid_from, valid_until)

    def inheritance_problems(self, domains: frozenset[str]) -> list[tuple[str, str]]:
        """Return what is wrong with role inheritance, by domain: a cycle, or too many links.

        Looked at are the given domains; `*` among them concerns every domain, as its lines hold in each. What
        is wrong with the lines of `*` is reported once.
        """
        check = Inheritance(self._parents, self._heirs)
        concerned = set(self.inheriting) if WILDCARD in domains else domains & set(self.inheriting)
        if WILDCARD in concerned:
            problem = check.problem_of_star(self.inheriting[WILDCARD])
            if problem is not None:
                return [(WILDCARD, problem)]
        found = (
            (domain, check.problem_in(domain, self.inheriting[domain]))
            for domain in sorted(concerned - {WILDCARD})
        )
        return [(domain, problem) for domain, problem in found if problem is not None]

    def _parents(self, domain: str, name: str) -> Iterator[str]:
        return (f"role:{binding.role}" for binding in self.edges.get((domain, name), _NO_BINDINGS).values())

    def _heirs(self, domain: str, name: str) -> Iterator[str]:
        return iter(self.heirs.get((domain, name), _NO_NAMES))


_NO_BINDINGS: Final[Mapping[str, RoleBinding]] = Map()
_NO_EDGES: Final[Map[str, RoleBinding]] = Map()
_NO_NAMES: Final[Map[str, Map[str, None]]] = Map()
_NO_IDS: Final[Map[str, None]] = Map()

_Key = TypeVar("_Key")
_Inner = TypeVar("_Inner")


def _without(
    outer: Map[_Key, Map[str, _Inner]], key: _Key, rest: Map[str, _Inner]
) -> Map[_Key, Map[str, _Inner]]:
    """Return the map with `rest` under the key, without the key when nothing is left."""
    return outer.set(key, rest) if rest else outer.delete(key)


def _edge_key(binding: RoleBinding) -> tuple[str, str]:
    return (binding.dom, f"{binding.user_kind.value}:{binding.user}")
