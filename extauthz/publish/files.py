"""Policies from a directory of documents: watched for change, the last good ones kept.

Every `.yaml`, `.yml` and `.json` file below the directory is one document; together they are the policies of
the tenant `default`, without files of decision cases (`extauthz.folders` reads both). A file that is being
written is not read: a change counts once two looks agree, and only if nothing changed while it was read.
"""

import asyncio
import math
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from extauthz.compile.directory import Directory
from extauthz.compile.documents.body_needs import body_reader
from extauthz.compile.documents.policy_documents import Reading, parse_policy_set
from extauthz.compile.documents.warnings import likely_mistakes
from extauthz.compile.roles.role_model import RoleModel
from extauthz.compile.snapshot import Snapshot
from extauthz.compile.snapshot_building import build
from extauthz.domain.policy import PolicySet
from extauthz.domain.problem import Problem
from extauthz.domain.tenancy import DEFAULT_TENANT, TenancyMode
from extauthz.folders.files import FoundFile, files_of, read_file
from extauthz.folders.texts import CaseText, read_folder_text
from extauthz.keys.file_stamp import NO_STAMP, FileStamp, file_stamp
from extauthz.publish.current import CurrentPolicies
from extauthz.publish.loading import free, retire, short_steps
from extauthz.publish.loading_threads import LoadingThreads
from extauthz.publish.policy_size import too_large

LOOK_EVERY_S: Final = 0.2
_READ_AGAIN_S: Final = 1.0
"""After a file could not be read."""
_SHOWN_WARNINGS: Final = 20

_log = structlog.get_logger("extauthz.publish")

FolderState = tuple[tuple[str, FileStamp], ...]


@dataclass(frozen=True, slots=True)
class PolicyFileProblem:
    """What is wrong in which file; `file` is relative to the directory."""

    file: str
    problem: Problem

    def __str__(self) -> str:
        return f"{self.file} {self.problem}"


class PolicyDirectory:
    """The documents of one directory, read and compiled as one policy set."""

    def __init__(
        self, root: Path, reading: Reading, model: RoleModel, *, max_bytes: int | None = None
    ) -> None:
        """Name the directory; nothing is read yet. `max_bytes` is for all files together, None: no limit."""
        self.warnings: Sequence[PolicyFileProblem] = ()
        """What the documents loaded last hardly mean as they are written."""
        self.body_reader: str | None = None
        """Which entry of the documents loaded last reads the body of requests, where one does."""
        self.unread = False
        """Whether the last load failed because a file could not be read: the same files may load later."""
        self._root = root
        self._reading = reading
        self._model = model
        self._max_bytes = max_bytes
        self._ignored: list[PolicyFileProblem] = []

    def signature(self) -> FolderState:
        """Return what changes whenever a document does. Raises OSError when the directory cannot be read."""
        return tuple((file.name, file_stamp(file.path.stat())) for file in files_of(self._root))

    def load(self, revision: int) -> Snapshot | list[PolicyFileProblem]:
        """Read every document and compile them; the answer is every problem in any of them."""
        self.unread = False
        try:
            texts = self._texts()
        except OSError as error:
            self.unread = True
            return [
                PolicyFileProblem(
                    str(error.filename or self._root), Problem("", error.strerror or str(error))
                )
            ]
        if isinstance(texts, Problem):
            return [PolicyFileProblem("all files together", texts)]
        if not texts:
            return [PolicyFileProblem(str(self._root), Problem("", "has no .yaml, .yml or .json file"))]
        problems: list[PolicyFileProblem] = []
        parts: list[tuple[str, PolicySet]] = []
        texts.reverse()
        while texts:
            file, text = texts.pop()
            found = read_folder_text(text, is_json=file.is_json, max_bytes=self._max_bytes)
            if isinstance(found, CaseText):
                _log.debug("cases_not_read", file=file.name)
                continue
            if isinstance(found, list):
                problems.extend(PolicyFileProblem(file.name, problem) for problem in found)
                continue
            policies = parse_policy_set(found.document, self._reading)
            _free(found.document)
            if isinstance(policies, PolicySet):
                parts.append((file.name, policies))
            else:
                problems.extend(PolicyFileProblem(file.name, problem) for problem in policies)
        if not parts and not problems:
            return [
                PolicyFileProblem(str(self._root), Problem("", "has files of cases, and none of policies"))
            ]
        if problems:
            return problems
        together = _together(parts)
        snapshot = build(DEFAULT_TENANT, revision, together, self._model)
        if isinstance(snapshot, Snapshot):
            self.body_reader = body_reader(together)
            self.warnings = self._ignored + [
                PolicyFileProblem(name, Problem(warning.pointer, warning.message))
                for name, policies in parts
                for warning in likely_mistakes(policies)
            ]
            return snapshot
        return [_in_its_file(problem, parts) for problem in snapshot]

    def _ignore(self, name: str, why: str) -> None:
        self._ignored.append(PolicyFileProblem(name, Problem("", why)))

    def _texts(self) -> list[tuple[FoundFile, bytes]] | Problem:
        """Read every file, unless they are too large together or change meanwhile. Raises OSError."""
        before = self.signature()
        self._ignored = []
        files = files_of(self._root, on_ignored=self._ignore)
        octets = sum(file.path.stat().st_size for file in files)
        if self._max_bytes is not None and octets > self._max_bytes:
            return too_large(octets, self._max_bytes)
        texts: list[tuple[FoundFile, bytes]] = []
        octets = 0
        for file in files:
            # One byte more than may be: a file may have grown since it was looked at.
            text = read_file(file.path, None if self._max_bytes is None else self._max_bytes - octets + 1)
            octets += len(text)
            if self._max_bytes is not None and octets > self._max_bytes:
                return too_large(octets, self._max_bytes)
            texts.append((file, text))
        if self.signature() != before:
            # A file that is written in place has lost its last lines, and the denies among them.
            self.unread = True
            return Problem("", "changed while they were read; they are read again once they stay the same")
        return texts


