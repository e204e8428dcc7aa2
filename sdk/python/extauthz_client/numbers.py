"""JSON without loss: numbers that no `float` holds are `Decimal`, in both directions."""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Final


def parsed(body: bytes) -> object:
    """Return a JSON document; None for invalid JSON. Numbers that no `float` holds are `Decimal`."""
    try:
        return _DECODER.decode(body.decode("utf-8"))
    except (ValueError, RecursionError):
        return None


def _fraction(literal: str) -> float | Decimal:
    exact, rounded = Decimal(literal), float(literal)
    return rounded if Decimal(repr(rounded)) == exact else exact


# One for all: `json.loads` makes a decoder for each call with options.
_DECODER: Final = json.JSONDecoder(parse_float=_fraction)


def written(document: object) -> bytes:
    """Return a document as JSON, each `Decimal` with all digits. Raises TypeError for other objects."""
    try:
        return json.dumps(document).encode("ascii")
    except TypeError:
        return _text(document).encode("ascii")


def _text(value: object) -> str:
    match value:
        case Decimal():
            return str(value)
        case Mapping():
            members = (f"{json.dumps(str(name))}: {_text(member)}" for name, member in value.items())
            return f"{{{', '.join(members)}}}"
        case list() | tuple():
            return f"[{', '.join(map(_text, value))}]"
        case _:
            return json.dumps(value)
