"""The attributes that conditions name, one row each: parser, evaluator, warnings, documentation read them.

A row says where the value comes from, which kinds it can have, and what its absence means. A new attribute is
a row here and in docs/reference/policy-language.md, and a decision case in tests/cases/.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from operator import attrgetter
from types import MappingProxyType
from typing import Final

from extauthz.compile.conditions.condition_input import (
    KIND_NAMES,
    ConditionInput,
    Resolver,
    absent_is_unknown,
    action_property,
    body_value,
    claim,
    context_value,
    has_source_address,
    header,
    in_body,
    in_headers,
    in_query,
    instant,
    parameter_at,
    parameter_value,
    query_parameter,
    source_address,
)
from extauthz.compile.conditions.values import UNKNOWN, Kind, Kleene, parse_address
from extauthz.domain.reasons import Effect
from extauthz.domain.time_text import parse_time
from extauthz.domain.verdict import Target

_MAX_CLAIM_PARTS: Final = 16
_MAX_BODY_PARTS: Final = 32
RESERVED_PARAMETERS: Final = frozenset({"name", "service", "parameters"})

Shown = Callable[[Target], object]
"""Reads what the decision log shows of an attribute."""


class WhenAbsent(Enum):
    """What conditions make of an attribute that is absent."""

    NEVER = "it is never absent"
    WITHOUT_REQUEST = "it is absent, and unknown, only where no request is decided about"
    DEFINITE = "definite"
    DEFINITE_IN_DENY = "definite in a deny, unknown in an allow"
    UNKNOWN = "unknown"


_TEXT: Final = frozenset({Kind.TEXT})
_NUMBER: Final = frozenset({Kind.NUMBER})
_JSON: Final = frozenset({Kind.TEXT, Kind.NUMBER, Kind.BOOLEAN, Kind.LIST})
_IDENTITY: Final = "the verified identity; wins over a claim of the same name"
_PEER: Final = "the peer, as Envoy verified it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute:
    """One attribute, or a family of attributes whose names begin with `name`, which then ends with a dot.

    The functions of a family take the rest of the name; those of one attribute get "".
    """

    name: str
    source: str
    """Where the value comes from, for the documentation."""
    read: Callable[[str, Effect], Resolver]
    """Makes the function that reads it, for a rule of the effect."""
    variable: str = ""
    """What the documentation calls the rest of a family's names."""
    kinds: frozenset[Kind] = _TEXT
    """The kinds that a value can have."""
    absent: WhenAbsent = WhenAbsent.UNKNOWN
    rest_problem: Callable[[str, frozenset[str]], str | None] | None = None
    """Why the rest of a name, with the names in CONDITION_HEADERS, is not right."""
    is_present: Callable[[str], Callable[[ConditionInput], Kleene]] | None = None
    """Makes the answer to `exists`; None: whether the value is neither `ABSENT` nor `UNKNOWN`."""
    read_text: Callable[[str], object] | None = None
    """Reads text of literals as the kind of the value; None: text is compared as text."""
    text_needed: str = ""
    """What is needed where `read_text` returns None."""
    integers: range | None = None
    """Every value, where they are that few."""
    integers_described: str = ""
    logged: Callable[[str], Shown] | None = None
    """Makes what the decision log shows; None: the log does not show the attribute."""

    @property
    def is_family(self) -> bool:
        """Whether the row stands for every attribute whose name begins with its own."""
        return self.name.endswith(".")


def _path_problem(max_parts: int) -> Callable[[str, frozenset[str]], str | None]:
    def problem(path: str, _: frozenset[str]) -> str | None:
        if not all(path.split(".")):
            return "has an empty part between its dots"
        return "has too many parts" if path.count(".") >= max_parts else None

    return problem


def _parameter_problem(parameter: str, _: frozenset[str]) -> str | None:
    return "names no parameter" if parameter in {*RESERVED_PARAMETERS, "parameters."} else None


def _header_problem(name: str, condition_headers: frozenset[str]) -> str | None:
    if name in condition_headers:
        return None
    return "names a header that is not in CONDITION_HEADERS (lower-case names only)"


def _fixed(read: Resolver) -> Callable[[str, Effect], Resolver]:
    return lambda _rest, _effect: read


def _shown_parameter(parameter: str) -> Shown:
    return lambda target: parameter_at(target.parameters, parameter)


