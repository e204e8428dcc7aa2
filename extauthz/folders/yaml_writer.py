"""Writes documents of policies as YAML in the one form of `policy fmt`.

Input: JSON values. Output: text that `read_document` reads as the same values.
"""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from extauthz.folders.formatting.form import WIDTH
from extauthz.folders.formatting.scalars import is_certain, quoted


def table(name: str, entries: Sequence[Mapping[str, Any]], *, one_line: bool) -> str:
    """Return the member `name` of a document with its list.

    With `one_line` an entry is one line where that fits.
    """
    if not entries:
        return f"{name}: []\n"
    lines = [f"{name}:"]
    for entry in entries:
        text = flow(entry)
        if one_line and len(text) + 4 <= WIDTH:
            lines.append(f"  - {text}")
        else:
            first, *rest = block(entry, 4)
            lines += [f"  - {first}", *(f"    {line}" for line in rest)]
    return "\n".join(lines) + "\n"


def block(value: Mapping[str, Any], indent: int) -> Iterator[str]:
    """Yield the lines of a mapping that is not empty; `indent` is the column that they begin at."""
    for name, member in value.items():
        key = scalar(name)
        if isinstance(member, Mapping) and member:
            yield f"{key}:"
            yield from (f"  {line}" for line in block(member, indent + 2))
        elif isinstance(member, list) and member and not _fits(key, member, indent):
            yield f"{key}:"
            yield from (f"  {line}" for line in _items(member, indent + 2))
        else:
            yield f"{key}: {flow(member)}"


def _fits(key: str, member: list[Any], indent: int) -> bool:
    """Tell whether a list goes on the line of its key: it has scalars alone and is short."""
    if any(isinstance(each, Mapping | list) for each in member):
        return False
    return indent + len(key) + 1 + len(flow(member)) + 1 <= WIDTH


def _items(entries: list[Any], indent: int) -> Iterator[str]:
    for entry in entries:
        if isinstance(entry, Mapping) and entry:
            first, *rest = block(entry, indent + 2)
        elif isinstance(entry, list) and entry:
            first, *rest = _items(entry, indent + 2)
        else:
            first, rest = flow(entry), []
        yield f"- {first}"
        yield from (f"  {line}" for line in rest)


def flow(value: Any) -> str:
    """Return a value on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{scalar(name)}: {flow(member)}" for name, member in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    return scalar(value)


def scalar(value: str | int | Decimal | None) -> str:
    """Return a scalar: a text, a number, a boolean or null."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case Decimal():
            return format(abs(value) if value.is_zero() else value, "f")
        case int():
            return str(value)
        case str():
            return value if is_certain(value) else quoted(value)
