"""`extauthz policy apply`: make the live policies those of a folder, with a plan, in one revision.

docs/folders.md has the rules. The plan goes to stdout, what stops the command to stderr.
"""

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from extauthz.commands.policy_folder import folder_settings, open_folder
from extauthz.commands.policy_validate import by_place, counted, printable
from extauthz.commands.rest_access import rest_client
from extauthz.commands.status import BAD_USAGE, FAILED, OK, fail
from extauthz.domain.one_line import one_line
from extauthz.folders.applying import DRAFTS, Applied, ApplyError, Applying
from extauthz.folders.live_rows import LiveRows, live_rows
from extauthz.folders.plan import Plan, plan
from extauthz.folders.plan_text import plan_json, plan_lines
from extauthz.folders.reading import Folder
from extauthz.folders.rest_client import RestClient, RestError
from extauthz.folders.rows import RESOURCE, TABLES, PolicyRow, folder_rows
from extauthz.storage.encoding import encode_json

_SHOWN_PROBLEMS: Final = 50


@dataclass(frozen=True, slots=True)
class ApplyArguments:
    """What the command was given. `dry_run` and `draft` exclude each other."""

    folder: Path
    dry_run: bool = False
    prune: bool = False
    draft: bool = False
    as_json: bool = False


class _StopError(Exception):
    """Ends the command with a status; every problem has been printed."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


ConnectRest = Callable[[Mapping[str, str]], RestClient | int]


def run(environ: Mapping[str, str], given: ApplyArguments, *, connect: ConnectRest = rest_client) -> int:
    """Apply. With `dry_run` FAILED says that there are differences, and errors are BAD_USAGE."""
    failed = BAD_USAGE if given.dry_run else FAILED
    try:
        folder, rows = _read(environ, given.folder)
        client = connect(environ)
        if isinstance(client, int):
            return client
        try:
            with _terminated_as_interrupted():
                return _Run(client, given, folder, rows, colour=_colour(environ)).run()
        finally:
            client.close()
    except _StopError as stopped:
        return stopped.status
    except ApplyError as error:
        for line in error.lines:
            print(f"extauthz: {line}", file=sys.stderr)
        return fail(str(error), failed)
    except RestError as error:
        return fail(str(error), failed)


def _read(environ: Mapping[str, str], path: Path) -> tuple[Folder, list[PolicyRow]]:
    """Read the folder; each problem is printed, and nothing was sent."""
    settings = folder_settings(environ)
    folder = settings if isinstance(settings, int) else open_folder(path, settings)
    if isinstance(folder, int):
        raise _StopError(folder)
    problems = by_place(folder.problems)
    for problem in problems[:_SHOWN_PROBLEMS]:
        print(f"extauthz: {printable(problem)}", file=sys.stderr)
    if problems:
        raise _StopError(
            fail(f"{str(path)!r} has {counted(len(problems), 'problem')}; nothing was sent", BAD_USAGE)
        )
    if not folder.files:
        raise _StopError(fail(f"{str(path)!r} has no .yaml, .yml or .json file", BAD_USAGE))
    rows = [
        row
        for each in folder.documents
        if each.entity is not None
        for row in folder_rows(each.document, each.entity, each.file, each.pointer)
    ]
    return folder, rows


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM, which ends a cancelled job of a CI system, delete the draft as an interrupt does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _colour(environ: Mapping[str, str]) -> bool:
    """Tell whether stdout shows colours: a terminal, without NO_COLOR (https://no-color.org)."""
    return sys.stdout.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


@dataclass(frozen=True, slots=True)
class _Run:
    """One run: the client, the arguments, the folder and its rows."""

    client: RestClient
    given: ApplyArguments
    folder: Folder
    rows: Sequence[PolicyRow]
    colour: bool

    def run(self) -> int:
        live = live_rows(self.client)
        made = self._plan(live)
        if not self.given.as_json:
            for line in plan_lines(made, self._where, colour=self.colour, prune=self.given.prune):
                print(line)
            if RESOURCE in live.hidden:
                print("resources are not shown to this caller; they are not compared")
            sys.stdout.flush()
        if not made.steps:
            return self._end(made, live, "unchanged", None)
        if self.given.dry_run:
            return self._end(made, live, "dry_run", None)
        applying = Applying(self.client, self._title(), self._where, self._plan)
        try:
            applied = applying.apply(made, live.revision, publish=not self.given.draft)
        finally:
            if applying.left_behind is not None:
                fail(f"the draft {applying.left_behind} could not be deleted; nothing of it is live")
        return self._end(made, live, "draft" if applied.revision is None else "published", applied)

    def _plan(self, live: LiveRows) -> Plan:
        if RESOURCE in live.hidden and any(row.kind == RESOURCE for row in self.rows):
            raise ApplyError(
                "the folder has resources, which this caller may not read; a tenant admin may, or a service"
                " key with the scope resources:write; nothing was applied"
            )
        if self.given.prune and not self.rows:
            raise _StopError(
                fail(
                    "the folder has no policies, so --prune would delete every live row; nothing was applied",
                    BAD_USAGE,
                )
            )
        found = plan(self.rows, live.rows, prune=self.given.prune)
        if isinstance(found, Plan):
            return found
        for problem in found[:_SHOWN_PROBLEMS]:
            fail(f"{self._where(problem.row)}: {problem.row.pointer}: {problem.message}")
        raise _StopError(fail(f"no plan: {len(found)} objects of the folder; nothing was sent", BAD_USAGE))

    def _where(self, row: PolicyRow) -> str:
        """Return the file and the line of a row of the folder."""
        place = self.folder.place(row.file, row.pointer)
        return f"{row.file}:{place.line}"

    def _title(self) -> str:
        name = one_line(self.given.folder.resolve().name)[:200].strip()
        return f"extauthz policy apply {name}".strip()

    def _end(self, made: Plan, live: LiveRows, state: str, applied: Applied | None) -> int:
        status = FAILED if state == "dry_run" else OK
        draft = None if applied is None else applied.draft
        look = None if draft is None else f"{self.client.url}{DRAFTS}/{draft}"
        if self.given.as_json:
            shown = plan_json(made, self._where) | {
                "state": state,
                "live_revision": live.revision,
                "published_revision": None if applied is None else applied.revision,
                "draft": draft,
                "hidden": sorted(TABLES[kind] for kind in live.hidden),
            }
            print(f'{{"ok":{"false" if status else "true"},{encode_json(shown)[1:]}')
        elif state == "unchanged":
            print(f"no differences at revision {live.revision}")
        elif state == "draft":
            print(f"draft {draft} is open: {look}/diff shows it, POST {look}/publish makes it live")
        elif applied is not None:
            print(f"published as revision {applied.revision}")
        if applied is not None and applied.note:
            print(f"extauthz: {applied.note}", file=sys.stderr)
        return status
