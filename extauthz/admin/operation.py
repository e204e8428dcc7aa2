"""One operation of the API: its route, who may call it, how it is described, and the way each call takes.

    credentials -> rights of the kind of caller -> query, preconditions, body -> handler -> answer

Handlers return a `Reply` or `ProblemDetails`; nothing that a caller sends makes them raise.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from http import HTTPStatus
from typing import Final
from uuid import UUID

import structlog
from starlette.requests import Request
from starlette.responses import Response

from extauthz.admin.callers import Caller, CallerKind, admit
from extauthz.admin.problems import INTERNAL_ERROR, ProblemDetails, forbidden, invalid, not_found, unreadable
from extauthz.admin.reading import (
    MAX_BODY,
    MAX_BULK_BODY,
    Body,
    IfMatch,
    read_body,
    read_if_match,
    read_query,
    row_id,
)
from extauthz.admin.services import AdminServices
from extauthz.compile.warnings import WarningCode
from extauthz.domain.problem import Problem
from extauthz.domain.service_key import Scope
from extauthz.storage.encoding import encode_json

_UUID: Final[Mapping[str, object]] = {
    "type": "string",
    "format": "uuid",
    "description": "the `id` of the object, in lower case",
}
_MAX_UNREAD: Final = 1024
POLICY_WARNINGS: Final = "X-Policy-Warnings"
_MAX_NAMED_ROWS: Final = 20
_SLUG: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")

_log = structlog.get_logger("extauthz.admin")


class Who(Enum):
    """The kinds of caller that an operation is for; docs/rest.md has the table of all of them."""

    ASKER = "every bearer of a token, tenant admins, and service keys with the scope `check`"
    BEARER = "every bearer of a token"
    POLICY_READER = (
        "domain admins, for rows of their domains, tenant admins, service keys with `policies:read`"
    )
    POLICY_WRITER = (
        "domain admins, for rows of their domains, tenant admins, service keys with `policies:write`"
    )
    REGISTRAR = "tenant admins, and registrars: service keys with `resources:write`, for their service"
    KEY_MAKER = "tenant admins, and service keys with `keys:write`, for keys of their own"
    AUDITOR = "tenant admins, and service keys with `audit:read`"
    TENANT_ADMIN = "tenant admins"
    OPERATOR = "the operator: the admin key or a session"
    ADMIN_KEY = "the operator's admin key"


_SCOPES: Final[Mapping[Who, Scope]] = {
    Who.ASKER: Scope.CHECK,
    Who.POLICY_READER: Scope.POLICIES_READ,
    Who.POLICY_WRITER: Scope.POLICIES_WRITE,
    Who.REGISTRAR: Scope.RESOURCES_WRITE,
    Who.KEY_MAKER: Scope.KEYS_WRITE,
    Who.AUDITOR: Scope.AUDIT_READ,
}
"""What lets a service key in that is not the bootstrap key."""


@dataclass(frozen=True, slots=True)
class Text:
    """A body that is no JSON."""

    text: str
    media_type: str


@dataclass(frozen=True, slots=True)
class Reply:
    """A success. `body` None is an empty one."""

    status: HTTPStatus
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Call:
    """One request, read: `body` is None when there was none, `path` holds the parameters of the path."""

    services: AdminServices
    caller: Caller
    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Body | None
    if_match: IfMatch | None
    unreadable: list[Problem] = field(default_factory=list)
    """Rows that are not in force as they are stored: each write of the tenant names them in its answer."""

    @property
    def tenant(self) -> str:
        """The tenant whose rows the call is about."""
        return self.caller.tenant

    @property
    def id(self) -> UUID | None:
        """The id in the path; None when it has no id's form, so that nothing has it."""
        return row_id(self.path["id"])


