"""Converts Python values to PostgreSQL's text formats and back, with exact numbers.

Input and output: JSON values, arrays. `unstorable` returns the problems of a value that PostgreSQL cannot
store. `encode_json` formats numbers as `jsonb` prints them, so that a document from a change record equals
the same document from its table.
"""

import json
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Final

import orjson

from extauthz.domain.problem import Problem, pointer_token

MAX_DIGITS: Final = 1000
"""Most digits of a number before, and after, its decimal point."""
MAX_DEPTH: Final = 64
_INT64: Final = range(-(2**63), 2**63)


def encode_json(value: object) -> str:
    """Return a value that `unstorable` accepts as JSON text with sorted members."""
    try:
        encoded = orjson.dumps(value, default=_number, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        # orjson does not encode integers beyond 64 bits; they are rare, so only a failure converts them.
        encoded = orjson.dumps(_wrapped(value), default=_number, option=orjson.OPT_SORT_KEYS)
    return encoded.decode()


def decode_json(text: str) -> object:
    """Return the value of a stored JSON text; fractions are `Decimal`."""
    return json.loads(text, parse_float=Decimal)


def decode_stored(text: str) -> object:
    """Return the value of a stored JSON text that another program may have written.

    None: it is nested deeper than `MAX_DEPTH`. No required member may be null, so the row counts as
    unreadable.
    """
    if text.count("[") + text.count("{") > MAX_DEPTH and _depth(text) > MAX_DEPTH:
        return None
    try:
        return decode_json(text)
    except ValueError:
        # An integer has more digits than Python converts (sys.set_int_max_str_digits).
        return json.loads(text, parse_float=Decimal, parse_int=Decimal)


def _depth(text: str) -> int:
    """Return an upper limit of the nesting depth of valid JSON; brackets inside strings count too."""
    deepest = depth = 0
    for character in text:
        if character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


def array_literal(values: Iterable[str]) -> str:
    """Return PostgreSQL's text format of an array; `unnest` flattens arrays of arrays, so texts are sent."""
    quoted = (value.replace("\\", "\\\\").replace('"', '\\"') for value in values)
    return "{" + ",".join(f'"{value}"' for value in quoted) + "}"


def unstorable(value: object, pointer: str = "") -> list[Problem]:
    """Return the problems of a value that PostgreSQL cannot store.

    They are U+0000, lone surrogates, numbers that are too long or not finite, and nesting beyond `MAX_DEPTH`.
    """
    problems: list[Problem] = []
    _examine(value, pointer, 0, problems)
    return problems


def _examine(value: object, pointer: str, depth: int, problems: list[Problem]) -> None:
    if depth > MAX_DEPTH:
        problems.append(Problem(pointer, f"is nested deeper than {MAX_DEPTH} levels"))
        return
    match value:
        case str():
            if problem := _text_problem(value):
                problems.append(Problem(pointer, problem))
        case Mapping():
            for name, member in value.items():
                here = f"{pointer}/{pointer_token(name)}"
                if problem := _text_problem(name):
                    problems.append(Problem(here, f"the member's name {problem}"))
                _examine(member, here, depth + 1, problems)
        case list() | tuple():
            for index, entry in enumerate(value):
                _examine(entry, f"{pointer}/{index}", depth + 1, problems)
        case Decimal() | int() | float() if not _bounded(value):
            problems.append(Problem(pointer, f"is not a number of at most {MAX_DIGITS} digits"))
        case _:
            pass


def _text_problem(text: str) -> str | None:
    if "\0" in text:
        return "contains U+0000, which PostgreSQL cannot store"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "contains a lone surrogate, which is not a character"
    return None


def _bounded(number: Decimal | float) -> bool:
    if isinstance(number, int):
        return number.bit_length() < MAX_DIGITS * 3
    exact = Decimal(number)
    exponent = exact.as_tuple().exponent
    return isinstance(exponent, int) and exact.adjusted() < MAX_DIGITS and exponent > -MAX_DIGITS


def _number(value: object) -> orjson.Fragment:
    if not isinstance(value, Decimal):
        raise TypeError(f"{type(value).__name__} has no JSON form")
    return orjson.Fragment(format(abs(value) if value.is_zero() else value, "f"))


def _wrapped(value: object) -> object:
    match value:
        case bool():
            return value
        case int() if value not in _INT64:
            return Decimal(value)
        case Mapping():
            return {name: _wrapped(member) for name, member in value.items()}
        case list() | tuple():
            return [_wrapped(entry) for entry in value]
        case _:
            return value
