"""The path of a recorded request, its segments and the parameters of its route, where some were not recorded.

Input: what is not known, by the name of its slot. Output: types that routes and conditions take. Errors:
CannotSayError when the text of a path, or a segment, that was not recorded is read or compared.
"""

from extauthz.compile.routes.route_index import Template
from extauthz.domain.path import CanonicalPath
from extauthz.recording.not_known import CannotSayError, NotKnown, State


class FoldedPath(CanonicalPath):
    """A path of which a segment, or what follows its segments, was not recorded: its text cannot be read.

    `template` is that of its route at the time, None where routes may have been added since.
    """

    not_known: NotKnown
    template: Template | None

    @property
    def text(self) -> str:
        """Refuse."""
        raise CannotSayError(self.not_known)


class FoldedSegment(str):
    """The segment of a path that was not recorded: it cannot be compared with the literals of routes."""

    __slots__ = ("not_known",)

    not_known: NotKnown

    @classmethod
    def of(cls, slot: str, state: State = State.FOLDED) -> "FoldedSegment":
        """Return the segment of a slot. Its text is in no path."""
        found = cls("\0")
        found.not_known = NotKnown(slot, state)
        return found

    def __hash__(self) -> int:
        """Refuse: it is looked up among literals."""
        raise CannotSayError(self.not_known)

    def __eq__(self, _: object) -> bool:
        """Refuse, as above."""
        raise CannotSayError(self.not_known)


class FoldedRest(FoldedSegment):
    """Segments, or none, that were not recorded: they cannot be a parameter either."""

    __slots__ = ()

    def __bool__(self) -> bool:
        """Refuse: it may be empty."""
        raise CannotSayError(self.not_known)


class RecordedParameters(dict[str, object]):
    """The parameters of a route; those that were not recorded cannot be read."""

    def get(self, name: str, default: object = None, /) -> object:
        """Return the value of a parameter."""
        found = super().get(name, default)
        if isinstance(found, FoldedSegment):
            raise CannotSayError(found.not_known)
        return found
