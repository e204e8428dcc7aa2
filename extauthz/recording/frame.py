"""The counts of the shapes of one tenant and template, by what varies between them."""

from typing import Any, Final

from extauthz.domain.principal import Principal
from extauthz.domain.request import RequestFacts
from extauthz.recording.bounds import max_literals
from extauthz.recording.day import IsRead
from extauthz.recording.shape import (
    HOST,
    METHOD,
    PATH,
    PEER,
    PREFLIGHT,
    REMAINDER,
    SUBJECT,
    parameter_slot,
    template_of,
)
from extauthz.recording.slot_readers import ABSENT, FOLDED, MARKS, Piece, SlotReaders

_LONGEST: Final = 1000
"""In characters of a piece, which quotes and escapes are added to (`shape.MAX_LITERAL`)."""

ShapeKey = tuple[Any, ...]
"""The parts of a shape, in the order of `counter.ShapeCounter`."""


class Count:
    """The counts of one shape in one hour."""

    __slots__ = ("decisions", "first", "last", "requests")

    def __init__(self, revision: int) -> None:
        self.requests = 0
        self.first = self.last = revision
        self.decisions: list[tuple[str, int]] = []


class Frame:
    """What the shapes of one tenant and template have in common, and the values that their slots have had."""

    __slots__ = (
        "full",
        "is_complete",
        "names",
        "positions",
        "readers",
        "rest_at",
        "revision",
        "seen",
        "slots",
        "table",
        "template",
        "tenant",
    )

    def __init__(
        self, tenant: str, template: str | None, names: frozenset[str], revision: int, is_read: IsRead
    ) -> None:
        """Take the attributes to record; `is_complete`: they are all that rules of the revision read."""
        parsed = None if template is None else template_of(template)
        self.tenant = tenant
        self.template = template
        self.revision = revision
        self.is_complete = False
        self.full: list[tuple[int, set[Piece]]] = []
        self.names = names
        self.readers = SlotReaders.of(names)
        self.table: dict[ShapeKey, Count] = {}
        self.positions: tuple[int, ...] = ()
        self.rest_at: int | None = None
        path: tuple[str, ...] = (PATH,)
        if parsed is not None:
            path = tuple(map(parameter_slot, parsed.names))
            self.positions = tuple(at for at, segment in enumerate(parsed.segments) if segment is None)
            if parsed.covers_below:
                self.rest_at = len(parsed.segments)
                path += (REMAINDER,)
        self.slots = (SUBJECT, HOST, METHOD, PEER, PREFLIGHT, *path, *self.readers.names)
        self.seen: list[tuple[set[Piece], int]] = [
            (set(MARKS), max_literals(is_read=is_read((template, name))) + len(MARKS)) for name in self.slots
        ]

    def pieces(self, request: RequestFacts, principal: Principal | None) -> list[Piece]:
        """Return what the request has in each slot; `principal` is None without a verified credential."""
        method, path = request.method, request.path
        pieces: list[Piece] = [
            ABSENT if principal is None or principal.id is None else principal.id,
            request.host,
            "GET" if method == "HEAD" else method,
            request.source_principal or ABSENT,
            request.preflight or ABSENT,
        ]
        if self.template is None:
            pieces.append(path.text)
        else:
            segments = path.segments
            pieces += [segments[at] for at in self.positions]
            if self.rest_at is not None:
                rest = segments[self.rest_at :]
                pieces.append("/" + "/".join(rest) if rest else "")
        if self.readers.reads:
            pieces += self.readers.pieces(request, principal)
        return pieces

    def folded(self, pieces: list[Piece]) -> list[Piece]:
        """Return the pieces of a shape that is new, those folded whose slot has had too many others."""
        found = list(pieces)
        for at, (seen, limit) in enumerate(self.seen):
            piece = found[at]
            if piece in seen:
                continue
            if len(seen) < limit and (type(piece) is not str or len(piece) <= _LONGEST):
                seen.add(piece)
                if len(seen) == limit:
                    self.full.append((at, seen))
            else:
                found[at] = FOLDED
        return found
