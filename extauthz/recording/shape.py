"""A shape: everything that judging reads of a request, and what came out of it.

Requests that agree in all of it are one shape, which is counted. It holds questions, so that other policies
can answer them: the credential's own roles (not the effective ones), the path by its template (not the
resource). It holds no token, and of the query and the headers only what a rule or `RECORD_ATTRIBUTES` names.

What varies from one request to the next stands in slots, by name. The text of a slot is the JSON text of its
value, so that `3`, `"3"` and `true` are different, or one of three words that are not JSON texts:

`absent`   the request did not have it.
`unknown`  it had something there that conditions read as unknown: a repeated header, a malformed query.
`folded`   the value is not kept: the slot had too many, or the value was too long (`recording.bounds`).

An attribute without a slot was not recorded.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from json.encoder import encode_basestring as _quoted
from types import MappingProxyType
from typing import Final, NamedTuple

from extauthz.compile.routes.route_index import Template
from extauthz.decide.tokens.claims import freeze_claims
from extauthz.domain.principal import Authentication, PrincipalKind
from extauthz.domain.reasons import Effect, Reason
from extauthz.domain.strict_json import JsonRejected, read_json
from extauthz.domain.tenancy import UnmappedPolicy
from extauthz.domain.verdict import Rule

ABSENT: Final = "absent"
UNKNOWN: Final = "unknown"
FOLDED: Final = "folded"
WORDS: Final = frozenset({ABSENT, UNKNOWN, FOLDED})

SUBJECT: Final = "user.id"
"""The principal's id; absent without one."""
HOST: Final = "request.host"
METHOD: Final = "request.method"
"""The method that decides: GET for HEAD."""
PEER: Final = "request.source.principal"
"""The workload that the request came from; denies on workloads read it. Absent without one."""
ADDRESS: Final = "request.source.address"
"""As text, as the proxy wrote it; absent where it named none. Recorded where it is named."""
PATH: Final = "request.path"
"""The whole canonical path. Only of a shape without a template."""
REMAINDER: Final = "/**"
"""What follows the template's last segment: empty, or from its slash on. Only where it ends with `/**`."""
PREFLIGHT: Final = "preflight"
"""The method that a CORS preflight asks about. Only of a preflight."""
OWNER: Final = "owner"
"""`"token"` where the tenant of the token named the owner (`TENANT_BINDING=token`); else there is no slot."""
QUERY: Final = "request.query."
HEADERS: Final = "request.headers."
BODY: Final = "request.body."
MCP_METHOD: Final = "mcp.method"
"""The method of the message, where routes of a path cover messages; absent where there is none."""
MCP_NAME: Final = "mcp.name"
"""What the message names; absent without."""
CLAIMS: Final = "user."

MAX_LITERAL: Final = 1024
"""The most characters of a slot's text; a longer value is folded."""


class CredentialState(StrEnum):
    """What was known of the credential when the request was judged."""

    VERIFIED = "verified"
    NONE = "none"
    REFUSED = "refused"
    """It was refused; the shape's reason says why."""
    UNREAD = "unread"
    """The route said `authentication: none`: whether there was a credential is not known."""


class Shape(NamedTuple):
    """One question to the policies of a tenant, and the answer. Hashable; equal shapes are counted as one.

    `unmapped` is the sidecar's setting `UNMAPPED`. `kind`, `authentication`, `bound` (the token names a
    client certificate), `token_tenant`, `domain` and `own_roles` are those of a verified credential; without
    one they are None, False and empty. `resource` and `action` are what the proxy's `context_extensions`
    name. `template` is the canonical path of the route that was found; None for an unmapped path, and for a
    target that `context_extensions` name where none of the resource's routes fits.

    `slots` is sorted by name. Every shape has SUBJECT, HOST, METHOD and PEER, and what its path consists of:
    PATH, or a slot `{name}` for each parameter of the template (the segment of the canonical path, before it
    is decoded) and REMAINDER. Every other slot is an attribute by its name: a claim, a header, a field of
    the query, ADDRESS.
    """

    tenant: str
    entrance: str
    unmapped: UnmappedPolicy
    credential: CredentialState
    kind: PrincipalKind | None
    authentication: Authentication | None
    bound: bool
    token_tenant: str | None
    domain: str | None
    own_roles: tuple[str, ...]
    resource: str | None
    action: str | None
    template: str | None
    slots: tuple[tuple[str, str], ...]
    effect: Effect
    reason: Reason
    rule: Rule | None

    def slot(self, name: str) -> str | None:
        """Return the text of a slot; None: it was not recorded."""
        for known, text in self.slots:
            if known == name:
                return text
        return None


def parameter_slot(parameter: str) -> str:
    """Return the name of a route parameter's slot."""
    return f"{{{parameter}}}"


def literal(value: object) -> str:
    """Return the text of a slot for a value: text, a boolean, a number or a claim; None is absent."""
    if value is None:
        return ABSENT
    try:
        text = _json_text(value)
        text.encode()
    except (TypeError, UnicodeEncodeError):
        return FOLDED
    return FOLDED if len(text) > MAX_LITERAL else text


def value_of(text: str) -> object:
    """Return the value that a slot's text stands for; None for the three words.

    As claims are: fractional numbers are `Decimal`, lists tuples, objects mapping proxies.
    """
    if text in WORDS:
        return None
    found = read_json(text.encode())
    assert not isinstance(found, JsonRejected), found.problem
    return freeze_claims({"": found})[""]


def text_of(text: str | None) -> str | None:
    """Return the value of a slot that holds text; None for the three words and for a slot that is missing."""
    value = None if text is None else value_of(text)
    return value if isinstance(value, str) else None


def path_of(shape: Shape) -> str | None:
    """Return the canonical path; None where a part of it is folded."""
    if shape.template is None:
        return text_of(shape.slot(PATH))
    template = template_of(shape.template)
    if template is None:
        return None
    names = iter(template.names)
    parts: list[str | None] = [
        segment if segment is not None else text_of(shape.slot(parameter_slot(next(names))))
        for segment in template.segments
    ]
    rest = text_of(shape.slot(REMAINDER)) if template.covers_below else ""
    if rest is None or None in parts:
        return None
    return "".join(f"/{part}" for part in parts) + rest


@lru_cache(maxsize=4096)
def template_of(text: str) -> Template | None:
    """Return the parsed template of a shape, None where the text is not a template."""
    found = Template.parse(text)
    return found if isinstance(found, Template) else None


def claims_of(shape: Shape) -> Mapping[str, object]:
    """Return claims in which every claim with a literal slot is found under its name, and no other is.

    A name with dots is a member of that name: `domain.claims.claim_at` takes the longest.
    """
    return MappingProxyType({name: value_of(text) for name, text in _claim_slots(shape)})


def _claim_slots(shape: Shape) -> Iterator[tuple[str, str]]:
    for name, text in shape.slots:
        if name.startswith(CLAIMS) and name != SUBJECT and text not in WORDS:
            yield name.removeprefix(CLAIMS), text


def _json_text(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return _quoted(value)
        case int() | Decimal():
            return str(value)
        case tuple() | list():
            return f"[{','.join(map(_json_text, value))}]"
        case Mapping():
            members = (f"{_quoted(name)}:{_json_text(member)}" for name, member in value.items())
            return f"{{{','.join(members)}}}"
        case _:
            raise TypeError(value)
