"""What conditions read of a request, and the functions that read it (used by `attributes.py`)."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final

from extauthz.compile.conditions.query import Query, QueryInParts, read_query
from extauthz.compile.conditions.values import ABSENT, UNKNOWN, Kleene, parse_address
from extauthz.domain.claims import Absence, claim_at
from extauthz.domain.principal import Principal, PrincipalKind
from extauthz.domain.reasons import Effect
from extauthz.domain.request import RequestFacts
from extauthz.domain.verdict import Target


class ConditionInput:
    """Everything that conditions may read of one request; local to the request, never shared.

    `request` is None for `POST /api/v1/check`, which asks about a subject without a request.
    """

    __slots__ = ("_query", "_query_read", "method", "now", "principal", "request", "roles", "target")

    def __init__(
        self,
        principal: Principal,
        roles: tuple[str, ...],
        target: Target,
        request: RequestFacts | None,
        method: str | None,
        now: float,
    ) -> None:
        """Take the sources; the query is decoded when a condition reads it."""
        self.principal = principal
        self.roles = roles
        self.target = target
        self.request = request
        self.method = method
        self.now = now
        self._query: Query | QueryInParts | None = None
        self._query_read = False

    @property
    def query(self) -> Query | QueryInParts | None:
        """The decoded query; None when it is malformed."""
        if not self._query_read:
            raw = self.request.query if self.request is not None else None
            self._query = raw if isinstance(raw, QueryInParts) else read_query(raw or "")
            self._query_read = True
        return self._query


Resolver = Callable[[ConditionInput], object]
"""Reads an attribute: its value, `ABSENT` (definite) or `UNKNOWN`."""


def absent_is_unknown(value: object) -> object:
    """Return the value, `UNKNOWN` for None."""
    return UNKNOWN if value is None else value


def source_address(facts: ConditionInput) -> object:
    """Read the IP address of the peer."""
    if facts.request is None or facts.request.source_address is None:
        return UNKNOWN
    return absent_is_unknown(parse_address(facts.request.source_address))


def has_source_address(_: str) -> Callable[[ConditionInput], bool]:
    """Tell of requests whether the address of the peer is known."""
    # Also the path of a Unix socket is present; it is not an address and cannot be compared.
    return lambda facts: facts.request is not None and facts.request.source_address is not None


def instant(facts: ConditionInput) -> datetime:
    """Return the time of the check."""
    return datetime.fromtimestamp(facts.now, UTC)


# Conditions compare plain text, and an enumeration's `value` costs a call.
KIND_NAMES: Final = {kind: kind.value for kind in PrincipalKind}


def claim(path: str, _: Effect) -> Resolver:
    """Return what reads a verified claim; a claim that is null is absent."""

    def read(facts: ConditionInput) -> object:
        value = claim_at(facts.principal.claims, path)
        return UNKNOWN if value is Absence.ABSENT else value

    def read_member(facts: ConditionInput) -> object:
        value = facts.principal.claims.get(path)
        return UNKNOWN if value is None else value

    return read if "." in path else read_member


def action_property(path: str, _: Effect) -> Resolver:
    """Return what reads a property of the action; no request has any."""
    return lambda facts: _member(facts.target.action_properties, path)


def context_value(path: str, _: Effect) -> Resolver:
    """Return what reads the context of a question; no request has any."""
    return lambda facts: _member(facts.target.context, path)


def _member(members: Mapping[str, object], path: str) -> object:
    value = claim_at(members, path)
    return UNKNOWN if value is Absence.ABSENT else value


def parameter_value(parameter: str, effect: Effect) -> Resolver:
    """Return what reads a parameter: absent it is definite in a deny, unknown in an allow."""
    absent = ABSENT if effect is Effect.DENY else UNKNOWN

    def read(facts: ConditionInput) -> object:
        value = facts.target.parameters.get(parameter)
        return absent if value is None else value

    def read_path(facts: ConditionInput) -> object:
        value = parameter_at(facts.target.parameters, parameter)
        return absent if value is None else value

    return read_path if "." in parameter else read


def parameter_at(parameters: Mapping[str, object], name: str) -> object:
    """Return a parameter by its name or, of a question by name, a member of one that is an object.

    None: there is none. The parameters of a route are texts.
    """
    value = parameters.get(name)
    if value is None and type(parameters) is MappingProxyType:
        found = claim_at(parameters, name)
        return None if found is Absence.ABSENT else found
    return value


def query_parameter(parameter: str, _: Effect) -> Resolver:
    """Return what reads a parameter of the query."""

    def read(facts: ConditionInput) -> object:
        query = facts.query
        return UNKNOWN if query is None else query.value(parameter)

    return read


def in_query(parameter: str) -> Callable[[ConditionInput], bool]:
    """Return whether a query has the parameter: repeated it has, a malformed query has every one."""
    return lambda facts: facts.query is None or facts.query.value(parameter) is not ABSENT


def header(name: str, _: Effect) -> Resolver:
    """Return what reads a header."""

    def read(facts: ConditionInput) -> object:
        request = facts.request
        if request is None:
            return ABSENT
        if name in request.unknown_headers:
            return UNKNOWN
        return request.headers.get(name, ABSENT)

    return read


def body_value(path: str, _: Effect) -> Resolver:
    """Return what reads a part of the body."""

    def read(facts: ConditionInput) -> object:
        body = None if facts.request is None else facts.request.body
        return UNKNOWN if body is None else body.value(path)

    return read


def in_body(path: str) -> Callable[[ConditionInput], Kleene]:
    """Return whether the body has a value at a path; unknown without a body that can be read."""

    def read(facts: ConditionInput) -> Kleene:
        body = None if facts.request is None else facts.request.body
        return None if body is None else body.exists(path)

    return read


def in_headers(name: str) -> Callable[[ConditionInput], bool]:
    """Return whether a request has the header."""
    return lambda facts: (
        facts.request is not None and (name in facts.request.headers or name in facts.request.unknown_headers)
    )
