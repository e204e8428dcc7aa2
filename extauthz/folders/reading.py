"""Reads a folder of policies and decision cases: every object with its place, and every problem at once.

Input: the folder, the `Reading` of its documents, the role model. Output: a `Folder`. The policies of all
files together are one policy set, as for a process with `POLICY_SOURCE=files:DIR`; files of cases are kept
apart. Errors: `FolderUnreadableError` where the folder itself cannot be listed or is too large.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast

from extauthz.compile.documents.policy_documents import (
    SERVER_MEMBERS,
    Reading,
    declared_rules,
    read_entries,
)
from extauthz.compile.documents.policy_files import MAX_TEXT_BYTES
from extauthz.compile.roles.role_model import RoleModel
from extauthz.compile.snapshot import Snapshot
from extauthz.compile.snapshot_building import build
from extauthz.domain.policy import Entity, PolicySet, Resource, RoleBinding, SubjectKind
from extauthz.domain.problem import Problem
from extauthz.domain.tenancy import DEFAULT_TENANT
from extauthz.folders.files import FolderLimitError, FoundFile, Limits, files_of, read_file
from extauthz.folders.findings import FolderFinding, FolderSeverity
from extauthz.folders.places import START, Places, TextPlace, json_fault, said_place
from extauthz.folders.texts import CaseText, read_folder_text, section_pointer

TABLES: Final = tuple(SERVER_MEMBERS)
"""The members of a file of policies."""


class FolderUnreadableError(ValueError):
    """A folder that cannot be read as a whole; the text says why."""


@dataclass(frozen=True, slots=True)
class PlacedDocument:
    """One object of a file of policies.

    `document` is what its author wrote, without the members that only the REST API sets (`id` stays).
    `entity` is what it means, None where it has problems.
    """

    table: str
    file: str
    pointer: str
    document: Mapping[str, object]
    entity: Entity | None


@dataclass(frozen=True, slots=True)
class CaseSection:
    """One section of a file of decision cases; `pointer` is its place in the file."""

    file: str
    pointer: str
    section: Mapping[str, object]


@dataclass(slots=True)
class Folder:
    """What a folder holds.

    `snapshot` are the compiled policies of all files, None where there are problems. `policies` are all
    objects that could be read, with the rules that `defaultRoles` and `public` stand for. Names of files are
    relative.
    """

    root: Path
    files: tuple[str, ...] = ()
    documents: list[PlacedDocument] = field(default_factory=list)
    cases: list[CaseSection] = field(default_factory=list)
    policies: PolicySet = field(default_factory=PolicySet)
    snapshot: Snapshot | None = None
    findings: list[FolderFinding] = field(default_factory=list)
    _texts: dict[str, tuple[bytes, bool]] = field(default_factory=dict)
    _places: dict[str, Places] = field(default_factory=dict)

    @property
    def problems(self) -> list[FolderFinding]:
        """What makes the folder invalid."""
        return [each for each in self.findings if each.severity is FolderSeverity.PROBLEM]

    @property
    def warnings(self) -> list[FolderFinding]:
        """What is valid and may surprise its author."""
        return [each for each in self.findings if each.severity is FolderSeverity.WARNING]

    def place(self, file: str, pointer: str) -> TextPlace:
        """Return where a part of a file stands."""
        if not pointer:
            return START
        places = self._places.get(file)
        if places is None:
            data, is_json = self._texts[file]
            places = self._places[file] = Places(data.decode("utf-8", "replace"), is_json=is_json)
        return places.of(pointer)

    def size(self, file: str) -> int:
        """Return the size of a file in bytes."""
        return len(self._texts[file][0])

    def note(self, file: str, problem: Problem, *, warning: str | None = None) -> None:
        """Note a problem, or with a code a warning, at its place in a file."""
        place, message = said_place(problem.message)
        if place is None and file in self._texts:
            place = self.place(file, problem.pointer)
        line, column = (None, None) if place is None else place
        severity = FolderSeverity.PROBLEM if warning is None else FolderSeverity.WARNING
        self.findings.append(FolderFinding(severity, file, line, column, problem.pointer, message, warning))


def read_folder(
    root: Path,
    reading: Reading,
    model: RoleModel,
    *,
    max_bytes: int = MAX_TEXT_BYTES,
    limits: Limits = Limits(),  # noqa: B008  # frozen
) -> Folder:
    """Read a folder. `max_bytes` is for all files together.

    Errors: FolderUnreadableError.
    """
    folder = Folder(root)
    try:
        files = files_of(
            root,
            limits,
            on_error=lambda error: folder.note(_below(error, root), _unreadable(error)),
            on_ignored=lambda name, why: folder.note(name, Problem("", why), warning="not_read"),
        )
    except FolderLimitError as error:
        raise FolderUnreadableError(str(error)) from None
    except OSError as error:
        raise FolderUnreadableError(error.strerror or str(error)) from None
    folder.files = tuple(file.name for file in files)
    if not files:
        folder.note("", Problem("", "the folder has no .yaml, .yml or .json file"))
    entities = _Together()
    octets = 0
    for file in files:
        octets += _read(folder, file, max_bytes - octets, reading, entities)
        if octets > max_bytes:
            message = f"the files have more than {max_bytes} bytes together, which is the limit"
            raise FolderUnreadableError(message)
    folder.policies = entities.policies()
    _compile(folder, entities, model)
    return folder


def _below(error: OSError, root: Path) -> str:
    name = str(error.filename or "")
    return name.removeprefix(f"{root}/")


def _unreadable(error: OSError) -> Problem:
    return Problem("", f"cannot be read: {error.strerror or error}")


class _Together:
    """The entities of all files by list, each with its origin."""

    def __init__(self) -> None:
        self.entities: dict[str, list[Entity]] = {table: [] for table in TABLES}
        self.origins: dict[str, list[tuple[str, str]]] = {table: [] for table in TABLES}

    def add(self, table: str, entity: Entity, file: str, pointer: str) -> None:
        self.entities[table].append(entity)
        self.origins[table].append((file, pointer))

    def policies(self) -> PolicySet:
        return PolicySet(**{table: tuple(found) for table, found in self.entities.items()})  # type: ignore[arg-type]  # each list has its kind

    def origin(self, pointer: str) -> tuple[str, str] | None:
        """Return the file and the pointer in it of a part of the set."""
        _, table, position, *rest = (*pointer.split("/"), "", "")
        origins = self.origins.get(table, [])
        if not position.isdigit() or int(position) >= len(origins):
            return None
        file, own = origins[int(position)]
        return file, "/".join([own, *rest]).rstrip("/")


def _read(folder: Folder, file: FoundFile, at_most: int, reading: Reading, entities: _Together) -> int:
    """Read one file; return its size, which is above `at_most` where it is too large."""
    try:
        size = file.path.stat().st_size
        if size > at_most:
            return size
        # One byte more than may be: a file may have grown since it was looked at.
        data = read_file(file.path, at_most + 1)
    except OSError as error:
        folder.note(file.name, _unreadable(error))
        return 0
    if len(data) > at_most:
        return len(data)
    folder._texts[file.name] = data, file.is_json
    found = read_folder_text(data, is_json=file.is_json)
    if isinstance(found, list) and file.is_json and len(found) == 1 and not found[0].pointer:
        found = [_with_place(found[0], data)]
    if isinstance(found, list):
        for problem in found:
            folder.note(file.name, problem)
    elif isinstance(found, CaseText):
        folder.cases += [
            CaseSection(file.name, section_pointer(number, len(found.sections)), section)
            for number, section in enumerate(found.sections)
        ]
    else:
        for problem in _take(folder, file.name, found.document, reading, entities):
            folder.note(file.name, problem)
    return len(data)


def _with_place(problem: Problem, data: bytes) -> Problem:
    """Return the problem of a JSON text with the place that its reader does not tell."""
    fault = json_fault(data.decode("utf-8", "replace"))
    if fault is None:
        return problem
    (line, column), message = fault
    return Problem("", f"line {line}, column {column}: {message}")


def _take(
    folder: Folder, file: str, document: object, reading: Reading, entities: _Together
) -> list[Problem]:
    problems: list[Problem] = []
    for table, position, entry, entity in read_entries(document, reading, problems):
        pointer = f"/{table}/{position}"
        if isinstance(entry, Mapping):
            written = _written(entry, table)
            folder.documents.append(PlacedDocument(table, file, pointer, written, entity))
        if entity is None:
            continue
        entities.add(table, entity, file, pointer)
        if isinstance(entity, Resource):
            for rule in declared_rules(entity, cast("Mapping[str, object]", entry)):
                entities.add("role_rules", rule, file, pointer)
    return problems


def _written(entry: Mapping[str, object], table: str) -> Mapping[str, object]:
    shown_only = SERVER_MEMBERS[table] - {"id"}
    if shown_only.isdisjoint(entry):
        return entry
    return {name: value for name, value in entry.items() if name not in shown_only}


def _compile(folder: Folder, entities: _Together, model: RoleModel) -> None:
    built = build(DEFAULT_TENANT, 1, folder.policies, model)
    if isinstance(built, Snapshot):
        folder.snapshot = None if folder.problems else built
        return
    for file, problem in _in_files(folder, built, entities):
        folder.note(file, problem)


def _in_files(folder: Folder, problems: list[Problem], entities: _Together) -> Iterator[tuple[str, Problem]]:
    """Yield problems of all files together at their places in the files."""
    for problem in problems:
        origin = entities.origin(problem.pointer) or _of_inheritance(problem, entities)
        if origin is None:
            yield "", problem
            continue
        file, pointer = origin
        yield file, Problem(pointer, _with_other_place(folder, problem.message, entities))


def _of_inheritance(problem: Problem, entities: _Together) -> tuple[str, str] | None:
    """Return the place of the first binding that a problem of inheritance names the lower role of."""
    for position, binding in enumerate(entities.entities["role_bindings"]):
        assert isinstance(binding, RoleBinding)
        if binding.user_kind is SubjectKind.ROLE and problem.pointer == "/role_bindings":
            link, lower = f" {binding.user} -> {binding.role}", f"the role {binding.user!r} inherits"
            if link in problem.message or lower in problem.message:
                return entities.origins["role_bindings"][position]
    return None


def _with_other_place(folder: Folder, message: str, entities: _Together) -> str:
    """Say the file and line of the other place that a message ends with."""
    said, at, other = message.rpartition(" at ")
    origin = entities.origin(other) if at else None
    if origin is None:
        return message
    file, pointer = origin
    return f"{said} at {file}:{folder.place(file, pointer).line} ({pointer})"
