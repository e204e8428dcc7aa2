"""Reads members of an identity provider's document: strings, lists of strings, claims, seconds.

Input: the `Fields` of a document. Output: values; each problem is added to the fields with its JSON pointer.
"""

from collections.abc import Callable, Iterator
from typing import Final

from extauthz.compile.fields import Fields, shown
from extauthz.domain.names import name_problem
from extauthz.domain.provider_settings import claim_path_problem

_MAX_TEXT: Final = 2000
_MAX_ENTRIES: Final = 100

StringCheck = Callable[[str], str | None]
"""A check of a string: returns the required form, or None if the string has it."""


class ProviderFields:
    """The members of one document, converted to values. An absent member is None or empty."""

    def __init__(self, fields: Fields) -> None:
        """Read from `fields`, and add problems to it."""
        self._fields = fields

    def seconds(self, name: str, highest: float) -> float | None:
        """Return whole seconds, at most `highest`; `leeway` may be 0, another member is at least 1."""
        fields = self._fields
        value = fields.get(name)
        if not fields.has(name):
            return None
        lowest = 0 if name == "leeway" else 1
        if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
            fields.note(
                name, f"found {shown(value)}, whole seconds from {lowest} to {highest:.0f} are needed"
            )
            return None
        return float(value)

    def entries(self, name: str) -> Iterator[Fields]:
        """Yield the fields of each object in a list of at most 100."""
        entries = self._fields.items(name, required=False)
        if len(entries) > _MAX_ENTRIES:
            self._fields.note(name, f"has {len(entries)} entries, more than {_MAX_ENTRIES}")
            entries = ()
        for index, value in enumerate(entries):
            entry = Fields(value, f"{self._fields.at(name)}/{index}", self._fields.problems)
            yield entry
            entry.done()

    def claims(self, name: str) -> tuple[str, ...]:
        """Return the claim paths in a list."""
        return self.texts(name, judge=claim_path_problem, at_least=1)

    def claim(self, name: str, fields: Fields | None = None, *, required: bool = False) -> str | None:
        """Return a claim path."""
        fields = fields or self._fields
        claim = self.text(name, fields, required=required)
        problem = None if claim is None else claim_path_problem(claim)
        if problem is not None:
            fields.note(name, f"found {shown(claim)}, it must be {problem}")
        return claim

    def text(self, name: str, fields: Fields | None = None, *, required: bool = False) -> str | None:
        """Return a string that is printable, not empty and not too long."""
        fields = fields or self._fields
        value = fields.get(name)
        if not fields.has(name):
            if required and fields.is_object:
                fields.note(name, "is missing, a string is needed")
            return None
        problem = _text_problem(value)
        if problem is not None:
            fields.note(name, f"found {shown(value)}, {problem}")
            return None
        return str(value)

    def texts(
        self,
        name: str,
        *,
        judge: StringCheck | None = None,
        at_least: int = 0,
        limit: int = _MAX_ENTRIES,
        canonical: bool = False,
    ) -> tuple[str, ...]:
        """Return the strings in a list of at most `limit`; `canonical`: they must be valid names."""
        fields = self._fields
        found: list[str] = []
        entries = fields.items(name, required=False, at_least=at_least)
        if len(entries) > limit:
            fields.note(name, f"has {len(entries)} entries, more than {limit}")
            return ()
        for index, value in enumerate(entries):
            problem = _text_problem(value)
            if problem is None:
                text = str(value)
                wrong = None if judge is None else judge(text)
                problem = None if wrong is None else f"it must be {wrong}"
                if problem is None and canonical:
                    problem = name_problem(text)
            if problem is not None:
                fields.note_item(name, index, f"found {shown(value)}, {problem}")
            elif value in found:
                fields.note_item(name, index, f"found {shown(value)} twice")
            else:
                found.append(str(value))
        return tuple(found)


def _text_problem(value: object) -> str | None:
    """Return the required form of a string if a value does not have it; None if it does."""
    if not isinstance(value, str):
        return "a string is needed"
    if not value:
        return "a string that is not empty is needed"
    if len(value) > _MAX_TEXT:
        return f"at most {_MAX_TEXT} characters are allowed"
    if not value.isprintable() or value.strip() != value:
        return "a string without control characters and outer spaces is needed"
    return None
