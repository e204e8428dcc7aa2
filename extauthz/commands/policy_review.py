"""`extauthz policy review`: what a change of a folder does, for the comment on a pull request.

Input: the folder without and with the change, a decision log if there is one. Output: problems and failing
cases of the folder with the change, the differences of the two as a plan shows them, and what the change
would do to the requests of the log. docs/pull-requests.md has the step of a workflow.
"""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

from extauthz.cases.case_values import CaseInvalidError
from extauthz.commands import policy_replay
from extauthz.commands.policy_folder import FolderSettings, folder_settings, open_folder
from extauthz.commands.policy_validate import by_place, printable
from extauthz.commands.review_markdown import Review, markdown
from extauthz.commands.status import BAD_USAGE, FAILED, OK, fail
from extauthz.domain.one_line import one_line
from extauthz.domain.tenancy import DEFAULT_TENANT
from extauthz.folders.cases import check_cases, run_cases
from extauthz.folders.files import FolderLimitError, Limits, files_of, shown_path
from extauthz.folders.plan import Plan, Step, plan
from extauthz.folders.plan_text import plan_json, plan_lines, summary
from extauthz.folders.reading import Folder
from extauthz.folders.rows import PolicyRow, folder_rows
from extauthz.folders.warnings import add_warnings

_CHANGES: Final = ("newly_allowed", "newly_denied", "rule_changed")


@dataclass(frozen=True, slots=True)
class ReviewArguments:
    """What the command was given. An absent `base` is an empty folder."""

    base: Path
    head: Path
    name: str | None = None
    log: Path | None = None
    max_newly_allowed: int | None = None
    tenant: str = DEFAULT_TENANT
    masked: frozenset[str] = frozenset()
    examples: bool = False
    as_json: bool = False


def run(environ: Mapping[str, str], given: ReviewArguments) -> int:
    """Print the review; FAILED where a reader must not merge."""
    if given.log is None and given.max_newly_allowed is not None:
        return fail("--max-newly-allowed needs --log: without requests nothing is counted", BAD_USAGE)
    most = given.max_newly_allowed
    if most is not None and most < 0:
        return fail(f"--max-newly-allowed is {most}; it must be 0 or more", BAD_USAGE)
    settings = folder_settings(environ)
    if isinstance(settings, int):
        return settings
    for root in (given.base, given.head):
        leaving = next(_leaving(root), None)
        if leaving is not None:
            return fail(f"{leaving} is a link that leaves the folder; a review does not read it", BAD_USAGE)
    head = open_folder(given.head, settings)
    if isinstance(head, int):
        return head
    with _folder_of(given.base) as path:
        base = open_folder(path, settings)
        if isinstance(base, int):
            return base
        review = _reviewed(given, base, head, settings)
        if given.log is not None and not review.problems:
            status = _replay(environ, given, base, review)
            if status is not None:
                return status
    _print(review, given)
    return OK if review.ok else FAILED


@contextlib.contextmanager
def _folder_of(path: Path) -> Iterator[Path]:
    """Yield the folder; an empty one in place of one that is not there, as before the first policy."""
    if path.exists():
        yield path
        return
    with tempfile.TemporaryDirectory() as empty:
        (Path(empty) / "none.yaml").write_text("resources: []\n", "utf-8")
        yield Path(empty)


def _leaving(root: Path) -> Iterator[str]:
    """Yield the files of a folder that are links to files outside of it.

    A pull request can hold a link to any file of the machine, and a message quotes what cannot be read.
    """
    try:
        files = files_of(root, Limits())
    except (OSError, FolderLimitError):
        # Reading the folder says so.
        return
    inside = os.path.realpath(root)
    for file in files:
        # Unlike Path.resolve, realpath raises nothing for a circle of links.
        if os.path.commonpath([inside, os.path.realpath(file.path)]) != inside:
            yield shown_path(file.path)


def _reviewed(given: ReviewArguments, base: Folder, head: Folder, settings: FolderSettings) -> Review:
    check_cases(head, settings.model)
    add_warnings(head)
    add_warnings(base)
    known = {(each.file, each.message) for each in base.warnings}
    review = Review(
        given.name if given.name is not None else given.head.resolve().name,
        problems=[printable(each) for each in by_place(head.problems)],
        warnings=[
            printable(each) for each in by_place(head.warnings) if (each.file, each.message) not in known
        ],
    )
    if review.problems:
        return review
    try:
        for placed in run_cases(head, settings.model):
            review.cases += 1
            if placed.result.differences:
                differences = "; ".join(placed.result.differences)
                review.failed.append(
                    one_line(f"{placed.file}:{placed.line}: {placed.result.name}: {differences}")
                )
    except CaseInvalidError as error:
        review.problems.append(one_line(str(error)))
        return review
    if base.problems:
        review.not_compared = "The folder without the change is not valid, so the two are not compared."
        return review
    made = _plan(base, head)
    if isinstance(made, str):
        review.not_compared = made
        return review

    def where(row: PolicyRow) -> str:
        return f"{row.file}:{head.place(row.file, row.pointer).line}"

    # The last line has the numbers, which the comment says first.
    review.changes = list(plan_lines(made, where, colour=False, prune=True))[:-1]
    review.counts = summary(made, prune=True)
    review.plan = plan_json(made, where)
    return review


def _plan(base: Folder, head: Folder) -> Plan | str:
    """Return the difference of two folders, as if the rows of the first were live."""
    before, after = _rows(base), _rows(head)
    made = plan(after, before, prune=True)
    if not isinstance(made, Plan):
        said = "; ".join(one_line(each.message) for each in made[:5])
        return f"The two folders cannot be compared: {said}"
    # What rules still name, and an apply would keep, is gone from the folder all the same.
    gone = tuple(Step("delete", row.kind, row, None) for row in made.needed)
    return Plan(made.steps + gone)


def _rows(folder: Folder) -> list[PolicyRow]:
    return [
        row
        for each in folder.documents
        if each.entity is not None
        for row in folder_rows(each.document, each.entity, each.file, each.pointer)
    ]


def _replay(environ: Mapping[str, str], given: ReviewArguments, base: Folder, review: Review) -> int | None:
    """Add the result of the replay; return an exit status where the log cannot be used."""
    if base.problems:
        review.not_replayed = given.max_newly_allowed is not None
        return None
    assert given.log is not None
    replayed = policy_replay.replay(
        environ,
        policy_replay.ReplayArguments(
            log=given.log,
            policies=base.root,
            draft=given.head,
            max_newly_allowed=given.max_newly_allowed,
            tenant=given.tenant,
            masked=given.masked,
        ),
    )
    if isinstance(replayed, int):
        return replayed
    if not given.examples:
        for change in (*_CHANGES, "cannot_say"):
            replayed.result[change]["examples"] = []
            replayed.result[change].get("groups", {}).pop("route", None)
    review.replay, review.too_many = replayed.result, replayed.too_many
    return None


def _print(review: Review, given: ReviewArguments) -> None:
    if given.as_json:
        document = {
            "ok": review.ok,
            "name": review.name,
            "problems": review.problems,
            "warnings": review.warnings,
            "cases": {"total": review.cases, "failed": review.failed},
            "changes": review.plan,
            "not_compared": review.not_compared,
            "replay": review.replay,
        }
        sys.stdout.buffer.write(
            orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_INDENT_2, default=str)
        )
    else:
        sys.stdout.write(markdown(review))
