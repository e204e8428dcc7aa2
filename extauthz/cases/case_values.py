"""Members of decision cases and of their sections, in the types that they have to have.

Input: values as YAML or JSON has them, and the place in the file. Output: the value in its type. Errors:
CaseInvalidError, whose text names the place and the type that is needed.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from extauthz.cases.case_members import unknown_members

Document = Mapping[str, object]
_Word = TypeVar("_Word", bound=StrEnum)


class CaseInvalidError(ValueError):
    """A case file that is not one; the text names the place."""


def refuse_unknown(
    document: Document, where: str, known: tuple[str, ...], ignored: frozenset[str] = frozenset()
) -> None:
    """Raise CaseInvalidError for a member that is neither known nor ignored."""
    for problem in unknown_members(document, "", known, ignored):
        raise CaseInvalidError(f"{where}{problem.pointer.replace('/', ', ')}: {problem.message}")


def object_of(value: object, where: str) -> Document:
    """Return an object. Raises CaseInvalidError."""
    if not isinstance(value, Mapping):
        raise CaseInvalidError(f"{where}: an object is needed")
    return value


def list_of(value: object, where: str) -> list[object]:
    """Return a list. Raises CaseInvalidError."""
    if not isinstance(value, list):
        raise CaseInvalidError(f"{where}: a list is needed")
    return value


def texts_of(value: object, where: str) -> list[str]:
    """Return a list, each of whose entries is taken as text. Raises CaseInvalidError."""
    return [str(entry) for entry in list_of(value, where)]


def word_of(document: Document, member: str, words: type[_Word], default: _Word) -> _Word:
    """Return the word that a member holds, `default` where it is left out. Raises CaseInvalidError."""
    value = document.get(member, default.value)
    for word in words:
        if word.value == value:
            return word
    raise CaseInvalidError(f"{member}: {value!r} is not one of {', '.join(words)}")


def optional_of(document: Document, member: str, default: object) -> object:
    """Return a member that may be left out; null is absence."""
    value = document.get(member)
    return default if value is None else value


def text_of(document: Document, member: str, where: str) -> str:
    """Return a member that has to be a string. Raises CaseInvalidError."""
    value = document.get(member)
    if not isinstance(value, str):
        raise CaseInvalidError(f"{where}: {member} is not a string")
    return value
