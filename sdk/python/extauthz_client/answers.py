"""Reading what the API answers with: a member that is missing or of another type is never guessed."""

from collections.abc import Mapping
from typing import Final, TypeVar

from extauthz_client.errors import UnexpectedAnswer

_Choice = TypeVar("_Choice", bound=str)
_TOO_LARGE: Final = 2**63


class Members:
    """The members of an object of an answer. Every method raises `UnexpectedAnswer` for a misfit."""

    def __init__(self, document: object) -> None:
        """Take a document, which must be an object."""
        if not isinstance(document, Mapping):
            raise UnexpectedAnswer(f"the API answered with {_kind(document)}, not with an object")
        self._members: Mapping[str, object] = document

    def value(self, name: str) -> object:
        """Return a member that must be there."""
        if name not in self._members:
            raise UnexpectedAnswer(f"the API answered with an object without {name!r}")
        return self._members[name]

    def text(self, name: str) -> str:
        """Return a string."""
        value = self.value(name)
        if not isinstance(value, str):
            raise self._misfit(name, "a string")
        return value

    def optional_text(self, name: str) -> str | None:
        """Return a string; None when it is null or left out."""
        return None if self._members.get(name) is None else self.text(name)

    def is_text(self, name: str) -> bool:
        """Tell whether the member is a string."""
        return isinstance(self._members.get(name), str)

    def has(self, name: str) -> bool:
        """Tell whether the member is there."""
        return name in self._members

    def optional_texts(self, name: str) -> dict[str, str] | None:
        """Return an object of strings; None when it is left out."""
        value = self._members.get(name)
        if value is None:
            return None
        if not isinstance(value, Mapping) or not all(isinstance(each, str) for each in value.values()):
            raise self._misfit(name, "an object of strings")
        return dict(value)

    def choice(self, name: str, choices: tuple[_Choice, ...]) -> _Choice:
        """Return a string that is one of the choices."""
        for choice in choices:
            if choice == self.value(name):
                return choice
        raise self._misfit(name, f"one of {', '.join(choices)}")

    def flag(self, name: str) -> bool:
        """Return a boolean."""
        value = self.value(name)
        if not isinstance(value, bool):
            raise self._misfit(name, "a boolean")
        return value

    def number(self, name: str) -> int:
        """Return an integer of 64 bits."""
        value = self.value(name)
        if not isinstance(value, int) or isinstance(value, bool) or not -_TOO_LARGE <= value < _TOO_LARGE:
            raise self._misfit(name, "an integer of 64 bits")
        return value

    def entries(self, name: str) -> list[object]:
        """Return a list."""
        return entries(self.value(name))

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of strings."""
        values = self.entries(name)
        if not all(isinstance(value, str) for value in values):
            raise self._misfit(name, "a list of strings")
        return tuple(str(value) for value in values)

    def objects(self, name: str) -> tuple[Mapping[str, object], ...]:
        """Return a list of objects, empty when it is left out."""
        found = self.entries(name) if name in self._members else []
        objects = tuple(value for value in found if isinstance(value, Mapping))
        if len(objects) != len(found):
            raise self._misfit(name, "a list of objects")
        return objects

    def _misfit(self, name: str, wanted: str) -> UnexpectedAnswer:
        return UnexpectedAnswer(f"the API answered with a {name!r} that is not {wanted}")


def entries(document: object) -> list[object]:
    """Return a document that must be a list."""
    if not isinstance(document, list):
        raise UnexpectedAnswer(f"the API answered with {_kind(document)}, not with a list")
    return document


def _kind(document: object) -> str:
    return "nothing readable" if document is None else f"a JSON {type(document).__name__}"


def revision(text: str) -> int | None:
    """Return the revision that a header says; None for what is not one."""
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None
    return number if number is not None and number < _TOO_LARGE else None
