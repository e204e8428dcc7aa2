"""One operation of the API: its route, who may call it, how it is described, and the way each call takes.

    credentials -> rights of the kind of caller -> query, preconditions, body -> handler -> answer

Handlers return a `Reply` or `ProblemDetails`; nothing that a caller sends makes them raise.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from http import HTTPStatus
from typing import Final
from uuid import UUID

import structlog
from starlette.requests import Request
from starlette.responses import Response

from extauthz.admin.callers import Caller, recognise
from extauthz.admin.problems import INTERNAL_ERROR, ProblemDetails, forbidden, not_found
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
from extauthz.domain.problem import Problem
from extauthz.storage.encoding import encode_json

_log = structlog.get_logger("extauthz.admin")


class Who(Enum):
    """The kinds of caller that an operation is for, from the widest to the narrowest."""

    ANY = "every authenticated caller"
    DOMAIN_ADMIN = "domain admins, for rows of their domains, and tenant admins"
    TENANT_ADMIN = "tenant admins"


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
        caller = await recognise(request.headers, services)
        if isinstance(caller, ProblemDetails):
            return caller
        if not _may(caller, self.who):
            return forbidden(f"this is for {self.who.value} only")
        query = read_query(
            request.scope["query_string"], frozenset(parameter.name for parameter in self.parameters)
        )
        if isinstance(query, ProblemDetails):
            return query
        if_match = read_if_match(request.headers) if self.preconditions else None
        if isinstance(if_match, ProblemDetails):
            return if_match
        body = None
        if self.body is not None:
            found = await read_body(request, max_bytes=MAX_BULK_BODY if self.bulk else MAX_BODY)
            if isinstance(found, ProblemDetails):
                return found
            if found is None and self.body.required:
                return ProblemDetails(
                    HTTPStatus.BAD_REQUEST, "a JSON body is needed", (Problem("", "is missing"),)
                )
            body = found
        return await self.handler(Call(services, caller, request.path_params, query, body, if_match))


def _may(caller: Caller, who: Who) -> bool:
    match who:
        case Who.ANY:
            return True
        case Who.DOMAIN_ADMIN:
            return caller.is_admin
        case Who.TENANT_ADMIN:
            return caller.is_tenant_admin


def _response(reply: Reply) -> Response:
    headers = {"Cache-Control": "no-store"} | dict(reply.headers)
    if reply.body is None:
        return Response(status_code=reply.status, headers=headers)
    return Response(
        encode_json(reply.body), status_code=reply.status, headers=headers, media_type="application/json"
    )


def nothing_at(call: Call, noun: str) -> ProblemDetails:
    """Return 404 for the id in the path."""
    return not_found(f"there is no {noun} {call.path['id'][:80]!r}")
