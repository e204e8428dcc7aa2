"""One tenant's published state: its snapshot, and what is needed to take it to the next revision."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from immutables import Map

from extauthz.compile.documents import Reading
from extauthz.compile.model import RoleModel
from extauthz.compile.snapshot import Change, Removal, Snapshot, build, derive
from extauthz.compile.stored import KINDS, StoredReader
from extauthz.domain.policy import AttributePolicy, PolicySet, Resource, RoleBinding, RoleRule
from extauthz.domain.problem import Problem
from extauthz.domain.registration import Registration
from extauthz.storage.feed import RowChange, TenantDocuments


@dataclass(frozen=True, slots=True)
class TenantState:
    """A tenant's snapshot and registration; `resource_names` finds a resource's name by the id of its row."""

    snapshot: Snapshot
    resource_names: Map[str, str]
    registration: Registration = field(default_factory=Registration)


@dataclass(frozen=True, slots=True)
class Compiler:
    """How rows become snapshots."""

    reading: Reading
    model: RoleModel

    def load(self, documents: TenantDocuments) -> TenantState | list[Problem]:
        """Compile everything of a tenant; the answer is every problem."""
        problems: list[Problem] = []
        reader = StoredReader(self.reading)
        tables = {
            "resource": documents.resources,
            "role_rule": documents.role_rules,
            "role_binding": documents.role_bindings,
            "attribute_policy": documents.attribute_policies,
        }
        entities = [
            entity
            for kind, rows in tables.items()
            for row in rows
            if (entity := reader.read(kind, row, problems)) is not None
        ]
        if problems:
            return problems
        policies = PolicySet(
            resources=tuple(entity for entity in entities if isinstance(entity, Resource)),
            role_rules=tuple(entity for entity in entities if isinstance(entity, RoleRule)),
            role_bindings=tuple(entity for entity in entities if isinstance(entity, RoleBinding)),
            attribute_policies=tuple(entity for entity in entities if isinstance(entity, AttributePolicy)),
        )
        snapshot = build(documents.tenant, documents.revision, policies, self.model)
        if not isinstance(snapshot, Snapshot):
            return snapshot
        names = Map({str(row["id"]): str(row["name"]) for row in documents.resources})
        return TenantState(snapshot, names, documents.registration)

    def apply(
        self, state: TenantState, revision: int, rows: Iterable[RowChange]
    ) -> TenantState | list[Problem]:
        """Take a state to the next revision; the answer is what does not compile.

        The registration stays as it was: changes do not hold what is new in it.
        """
        problems: list[Problem] = []
        reader = StoredReader(self.reading)
        names = state.resource_names
        changes: list[Change] = []
        for row in rows:
            if row.kind not in KINDS:
                continue
            key = names.get(row.id, row.id) if row.kind == "resource" else row.id
            if row.row is None:
                changes.append(Removal(KINDS[row.kind], key))
                if row.id in names:
                    names = names.delete(row.id)
                continue
            entity = reader.read(row.kind, row.row, problems)
            if isinstance(entity, Resource):
                if key not in (row.id, entity.name):
                    changes.append(Removal(Resource, key))
                names = names.set(row.id, entity.name)
            if entity is not None:
                changes.append(entity)
        if problems:
            return problems
        snapshot = derive(state.snapshot, revision, changes)
        if not isinstance(snapshot, Snapshot):
            return snapshot
        return TenantState(snapshot, names, state.registration)
