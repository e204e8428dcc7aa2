"""JSON without loss: numbers that no `float` holds are `Decimal`, in both directions."""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Final


def parsed(body: bytes) -> object:
    """Return a JSON document (RFC 8259: UTF-8); None for what is not one, or has a member twice.

    Numbers that no `float` holds are `Decimal`.
    """
    try:
        return _DECODER.decode(body.decode())
    except (ValueError, RecursionError):
        return None


def _refused(literal: str) -> object:
    raise ValueError(f"{literal} is not JSON")


def _unique(members: list[tuple[str, object]]) -> dict[str, object]:
    # RFC 8259 4: which of the two would be meant is not defined.
    document = dict(members)
    if len(document) != len(members):
        raise ValueError("a member is given twice")
    return document


def _fraction(literal: str) -> float | Decimal:
    exact, rounded = Decimal(literal), float(literal)
    return rounded if Decimal(repr(rounded)) == exact else exact


# One for all: `json.loads` makes a decoder for each call with options.
_DECODER: Final = json.JSONDecoder(parse_float=_fraction, parse_constant=_refused, object_pairs_hook=_unique)


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
