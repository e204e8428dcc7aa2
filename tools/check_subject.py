"""Refuse a commit message whose subject is too long or not one line; exit 1 with the reason.

python tools/check_subject.py FILE    FILE holds the message, as git passes it to the hook commit-msg
"""

import sys
from pathlib import Path
from typing import Final

MAX_SUBJECT: Final = 72
_NOT_IMPERATIVE: Final = ("ed", "ing")
# Imperatives that end so.
_IMPERATIVE: Final = frozenset(
    {"bring", "embed", "exceed", "feed", "need", "proceed", "seed", "shed", "speed", "string", "wing"}
)


def problem(message: str) -> str | None:
    """Return what is wrong with a commit message, None when nothing is."""
    lines = [line for line in message.splitlines() if not line.startswith("#")]
    subject = lines[0] if lines else ""
    if not subject.strip():
        return "the first line is the subject, and it is empty"
    if len(subject) > MAX_SUBJECT:
        return f"the subject has {len(subject)} characters, at most {MAX_SUBJECT} fit"
    if len(lines) > 1 and lines[1].strip():
        return "the second line is not empty; the subject is one line"
    first = subject.split()[0].lower().rstrip(":,")
    if subject[0].islower() or first in {"wip", "fixup!", "squash!"}:
        return f"{subject.split()[0]!r}: begin with an imperative verb, upper-case, such as 'Add'"
    if first.endswith(_NOT_IMPERATIVE) and first not in _IMPERATIVE:
        return f"{subject.split()[0]!r} is not an imperative, such as 'Add'"
    return None


def main(arguments: list[str]) -> int:
    """Judge the message in a file."""
    found = problem(Path(arguments[0]).read_text("utf-8"))
    if found is not None:
        print(found, file=sys.stderr)
    return 0 if found is None else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
