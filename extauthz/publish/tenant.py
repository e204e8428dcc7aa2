"""One tenant's published state: its snapshot, and what is needed to take it to the next revision."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from immutables import Map

from extauthz.compile.documents.policy_documents import Reading
from extauthz.compile.persistent_maps import map_of
from extauthz.compile.roles.role_model import RoleModel
from extauthz.compile.row_reader import KINDS, Document, StoredReader
from extauthz.compile.snapshot import Snapshot
from extauthz.compile.snapshot_building import PolicyChange, Removal, build, derive
from extauthz.domain.policy import PolicySet, Resource
from extauthz.domain.problem import Problem
from extauthz.domain.tenant_config import TenantConfig
from extauthz.publish.loading import short_steps
from extauthz.publish.salvage import LastGood, RowKey, Salvage, UnreadableRow
from extauthz.storage.copied_rows import CopiedRows
from extauthz.storage.feed import RowChange, TenantDocuments


@dataclass(frozen=True, slots=True)
class TenantPolicies:
    """A tenant's snapshot and configuration; `resource_names` finds a resource's name by the id of its row.

    `unreadable` are the rows that are not in force as they are stored. INVARIANT: a state is only published
    when it `is_complete`: it was read whole once, so that each of those rows has its last good version, or is
    newer and stands for no more than it may.
    """

    snapshot: Snapshot
    resource_names: Map[str, str]
    config: TenantConfig = field(default_factory=TenantConfig)
    unreadable: Mapping[RowKey, UnreadableRow] = field(default_factory=dict)
    is_complete: bool = True

    @property
    def problems(self) -> list[Problem]:
        """Return why rows are not in force, in the order of their kinds and ids."""
        return [self.unreadable[key].problem for key in sorted(self.unreadable)]

    def last_good(self) -> LastGood | None:
        """Return what later readings may fall back on; None before the rows were read whole once."""
        if not self.is_complete:
            return None
        stand_ins = frozenset(key for key, row in self.unreadable.items() if not row.kept)
        return LastGood(self.snapshot, self.resource_names, stand_ins)


@dataclass(frozen=True, slots=True)
class Compiler:
    """How rows become snapshots."""

    reading: Reading
    model: RoleModel

    def load(self, documents: TenantDocuments) -> TenantPolicies | list[Problem]:
        """Compile everything of a tenant; the answer is every problem."""
        with short_steps():
            return self._load(documents)

    def salvage(
        self,
        documents: TenantDocuments,
        before: TenantPolicies | None = None,
        suspects: Collection[RowKey] = frozenset(),
    ) -> TenantPolicies | list[Problem]:
        """Compile what can be read of a tenant, together with what was in force before.

        Where rows contradict each other the `suspects` are at fault, then those that were not in force.
        """
        whole = self.load(documents)
        if isinstance(whole, TenantPolicies):
            return whole
        with short_steps():
            last_good = None if before is None else before.last_good()
            reading = Salvage(last_good, suspects)
            snapshot = reading.snapshot(documents, StoredReader(self.reading), self.model)
        if not isinstance(snapshot, Snapshot):
            return snapshot
        return TenantPolicies(
            snapshot,
            Map(reading.resource_names),
            documents.config,
            reading.unreadable,
            is_complete=last_good is not None,
        )

    def _load(self, documents: TenantDocuments) -> TenantPolicies | list[Problem]:
        problems: list[Problem] = []
        reader = StoredReader(self.reading)

        def read(kind: str, rows: Iterable[Document]) -> Iterator[Any]:
            found = (reader.read(kind, row, problems) for row in rows)
            return (entity for entity in found if entity is not None)

        def read_role_rules(rows: Sequence[Document] | CopiedRows) -> Iterator[Any]:
            if not isinstance(rows, CopiedRows):
                yield from read("role_rule", rows)
                return
            for part in rows.parts():
                plain = reader.plain_role_rules(part)
                yield from read("role_rule", rows.documents(part)) if plain is None else plain

        policies = PolicySet(
            resources=tuple(read("resource", documents.resources)),
            role_rules=tuple(read_role_rules(documents.role_rules)),
            role_bindings=tuple(read("role_binding", documents.role_bindings)),
            attribute_policies=tuple(read("attribute_policy", documents.attribute_policies)),
        )
        if problems:
            return problems
        snapshot = build(documents.tenant, documents.revision, policies, self.model)
        if not isinstance(snapshot, Snapshot):
            return snapshot
        names = map_of((str(row["id"]), str(row["name"])) for row in documents.resources)
        return TenantPolicies(snapshot, names, documents.config)

    def apply(
        self, state: TenantPolicies, revision: int, rows: Iterable[RowChange]
    ) -> TenantPolicies | list[Problem]:
        """Take a state to the next revision; the answer is what does not compile.

        The configuration stays as it was: changes do not hold what is new in it.
        """
        rows = tuple(rows)
        problems: list[Problem] = []
        reader = StoredReader(self.reading)
        names = state.resource_names
        changes: list[PolicyChange] = []
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
        touched = {(row.kind, row.id) for row in rows}
        unreadable = {key: row for key, row in state.unreadable.items() if key not in touched}
        return TenantPolicies(snapshot, names, state.config, unreadable, state.is_complete or not unreadable)


def unreadable_rows(state: TenantPolicies) -> list[Problem]:
    """Return why rows of a tenant are not in force, those of its configuration included."""
    return [*state.problems, *state.config.problems]


def row_of(problem: Problem) -> RowKey:
    """Return the kind and id of the row that a problem's pointer names."""
    _, kind, row_id, *_ = (*problem.pointer.split("/"), "", "")
    return kind, row_id
