"""`extauthz policy validate`: every problem and warning of a folder of policies and cases, with its place.

A line is `FILE:LINE:COLUMN: POINTER: what is wrong`, as editors and CI systems read it.
"""

from collections.abc import Mapping
from pathlib import Path

from extauthz.commands.policy_folder import folder_settings, open_folder
from extauthz.commands.status import FAILED, OK, print_json
from extauthz.domain.one_line import one_line
from extauthz.folders.cases import check_cases
from extauthz.folders.findings import FolderFinding
from extauthz.folders.reading import Folder
from extauthz.folders.warnings import add_warnings


def run(environ: Mapping[str, str], root: Path, *, as_json: bool) -> int:
    """Examine a folder; FAILED where it has a problem. Warnings fail nothing."""
    settings = folder_settings(environ)
    if isinstance(settings, int):
        return settings
    folder = open_folder(root, settings)
    if isinstance(folder, int):
        return folder
    check_cases(folder, settings.model)
    add_warnings(folder)
    if as_json:
        print_json(not folder.problems, **_result(folder))
    else:
        for finding in by_place(folder.findings):
            print(printable(finding))
        print(_summary(folder))
    return FAILED if folder.problems else OK


def by_place(findings: list[FolderFinding]) -> list[FolderFinding]:
    """Return findings in the order of their files and lines."""
    return sorted(findings, key=lambda each: (each.file, each.line or 0, each.column or 0))


def printable(finding: FolderFinding) -> str:
    """Return the line that is printed of a finding."""
    return one_line(str(finding))


def _result(folder: Folder) -> dict[str, object]:
    return {
        "valid": not folder.problems,
        "files": len(folder.files),
        "objects": len(folder.documents),
        "cases": _cases(folder),
        "problems": [each.to_json() for each in by_place(folder.problems)],
        "warnings": [each.to_json() for each in by_place(folder.warnings)],
    }


def _cases(folder: Folder) -> int:
    lists = (placed.section.get("cases", placed.section.get("refused")) for placed in folder.cases)
    return sum(len(each) for each in lists if isinstance(each, list))


def _summary(folder: Folder) -> str:
    problems, warnings = len(folder.problems), len(folder.warnings)
    found = [
        counted(problems, "problem"),
        *([counted(warnings, "warning")] if warnings else []),
    ]
    return (
        f"{counted(len(folder.files), 'file')}, {counted(len(folder.documents), 'object')}, "
        f"{counted(_cases(folder), 'case')}: {', '.join(found)}"
    )


def counted(count: int, noun: str) -> str:
    """Return a number and its noun."""
    number = "no" if count == 0 else str(count)
    return f"{number} {noun}{'' if count == 1 else 's'}"
