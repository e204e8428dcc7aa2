"""One row that a write changed, for the audit trail and for sidecars."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from extauthz.storage.rows import Document


@dataclass(frozen=True, slots=True)
class WrittenRow:
    """What was done (`action`) to the row `id` of the kind `kind`.

    `before` and `after` are documents, None where the row did not or does not exist. `published` is what
    sidecars do with it; `refresh` means that they read the tenant's configuration again.
    """

    action: str
    kind: str
    id: str
    before: Document | None
    after: Document | None
    published: Literal["upsert", "delete", "refresh"]
