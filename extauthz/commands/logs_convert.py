"""`extauthz logs convert`: lines of a decision log as events of a schema that log pipelines read.

Input: files or standard input, plain or in gzip. Output: one event on a line of its own for each line, in
order and at once. Errors: lines that are not of a decision log, each with its place on stderr and at the end
their number.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import orjson

from extauthz.commands.status import BAD_USAGE, FAILED, OK, fail
from extauthz.decisionlog import ecs, ocsf
from extauthz.decisionlog.reading import MAX_LINE, STDIN, LogLine, LogUnreadableError, read_lines
from extauthz.decisionlog.schema import MORE_MEMBERS, line_problems
from extauthz.domain.one_line import one_line

SCHEMAS: Final = {"ecs": ecs.event_of, "ocsf": ocsf.event_of}
_NAMED: Final = 20
"""Malformed lines that are named; all are counted."""


def run(to: str, files: Sequence[Path]) -> int:
    """Convert the lines of files; FAILED where lines were malformed."""
    convert, output = SCHEMAS[to], sys.stdout.buffer
    malformed = 0
    try:
        for line in read_lines(list(files) or [Path(STDIN)]):
            found = _line(line)
            if isinstance(found, str):
                malformed += 1
                if malformed <= _NAMED:
                    fail(f"{line.file}:{line.number}: {found}")
                continue
            output.write(orjson.dumps(convert(found), option=orjson.OPT_APPEND_NEWLINE))
            if line.file == STDIN:
                # What follows a growing log reads each event when it is there.
                output.flush()
    except LogUnreadableError as error:
        output.flush()
        return fail(str(error), BAD_USAGE)
    output.flush()
    if malformed:
        return fail(f"malformed lines, which have no event: {malformed}", FAILED)
    return OK


def _line(line: LogLine) -> Mapping[str, Any] | str:
    """Return a line of the log, or what is wrong with it."""
    if not line.whole:
        return f"longer than {MAX_LINE} bytes"
    try:
        found: Any = orjson.loads(line.raw)
    except orjson.JSONDecodeError as error:
        return f"not JSON: {one_line(str(error))}"
    if not isinstance(found, dict):
        return "not a JSON object"
    problems = [problem for problem in line_problems(found) if not problem.endswith(MORE_MEMBERS)]
    return "; ".join(problems[:3]) if problems else found
