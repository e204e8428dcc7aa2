"""One tenant's published state: its snapshot, and what is needed to take it to the next revision."""

import gc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from immutables import Map

from extauthz.compile.documents import Reading
from extauthz.compile.model import RoleModel
from extauthz.compile.snapshot import Change, Removal, Snapshot, build, derive
from extauthz.compile.stored import KINDS, Document, StoredReader
from extauthz.domain.policy import PolicySet, Resource
from extauthz.domain.problem import Problem
from extauthz.domain.registration import Registration
from extauthz.storage.feed import RowChange, TenantDocuments


@contextmanager
def collecting_later() -> Iterator[None]:
    """Pause the search for cyclic garbage: half of a load would go into walking what it has just made.

    In the end what was loaded is walked once, and put out of the reach of later full collections, each of
    which stops every decision.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


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
        with collecting_later():
            return self._load(documents)

    def _load(self, documents: TenantDocuments) -> TenantState | list[Problem]:
        problems: list[Problem] = []
        reader = StoredReader(self.reading)

        def read(kind: str, rows: Iterable[Document]) -> Iterator[Any]:
            found = (reader.read(kind, row, problems) for row in rows)
            return (entity for entity in found if entity is not None)

        policies = PolicySet(
            resources=tuple(read("resource", documents.resources)),
            role_rules=tuple(read("role_rule", documents.role_rules)),
            role_bindings=tuple(read("role_binding", documents.role_bindings)),
            attribute_policies=tuple(read("attribute_policy", documents.attribute_policies)),
        )
        if problems:
            return problems
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
