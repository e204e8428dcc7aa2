"""The attributes that conditions name: where each comes from, and what its absence means.

docs/reference/policy-language.md#attributes lists them.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from operator import attrgetter
from typing import Final

from extauthz.compile.query import Query, read_query
from extauthz.compile.values import ABSENT, UNKNOWN, parse_address
from extauthz.domain.claims import Absence, claim_at
from extauthz.domain.names import name_problem
from extauthz.domain.principal import Principal, PrincipalKind
from extauthz.domain.reasons import Effect
from extauthz.domain.request import RequestFacts
from extauthz.domain.verdict import Target

_MAX_NAME: Final = 256
_MAX_CLAIM_PARTS: Final = 16
_USER_FIXED: Final = frozenset({"id", "kind", "roles", "domain", "tenant"})
RESERVED_PARAMETERS: Final = frozenset({"name", "service", "parameters"})


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
        """Gather the sources; nothing is decoded before a condition asks for it."""
        self.principal = principal
        self.roles = roles
        self.target = target
        self.request = request
        self.method = method
        self.now = now
        self._query: Query | None = None
        self._query_read = False

    @property
    def query(self) -> Query | None:
        """The decoded query; None when it is malformed."""
        if not self._query_read:
            raw = self.request.query if self.request is not None else None
            self._query = read_query(raw or "")
            self._query_read = True
        return self._query


Resolver = Callable[[ConditionInput], object]


def _absent_is_unknown(value: object) -> object:
    return UNKNOWN if value is None else value


def _source_address(facts: ConditionInput) -> object:
    if facts.request is None or facts.request.source_address is None:
        return UNKNOWN
    return _absent_is_unknown(parse_address(facts.request.source_address))


def _instant(facts: ConditionInput) -> datetime:
    return datetime.fromtimestamp(facts.now, UTC)


# Conditions compare plain text, and an enumeration's `value` costs a call.
_KIND_NAMES: Final = {kind: kind.value for kind in PrincipalKind}

_FIXED: Final[dict[str, Resolver]] = {
    "user.id": lambda q: _absent_is_unknown(q.principal.id),
    "user.kind": lambda q: _KIND_NAMES[q.principal.kind],
    "user.roles": lambda q: q.roles,
    "user.domain": lambda q: _absent_is_unknown(q.principal.domain),
    "user.tenant": lambda q: _absent_is_unknown(q.principal.tenant),
    "resource.name": lambda q: q.target.resource,
    "resource.service": lambda q: _absent_is_unknown(q.target.service),
    "action": lambda q: q.target.action,
    "request.method": lambda q: _absent_is_unknown(q.method),
    "request.host": lambda q: UNKNOWN if q.request is None else q.request.host,
    "request.path": lambda q: UNKNOWN if q.request is None else q.request.path.text,
    "request.source.address": _source_address,
    "request.source.principal": lambda q: _absent_is_unknown(q.request and q.request.source_principal),
    "env.time": _instant,
    "env.hour": lambda q: _instant(q).hour,
    "env.weekday": lambda q: _instant(q).isoweekday(),
}


def attribute_problem(name: str, condition_headers: frozenset[str]) -> str | None:
    """Return why no attribute has this name, None when one has."""
    if name in _FIXED:
        return None
    # Else there were two attributes that look alike, and a rule that reads the wrong one.
    if name and (problem := name_problem(name, max_length=_MAX_NAME)):
        return problem
    family, _, rest = name.partition(".")
    if family == "user" and rest:
        if not all(rest.split(".")):
            return "has an empty part between its dots"
        return "has too many parts" if rest.count(".") >= _MAX_CLAIM_PARTS else None
    if family == "resource" and rest:
        return "names no parameter" if rest in RESERVED_PARAMETERS or rest == "parameters." else None
    if name.startswith("request.query.") and len(name) > len("request.query."):
        return None
    if name.startswith("request.headers."):
        header = name.removeprefix("request.headers.")
        if header in condition_headers:
            return None
        return "names a header that is not in CONDITION_HEADERS (lower-case names only)"
    return (
        "is not an attribute; known are user.*, resource.*, action, request.method, request.host, "
        "request.path, request.query.*, request.headers.*, request.source.address, request.source.principal, "
        "env.time, env.hour, env.weekday"
    )


def resolver(name: str, effect: Effect) -> Resolver:
    """Return the function that reads the attribute, for a rule of this effect.

    It returns the value, `ABSENT` (definite) or `UNKNOWN`.
    """
    if name in _FIXED:
        return _FIXED[name]
    if name.startswith("user."):
        return _claim_resolver(name.removeprefix("user."))
    if name.startswith("resource."):
        return _parameter_resolver(name, effect)
    if name.startswith("request.query."):
        return _query_resolver(name.removeprefix("request.query."))
    return _header_resolver(name.removeprefix("request.headers."))


def _claim_resolver(path: str) -> Resolver:
    # JSON's null is as good as no claim.
    def read(facts: ConditionInput) -> object:
        value = claim_at(facts.principal.claims, path)
        return UNKNOWN if value is Absence.ABSENT else value

    def read_member(facts: ConditionInput) -> object:
        value = facts.principal.claims.get(path)
        return UNKNOWN if value is None else value

    return read if "." in path else read_member


def _parameter_resolver(name: str, effect: Effect) -> Resolver:
    parameter = parameter_name(name)
    # Definite in a deny and unknown in an allow:
    # docs/reference/policy-language.md#absent-and-unknown
    absent = ABSENT if effect is Effect.DENY else UNKNOWN

    def read(facts: ConditionInput) -> object:
        value = facts.target.parameters.get(parameter)
        return absent if value is None else value

    return read


def parameter_name(attribute: str) -> str:
    """Return the parameter that `resource.<parameter>`, short or long, names."""
    return attribute.removeprefix("resource.").removeprefix("parameters.")


def _query_resolver(parameter: str) -> Resolver:
    def read(facts: ConditionInput) -> object:
        query = facts.query
        return UNKNOWN if query is None else query.value(parameter)

    return read


def _header_resolver(header: str) -> Resolver:
    def read(facts: ConditionInput) -> object:
        request = facts.request
        if request is None:
            return ABSENT
        if header in request.unknown_headers:
            return UNKNOWN
        return request.headers.get(header, ABSENT)

    return read


def presence(name: str) -> Callable[[ConditionInput], bool]:
    """Return the function that tells whether the attribute is there; never unknown (operator `exists`)."""
    if name.startswith("request.query."):
        parameter = name.removeprefix("request.query.")
        # A repeated name is there; in a malformed query every name counts as there.
        return lambda q: q.query is None or q.query.value(parameter) is not ABSENT
    if name.startswith("request.headers."):
        header = name.removeprefix("request.headers.")
        return lambda q: (
            q.request is not None and (header in q.request.headers or header in q.request.unknown_headers)
        )
    if name == "request.source.address":
        # There, even when it is no IP address (the path of a Unix socket) and cannot be compared.
        return lambda q: q.request is not None and q.request.source_address is not None
    read = resolver(name, Effect.DENY)
    return lambda q: read(q) not in (ABSENT, UNKNOWN)


def is_definite(name: str, effect: Effect) -> bool:
    """Tell whether the attribute can never be unknown: always there, or absent in a definite way."""
    if name in {"user.kind", "user.roles", "resource.name", "action", "env.time", "env.hour", "env.weekday"}:
        return True
    if name in {"request.method", "request.host", "request.path"}:
        return True
    return name.startswith("resource.") and name != "resource.service" and effect is Effect.DENY


Shown = Callable[[Target], object]


def shown(name: str) -> Shown | None:
    """Return what the decision log shows of the attribute: nothing, unless it is `resource.*` or `action`."""
    if name in _SHOWN:
        return _SHOWN[name]
    if not name.startswith("resource."):
        return None
    parameter = parameter_name(name)
    return lambda target: target.parameters.get(parameter)


_SHOWN: Final[dict[str, Shown]] = {
    "action": attrgetter("action"),
    "resource.name": attrgetter("resource"),
    "resource.service": attrgetter("service"),
}
