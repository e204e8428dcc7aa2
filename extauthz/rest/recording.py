"""What a control plane records, and which attributes: a part of the services of the API."""

from dataclasses import dataclass
from typing import Final

from extauthz.compile.snapshot import Snapshot
from extauthz.domain.policy import SubjectKind
from extauthz.recording.shape import SUBJECT
from extauthz.rest.draft_attributes import DraftAttributes

_NOTHING: Final[frozenset[str]] = frozenset()


@dataclass(frozen=True, slots=True)
class Recording:
    """The settings of recording: `RECORD`, `RECORD_ATTRIBUTES`, `RECORD_DAYS`.

    `drafts` tells the attributes that drafts read.
    """

    takes_batches: bool = True
    always: frozenset[str] = _NOTHING
    days: int = 90
    drafts: DraftAttributes | None = None

    def of_drafts(self, tenant: str) -> frozenset[str]:
        """Return the attributes that open drafts read, as they were last read."""
        return _NOTHING if self.drafts is None else self.drafts.of(tenant)

    async def refresh(self, tenant: str) -> None:
        """Read which attributes the drafts of a tenant read."""
        if self.drafts is not None:
            await self.drafts.refresh(tenant)

    def asked_for(self, tenant: str) -> frozenset[str]:
        """Return the attributes that sidecars cannot know of: rules of drafts, and the setting."""
        return self.always | self.of_drafts(tenant)

    def attributes(self, tenant: str, snapshot: Snapshot | None) -> frozenset[str]:
        """Return every attribute that is recorded of the requests of a tenant."""
        live = _NOTHING if snapshot is None else frozenset(snapshot.policies.names)
        return live | self.asked_for(tenant)

    def read_by_rules(self, tenant: str, snapshot: Snapshot | None) -> frozenset[str]:
        """Return the attributes that live rules and drafts read, the subject where role rules name one."""
        live = _NOTHING if snapshot is None else frozenset(snapshot.policies.names)
        named = frozenset({SUBJECT}) if snapshot is not None and _names_subjects(snapshot) else _NOTHING
        return live | named | self.of_drafts(tenant)


def _names_subjects(snapshot: Snapshot) -> bool:
    """Tell whether a binding or a role rule is about single users or services."""
    return bool(snapshot.bindings_by_id) or any(
        rule.sub_kind is not SubjectKind.ROLE for rule in snapshot.role_rules_by_id.values()
    )
