"""`extauthz logs verify`: count the lines, gaps and schema errors of a decision log."""

import sys
from pathlib import Path

from extauthz.commands.status import FAILED, OK, unreadable
from extauthz.decisionlog.verify import verify


def run(file: Path) -> int:
    """Print the counts as one JSON object; return OK for a log without gaps and errors, else FAILED."""
    try:
        with file.open("rb") as stream:
            report = verify(stream)
    except OSError as error:
        return unreadable(file, error)
    sys.stdout.buffer.write(report.as_json() + b"\n")
    return OK if report.ok else FAILED
