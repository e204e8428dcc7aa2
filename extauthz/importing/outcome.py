"""What an import gives: documents with their origins, and everything that could not be taken.

INVARIANT: nothing that restricts is left out alone. What only allows may be left out, which allows less;
where something that denies cannot be taken, the import has no documents at all (`refused`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

TABLES: Final = ("resources", "role_rules", "role_bindings", "attribute_policies")


class Consequence(StrEnum):
    """What it means for the import that something was not taken."""

    LEFT_OUT = "left_out"
    """It only allows: without it less is allowed."""
    ALLOWS_LESS = "allows_less"
    """It was taken in a stricter form."""
    NOTHING_IMPORTED = "nothing_imported"
    """It denies, or decides whom a deny is about: nothing is imported without it."""
    NO_EFFECT = "no_effect"
    """It decides nothing in the source either."""


DEFAULT_SERVICE: Final = "imported"


def id_prefix(service: str) -> str:
    """Return what ids begin with, so that the imports of several services can be in one folder."""
    return "" if service == DEFAULT_SERVICE else f"{service}:"


@dataclass(frozen=True, slots=True)
class NotTaken:
    """One thing of the source that is not in the documents, or not exactly.

    `subject` names the object of the source, `member` the part of it; `instead` says what to write.
    """

    file: str
    line: int | None
    subject: str
    member: str
    reason: str
    instead: str
    effect: Consequence

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        part = f"{self.subject}, {self.member}" if self.member else self.subject
        return f"{place}: {part}: {self.reason} ({_MEANINGS[self.effect]}); {self.instead}"

    def to_json(self) -> dict[str, object]:
        """Return the members as the report has them."""
        return {
            "file": self.file,
            "line": self.line,
            "object": self.subject,
            "member": self.member,
            "reason": self.reason,
            "instead": self.instead,
            "effect": self.effect.value,
        }


_MEANINGS: Final = {
    Consequence.LEFT_OUT: "left out, which allows less",
    Consequence.ALLOWS_LESS: "taken more strictly, which allows less",
    Consequence.NOTHING_IMPORTED: "nothing is imported without it, because it can deny",
    Consequence.NO_EFFECT: "it decides nothing in the source either",
}


@dataclass(frozen=True, slots=True)
class Origin:
    """One document, and where in the source it comes from."""

    document: Mapping[str, object]
    comment: str


@dataclass(slots=True)
class Imported:
    """The answer of an import.

    `notes` are differences in meaning that hold for all of it. `settings` are environment variables without
    which the documents are not valid, or mean something else. `cases` are decision cases.
    """

    source: str
    entries: dict[str, list[Origin]] = field(default_factory=lambda: {table: [] for table in TABLES})
    not_taken: list[NotTaken] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)
    cases: list[dict[str, object]] = field(default_factory=list)

    @property
    def refused(self) -> bool:
        """Whether something that restricts could not be taken."""
        return any(each.effect is Consequence.NOTHING_IMPORTED for each in self.not_taken)

    def add(self, table: str, document: Mapping[str, object], comment: str) -> None:
        """Add a document."""
        self.entries[table].append(Origin(document, comment))

    def note(self, text: str) -> None:
        """Add a difference in meaning, once."""
        if text not in self.notes:
            self.notes.append(text)

    def policies(self) -> dict[str, list[object]]:
        """Return the documents as a policy file has them."""
        return {
            table: [origin.document for origin in origins]
            for table, origins in self.entries.items()
            if origins
        }

    def to_json(self) -> dict[str, object]:
        """Return the report."""
        return {
            "from": self.source,
            "imported": not self.refused,
            "objects": {
                table: 0 if self.refused else len(origins) for table, origins in self.entries.items()
            },
            "not_taken": [each.to_json() for each in self.not_taken],
            "notes": self.notes,
            "settings": self.settings,
        }


@dataclass(frozen=True, slots=True)
class SourceInvalid:
    """Why a source cannot be read at all: `problem` with its place."""

    file: str
    line: int | None
    problem: str

    def __str__(self) -> str:
        return (
            f"{self.file}: {self.problem}"
            if self.line is None
            else f"{self.file}:{self.line}: {self.problem}"
        )
