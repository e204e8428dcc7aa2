"""Which values of slots stay literal on one day of a tenant, and which slot folds when there are too many.

Folding keeps counts exact: shapes that become equal are added up.
"""

from collections.abc import Callable, Sequence, Set

from extauthz.domain.tenancy import UnmappedPolicy
from extauthz.recording.bounds import max_literals
from extauthz.recording.documents import FIXED
from extauthz.recording.shape import FOLDED, PATH, WORDS, template_of
from extauthz.recording.slot_readers import slots_read_by

Slot = tuple[str | None, str]
"""A slot of a template (None: unmapped), by its name."""

IsRead = Callable[[Slot], bool]
"""Whether a live rule or a draft reads a slot."""


class DayLiterals:
    """The distinct literal values of each slot, of one tenant and day."""

    def __init__(self, folded: Set[Slot] = frozenset(), partly: Set[Slot] = frozenset()) -> None:
        """Take the slots that are folded as a whole, and those of which some values are."""
        self.folded = set(folded)
        self.partly = set(partly)
        self._values: dict[Slot, set[str]] = {}

    def note(self, template: str | None, names: Sequence[str], texts: Sequence[str]) -> None:
        """Count the values of a shape that is kept already."""
        for name, text in zip(names, texts, strict=True):
            if text not in WORDS:
                self._values.setdefault((template, name), set()).add(text)

    def fold(
        self, template: str | None, names: Sequence[str], texts: Sequence[str], is_read: IsRead
    ) -> tuple[str, ...]:
        """Return the texts of a shape's slots, folded where the slot is, or has too many values."""
        found = tuple(
            text if text in WORDS else self._one((template, name), text, is_read)
            for name, text in zip(names, texts, strict=True)
        )
        if FOLDED in found:
            self.partly.update(
                (template, name) for name, text in zip(names, found, strict=True) if text == FOLDED
            )
        return found

    def widest(self, is_read: IsRead) -> Slot | None:
        """Return the slot with the most values, of those that nothing reads if any; None: none has two.

        A slot that is part of contexts does not fold as a whole.
        """
        several = [slot for slot, values in self._values.items() if len(values) > 1 and slot[1] not in FIXED]
        if not several:
            return None
        unread = [slot for slot in several if not is_read(slot)]
        return max(unread or several, key=lambda slot: (len(self._values[slot]), slot[0] or "", slot[1]))

    def fold_slot(self, slot: Slot) -> None:
        """Fold a slot as a whole: every value, also those that were literal."""
        self.folded.add(slot)
        self._values.pop(slot, None)

    def _one(self, slot: Slot, text: str, is_read: IsRead) -> str:
        if slot in self.folded:
            return FOLDED
        values = self._values.setdefault(slot, set())
        if text in values:
            return text
        if len(values) >= max_literals(is_read=is_read(slot)):
            return FOLDED
        values.add(text)
        return text


def reading(attributes: Set[str], unmapped: UnmappedPolicy) -> IsRead:
    """Return what tells whether rules read a slot that name these attributes.

    With `UNMAPPED=path` rules may name a path as their resource.
    """
    known: dict[str | None, frozenset[str]] = {}

    def is_read(slot: Slot) -> bool:
        template, name = slot
        if template not in known:
            known[template] = _read_at(template, attributes, unmapped)
        return name in known[template]

    return is_read


def _read_at(template: str | None, attributes: Set[str], unmapped: UnmappedPolicy) -> frozenset[str]:
    parsed = None if template is None else template_of(template)
    read = slots_read_by(attributes, () if parsed is None else parsed.names)
    return read | {PATH} if template is None and unmapped is UnmappedPolicy.PATH else read
