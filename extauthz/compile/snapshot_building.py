"""Compiles snapshots: from a whole policy set, or from their predecessor and what changed since.

Input: entities. Output: a snapshot, or every problem that only shows between entities, each with its pointer.
Nothing here edits what a reader may hold: indexes are persistent maps, so the next snapshot shares all that
did not change with its predecessor.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from extauthz.compile.path_denies import PathDenies
from extauthz.compile.persistent_maps import map_of
from extauthz.compile.policy_index import PolicyIndex
from extauthz.compile.roles.role_index import BindingIndex, RoleIndex
from extauthz.compile.roles.role_model import RoleModel
from extauthz.compile.routes.route_index import RouteConflict, RouteIndex
from extauthz.compile.snapshot import Snapshot
from extauthz.domain.policy import (
    WILDCARD,
    AttributePolicy,
    Entity,
    PolicySet,
    Resource,
    RoleBinding,
    RoleRule,
    SubjectKind,
)
from extauthz.domain.policy_digest import digest_of
from extauthz.domain.problem import Problem


@dataclass(frozen=True, slots=True)
class Removal:
    """An entity that is gone: its type, and its id (its name for a resource)."""

    entity: type[Entity]
    id: str


PolicyChange = Entity | Removal


def build(tenant: str, revision: int, policies: PolicySet, model: RoleModel) -> Snapshot | list[Problem]:
    """Compile a whole policy set; the answer is every problem that only shows between documents.

    Pointers name the entry in the set: `/role_rules/3`.
    """
    resources_by_name = map_of((resource.name, resource) for resource in policies.resources)
    role_rules_by_id = map_of((rule.id, rule) for rule in policies.role_rules)
    bindings_by_id = map_of((binding.id, binding) for binding in policies.role_bindings)
    policies_by_id = map_of((policy.id, policy) for policy in policies.attribute_policies)
    problems = _inheritance_problems(policies)
    # There may be a million rules: where each of them is in its map, none has the name of another.
    if (
        len(resources_by_name) < len(policies.resources)
        or len(bindings_by_id) < len(policies.role_bindings)
        or len(role_rules_by_id) < len(policies.role_rules)
        or len(policies_by_id) < len(policies.attribute_policies)
        or any(policy_id in role_rules_by_id for policy_id in policies_by_id)
    ):
        problems = [*_repeated(policies), *problems]
    routes = RouteIndex()
    for position, resource in enumerate(policies.resources):
        conflicts = routes.conflicts(resource)
        problems.extend(
            Problem(f"/resources/{position}/routes/{at}", conflict_message(conflict))
            for at, conflict in conflicts
        )
        if not conflicts:
            routes = routes.with_resource(resource)
    if problems:
        return problems
    index = PolicyIndex()
    for policy in policies.attribute_policies:
        index = index.with_policy(policy)
    index.group(policies.attribute_policies)
    return Snapshot(
        tenant=tenant,
        revision=revision,
        roles=RoleIndex.of(policies.role_rules, model),
        bindings=_binding_index(policies.role_bindings),
        policies=index,
        path_denies=PathDenies.of(policies.rules()),
        routes=routes,
        resources_by_name=resources_by_name,
        role_rules_by_id=role_rules_by_id,
        bindings_by_id=bindings_by_id,
        policies_by_id=policies_by_id,
        policy_digest=digest_of(resources_by_name, role_rules_by_id, bindings_by_id, policies_by_id),
    )


def _binding_index(bindings: Iterable[RoleBinding]) -> BindingIndex:
    index = BindingIndex()
    for binding in bindings:
        index = index.with_binding(binding)
    return index


def conflict_message(conflict: RouteConflict) -> str:
    """Say which two routes want the same requests."""
    host = conflict.host or "every host"
    return (
        f"{conflict.method} {conflict.path} on {host} of resource {conflict.resource!r} is already "
        f"{conflict.other_path} of resource {conflict.other_resource!r}"
    )


def _repeated(policies: PolicySet) -> list[Problem]:
    # Role rules and attribute policies share one name space: a `matched_rule_id` must name one rule.
    groups = (
        (("resources", [resource.name for resource in policies.resources]),),
        (("role_bindings", [binding.id for binding in policies.role_bindings]),),
        (
            ("role_rules", [rule.id for rule in policies.role_rules]),
            ("attribute_policies", [policy.id for policy in policies.attribute_policies]),
        ),
    )
    return [problem for group in groups for problem in _repeats(group)]


def _repeats(tables: Iterable[tuple[str, list[str]]]) -> Iterator[Problem]:
    first: dict[str, str] = {}
    for table, own in tables:
        for position, key in enumerate(own):
            pointer = f"/{table}/{position}"
            if key in first:
                yield Problem(pointer, f"{key!r} is already used at {first[key]}")
            else:
                first[key] = pointer


def _inheritance_problems(policies: PolicySet) -> list[Problem]:
    inheriting = [binding for binding in policies.role_bindings if binding.user_kind is SubjectKind.ROLE]
    if not inheriting:
        return []
    found = _binding_index(inheriting).inheritance_problems(frozenset({WILDCARD}))
    return [Problem("/role_bindings", f"in domain {domain!r} {problem}") for domain, problem in found]


def derive(snapshot: Snapshot, revision: int, changes: Iterable[PolicyChange]) -> Snapshot | list[Problem]:
    """Return the next snapshot; the answer is what is wrong where the changes do not compile.

    Of several changes of one entity the last counts. Removals are applied before additions, so that one
    revision may move a route between resources.
    """
    last: dict[tuple[type[Entity], str], PolicyChange] = {}
    for change in changes:
        last[_changed(change)] = change
    draft = _Draft(snapshot)
    for entity, key in last:
        draft.take_out(entity, key)
    for change in last.values():
        if not isinstance(change, Removal):
            draft.put_in(change)
    draft.check_inheritance()
    return draft.problems or draft.finished(revision)


def _changed(change: PolicyChange) -> tuple[type[Entity], str]:
    if isinstance(change, Removal):
        return change.entity, change.id
    return type(change), change.name if isinstance(change, Resource) else change.id


class _Draft:
    """The next snapshot while it is being made; every member is itself immutable."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.problems: list[Problem] = []
        self._base = snapshot
        self._roles = snapshot.roles
        self._bindings = snapshot.bindings
        self._policies = snapshot.policies
        self._path_denies = snapshot.path_denies
        self._inheriting: set[str] = set()
        self._regrouped: list[AttributePolicy] = []
        self._routes = snapshot.routes
        self._resources = snapshot.resources_by_name
        self._rules_by_id = snapshot.role_rules_by_id
        self._bindings_by_id = snapshot.bindings_by_id
        self._policies_by_id = snapshot.policies_by_id
        self._removed: list[Entity] = []
        self._added: list[Entity] = []

    def take_out(self, entity: type[Entity], key: str) -> None:
        """Remove what a change removes or replaces, if it is there."""
        if entity is Resource and key in self._resources:
            self._routes = self._routes.without_resource(self._resources[key])
            self._removed.append(self._resources[key])
            self._resources = self._resources.delete(key)
        elif entity is RoleRule and key in self._rules_by_id:
            self._roles = self._roles.without_rule(self._rules_by_id[key])
            self._path_denies = self._path_denies.without_rule(self._rules_by_id[key])
            self._removed.append(self._rules_by_id[key])
            self._rules_by_id = self._rules_by_id.delete(key)
        elif entity is RoleBinding and key in self._bindings_by_id:
            self._bindings = self._bindings.without_binding(self._bindings_by_id[key])
            self._removed.append(self._bindings_by_id[key])
            self._bindings_by_id = self._bindings_by_id.delete(key)
        elif entity is AttributePolicy and key in self._policies_by_id:
            policy = self._policies_by_id[key]
            self._policies = self._policies.without_policy(policy)
            self._path_denies = self._path_denies.without_rule(policy)
            self._policies_by_id = self._policies_by_id.delete(key)
            self._regrouped.append(policy)
            self._removed.append(policy)

    def put_in(self, entity: Entity) -> None:
        """Add an entity whose predecessor was taken out."""
        self._added.append(entity)
        match entity:
            case Resource():
                conflicts = self._routes.conflicts(entity)
                self.problems.extend(
                    Problem(f"/routes/{at}", conflict_message(conflict)) for at, conflict in conflicts
                )
                if not conflicts:
                    self._routes = self._routes.with_resource(entity)
                    self._resources = self._resources.set(entity.name, entity)
            case RoleRule():
                self._taken(entity.id, self._policies_by_id)
                self._roles = self._roles.with_rule(entity)
                self._path_denies = self._path_denies.with_rule(entity)
                self._rules_by_id = self._rules_by_id.set(entity.id, entity)
            case RoleBinding():
                self._bindings = self._bindings.with_binding(entity)
                self._bindings_by_id = self._bindings_by_id.set(entity.id, entity)
                if entity.user_kind is SubjectKind.ROLE:
                    self._inheriting.add(entity.dom)
            case AttributePolicy():
                self._taken(entity.id, self._rules_by_id)
                self._policies = self._policies.with_policy(entity)
                self._path_denies = self._path_denies.with_rule(entity)
                self._policies_by_id = self._policies_by_id.set(entity.id, entity)
                self._regrouped.append(entity)

    def _taken(self, rule_id: str, others: Mapping[str, object]) -> None:
        if rule_id in others:
            self.problems.append(Problem("/id", f"{rule_id!r} already names another rule"))

    def check_inheritance(self) -> None:
        """Note what the added role-to-role lines made of inheritance."""
        if self._inheriting:
            found = self._bindings.inheritance_problems(frozenset(self._inheriting))
            self.problems.extend(
                Problem("/role", f"in domain {domain!r} {problem}") for domain, problem in found
            )

    def finished(self, revision: int) -> Snapshot:
        """Return the next snapshot, with memos of its own."""
        self._policies.group(self._regrouped)
        return Snapshot(
            tenant=self._base.tenant,
            revision=revision,
            roles=self._roles,
            bindings=self._bindings,
            policies=self._policies,
            path_denies=self._path_denies,
            routes=self._routes,
            resources_by_name=self._resources,
            role_rules_by_id=self._rules_by_id,
            bindings_by_id=self._bindings_by_id,
            policies_by_id=self._policies_by_id,
            policy_digest=self._base.policy_digest.changed(self._removed, self._added),
        )
