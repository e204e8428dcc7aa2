"""JSON in one form: two spaces a level, each entry on a line of its own, every literal as it is written."""

import re
from typing import Final

_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{},:]|[^\s\[\]{},:"]+', re.DOTALL)


def json_form(text: str) -> str:
    """Return a JSON text in the form."""
    parts: list[str] = []
    level = 0
    before = ""
    for found in _TOKEN.finditer(text):
        piece = found[0]
        if piece in {"}", "]"}:
            level -= 1
            if before not in {"{", "["}:
                parts.append("\n" + "  " * level)
        elif before in {"{", "[", ","}:
            parts.append("\n" + "  " * level)
        parts.append(": " if piece == ":" else piece)
        if piece in {"{", "["}:
            level += 1
        before = piece
    return "".join(parts) + "\n"
