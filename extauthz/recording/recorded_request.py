"""A recorded request in the types that judging takes: its facts, headers, query and body.

Input: the slots of a shape. Output: `RecordedFacts`. Errors: CannotSayError when a part of the request that
was not recorded is read.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final, NoReturn

from extauthz.compile.conditions import values
from extauthz.compile.conditions.query import QueryInParts
from extauthz.domain.mcp import McpMessage
from extauthz.domain.path import CanonicalPath
from extauthz.domain.request import ContextTarget, RequestBody, RequestFacts
from extauthz.recording import shape as recorded
from extauthz.recording.not_known import CannotSayError, refuse
from extauthz.recording.slots import Slots

_NOT_HERE: Final[Mapping[str, str]] = MappingProxyType({})
_NONE: Final = frozenset[str]()


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
        refuse("request.headers.*")

    def __len__(self) -> int:  # noqa: PLE0303  # it raises
        """Refuse, as above."""
        refuse("request.headers.*")


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
        refuse(recorded.BODY + path)

    def exists(self, path: str) -> NoReturn:
        """Refuse."""
        refuse(recorded.BODY + path)

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


class NotInLines(Mapping[str, object]):
    """Members that a question by name may have had, and that lines do not keep: none can be read."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        """Take what the members are called in an answer about what is missing."""
        self._name = name

    def __getitem__(self, _: str) -> object:
        """Refuse."""
        refuse(self._name)

    def __contains__(self, _: object) -> bool:
        """Refuse."""
        refuse(self._name)

    def __iter__(self) -> Iterator[str]:
        """Refuse."""
        refuse(self._name)

    def __len__(self) -> int:  # noqa: PLE0303  # it raises
        """Refuse."""
        refuse(self._name)