def _free(document: object) -> None:
    for entries in document.values() if isinstance(document, dict) else ():
        if isinstance(entries, list):
            free(entries)


def _together(parts: list[tuple[str, PolicySet]]) -> PolicySet:
    sets = [policies for _, policies in parts]
    return PolicySet(
        resources=tuple(entity for each in sets for entity in each.resources),
        role_rules=tuple(entity for each in sets for entity in each.role_rules),
        role_bindings=tuple(entity for each in sets for entity in each.role_bindings),
        attribute_policies=tuple(entity for each in sets for entity in each.attribute_policies),
    )


def _in_its_file(problem: Problem, parts: list[tuple[str, PolicySet]]) -> PolicyFileProblem:
    """Turn a place in all documents together into a file and a place in it."""
    _, table, position, *rest = (*problem.pointer.split("/"), "")
    if not position.isdigit():
        return PolicyFileProblem("all files together", problem)
    remaining = int(position)
    for name, policies in parts:
        size = len(getattr(policies, table))
        if remaining < size:
            return PolicyFileProblem(
                name, Problem("/".join(["", table, str(remaining), *rest]).rstrip("/"), problem.message)
            )
        remaining -= size
    return PolicyFileProblem("all files together", problem)


def _ignore(_busy: bool) -> None:
    """Let nothing know that the process is busy."""


