"""The decision cases of a folder: what is wrong with them, and their results on the folder's policies."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from extauthz.cases.case_members import case_problems, problem_in_section, unread_members
from extauthz.cases.case_sections import compiled_section
from extauthz.cases.case_values import CaseInvalidError
from extauthz.cases.decision_cases import CaseResult, CaseRunner, refused_result, run_section
from extauthz.compile.directory import Directory
from extauthz.compile.fields import shown
from extauthz.compile.roles.role_model import RoleModel
from extauthz.domain.problem import Problem
from extauthz.domain.tenancy import TenancyMode
from extauthz.folders.reading import CaseSection, Folder

UNREAD_MEMBER = "unread_member"
REPEATED_NAME = "repeated_name"


@dataclass(frozen=True, slots=True)
class PlacedResult:
    """The result of a case, with the file and line of the case."""

    file: str
    line: int
    result: CaseResult


def check_cases(folder: Folder, model: RoleModel) -> None:
    """Note what is wrong with the sections and cases of a folder. Whether they pass is not asked."""
    names: dict[tuple[str, str], str] = {}
    for placed in folder.cases:
        problems = list(_section_problems(placed.section, model))
        runner = _runner(placed.section, model, folder)
        if isinstance(runner, Problem):
            if runner.pointer not in {each.pointer for each in problems}:
                problems.append(runner)
            runner = CaseRunner({}, Directory(TenancyMode.SELFHOST, {}))
        for problem in problems:
            folder.note(placed.file, problem.under(placed.pointer))
        _check_list(folder, placed, runner, names)


def run_cases(folder: Folder, model: RoleModel) -> Iterator[PlacedResult]:
    """Run every case of a folder; sections without policies of their own run on the folder's.

    Raises:
        CaseInvalidError: a section is malformed; `check_cases` says everything that is.
    """
    for placed in folder.cases:
        where = f"{placed.file}{placed.pointer and f', section {placed.pointer[1:]}'}"
        for result in run_section(placed.section, where, model, folder.snapshot):
            line = folder.place(placed.file, placed.pointer + result.pointer).line
            yield PlacedResult(placed.file, line, result)


def _section_problems(section: Mapping[str, object], model: RoleModel) -> Iterator[Problem]:
    try:
        _, problems = compiled_section(section, "section", model)
    except CaseInvalidError as error:
        yield problem_in_section(str(error))
        return
    if "refused" not in section:
        for problem in problems:
            yield problem.under("/policies")
        return
    if "cases" in section:
        yield Problem("/cases", "is next to 'refused': policies that are refused answer no case")
    try:
        refused_result(section, model, "section")
    except CaseInvalidError as error:
        yield problem_in_section(str(error))


def _runner(section: Mapping[str, object], model: RoleModel, folder: Folder) -> CaseRunner | Problem:
    """Return what answers the cases of a section: under its settings, without policies that are invalid."""
    try:
        return CaseRunner.of(section, model, where="section", folder=folder.snapshot)
    except CaseInvalidError as error:
        found = problem_in_section(str(error))
    if not found.pointer.startswith("/policies"):
        return found
    own = {name: value for name, value in section.items() if name in {"settings", "tenants"}}
    try:
        return CaseRunner.of(own, model, where="section")
    except CaseInvalidError as error:
        return problem_in_section(str(error))


def _check_list(
    folder: Folder,
    placed: CaseSection,
    runner: CaseRunner,
    names: dict[tuple[str, str], str],
) -> None:
    if "cases" not in placed.section:
        return
    cases = placed.section["cases"]
    pointer = f"{placed.pointer}/cases"
    if not isinstance(cases, list):
        folder.note(placed.file, Problem(pointer, f"found {shown(cases)}, a list is needed"))
        return
    for position, case in enumerate(cases):
        own = f"{pointer}/{position}"
        for problem in case_problems(case, lambda asked: runner.answer(asked, where="case")):
            folder.note(placed.file, problem.under(own))
        if not isinstance(case, Mapping):
            continue
        for problem in unread_members(case):
            folder.note(placed.file, problem.under(own), warning=UNREAD_MEMBER)
        name = case.get("name")
        if isinstance(name, str):
            first = names.setdefault((placed.file, name), own)
            if first != own:
                line = folder.place(placed.file, first).line
                message = f"{shown(name)} is already the name of the case in line {line}"
                folder.note(placed.file, Problem(f"{own}/name", message), warning=REPEATED_NAME)
