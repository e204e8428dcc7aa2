"""Between Python values and PostgreSQL's text forms; numbers stay exact both ways.

`encode_json` writes numbers exactly as `jsonb` prints them, so a document that went through a change record
equals the same document read from its table.
"""

import json
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Final

import orjson

from extauthz.domain.problem import Problem, pointer_token

MAX_DIGITS: Final = 1000
"""Digits a number may have before, or after, its decimal point."""
MAX_DEPTH: Final = 64
_INT64: Final = range(-(2**63), 2**63)


def encode_json(value: object) -> str:
    """Return a storable value as JSON text with sorted members."""
    try:
        encoded = orjson.dumps(value, default=_number, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        # orjson has no integers beyond 64 bits; they are rare enough to be looked for only now.
        encoded = orjson.dumps(_wrapped(value), default=_number, option=orjson.OPT_SORT_KEYS)
    return encoded.decode()


def decode_json(text: str) -> object:
    """Return a stored JSON value; fractions are `Decimal`."""
    return json.loads(text, parse_float=Decimal)


def decode_stored(text: str) -> object:
    """Return a stored JSON value, whatever wrote it: None where it is nested deeper than what we store.

    None is no value that a required member may have, so that the row is found to be unreadable.
    """
    if text.count("[") + text.count("{") > MAX_DEPTH and _depth(text) > MAX_DEPTH:
        return None
    try:
        return decode_json(text)
    except ValueError:
        # More digits than Python reads into an integer (sys.set_int_max_str_digits).
        return json.loads(text, parse_float=Decimal, parse_int=Decimal)


def _depth(text: str) -> int:
    """Return how deep valid JSON is nested; brackets inside strings count, which errs on the safe side."""
    deepest = depth = 0
    for character in text:
        if character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


def array_literal(values: Iterable[str]) -> str:
    """Return PostgreSQL's text form of an array; `unnest` cannot take arrays of arrays apart row by row."""
    quoted = (value.replace("\\", "\\\\").replace('"', '\\"') for value in values)
    return "{" + ",".join(f'"{value}"' for value in quoted) + "}"


def unstorable(value: object, pointer: str = "") -> list[Problem]:
    """Return what PostgreSQL cannot hold: NUL, lone surrogates, numbers without end, nesting beyond 64."""
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
        return "holds U+0000, which cannot be stored"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "holds half of a surrogate pair, which is no character"
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
