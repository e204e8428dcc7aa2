"""`extauthz casbin enforce`: one request, a JSON array, per line in; `true`, `false` or an error out."""

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Final

from extauthz.casbin_enforce.engine import FileInvalid, load_engine
from extauthz.commands.status import BAD_USAGE, answer_lines, fail, unreadable
from extauthz.domain.one_line import one_line

_SHOWN_COMPLAINTS: Final = 10
_ERROR: Final = "error: "


def run(model: Path, policy: Path, *, as_json: bool = False) -> int:
    """Answer the lines of stdin under a Casbin model and its CSV policy; return the exit status.

    The first rejected rows of the policy are reported on stderr.
    """
    try:
        engine = load_engine(model.read_text("utf-8"), policy.read_bytes())
    except OSError as error:
        return unreadable(error.filename, error)
    except UnicodeDecodeError as error:
        return fail(f"{str(model)!r} is not UTF-8 at byte {error.start}", BAD_USAGE)
    if isinstance(engine, FileInvalid):
        file = model if engine.part == "model" else policy
        return fail(f"{str(file)!r} cannot be used: {engine.message}", BAD_USAGE)
    for complaint in engine.complaints[:_SHOWN_COMPLAINTS]:
        print(f"extauthz: {one_line(complaint)}; it is refused", file=sys.stderr)
    form = _json if as_json else _text
    # Casbin's times are local and have no zone.
    return answer_lines(lambda line: form(engine.answer(line, datetime.now())))  # noqa: DTZ005


def _text(answer: str) -> bytes:
    return answer.encode("utf-8", "backslashreplace")


def _json(answer: str) -> bytes:
    """Return an answer as `{"allowed", "error"}`; an error is a deny."""
    error = answer.removeprefix(_ERROR) if answer.startswith(_ERROR) else None
    return json.dumps({"allowed": answer == "true", "error": error}).encode()
