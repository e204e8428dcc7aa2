"""What is found wrong or surprising in a folder, with file, line, column and RFC 6901 pointer."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class FolderSeverity(StrEnum):
    """A problem makes the folder invalid; a warning is about what is valid and may surprise its author."""

    PROBLEM = "problem"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class FolderFinding:
    """One problem or warning. `file` is the name below the folder, empty for the folder as a whole.

    `line` and `column` count from 1; None where a file cannot be read. `code` names the kind of a warning.
    """

    severity: FolderSeverity
    file: str
    line: int | None
    column: int | None
    pointer: str
    message: str
    code: str | None = None

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part not in {"", None})
        pointer = f"{self.pointer}: " if self.pointer else ""
        kind = f"warning: {self.code}: " if self.severity is FolderSeverity.WARNING else ""
        return f"{place}: {kind}{pointer}{self.message}" if place else f"{kind}{pointer}{self.message}"

    def to_json(self) -> dict[str, Any]:
        """Return the finding as the commands print it with `--json`."""
        return {
            "severity": self.severity.value,
            "code": self.code,
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "pointer": self.pointer,
            "message": self.message,
        }
