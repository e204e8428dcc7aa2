"""Makes the next head of a tenant and the bodies that it needs, from what the database has.

Input: the head before, documents or changes, the configuration. Output: `Signed`.

A change costs one small body. The whole policies are packed again only when the changes after them have
become many or large, or do not follow each other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from extauthz.domain.tenant_config import TenantConfig
from extauthz.signed.bodies import MAX_CHANGE_BYTES, change_document, config_document, packed, whole_document
from extauthz.signed.head import MAX_CHANGES, Body, ChangeBody, Head
from extauthz.storage.feed import TenantChange, TenantDocuments

_LARGEST_SHARE: Final = 0.5
"""Of the size of the whole: changes that are larger together cost a new sidecar more than the whole."""
_SMALL: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Signed:
    """A head that is not signed yet, and the octets of those of its bodies that are new, by SHA-256."""

    head: Head
    bodies: Mapping[str, bytes]


def next_serial(before: Head | None, now: float) -> int:
    """Return the serial of the next head: it grows, and one of today is above any that a backup has."""
    return max(0 if before is None else before.serial + 1, int(now * 1000))


def anew(before: Head, now: float) -> Head:
    """Return the same head for this moment (POSIX seconds)."""
    return replace(before, serial=next_serial(before, now), signed_at=int(now * 1000))


def anew_with(before: Head, config: TenantConfig, now: float) -> Signed:
    """Return a head of the same policies for this moment, with the configuration of now."""
    body, octets = packed(config_document(before.tenant, config))
    bodies = {} if body == before.config else {body.sha256: octets}
    return Signed(replace(anew(before, now), config=body), bodies)


def whole_head(
    before: Head | None, epoch: str, history: str, documents: TenantDocuments, now: float
) -> Signed:
    """Return a head that names the whole policies, and no change."""
    whole, octets = packed(whole_document(documents))
    config, config_octets = packed(config_document(documents.tenant, documents.config))
    head = Head(
        tenant=documents.tenant,
        serial=next_serial(before, now),
        epoch=epoch,
        history=history,
        revision=documents.revision,
        written_at=time_text(documents.written_at),
        signed_at=int(now * 1000),
        whole_revision=documents.revision,
        whole=whole,
        changes=(),
        config=config,
    )
    return Signed(head, {whole.sha256: octets, config.sha256: config_octets})


def continues(
    before: Head, changes: Sequence[TenantChange], revision: int, written_at: datetime | None
) -> bool:
    """Tell whether the changes lead from a head to the revision that was written at this time.

    INVARIANT: the last change is the one that the tenant's row was written with. A record left over from
    before the revision was put back never follows what is stored now.
    """
    if not changes or (changes[-1].revision, changes[-1].written_at) != (revision, written_at):
        return False
    at = before.revision
    for change in changes:
        if change.rows is None or change.predecessor != at:
            return False
        at = change.revision
    return True


def following_head(
    before: Head, changes: Sequence[TenantChange], config: TenantConfig, now: float
) -> Signed | None:
    """Return the head after changes that continue it; None: the whole has to be packed anew."""
    bodies: dict[str, bytes] = {}
    named: list[ChangeBody] = list(before.changes)
    for change in changes:
        body, octets = packed(change_document(change))
        if body.content_size > MAX_CHANGE_BYTES:
            return None
        bodies[body.sha256] = octets
        named.append(ChangeBody(change.predecessor, change.revision, body))
    if len(named) > MAX_CHANGES or _are_large(named, before.whole):
        return None
    config_body, octets = packed(config_document(before.tenant, config))
    if config_body != before.config:
        bodies[config_body.sha256] = octets
    head = replace(
        anew(before, now),
        revision=changes[-1].revision,
        written_at=time_text(changes[-1].written_at),
        changes=tuple(named),
        config=config_body,
    )
    return Signed(head, bodies)


def time_text(moment: datetime | None) -> str:
    """Return a time of the database as a head has it."""
    return "" if moment is None else moment.isoformat()


def _are_large(changes: Sequence[ChangeBody], whole: Body) -> bool:
    size = sum(change.body.size for change in changes)
    return size > max(_SMALL, whole.size * _LARGEST_SHARE)
