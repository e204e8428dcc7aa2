"""What a control plane records, and which attributes: a part of the services of the API."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from extauthz.compile.directory import Directory
from extauthz.compile.snapshot import Snapshot
from extauthz.domain.policy import SubjectKind
from extauthz.recording.shape import SUBJECT

_NOTHING: Final[frozenset[str]] = frozenset()


@dataclass(frozen=True, slots=True)
class Recording:
    """The settings of recording: `RECORD`, `RECORD_ATTRIBUTES`, `RECORD_DAYS`.

    `of_drafts` names the attributes that the drafts of a tenant read.
    """

    takes_batches: bool = True
    always: frozenset[str] = _NOTHING
    days: int = 90
    of_drafts: Callable[[str], frozenset[str]] = lambda _tenant: _NOTHING

    def asked_for(self, tenant: str) -> frozenset[str]:
        """Return the attributes that sidecars cannot know of: rules of drafts, and the setting."""
        return self.always | self.of_drafts(tenant)

    def attributes(self, directory: Directory | None, tenant: str) -> frozenset[str]:
        """Return every attribute that is recorded of the requests of a tenant."""
        snapshot = _snapshot(directory, tenant)
        live = _NOTHING if snapshot is None else frozenset(snapshot.policies.names)
        return live | self.asked_for(tenant)

    def read_by_rules(self, directory: Directory | None, tenant: str) -> frozenset[str]:
        """Return the attributes that live rules and drafts read, the subject where role rules name one."""
        snapshot = _snapshot(directory, tenant)
        live = _NOTHING if snapshot is None else frozenset(snapshot.policies.names)
        named = frozenset({SUBJECT}) if snapshot is not None and _names_subjects(snapshot) else _NOTHING
        return live | named | self.of_drafts(tenant)


def _snapshot(directory: Directory | None, tenant: str) -> Snapshot | None:
    return None if directory is None else directory.snapshots.get(tenant)


def _names_subjects(snapshot: Snapshot) -> bool:
    """Tell whether a binding or a role rule is about single users or services."""
    return bool(snapshot.bindings_by_id) or any(
        rule.sub_kind is not SubjectKind.ROLE for rule in snapshot.role_rules_by_id.values()
    )
