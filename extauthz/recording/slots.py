"""The slots of a shape, read by name as the values that conditions compare.

Input: the text of each slot (`recording.shape`). Output: values, `ABSENT` and `UNKNOWN`. Errors:
CannotSayError for a slot that was not recorded, was folded or is masked.
"""

from collections.abc import Collection, Mapping
from functools import lru_cache

from extauthz.compile.conditions import values
from extauthz.recording import shape as recorded
from extauthz.recording.not_known import CannotSayError, NotKnown, State


@lru_cache(maxsize=65_536)
def _value(text: str) -> object:
    return recorded.value_of(text)


def value_in(text: str) -> object:
    """Return the value of a slot's text, which is not one of the three words."""
    # JSON text without a backslash is the text itself, in quotes.
    return text[1:-1] if text[0] == '"' and "\\" not in text else _value(text)


class Slots:
    """The slots of one shape, by name."""

    __slots__ = ("_masked", "_texts")

    def __init__(self, texts: Mapping[str, str], masked: Collection[str] = ()) -> None:
        """Take the text of each slot (`recording.shape`), and the names of those that are masked."""
        self._texts = texts
        self._masked = masked

    def read(self, name: str) -> object:
        """Return the value, `ABSENT` or `UNKNOWN`. Raises CannotSayError."""
        text = self._texts.get(name)
        if text is None or text == recorded.FOLDED:
            raise CannotSayError(NotKnown(name, self._state(name, text)))
        if text == recorded.ABSENT:
            return values.ABSENT
        return values.UNKNOWN if text == recorded.UNKNOWN else value_in(text)

    def _state(self, name: str, text: str | None) -> State:
        if text is not None:
            return State.FOLDED
        return State.MASKED if name in self._masked else State.NOT_RECORDED

    def __contains__(self, name: str) -> bool:
        """Tell whether there is a slot of the name."""
        return name in self._texts

    def shown(self, name: str) -> str | None:
        """Return text for an example; None for a value that was not recorded, too."""
        try:
            return self.text(name)
        except CannotSayError:
            return None

    def text(self, name: str) -> str | None:
        """Return text; None where the request had none. Raises CannotSayError."""
        found = self.read(name)
        return found if isinstance(found, str) else None