class FilesPublisher:
    """Keeps `CurrentPolicies` at what the directory says; `on_failure` is told of every failed refresh."""

    def __init__(
        self,
        source: PolicyDirectory,
        current: CurrentPolicies,
        *,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
        on_failure: Callable[[], None] = lambda: None,
    ) -> None:
        """Take the source and the holder it feeds; `clock` gives POSIX seconds, `steady` never goes back."""
        self._source = source
        self._current = current
        self._clock = clock
        self._steady = steady
        self._confirmed_steady = 0.0
        self._on_failure = on_failure
        self.on_busy: Callable[[bool], None] = _ignore
        self._epoch = str(uuid.uuid4())
        self._revision = 0
        self._loaded: FolderState | None = None
        self._seen: FolderState | None = None
        self._refused: FolderState | None = None
        self._read_again_at = math.inf
        self._alarmed: list[str] = []
        self._problems: Sequence[PolicyFileProblem] = ()

    def load_first(self) -> Sequence[object]:
        """Load before serving, and return the problems."""
        looked_at = self._clock(), self._steady()
        try:
            signature = self._source.signature()
        except OSError as error:
            self._problems = [
                PolicyFileProblem(str(error.filename or ""), Problem("", error.strerror or str(error)))
            ]
            return self._problems
        return self._take(signature, looked_at)

    @property
    def available(self) -> None:
        """There is no database to be available."""
        return

    @property
    def problems(self) -> Mapping[str, Sequence[PolicyFileProblem]]:
        """What is wrong with the files as they are now; the last good ones stay in force."""
        return {DEFAULT_TENANT: self._problems} if self._problems else {}

    async def run(self) -> None:
        """Look for changes until cancelled."""
        threads = LoadingThreads()
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await threads.run(self.look)

    def look(self) -> None:
        """Look once: confirm what is current, or take a change that has settled.

        INVARIANT: what was read is confirmed for the time before it was read. The process may be stopped, or
        the file system may answer late.
        """
        looked_at = self._clock(), self._steady()
        try:
            signature = self._source.signature()
        except OSError as error:
            signature = ((str(error), NO_STAMP),)
        settled = signature == self._seen
        self._seen = signature
        if signature == self._loaded:
            self._problems = ()
            confirmed_at, self._confirmed_steady = looked_at
            self._current.confirm(confirmed_at)
            return
        if settled and (signature != self._refused or self._steady() >= self._read_again_at):
            self.on_busy(True)
            try:
                with short_steps():
                    self._alarm(self._take(signature, looked_at), signature)
            finally:
                self.on_busy(False)
        if signature != self._loaded:
            self._current.grow_old(self._steady() - self._confirmed_steady, self._clock())

    def _take(self, signature: FolderState, looked_at: tuple[float, float]) -> list[PolicyFileProblem]:
        """Put in force what the files have; `looked_at` is the time before `signature`, by both clocks."""
        loaded = self._source.load(self._revision + 1)
        if not isinstance(loaded, Snapshot):
            self._problems = loaded
            return loaded
        self._problems = ()
        self._revision += 1
        self._loaded, self._refused = signature, None
        before = self._current.current()
        # This thread counts the digest for its line below. Were it counted in another one as well, checks
        # would wait twice as often for the interpreter.
        loaded.policy_digest.begin_count()
        confirmed_at, self._confirmed_steady = looked_at
        self._current.swap(
            Directory(
                mode=TenancyMode.SELFHOST,
                snapshots={DEFAULT_TENANT: loaded},
                epoch=self._epoch,
                confirmed_at=confirmed_at,
            )
        )
        _log.info("policies_loaded", revision=self._revision, digest=loaded.policy_digest.counted())
        if before is not None:
            replaced, before = [before.snapshots[DEFAULT_TENANT]], None
            retire(replaced)
        for warning in self._source.warnings[:_SHOWN_WARNINGS]:
            _log.warning(
                "policy_likely_mistake",
                file=warning.file,
                pointer=warning.problem.pointer,
                message=warning.problem.message,
            )
        return []

    def _alarm(self, problems: list[PolicyFileProblem], signature: FolderState) -> None:
        said, self._alarmed = self._alarmed, [str(problem) for problem in problems]
        if not problems:
            return
        # INVARIANT: the last good snapshot stays; a broken file never drops a deny.
        is_known = signature == self._refused and said == self._alarmed
        self._refused = signature
        self._read_again_at = self._steady() + _READ_AGAIN_S if self._source.unread else math.inf
        self._on_failure()
        if is_known:
            return
        _log.error(
            "policies_refused",
            message=(
                "there are no policies yet; requests are answered 503 not_ready"
                if self._loaded is None
                else "the last good policies stay in force"
            ),
            problems=self._alarmed[:20],
            problem_count=len(problems),
        )
