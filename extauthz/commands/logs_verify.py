"""`extauthz logs verify`: count lines, gaps and schema errors of a decision log, verify its hash chain."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from extauthz.commands.status import BAD_USAGE, FAILED, OK, fail
from extauthz.decisionlog.heads import LogHead, read_heads
from extauthz.decisionlog.reading import LogUnreadableError, read_lines
from extauthz.decisionlog.verify import verify
from extauthz.settings import InvalidValueError, SecretFileError
from extauthz.settings.secret_files import read_secret_file
from extauthz.settings.values import admin_key

CHAIN_KEY: Final = "DECISION_LOG_CHAIN_KEY"


@dataclass(frozen=True, slots=True)
class VerifyArguments:
    """What the command was given. `key_files` hold further keys, of earlier times."""

    files: Sequence[Path]
    chained: bool = False
    key_files: Sequence[Path] = ()
    after: Path | None = None
    heads: Path | None = None
    collected: bool = False


class _RefusedError(Exception):
    """What was given cannot be used."""


def run(environ: Mapping[str, str], given: VerifyArguments) -> int:
    """Print the counts as one JSON object; return OK for a whole log, FAILED for one with errors."""
    try:
        keys = _keys(environ, given.key_files)
        after, heads = (_heads(file) for file in (given.after, given.heads))
        report = verify(
            read_lines(list(given.files)),
            keys=keys,
            chained=given.chained,
            after=after,
            heads=heads,
            collected=given.collected,
        )
    except (_RefusedError, LogUnreadableError) as error:
        return fail(str(error), BAD_USAGE)
    sys.stdout.buffer.write(report.as_json() + b"\n")
    return OK if report.ok else FAILED


def _keys(environ: Mapping[str, str], files: Sequence[Path]) -> list[str]:
    """Return the key of the environment, then those of files."""
    keys = []
    value, file = environ.get(CHAIN_KEY), environ.get(f"{CHAIN_KEY}_FILE")
    if value and file:
        raise _RefusedError(f"{CHAIN_KEY} and {CHAIN_KEY}_FILE are both set; keep one")
    try:
        if value or file:
            keys.append(_key(value or read_secret_file(CHAIN_KEY, Path(str(file))), CHAIN_KEY))
        keys += [_key(read_secret_file("--key", each), str(each)) for each in files]
    except SecretFileError as error:
        raise _RefusedError(str(error)) from None
    return keys


def _key(value: str, place: str) -> str:
    try:
        return admin_key(value)
    except InvalidValueError as invalid:
        raise _RefusedError(f"{place} is a value; it must be {invalid}") from None


def _heads(file: Path | None) -> list[LogHead]:
    if file is None:
        return []
    try:
        return read_heads(file.read_bytes())
    except OSError as error:
        raise _RefusedError(f"{str(file)!r} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise _RefusedError(f"{str(file)!r} is {error}") from None
