"""A recorded request in the types that judging takes, whose values raise where they were not recorded.

INVARIANT: no value is made up. What was recorded is what the request had; everything else raises
`CannotSayError` when it is read, so that no rule is judged on a guess and none on unknown in Kleene's sense.
"""

from collections.abc import Collection, Iterator, Mapping
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Final, NamedTuple, NoReturn

from extauthz.compile.conditions import values
from extauthz.compile.conditions.query import QueryInParts
from extauthz.compile.routes.route_index import Template
from extauthz.domain.mcp import McpMessage
from extauthz.domain.path import CanonicalPath
from extauthz.domain.principal import Principal
from extauthz.domain.request import ContextTarget, RequestBody, RequestFacts
from extauthz.recording import shape as recorded

CREDENTIAL: Final = "credential"
ROUTE: Final = "route"
TIME: Final = "env.time"
"""Names of what has no slot in a shape."""

_NOT_HERE: Final[Mapping[str, str]] = MappingProxyType({})
_NONE: Final = frozenset[str]()
_AN_OBJECT: Final[Mapping[str, object]] = MappingProxyType({})


class State(StrEnum):
    """Why a value is not known."""

    NOT_RECORDED = "not recorded"
    FOLDED = "folded"
    MASKED = "masked"
    WITHIN_THE_HOUR = "within the counted hour"


class NotKnown(NamedTuple):
    """What a decision would have had to read: the name of a slot, and why its value is not known."""

    slot: str
    state: State = State.NOT_RECORDED


class CannotSayError(Exception):
    """A value that was not recorded was read. It never leaves `recording.rejudge`."""

    def __init__(self, not_known: NotKnown) -> None:
        """Take what was read."""
        super().__init__(not_known.slot)
        self.not_known = not_known


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


class RecordedClaims(Mapping[str, object]):
    """Verified claims by their whole path. Only paths that were recorded can be asked for.

    With `complete`, as of credentials without claims, a claim that was not recorded was not there.
    """

    __slots__ = ("_complete", "_slots")

    def __init__(self, slots: Slots, *, complete: bool = False) -> None:
        """Take the slots."""
        self._slots = slots
        self._complete = complete

    def _read(self, path: str) -> object:
        name = recorded.CLAIMS + path
        return values.ABSENT if self._complete and name not in self._slots else self._slots.read(name)

    def __getitem__(self, path: str) -> object:
        """Return the claim; None, as null in a token, for one that is absent."""
        found = self._read(path)
        if found is values.ABSENT:
            return None
        # Conditions compare nothing with an object, and it is present.
        return _AN_OBJECT if found is values.UNKNOWN else found

    def __contains__(self, path: object) -> bool:
        """Tell that the path was recorded."""
        self._read(str(path))
        return True

    def __iter__(self) -> Iterator[str]:
        """Refuse: which other claims there were was not recorded."""
        _refuse("user.*")

    def __len__(self) -> int:  # noqa: PLE0303  # it raises
        """Refuse, as above."""
        _refuse("user.*")


