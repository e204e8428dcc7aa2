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
