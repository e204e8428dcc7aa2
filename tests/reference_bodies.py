"""A plain implementation of what conditions read of bodies (policy language, section Bodies)."""

import json
import re
import unicodedata
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final
from urllib.parse import parse_qsl

JSON: Final = {"application/json", "application/json; charset=utf-8", "application/x+json"}
FORM: Final = "application/x-www-form-urlencoded"


class UnsureError(Exception):
    """Readers may differ about the body, or about the member."""


def read_body(asked: Mapping[str, Any]) -> Any:
    """Return the members; a list of names and values of a form; None where there is nothing to read."""
    headers = {name.lower(): value for name, value in (asked.get("headers") or {}).items()}
    if "content-encoding" in headers:
        return None
    types = [headers["content-type"]] if "content-type" in headers else []
    text = asked.get("body", "")
    if len(types) != 1 or not isinstance(text, str) or not text:
        return None
    if types[0] == FORM:
        if text.lstrip(" \t\r\n")[:1] in {"{", "[", '"'}:
            return None
        return parse_qsl(text, keep_blank_values=True)
    if types[0] not in JSON:
        return None
    try:
        found = json.loads(text, object_pairs_hook=unique, parse_float=Decimal)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("a name occurs twice")
    return dict(pairs)


def member(body: Any, path: str) -> Any:
    """Return the value, None where there is none. Raises UnsureError."""
    if body is None:
        raise UnsureError
    if isinstance(body, list):
        values = [value for name, value in body if loose(name) == loose(path)]
        exact = [value for name, value in body if name == path]
        if len(values) > 1 or values != exact or any(nested(name, path) for name, _ in body):
            raise UnsureError
        return exact[0] if exact else None
    here, names = body, path.split(".")
    for position, name in enumerate(names):
        if isinstance(here, str | list) or (isinstance(here, dict) and {"__proto__", "$ref"} & set(here)):
            raise UnsureError
        if not isinstance(here, dict):
            return None
        rest = [".".join(names[position:end]) for end in range(position + 2, len(names) + 1)]
        alike = [each for each in here if loose(each) == loose(name) or each in rest]
        if alike not in ([], [name]):
            raise UnsureError
        here = here.get(name)
    if isinstance(here, str) and here.strip(" \t\r\n")[:1] in {"{", "[", "n"}:
        try:
            again = json.loads(here)
        except ValueError:
            return here
        if again is None or isinstance(again, dict | list):
            raise UnsureError
    return here


def nested(one: str, other: str) -> bool:
    """Tell whether one field of a form is another one, or a part of it."""
    if one == other:
        return False
    first, second = map(steps, (one, other))
    shorter = min(len(first), len(second))
    return first[:shorter] == second[:shorter]


def steps(field: str) -> list[str]:
    named = re.sub(r"\][^\[]*", "", field) if "[" in field else field
    return [loose(part) for part in re.split(r"\[|\.", named.strip("[]."))]


def loose(name: str) -> str:
    text = unicodedata.normalize("NFKC", name).casefold().replace("\u0131", "i").replace("i\u0307", "i")
    return "".join(each for each in text if each not in "-_.! []" and unicodedata.category(each) != "Cf")


def comparable(value: Any) -> bool:
    """Tell whether every reader has the same value."""
    match value:
        case bool():
            return True
        case int():
            return abs(value) < 2**53
        case Decimal():
            return abs(value) < 2**53 and Decimal(repr(float(value))) == value
        case list():
            return all(entry is not None and not isinstance(entry, dict) for entry in value) and all(
                map(comparable, value)
            )
        case str():
            return not any(unicodedata.category(character) == "Cc" for character in value)
        case _:
            return False
