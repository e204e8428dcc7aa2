"""Compiles a tenant of which some rows cannot be read: the others are in force, no deny is dropped.

For a row that cannot be read, or contradicts others, its last good version stays in force. Without one, a
deny matches wherever it may have been meant to (`unreadable_rules.py`), and everything else is left out.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from extauthz.compile.roles.role_index import BindingIndex
from extauthz.compile.routes.route_index import RouteIndex
from extauthz.compile.snapshot_building import build, conflict_message
from extauthz.domain.policy import (
    AttributePolicy,
    Entity,
    PolicySet,
    Resource,
    RoleBinding,
    SubjectKind,
)
from extauthz.domain.problem import Problem
from extauthz.domain.reasons import Effect
from extauthz.publish.unreadable_rules import cautious_policy, cautious_role_rule

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from extauthz.compile.roles.role_model import RoleModel
    from extauthz.compile.row_reader import Document, StoredReader
    from extauthz.compile.snapshot import Snapshot
    from extauthz.storage.feed import TenantDocuments

RowKey = tuple[str, str]
"""The kind and the id of a row."""


@dataclass(frozen=True, slots=True)
class UnreadableRow:
    """A row that is not in force as it is stored, and why.

    `by_itself` says that its own members are the reason, not other rows; `kept` that its last good version
    is in force.
    """

    kind: str
    id: str
    problem: Problem
    document: Document
    by_itself: bool
    kept: bool

    @property
    def key(self) -> RowKey:
        """Return its kind and id."""
        return self.kind, self.id


@dataclass(frozen=True, slots=True)
class LastGood:
    """What was in force before: a snapshot, and the names of its resources by the ids of their rows.

    `stand_ins` are rows whose entity in the snapshot is not a version of theirs.
    """

    snapshot: Snapshot
    resource_names: Mapping[str, str]
    stand_ins: frozenset[RowKey] = frozenset()

    def version(self, key: RowKey) -> Entity | None:
        """Return the last good version of a row."""
        kind, row_id = key
        if key in self.stand_ins:
            return None
        match kind:
            case "resource":
                return self.snapshot.resources_by_name.get(self.resource_names.get(row_id, ""))
            case "role_rule":
                return self.snapshot.role_rules_by_id.get(row_id)
            case "role_binding":
                return self.snapshot.bindings_by_id.get(row_id)
            case _:
                return self.snapshot.policies_by_id.get(row_id)


@dataclass(slots=True)
class Salvage:
    """One reading. `suspects` are rows that give way first where rows contradict each other."""

    before: LastGood | None
    suspects: Collection[RowKey] = frozenset()
    unreadable: dict[RowKey, UnreadableRow] = field(default_factory=dict)
    resource_names: dict[str, str] = field(default_factory=dict)

    def snapshot(
        self, documents: TenantDocuments, reader: StoredReader, model: RoleModel
    ) -> Snapshot | list[Problem]:
        """Compile what can be read; `unreadable` and `resource_names` are filled in by that."""
        resources = self._resources(self._read("resource", documents.resources, reader))
        bindings = self._bindings(self._read("role_binding", documents.role_bindings, reader))
        rules = [entity for _, entity in self._read("role_rule", documents.role_rules, reader)]
        taken = {rule.id for rule in rules}
        policies: list[AttributePolicy] = []
        for row, policy in self._read("attribute_policy", documents.attribute_policies, reader):
            if policy.id not in taken:
                policies.append(policy)
                continue
            key = ("attribute_policy", policy.id)
            problem = Problem("/id", f"{policy.id!r} already names another rule")
            self._note(key, _of_row(problem, key), row, by_itself=False)
            if policy.effect is Effect.DENY:
                policies.append(replace(policy, id=f"attribute_policy:{policy.id}"))
        return build(
            documents.tenant,
            documents.revision,
            PolicySet(tuple(resources), tuple(rules), tuple(bindings), tuple(policies)),
            model,
        )

    def _read(self, kind: str, rows: Iterable[Document], reader: StoredReader) -> list[tuple[Document, Any]]:
        """Read the rows of a kind; what cannot be read is replaced by what it stands for."""
        found: list[tuple[Document, Any]] = []
        for row in rows:
            key = (kind, str(row.get("id")))
            problems: list[Problem] = []
            entity = reader.read(kind, row, problems)
            if entity is None:
                problem = problems[0] if problems else Problem("", "cannot be read")
                entity = self._note(key, _of_row(problem, key), row, by_itself=True)
            if entity is not None:
                found.append((row, entity))
        return found

    def _note(self, key: RowKey, problem: Problem, row: Document, *, by_itself: bool) -> Entity | None:
        """Note an unreadable row; return what is in force instead."""
        kept = None if self.before is None else self.before.version(key)
        self.unreadable[key] = UnreadableRow(*key, problem, row, by_itself, kept is not None)
        if kept is not None:
            return kept
        match key[0]:
            case "role_rule":
                return cautious_role_rule(row)
            case "attribute_policy":
                return cautious_policy(row)
            case _:
                return None

    def _is_settled(self, key: RowKey, entity: Entity) -> bool:
        return self.before is not None and self.before.version(key) == entity

    def _resources(self, read: Sequence[tuple[Document, Resource]]) -> list[Resource]:
        """Return the resources whose names and routes do not contradict those of resources before them."""
        found: dict[str, Resource] = {}
        routes = RouteIndex()

        def place(row: Document, resource: Resource) -> Problem | None:
            nonlocal routes
            if resource.name in found:
                return Problem("/name", f"{resource.name!r} is the name of another resource")
            for at, conflict in routes.conflicts(resource):
                return Problem(f"/routes/{at}", conflict_message(conflict))
            found[resource.name] = resource
            routes = routes.with_resource(resource)
            self.resource_names[str(row.get("id"))] = resource.name
            return None

        for row, resource in sorted(read, key=lambda pair: self._order("resource", *pair)):
            key = ("resource", str(row.get("id")))
            problem = place(row, resource)
            if problem is None:
                continue
            kept = self._note(key, _of_row(problem, key), row, by_itself=False)
            if isinstance(kept, Resource):
                place(row, kept)
        return list(found.values())

    def _bindings(self, read: Sequence[tuple[Document, RoleBinding]]) -> list[RoleBinding]:
        """Return the bindings without those that close a cycle of roles, or make a chain too long."""
        plain = [binding for _, binding in read if binding.user_kind is not SubjectKind.ROLE]
        lines = [pair for pair in read if pair[1].user_kind is SubjectKind.ROLE]
        lines.sort(key=lambda pair: self._order("role_binding", *pair))
        index = BindingIndex()
        kept: list[RoleBinding] = []
        # Halves of what does not fit are tried by themselves: few lines are wrong among many.
        waiting = [lines]
        while waiting:
            part = waiting.pop()
            following = index
            for _, binding in part:
                following = following.with_binding(binding)
            domains = {binding.dom for _, binding in part}
            problems = following.inheritance_problems(frozenset(domains)) if part else []
            if not problems:
                index = following
                kept += [binding for _, binding in part]
            elif len(part) > 1:
                middle = len(part) // 2
                waiting += [part[middle:], part[:middle]]
            else:
                ((row, binding),) = part
                domain, message = problems[0]
                key = ("role_binding", binding.id)
                problem = Problem("/role", f"in domain {domain!r} {message}")
                instead = self._note(key, _of_row(problem, key), row, by_itself=False)
                if isinstance(instead, RoleBinding) and instead != binding:
                    waiting.append([(row, instead)])
        return [*plain, *kept]

    def _order(self, kind: str, row: Document, entity: Any) -> tuple[bool, bool, str]:
        """Order rows that may contradict each other: those that were in force before come first."""
        key = (kind, str(row.get("id")))
        return key in self.suspects, not self._is_settled(key, entity), key[1]


def _of_row(problem: Problem, key: RowKey) -> Problem:
    """Return the problem with a pointer that names kind and id of its row."""
    prefix = f"/{key[0]}/{key[1]}"
    return problem if problem.pointer.startswith(prefix) else problem.under(prefix)