_ROWS: Final = (
    Attribute(
        name="user.id",
        source=_IDENTITY,
        read=_fixed(lambda facts: absent_is_unknown(facts.principal.id)),
    ),
    Attribute(
        name="user.kind",
        source=_IDENTITY,
        read=_fixed(lambda facts: KIND_NAMES[facts.principal.kind]),
        absent=WhenAbsent.NEVER,
    ),
    Attribute(
        name="user.roles",
        source=_IDENTITY,
        read=_fixed(lambda facts: facts.roles),
        kinds=frozenset({Kind.LIST}),
        absent=WhenAbsent.NEVER,
    ),
    Attribute(
        name="user.domain",
        source=_IDENTITY,
        read=_fixed(lambda facts: absent_is_unknown(facts.principal.domain)),
    ),
    Attribute(
        name="user.tenant",
        source=_IDENTITY,
        read=_fixed(lambda facts: absent_is_unknown(facts.principal.tenant)),
    ),
    Attribute(
        name="user.",
        variable="CLAIM.PATH",
        source="verified claims; at each step the longest member name that is there",
        read=claim,
        kinds=_JSON,
        rest_problem=_path_problem(_MAX_CLAIM_PARTS),
    ),
    Attribute(
        name="resource.name",
        source="the resource; wins over a parameter of the same name",
        read=_fixed(lambda facts: facts.target.resource),
        absent=WhenAbsent.NEVER,
        logged=lambda _rest: attrgetter("resource"),
    ),
    Attribute(
        name="resource.service",
        source="the resource; wins over a parameter of the same name",
        read=_fixed(lambda facts: absent_is_unknown(facts.target.service)),
        logged=lambda _rest: attrgetter("service"),
    ),
    Attribute(
        name="resource.parameters.",
        variable="PARAMETER",
        source="route parameters, decoded once; in questions by name what is said of the resource, by path",
        read=parameter_value,
        kinds=_JSON,  # in `POST /api/v1/check`; those of a route are text
        absent=WhenAbsent.DEFINITE_IN_DENY,
        logged=_shown_parameter,
    ),
    Attribute(
        name="resource.",
        variable="PARAMETER",
        source="short for the same; not for `name`, `service` and `parameters` (`warnings` says so)",
        read=parameter_value,
        kinds=_JSON,
        absent=WhenAbsent.DEFINITE_IN_DENY,
        rest_problem=_parameter_problem,
        logged=_shown_parameter,
    ),
    Attribute(
        name="action",
        source="the target",
        read=_fixed(lambda facts: facts.target.action),
        absent=WhenAbsent.NEVER,
        logged=lambda _rest: attrgetter("action"),
    ),
    Attribute(
        name="action.properties.",
        variable="PROPERTY.PATH",
        source="what a question by name says of the action; no request of the mesh has it",
        read=action_property,
        kinds=_JSON,
        rest_problem=_path_problem(_MAX_CLAIM_PARTS),
    ),
    Attribute(
        name="context.",
        variable="MEMBER.PATH",
        source="the context of a question by name; no request of the mesh has it",
        read=context_value,
        kinds=_JSON,
        rest_problem=_path_problem(_MAX_CLAIM_PARTS),
    ),
    Attribute(
        name="request.method",
        source="canonical; HEAD reads as GET",
        read=_fixed(lambda facts: absent_is_unknown(facts.method)),
        absent=WhenAbsent.WITHOUT_REQUEST,
    ),
    Attribute(
        name="request.host",
        source="canonical",
        read=_fixed(lambda facts: UNKNOWN if facts.request is None else facts.request.host),
        absent=WhenAbsent.WITHOUT_REQUEST,
    ),
    Attribute(
        name="request.path",
        source="canonical",
        read=_fixed(lambda facts: UNKNOWN if facts.request is None else facts.request.path.text),
        absent=WhenAbsent.WITHOUT_REQUEST,
    ),
    Attribute(
        name="request.query.",
        variable="NAME",
        source="names and values of the query, decoded once (`%XX`, `+`)",
        read=query_parameter,
        absent=WhenAbsent.DEFINITE,
        is_present=in_query,
    ),
    Attribute(
        name="request.headers.",
        variable="NAME",
        source="headers in `CONDITION_HEADERS`, lower-case; a policy that names another is refused",
        read=header,
        absent=WhenAbsent.DEFINITE,
        rest_problem=_header_problem,
        is_present=in_headers,
    ),
    Attribute(
        name="request.body.",
        variable="PATH",
        source="the body, where Envoy sends it whole as bytes: members of a JSON object, or fields of a form",
        read=body_value,
        kinds=_JSON,
        rest_problem=_path_problem(_MAX_BODY_PARTS),
        is_present=in_body,
    ),
    Attribute(
        name="request.source.address",
        source=_PEER,
        read=_fixed(source_address),
        kinds=frozenset({Kind.ADDRESS}),
        is_present=has_source_address,
        read_text=parse_address,
        text_needed="an IP address is needed; networks go with the operator cidr",
    ),
    Attribute(
        name="request.source.principal",
        source=_PEER,
        read=_fixed(lambda facts: absent_is_unknown(facts.request and facts.request.source_principal)),
    ),
    Attribute(
        name="env.time",
        source="the time of the check, UTC",
        read=_fixed(instant),
        kinds=frozenset({Kind.TIME}),
        absent=WhenAbsent.NEVER,
        read_text=parse_time,
        text_needed="an RFC 3339 time such as '2026-01-31T08:00:00Z' is needed",
    ),
    Attribute(
        name="env.hour",
        source="the hour of the check, UTC, 0 to 23",
        read=_fixed(lambda facts: instant(facts).hour),
        kinds=_NUMBER,
        absent=WhenAbsent.NEVER,
        integers=range(24),
        integers_described="0 to 23",
    ),
    Attribute(
        name="env.weekday",
        source="the day of the check, UTC, 1 (Monday) to 7",
        read=_fixed(lambda facts: instant(facts).isoweekday()),
        kinds=_NUMBER,
        absent=WhenAbsent.NEVER,
        integers=range(1, 8),
        integers_described="1 (Monday) to 7",
    ),
)

ATTRIBUTES: Final[Mapping[str, Attribute]] = MappingProxyType({row.name: row for row in _ROWS})
"""Every attribute and family by its name, in the order of the documentation."""
NOT_IN_MESH: Final = frozenset({"action.properties.", "context."})
"""The families that only questions by name have: in the mesh they are always unknown."""
