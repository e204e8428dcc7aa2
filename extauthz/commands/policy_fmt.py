"""`extauthz policy fmt`: brings the text of policies and cases into one form (`folders/formatting`).

Comments and meaning stay; a file of which that cannot be said is left as it is. The names of files that were
changed, or would be, are printed.
"""

import difflib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from extauthz.commands.policy_validate import counted
from extauthz.commands.status import BAD_USAGE, FAILED, OK, fail, print_json
from extauthz.domain.one_line import one_line
from extauthz.domain.problem import Problem
from extauthz.folders.files import (
    SUFFIXES,
    FolderLimitError,
    FoundFile,
    Limits,
    files_of,
    shown_path,
)
from extauthz.folders.formatting.text import formatted
from extauthz.folders.places import said_place
from extauthz.folders.writing import read_text_of, replace_text

MAX_BYTES: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class FormatArguments:
    """What the command was given."""

    paths: Sequence[Path]
    check: bool = False
    diff: bool = False
    as_json: bool = False


@dataclass(slots=True)
class _Outcome:
    """What became of the files: which are not in the form, which could not be read, which were left."""

    changed: list[str] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    left: list[tuple[str, str]] = field(default_factory=list)
    total: int = 0


class _UnusableError(ValueError):
    """A path that cannot be formatted; the text says why."""


def run(given: FormatArguments) -> int:
    """Format files; FAILED where one is left, and with `check` or `diff` where one would change."""
    outcome = _Outcome()
    try:
        files = [file for path in given.paths for file in _files(path, outcome)]
    except _UnusableError as error:
        return fail(str(error), BAD_USAGE)
    for name, file in files:
        outcome.total += 1
        _format(name, file, given, outcome)
    for name, why in [*outcome.unreadable, *outcome.left]:
        fail(f"{name}: {why}")
    only_check = given.check or given.diff
    fits = not (outcome.unreadable or outcome.left or (only_check and outcome.changed))
    if given.as_json:
        problems = [{"file": name, "message": why} for name, why in [*outcome.unreadable, *outcome.left]]
        print_json(fits, files=outcome.total, changed=outcome.changed, problems=problems)
    elif not given.diff:
        verb = "would be formatted" if only_check else "formatted"
        print(f"{counted(len(outcome.changed), 'file')} of {outcome.total} {verb}")
    if outcome.unreadable:
        return BAD_USAGE
    return OK if fits else FAILED


def _files(path: Path, outcome: _Outcome) -> Iterator[tuple[str, FoundFile]]:
    shown = shown_path(path)
    if not path.is_dir():
        if path.suffix not in SUFFIXES:
            raise _UnusableError(
                f"{shown!r} is not a folder, and its name does not end in .yaml, .yml or .json"
            )
        yield shown, FoundFile(path, shown)
        return
    try:
        found = files_of(path, Limits(), on_error=lambda error: _note(outcome, error))
    except FolderLimitError as error:
        raise _UnusableError(f"{shown!r} {error}") from None
    except OSError as error:
        raise _UnusableError(f"{shown!r} cannot be read: {error.strerror or error}") from None
    root = path.resolve()
    for file in found:
        if not (file.path.is_symlink() and _is_within(file.path, root)):
            # What a link leads to in this folder is formatted under its own name.
            yield f"{shown}/{file.name}", file


def _is_within(path: Path, root: Path) -> bool:
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):
        return False
    if not target.is_relative_to(root) or target.suffix not in SUFFIXES:
        return False
    return not any(part.startswith(".") for part in target.relative_to(root).parts)


def _note(outcome: _Outcome, error: OSError) -> None:
    name = one_line(os.fsencode(error.filename or "").decode("utf-8", "backslashreplace"))
    outcome.unreadable.append((name, f"cannot be read: {error.strerror or error}"))


def _format(name: str, file: FoundFile, given: FormatArguments, outcome: _Outcome) -> None:
    try:
        read = read_text_of(file.path, MAX_BYTES)
    except OSError as error:
        outcome.unreadable.append((name, f"cannot be read: {error.strerror or error}"))
        return
    found = formatted(read.data, is_json=file.is_json)
    if isinstance(found, Problem):
        place, message = said_place(found.message)
        at = "" if place is None else f"{place.line}:{place.column}: "
        (outcome.left if message.startswith("cannot be formatted") else outcome.unreadable).append(
            (f"{name}:{at}".rstrip(": "), message)
        )
        return
    if found == read.data:
        return
    if not given.check and not given.diff:
        if file.path.is_symlink():
            outcome.left.append((name, "is a link to a file outside of the folder; format that one"))
            return
        try:
            replace_text(file.path, read, found)
        except OSError as error:
            outcome.left.append((name, f"is left as it is: {error.strerror or error}"))
            return
    outcome.changed.append(name)
    if given.as_json:
        return
    if given.diff:
        _print_difference(name, read.data, found)
    else:
        print(name)


def _print_difference(name: str, before: bytes, after: bytes) -> None:
    old, new = (text.decode("utf-8", "replace").splitlines(keepends=True) for text in (before, after))
    for line in difflib.unified_diff(old, new, name, f"{name} (formatted)"):
        # Other control characters than the end of the line must not reach a terminal.
        print(
            one_line(line.removesuffix("\n")) if line.endswith("\n") else f"{one_line(line)}\n\\ no line end"
        )