Handler = Callable[[Call], Awaitable[Reply | ProblemDetails]]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter, for the reader and for the OpenAPI document."""

    name: str
    description: str
    schema: Mapping[str, object] = field(default_factory=lambda: {"type": "string"})


@dataclass(frozen=True, slots=True)
class Content:
    """A body: the name of its schema, and an example. `array` makes it a bare array of that schema."""

    schema: str
    example: object
    array: bool = False
    media_types: tuple[str, ...] = ("application/json",)
    required: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    """A success the operation can come to; `headers` are names out of `openapi.HEADERS`."""

    status: HTTPStatus
    description: str
    content: Content | None = None
    headers: tuple[str, ...] = ()


OF_TENANT: Final = "`ETag` and `If-Match` are of the tenant: every write in it makes another one."

PAGING: Final = (
    Parameter("limit", "at most so many items", {"type": "integer", "minimum": 1, "maximum": 1000}),
    Parameter("cursor", "`next_cursor` of the page before", {"type": "string"}),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """See the module. `problems` are the statuses it can answer beside those that every operation can."""

    method: str
    path: str
    name: str
    tag: str
    who: Who
    handler: Handler
    summary: str
    description: str = ""
    parameters: tuple[Parameter, ...] = ()
    body: Content | None = None
    bulk: bool = False
    saas_only: bool = False
    path_schemas: Mapping[str, Mapping[str, object]] = field(default_factory=lambda: {"id": _UUID})
    preconditions: bool = False
    answers: tuple[Answer, ...]
    problems: tuple[HTTPStatus, ...] = ()

    async def answer(self, request: Request, services: AdminServices) -> Response:
        """Answer one request. Never raises: the last resort is a 500 that says nothing."""
        try:
            outcome = await self._outcome(request, services)
            if isinstance(outcome, ProblemDetails):
                return outcome.response()
            return _response(outcome)
        except Exception:  # noqa: BLE001  # a bug of ours is logged, not shown
            _log.exception("request_failed", operation=self.name)
            return INTERNAL_ERROR.response()

    async def _outcome(self, request: Request, services: AdminServices) -> Reply | ProblemDetails:
        address = None if request.client is None else request.client.host
        caller = await admit(request.headers, address, services)
        if isinstance(caller, ProblemDetails):
            return caller
        if not may(caller, self.who):
            return forbidden(_may_not(caller, self.who))
        if self.who in {Who.OPERATOR, Who.ADMIN_KEY} and "id" in request.path_params:
            # The operator has no tenant of its own: it acts in the one that the path names.
            caller = replace(caller, tenant=request.path_params["id"])
            if not _SLUG.fullmatch(caller.tenant):
                return not_found(f"there is no tenant {caller.tenant[:80]!r}")
        query = read_query(
            request.scope["query_string"], frozenset(parameter.name for parameter in self.parameters)
        )
        if isinstance(query, ProblemDetails):
            return query
        if_match = read_if_match(request.headers) if self.preconditions else None
        if isinstance(if_match, ProblemDetails):
            return if_match
        body = await self._body(request)
        if isinstance(body, ProblemDetails):
            return body
        call = Call(services, caller, request.path_params, query, body, if_match)
        outcome = await self.handler(call)
        return outcome if isinstance(outcome, ProblemDetails) else with_unreadable(call, outcome)

    async def _body(self, request: Request) -> Body | ProblemDetails | None:
        if self.body is not None:
            found = await read_body(
                request,
                max_bytes=MAX_BULK_BODY if self.bulk else MAX_BODY,
                media_type=self.body.media_types[0],
            )
            if found is None and self.body.required:
                return unreadable("a body is needed")
            return found
        if self.method == "GET":
            return None
        # What a write does not read it would seem to have done: restoring the version that a body names, say.
        found = await read_body(request, max_bytes=_MAX_UNREAD)
        if isinstance(found, ProblemDetails) or (found is not None and found.document != {}):
            return invalid([Problem("", "nothing is read here: send no body")])
        return None


def may(caller: Caller, who: Who) -> bool:
    """Tell whether an operation is for the caller at all; rows and domains are judged by its handler."""
    match who:
        case Who.BEARER:
            return caller.principal is not None
        case Who.OPERATOR:
            return caller.kind in {CallerKind.OPERATOR, CallerKind.SESSION}
        case Who.ADMIN_KEY:
            return caller.kind is CallerKind.OPERATOR
        case _ if caller.is_tenant_admin:
            return True
        case Who.ASKER if caller.principal is not None:
            return True
        case Who.POLICY_READER | Who.POLICY_WRITER if caller.is_domain_admin:
            return True
        case _:
            return who in _SCOPES and caller.has(_SCOPES[who])


def _may_not(caller: Caller, who: Who) -> str:
    if caller.kind is CallerKind.SESSION:
        return f"a session of the operator is for '/admin' only; this is for {who.value}"
    if caller.kind is CallerKind.OPERATOR and not caller.is_tenant_admin:
        return f"the admin key is no tenant's administrator in MODE=saas; this is for {who.value}"
    return f"this is for {who.value} only"


def _response(reply: Reply) -> Response:
    headers = {"Cache-Control": "no-store"} | dict(reply.headers)
    if reply.body is None:
        return Response(status_code=reply.status, headers=headers)
    if isinstance(reply.body, Text):
        return Response(
            reply.body.text, status_code=reply.status, headers=headers, media_type=reply.body.media_type
        )
    return Response(
        encode_json(reply.body), status_code=reply.status, headers=headers, media_type="application/json"
    )


def with_unreadable(call: Call, reply: Reply) -> Reply:
    """Return the answer with a warning for each unreadable row: in `warnings`, and in a header."""
    if not call.unreadable:
        return reply
    shown = call.unreadable[:_MAX_NAMED_ROWS]
    headers = dict(reply.headers) | {POLICY_WARNINGS: ", ".join(_header_item(problem) for problem in shown)}
    body = reply.body
    if isinstance(body, Mapping):
        known = body.get("warnings", ())
        assert isinstance(known, list | tuple)
        body = {**body, "warnings": [*known, *(unreadable_warning(call, each) for each in shown)]}
    return replace(reply, body=body, headers=headers)


def unreadable_warning(call: Call, problem: Problem) -> dict[str, object]:
    """Return one warning as the API shows it; only a tenant's administrators read what is in the row."""
    kind, row_id, pointer = _place(problem)
    what = f"{pointer or 'the row'}: {problem.message}" if call.caller.is_tenant_admin else "it is damaged"
    return {
        "code": WarningCode.UNREADABLE_ROW.value,
        "pointer": f"/{kind}/{row_id}{pointer if call.caller.is_tenant_admin else ''}",
        "message": (
            f"the stored {kind.replace('_', ' ')} {row_id} is not in force as it is stored: {what}; "
            "replace or delete it"
        ),
        "kind": kind,
        "id": row_id,
    }


def _place(problem: Problem) -> tuple[str, str, str]:
    """Return the kind and id of the row that a problem is about, and the pointer into it."""
    kind, row_id, *rest = [*problem.pointer.split("/")[1:], "", ""]
    return kind, row_id, "".join(f"/{token}" for token in rest if token)


def _header_item(problem: Problem) -> str:
    """Return one member of a list in the form of RFC 9651."""
    kind, row_id, _ = _place(problem)
    quoted = "".join(each for each in row_id if " " <= each <= "~" and each not in '"\\')
    return f'unreadable_row;kind="{kind}";id="{quoted}"'


def nothing_at(call: Call, noun: str) -> ProblemDetails:
    """Return 404 for the id in the path."""
    return not_found(f"there is no {noun} {call.path['id'][:80]!r}")
