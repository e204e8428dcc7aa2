"""Typed reading of one JSON object; every problem is noted with its JSON pointer, none ends the reading."""

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final, TypeVar

from extauthz.domain.names import name_problem
from extauthz.domain.problem import Problem, pointer_token

_SHOWN: Final = 60
_Choice = TypeVar("_Choice", bound=StrEnum)

_USERINFO: Final = re.compile(r"//[^/?#]*@")  # RFC 3986 3.2


def shown(value: object) -> str:
    """Return how an error message quotes an input: short, never a whole document or a URL's password."""
    match value:
        case bool():
            return "true" if value else "false"
        case None:
            return "null"
        case str():
            text = ascii(_USERINFO.sub("//***@", str(value)))
            return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...'"
        case Mapping():
            return "an object"
        case list() | tuple():
            return "a list"
        case int() if abs(value) >= 10**_SHOWN:
            return "a huge number"
        case _:
            return str(value)[:_SHOWN]


class Fields:
    """The members of one untrusted JSON object.

    Methods return None (or the given default) where a member does not fit and note a `Problem`; `done`
    notes the members that were not read.
    """

    def __init__(self, document: object, pointer: str, problems: list[Problem]) -> None:
        """Start reading `document`, which sits at `pointer` of what the author wrote."""
        self.pointer = pointer
        self.problems = problems
        self._asked: set[str] = set()
        self._members: Mapping[str, object] = {}
        self.is_object = isinstance(document, Mapping) and all(isinstance(key, str) for key in document)
        if self.is_object:
            assert isinstance(document, Mapping)
            self._members = document
        else:
            problems.append(Problem(pointer, f"found {shown(document)}, an object is needed"))

    def at(self, name: str) -> str:
        """Return the pointer of a member."""
        return f"{self.pointer}/{pointer_token(name)}"

    def note(self, name: str, message: str) -> None:
        """Note a problem with the member `name`."""
        self.problems.append(Problem(self.at(name), message))

    def note_item(self, name: str, index: int, message: str) -> None:
        """Note a problem with one entry of the list `name`."""
        self.problems.append(Problem(f"{self.at(name)}/{index}", message))

    def has(self, name: str) -> bool:
        """Tell whether the member is there."""
        return name in self._members

    def get(self, name: str) -> object:
        """Return the raw member, None when it is missing."""
        self._asked.add(name)
        return self._members.get(name)

    def _required(self, name: str, what: str) -> None:
        if self.is_object:
            self.note(name, f"is missing, {what} is needed")

    def text(self, name: str, *, required: bool = True, max_length: int = 256) -> str | None:
        """Return a canonical name."""
        value = self.get(name)
        if name not in self._members:
            if required:
                self._required(name, "a string")
            return None
        if not isinstance(value, str):
            self.note(name, f"found {shown(value)}, a string is needed")
            return None
        if problem := name_problem(value, max_length=max_length):
            self.note(name, f"found {shown(value)}, {problem}")
            return None
        return value

    def choice(self, name: str, choices: type[_Choice], *, default: _Choice | None = None) -> _Choice | None:
        """Return one of an enumeration's words; without a default the member is required."""
        value = self.get(name)
        wanted = ", ".join(repr(member.value) for member in choices)
        if name not in self._members:
            if default is None:
                self._required(name, f"one of {wanted}")
            return default
        if isinstance(value, str):
            for member in choices:
                if member.value == value:
                    return member
        self.note(name, f"found {shown(value)}, one of {wanted} is needed")
        return None

    def flag(self, name: str, *, default: bool) -> bool:
        """Return a boolean."""
        value = self.get(name)
        if name not in self._members:
            return default
        if isinstance(value, bool):
            return value
        self.note(name, f"found {shown(value)}, true or false is needed")
        return default

    def integer(self, name: str, *, default: int, lowest: int, highest: int) -> int:
        """Return an integer within inclusive bounds."""
        value = self.get(name)
        if name not in self._members:
            return default
        if isinstance(value, bool) or not isinstance(value, int):
            self.note(name, f"found {shown(value)}, an integer is needed")
            return default
        if not lowest <= value <= highest:
            self.note(name, f"found {shown(value)}, an integer from {lowest} to {highest} is needed")
            return default
        return value

    def items(self, name: str, *, required: bool, at_least: int = 0) -> Sequence[object]:
        """Return a list; empty when it is missing or does not fit."""
        value = self.get(name)
        if name not in self._members:
            if required:
                self._required(name, "a list")
            return ()
        if not isinstance(value, list | tuple):
            self.note(name, f"found {shown(value)}, a list is needed")
            return ()
        if len(value) < at_least:
            self.note(name, f"is empty, {at_least} or more entries are needed")
        return value

    def names(self, name: str, *, default: tuple[str, ...] | None) -> tuple[str, ...]:
        """Return a list of one or more canonical names, without repeats; required without a default."""
        if default is not None and name not in self._members:
            self._asked.add(name)
            return default
        # A dictionary, because a list would be searched once for each entry: minutes for a body of one MiB.
        found: dict[str, None] = {}
        for index, value in enumerate(self.items(name, required=True, at_least=1)):
            if not isinstance(value, str):
                self.note_item(name, index, f"found {shown(value)}, a string is needed")
            elif problem := name_problem(value):
                self.note_item(name, index, f"found {shown(value)}, {problem}")
            else:
                found[value] = None
        return tuple(found)

    def done(self) -> None:
        """Note every member that was not read."""
        for name in self._members:
            if name not in self._asked:
                known = ", ".join(sorted(self._asked))
                self.note(name, f"is not a member here; known are {known}")
