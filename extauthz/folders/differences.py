"""The members in which two documents of one row differ: what a plan shows.

Input: the live document and that of the folder. Output: `MemberChange`s, in the order of their places.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from extauthz.domain.problem import pointer_token
from extauthz.folders.plan import canonical
from extauthz.storage.encoding import encode_json

_LISTS: Final = frozenset({"actions", "methods", "routes", "conditions", "value"})
NOT_THERE: Final = object()
"""Stands for a member that a document does not have."""


@dataclass(frozen=True, slots=True)
class MemberChange:
    """A member and its two values; `NOT_THERE` on one side where only the other has it."""

    pointer: str
    before: Any
    after: Any


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[MemberChange]:
    """Return every member that differs."""
    hidden = {"defaultRoles"}
    return list(
        _members(
            "",
            {name: value for name, value in before.items() if name not in hidden},
            {name: value for name, value in after.items() if name not in hidden},
        )
    )


def _members(at: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[MemberChange]:
    for name in sorted(before.keys() | after.keys()):
        pointer = f"{at}/{pointer_token(name)}"
        yield from _values(pointer, name, before.get(name, NOT_THERE), after.get(name, NOT_THERE))


def _values(pointer: str, name: str, before: Any, after: Any) -> Iterator[MemberChange]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        yield from _members(pointer, before, after)
    elif isinstance(before, list) and isinstance(after, list) and name in _LISTS:
        yield from _entries(pointer, name, before, after)
    elif before is NOT_THERE or after is NOT_THERE or encode_json(before) != encode_json(after):
        yield MemberChange(pointer, before, after)


def _entries(pointer: str, name: str, before: list[Any], after: list[Any]) -> Iterator[MemberChange]:
    """Yield which entries of a list differ: by place where each has a counterpart, else as gone and new."""
    old, new = [_key(name, each) for each in before], [_key(name, each) for each in after]
    if name == "conditions" and len(before) == len(after):
        for index, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from _values(f"{pointer}/{index}", "", one, other)
        return
    gone = _without(zip(old, before, strict=True), new)
    come = _without(zip(new, after, strict=True), old)
    yield from (MemberChange(pointer, each, NOT_THERE) for each in gone)
    yield from (MemberChange(pointer, NOT_THERE, each) for each in come)
    if not gone and not come and old != new and name in {"value", "conditions"}:
        yield MemberChange(pointer, before, after)


def _without(entries: Any, others: list[str]) -> list[Any]:
    left = list(others)
    found = []
    for key, entry in entries:
        if key in left:
            left.remove(key)
        else:
            found.append(entry)
    return found


def _key(name: str, entry: Any) -> str:
    return canonical(entry) if name == "routes" and isinstance(entry, Mapping) else encode_json(entry)
