"""`extauthz policy test`: run decision cases of files and folders, one line per case out.

A file of cases stands for itself. In a folder, sections without policies of their own run on the policies of
the whole folder.
"""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from extauthz.cases.case_values import CaseInvalidError
from extauthz.cases.decision_cases import case_warnings, run_case_text
from extauthz.commands.junit_report import write_junit
from extauthz.commands.policy_folder import FolderSettings, folder_settings, open_folder
from extauthz.commands.policy_validate import by_place, counted
from extauthz.commands.status import BAD_USAGE, FAILED, OK, fail, print_json, unreadable
from extauthz.commands.watching import Watched
from extauthz.compile.documents.policy_files import MAX_TEXT_BYTES
from extauthz.domain.one_line import one_line
from extauthz.folders.cases import check_cases, run_cases
from extauthz.folders.files import shown_path
from extauthz.folders.places import Places


@dataclass(frozen=True, slots=True)
class TestArguments:
    """What the command was given."""

    __test__ = False

    paths: Sequence[Path]
    watch: bool = False
    junit: Path | None = None
    as_json: bool = False


@dataclass(frozen=True, slots=True)
class TestedCase:
    """One case as it is reported; `differences` are empty where it passed."""

    __test__ = False

    file: str
    line: int
    name: str
    differences: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        """Return the case as it is printed with `--json`."""
        return {
            "file": self.file,
            "line": self.line,
            "name": self.name,
            "passed": not self.differences,
            "differences": list(self.differences),
        }


class UnusableError(ValueError):
    """Ends a run with BAD_USAGE; the text, where there is one, has not been printed."""


def run(environ: Mapping[str, str], given: TestArguments) -> int:
    """Run the cases; return OK when every answer is the expected one, else FAILED.

    What cannot be read, or holds no cases, ends the run with BAD_USAGE. With `watch` runs follow changes
    until an interrupt, whose status is that of the last run.
    """
    settings = folder_settings(environ)
    if isinstance(settings, int):
        return settings
    status = _run_once(settings, given)
    if not given.watch:
        return status
    watched = Watched(given.paths)
    try:
        while True:
            print("waiting for a change; Ctrl-C ends", file=sys.stderr, flush=True)
            watched.wait()
            status = _run_once(settings, given)
    except KeyboardInterrupt:
        return status


def _run_once(settings: FolderSettings, given: TestArguments) -> int:
    begun = time.monotonic()
    cases: list[TestedCase] = []
    problem = None
    try:
        for path in given.paths:
            before = len(cases)
            for case in _of_folder(path, settings) if path.is_dir() else _of_file(path, settings):
                cases.append(case)
                if not given.as_json:
                    outcome = "; ".join(case.differences) or "ok"
                    line = f"{'FAIL' if case.differences else 'ok  '} {case.file}: {case.name}: {outcome}"
                    print(one_line(line))
            if len(cases) == before:
                raise UnusableError(f"{str(path)!r} holds no cases")
    except UnusableError as error:
        problem = str(error)
        if problem:
            fail(problem)
    failed = sum(bool(case.differences) for case in cases)
    if given.junit is not None:
        try:
            write_junit(given.junit, cases, problem, time.monotonic() - begun)
        except OSError as error:
            return fail(f"{str(given.junit)!r} cannot be written: {error.strerror or error}", BAD_USAGE)
    if given.as_json:
        _print_json(cases, failed, complete=problem is None)
    elif problem is None:
        print(f"{len(cases) - failed} of {counted(len(cases), 'case')} as expected", flush=True)
    if problem is not None:
        return BAD_USAGE
    return FAILED if failed else OK


def _print_json(cases: list[TestedCase], failed: int, *, complete: bool) -> None:
    result = {
        "passed": complete and not failed,
        "complete": complete,
        "total": len(cases),
        "failed": failed,
        "cases": [case.to_json() for case in cases],
    }
    print_json(complete and not failed, **result)
    sys.stdout.flush()


def _of_file(path: Path, settings: FolderSettings) -> Iterator[TestedCase]:
    name = shown_path(path)
    try:
        with path.open("rb") as file:
            # One byte more than may be is refused by the reader.
            text = file.read(MAX_TEXT_BYTES + 1)
    except OSError as error:
        unreadable(path, error)
        raise UnusableError from None
    places: Places | None = None
    try:
        for result in run_case_text(text, settings.model):
            places = places or Places(text.decode("utf-8", "replace"), is_json=False)
            yield TestedCase(name, places.of(result.pointer).line, result.name, result.differences)
    except CaseInvalidError as error:
        raise UnusableError(f"{name}: {error}") from None
    for warning in case_warnings(text):
        print(one_line(f"warning: {name}: {warning}"), file=sys.stderr)


def _of_folder(path: Path, settings: FolderSettings) -> Iterator[TestedCase]:
    folder = open_folder(path, settings)
    if isinstance(folder, int):
        raise UnusableError
    check_cases(folder, settings.model)
    problems = by_place(folder.problems)
    for problem in problems:
        # A finding without a file is about the folder as a whole.
        fail(f"{shown_path(path)}{'/' if problem.file else ': '}{problem}")
    if problems:
        raise UnusableError(f"{str(path)!r} has {counted(len(problems), 'problem')}; no case was run")
    try:
        for placed in run_cases(folder, settings.model):
            result = placed.result
            yield TestedCase(
                f"{shown_path(path)}/{placed.file}", placed.line, result.name, result.differences
            )
    except CaseInvalidError as error:
        raise UnusableError(str(error)) from None