class NotInLines(Mapping[str, object]):
    """Members that a question by name may have had, and that lines do not keep: none can be read."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        """Take what the members are called in an answer about what is missing."""
        self._name = name

    def __getitem__(self, _: str) -> object:
        """Refuse."""
        _refuse(self._name)

    def __contains__(self, _: object) -> bool:
        """Refuse."""
        _refuse(self._name)

    def __iter__(self) -> Iterator[str]:
        """Refuse."""
        _refuse(self._name)

    def __len__(self) -> int:  # noqa: PLE0303  # it raises
        """Refuse."""
        _refuse(self._name)


class RecordedHeaders(Mapping[str, str]):
    """The headers of a request, by lower-case name."""

    __slots__ = ("_slots",)

    def __init__(self, slots: Slots) -> None:
        """Take the slots."""
        self._slots = slots

    def __getitem__(self, name: str) -> str:
        """Return the value of a header; KeyError where the request did not have it."""
        found = self._slots.read(recorded.HEADERS + name)
        if not isinstance(found, str):
            raise KeyError(name)
        return found

    def __iter__(self) -> Iterator[str]:
        """Refuse: which other headers there were was not recorded."""
        _refuse("request.headers.*")

    def __len__(self) -> int:  # noqa: PLE0303  # it raises
        """Refuse, as above."""
        _refuse("request.headers.*")


class _UnknownHeaders(frozenset[str]):
    """The headers that a request had and whose value is unknown."""

    slots: Slots

    def __contains__(self, name: object) -> bool:
        return self.slots.read(f"{recorded.HEADERS}{name}") is values.UNKNOWN


class RecordedBody:
    """The body of a request: which message it is, where a route asked. No part of it is recorded."""

    __slots__ = ("_slots",)

    def __init__(self, slots: Slots) -> None:
        """Take the slots."""
        self._slots = slots

    def message(self) -> McpMessage | None:
        """Return the message, None where it was none. Raises CannotSayError."""
        method = self._slots.text(recorded.MCP_METHOD)
        return None if method is None else McpMessage(method, self._slots.text(recorded.MCP_NAME))

    def value(self, path: str) -> NoReturn:
        """Refuse."""
        _refuse(recorded.BODY + path)

    def exists(self, path: str) -> NoReturn:
        """Refuse."""
        _refuse(recorded.BODY + path)

    def release(self) -> None:
        """Do nothing."""


class RecordedQuery(QueryInParts):
    """The query of a request, by name."""

    __slots__ = ("_slots",)

    _slots: Slots

    @classmethod
    def of(cls, slots: Slots) -> "RecordedQuery":
        """Return the query of a request with these slots."""
        found = cls()
        found._slots = slots
        return found

    def value(self, name: str) -> object:
        """Return the decoded value of a name, `ABSENT` or `UNKNOWN`."""
        return self._slots.read(recorded.QUERY + name)


class RecordedFacts(RequestFacts):
    """The facts of a recorded request. What conditions read of it is read from the slots, when it is read."""

    slots: Slots

    @classmethod
    def of(
        cls, slots: Slots, path: CanonicalPath, context: ContextTarget, preflight: str | None = None
    ) -> "RecordedFacts":
        """Return the facts of a request with these slots."""
        kind: type[RecordedFacts] = cls
        try:
            method, host = slots.text(recorded.METHOD) or "", slots.text(recorded.HOST) or ""
        except CannotSayError:
            kind, method, host = _WithoutHostOrMethod, "", ""
        # By position: with names it takes twice the time.
        facts = kind(
            method, host, path, None, _NOT_HERE, _NONE, context, None, None, None, None, False, (), preflight
        )
        facts.slots = slots
        return facts

    @property
    def query(self) -> str:
        """The query, by its names."""
        return RecordedQuery.of(self.slots)

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers that were recorded."""
        return RecordedHeaders(self.slots)

    @property
    def unknown_headers(self) -> frozenset[str]:
        """The recorded headers whose value is unknown."""
        found = _UnknownHeaders()
        found.slots = self.slots
        return found

    @property
    def body(self) -> RequestBody:
        """The body, of which only its message is recorded."""
        return RecordedBody(self.slots)

    @property
    def source_address(self) -> str | None:
        """The address of the peer, as the proxy wrote it."""
        return self.slots.text(recorded.ADDRESS)

    @property
    def source_principal(self) -> str | None:
        """The verified peer."""
        return self.slots.text(recorded.PEER)


class _WithoutHostOrMethod(RecordedFacts):
    """The facts of a request whose host or method was not recorded."""

    @property
    def method(self) -> str:
        """The method that decides."""
        return self.slots.text(recorded.METHOD) or ""

    @property
    def host(self) -> str:
        """The host."""
        return self.slots.text(recorded.HOST) or ""


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


class PartlyKnown(Principal):
    """A principal whose id, roles or binding to a certificate was not recorded; those cannot be read.

    `stand_in` is the same principal with an id that no rule and no binding names.
    """

    __slots__ = ("missing", "stand_in")

    missing: Mapping[str, NotKnown]
    stand_in: Principal

    @classmethod
    def of(cls, principal: Principal, missing: Mapping[str, NotKnown]) -> "PartlyKnown":
        """Return the principal without the members that are `missing`."""
        found = object.__new__(cls)
        for name in ("kind", "tenant", "domain", "authentication", "claims", "forwarding"):
            object.__setattr__(found, name, getattr(principal, name))
        object.__setattr__(found, "missing", missing)
        object.__setattr__(found, "stand_in", principal)
        return found

    def _require(self, member: str) -> None:
        not_known = self.missing.get(member)
        if not_known is not None:
            raise CannotSayError(not_known)

    @property
    def id(self) -> str | None:
        """The id."""
        self._require("id")
        return self.stand_in.id

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles of its own credential."""
        self._require("roles")
        return self.stand_in.roles

    @property
    def confirmation(self) -> str | None:
        """What the credential is bound to."""
        self._require("confirmation")
        return self.stand_in.confirmation


def _refuse(slot: str) -> NoReturn:
    raise CannotSayError(NotKnown(slot))
