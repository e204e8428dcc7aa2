"""The result of `extauthz doctor`: findings, each with a fix and a documentation page, and their report.

Output: JSON or text. A finding never holds a secret.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Final

import orjson


class Severity(StrEnum):
    """How serious a finding is.

    An error: requests are allowed that must not be, or every request fails. A warning: protection or
    availability is weaker than it should be. An info: a fact worth knowing.
    """

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


NOT_EXAMINED: Final = frozenset({"file-unknown", "check-unknown"})
"""Codes of findings about what could not be examined; they are errors with `--strict`."""

_ORDER: Final = {severity: place for place, severity in enumerate(Severity)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One problem and its fix. `code` is stable; `file` and `line` (from 1) are set for problems in files."""

    severity: Severity
    code: str
    subject: str
    message: str
    fix: str
    file: str | None = None
    line: int | None = None

    @property
    def read(self) -> str:
        """Return the documentation page and section that explain the code."""
        return f"docs/doctor.md#{self.code}"


@dataclass(frozen=True, slots=True)
class DoctorReport:
    """What was examined, and the findings."""

    examined: tuple[str, ...]
    findings: tuple[Finding, ...]

    @classmethod
    def of(
        cls, examined: Iterable[str], findings: Iterable[Finding], *, strict: bool = False
    ) -> "DoctorReport":
        """Return a report with each finding once, sorted by severity, then by file and line.

        With `strict`, findings about what could not be examined are errors.
        """
        found = dict.fromkeys(_stricter(one) if strict else one for one in findings)
        return cls(tuple(examined), tuple(sorted(found, key=_place)))

    @property
    def failed(self) -> bool:
        """Return whether a finding is an error."""
        return self.count(Severity.ERROR) > 0

    def count(self, severity: Severity) -> int:
        """Return the number of findings with a severity."""
        return sum(finding.severity is severity for finding in self.findings)

    def as_json(self) -> bytes:
        """Return the report as one JSON object."""
        counts = {severity.value: self.count(severity) for severity in Severity}
        document = {
            "ok": not self.failed,
            "examined": self.examined,
            "counts": counts,
            "findings": [asdict(finding) | {"read": finding.read} for finding in self.findings],
        }
        return orjson.dumps(document, option=orjson.OPT_INDENT_2)

    def as_text(self) -> str:
        """Return the report as text for a terminal."""
        lines = [line for finding in self.findings for line in _lines(finding)]
        counts = ", ".join(_counted(self.count(severity), severity) for severity in Severity)
        return "\n".join([*lines, f"examined: {'; '.join(self.examined) or 'nothing'}", counts, ""])


def _stricter(finding: Finding) -> Finding:
    return replace(finding, severity=Severity.ERROR) if finding.code in NOT_EXAMINED else finding


def _place(finding: Finding) -> tuple[int, str, str, int, str]:
    return (
        _ORDER[finding.severity],
        finding.subject,
        finding.file or "",
        finding.line or 0,
        finding.code,
    )


def _lines(finding: Finding) -> Sequence[str]:
    where = finding.subject
    if finding.file is not None:
        where = finding.file if finding.line is None else f"{finding.file}:{finding.line}"
    return [
        f"{finding.severity.upper():7}  {where}: {finding.message} [{finding.code}]",
        f"         fix: {finding.fix}",
        f"         read: {finding.read}",
        "",
    ]


def _counted(number: int, severity: Severity) -> str:
    name = severity.value
    return f"{number} {name}" if number == 1 or severity is Severity.INFO else f"{number} {name}s"
