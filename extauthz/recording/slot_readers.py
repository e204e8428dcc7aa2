"""Reads the slots of attributes from the parts of a verdict, by the attributes' names.

A slot in memory is the text itself, a text in a tuple of one where the value is not text (the JSON of a
claim), or one of `MARKS`. `slot_text` gives the text of a shape's slot.
"""

from collections.abc import Callable, Collection, Iterable
from functools import lru_cache
from typing import Final, NamedTuple

from extauthz.compile.conditions.query import read_query
from extauthz.compile.conditions.values import ABSENT as ABSENT_VALUE
from extauthz.compile.conditions.values import UNKNOWN as UNKNOWN_VALUE
from extauthz.domain.claims import ABSENT as NO_CLAIM
from extauthz.domain.claims import claim_at
from extauthz.domain.principal import Principal
from extauthz.domain.request import RequestFacts
from extauthz.recording import shape

ABSENT: Final = 0
UNKNOWN: Final = 1
FOLDED: Final = 2
_WORDS: Final = (shape.ABSENT, shape.UNKNOWN, shape.FOLDED)
MARKS: Final = (ABSENT, UNKNOWN, FOLDED)

_MAX_KNOWN_QUERY: Final = 256

Piece = str | tuple[str] | int
"""A slot in memory."""

_Read = Callable[[RequestFacts, Principal | None], Piece]

_OF_IDENTITY: Final = frozenset({"user.id", "user.kind", "user.roles", "user.domain", "user.tenant"})
_RESOURCE: Final = "resource."
_PARAMETERS: Final = "resource.parameters."


class SlotReaders(NamedTuple):
    """The slots of attributes that are recorded: their names, sorted, and what reads each."""

    names: tuple[str, ...]
    reads: tuple[_Read, ...]

    @classmethod
    def of(cls, attributes: Iterable[str]) -> "SlotReaders":
        """Return the readers of the attributes that have a slot of their own; others are in every shape."""
        found = {name: read for name in attributes if (read := _reader(name)) is not None}
        names = tuple(sorted(found))
        return cls(names, tuple(found[name] for name in names))

    def pieces(self, request: RequestFacts, principal: Principal | None) -> list[Piece]:
        """Return what the request has in each slot, in the order of the names."""
        return [read(request, principal) for read in self.reads]


def slot_text(piece: Piece) -> str:
    """Return the text of a shape's slot."""
    if isinstance(piece, int):
        return _WORDS[piece]
    return piece[0] if isinstance(piece, tuple) else shape.literal(piece)


def slots_read_by(attributes: Collection[str], parameters: Iterable[str]) -> frozenset[str]:
    """Return the names of the slots that rules read which name these attributes.

    `parameters` are those of the template. The peer, which denies on workloads read, is among them.
    """
    read = {shape.PEER, *attributes}
    whole_path = shape.PATH in attributes
    for parameter in parameters:
        names = (_RESOURCE + parameter, _PARAMETERS + parameter)
        if whole_path or any(name in attributes for name in names):
            read.add(shape.parameter_slot(parameter))
    if whole_path:
        read.add(shape.REMAINDER)
    return frozenset(read)


def _reader(name: str) -> _Read | None:
    """Return what reads the slot of an attribute; None where it has none of its own."""
    if name.startswith(shape.HEADERS):
        return _header(name.removeprefix(shape.HEADERS))
    if name.startswith(shape.QUERY):
        return _query(name.removeprefix(shape.QUERY))
    if name in {shape.MCP_METHOD, shape.MCP_NAME}:
        return _message_method if name == shape.MCP_METHOD else _message_name
    if name == shape.ADDRESS:
        return lambda request, _principal: request.source_address or ABSENT
    if name.startswith(shape.CLAIMS) and name not in _OF_IDENTITY:
        return _claim(name.removeprefix(shape.CLAIMS))
    return None


def _message_method(request: RequestFacts, _principal: Principal | None) -> Piece:
    message = None if request.body is None else request.body.message()
    return ABSENT if message is None else message.method


def _message_name(request: RequestFacts, _principal: Principal | None) -> Piece:
    message = None if request.body is None else request.body.message()
    return ABSENT if message is None or message.name is None else message.name


def _header(name: str) -> _Read:
    def read(request: RequestFacts, _principal: Principal | None) -> Piece:
        return UNKNOWN if name in request.unknown_headers else request.headers.get(name, ABSENT)

    return read


def _query(name: str) -> _Read:
    def read(request: RequestFacts, _principal: Principal | None) -> Piece:
        raw = request.query
        if raw is None:
            return ABSENT
        return _known_value(raw, name) if len(raw) <= _MAX_KNOWN_QUERY else _value_in(raw, name)

    return read


def _value_in(raw: str, name: str) -> Piece:
    """Return what conditions read of a field of a raw query."""
    query = read_query(raw)
    value = UNKNOWN_VALUE if query is None else query.value(name)
    if value is ABSENT_VALUE:
        return ABSENT
    return UNKNOWN if value is UNKNOWN_VALUE else str(value)


_known_value = lru_cache(maxsize=4096)(_value_in)


def _claim(path: str) -> _Read:
    def read(_request: RequestFacts, principal: Principal | None) -> Piece:
        if principal is None:
            return ABSENT
        value = claim_at(principal.claims, path)
        if value is NO_CLAIM:
            return ABSENT
        return value if type(value) is str else (shape.literal(value),)

    def read_member(_request: RequestFacts, principal: Principal | None) -> Piece:
        value = None if principal is None else principal.claims.get(path)
        if type(value) is str:
            return value
        return ABSENT if value is None else (shape.literal(value),)

    return read if "." in path else read_member
