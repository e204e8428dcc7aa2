"""A row that a write changed, as the audit trail and the change records for sidecars hold it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extauthz.storage.rows import Document


@dataclass(frozen=True, slots=True)
class WrittenRow:
    """The `action` on the row `id` of the kind `kind`; `actor` is its author where that is not the change's.

    `before` and `after` are documents; None if the row did not, or does not, exist. `published` is the
    operation of sidecars; `refresh` means that they read the tenant's configuration again.
    """

    action: str
    kind: str
    id: str
    before: Document | None
    after: Document | None
    published: Literal["upsert", "delete", "refresh"]
    actor: Mapping[str, object] | None = None
