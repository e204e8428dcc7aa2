"""One operation of the API: judges the caller, reads the request, runs the handler.

    credentials -> permission -> query names -> conditional headers -> body -> query -> handler -> `wait`
    -> answer

A handler takes `ctx` (annotated with `requires`), and maybe `body` and `query`. FastAPI routes requests to an
operation and describes it by its signature. It does not run it: it would read the body first.
"""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from inspect import signature
from types import UnionType
from typing import Annotated, Any, Final, get_args

import structlog
from fastapi import Depends
from fastapi.routing import APIRoute
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from extauthz.rest.answers import POLICY_REVISION
from extauthz.rest.authentication import authenticate
from extauthz.rest.authorization import Permission, is_permitted, not_permitted
from extauthz.rest.context import RequestContext
from extauthz.rest.documents import problems_of
from extauthz.rest.preconditions import (
    CHANGE_OVERRIDE,
    ReplayedError,
    read_idempotency_key,
    read_if_match,
    read_override,
)
from extauthz.rest.problems import (
    ParameterProblem,
    ProblemError,
    forbidden,
    internal_error,
    invalid,
    not_found,
)
from extauthz.rest.request_body import DocumentBody, read_query, refuse_body, row_id_of
from extauthz.rest.waiting import PARAMETERS, awaited, take_wait
from extauthz.storage import tenants
from extauthz.telemetry.spans import current_span

_log = structlog.get_logger("extauthz.admin")
_NO_QUERY: Final = frozenset[str]()
DRAFT: Final = "draft"


@dataclass(frozen=True, slots=True)
class Requires:
    """What an operation needs of its caller, and the headers that it reads.

    `conditional` operations read `If-Match`, `creating` ones `Idempotency-Key`; those `in_drafts` can be sent
    to a draft with the query parameter `draft`. `bearer_keys` take a service key as a bearer token, too.
    """

    permission: Permission
    conditional: bool
    creating: bool
    in_drafts: bool = False
    bearer_keys: bool = False

    async def __call__(self, request: Request) -> RequestContext:
        """Return the context of a request whose caller is authenticated and has the permission."""
        services = request.app.state.services
        caller = await authenticate(request, services, bearer_keys=self.bearer_keys)
        if not is_permitted(caller, self.permission):
            raise not_permitted(caller, self.permission)
        if self.permission.of_operator and "id" in request.path_params:
            # The operator has no tenant of its own: it acts in the one that the path names.
            caller = replace(caller, tenant=request.path_params["id"])
            if not tenants.SLUG.fullmatch(caller.tenant):
                raise not_found(f"there is no tenant {caller.tenant[:80]!r}")
        return RequestContext(
            services, caller, request.scope["path"], request.path_params, self.permission.name
        )

    def read_headers(self, request: Request, ctx: RequestContext) -> None:
        """Read the headers of a conditional or creating request into its context."""
        ctx.if_match = read_if_match(request.headers) if self.conditional else None
        reason = read_override(request.headers) if self.conditional else None
        if reason is not None:
            if not ctx.caller.is_tenant_admin:
                raise forbidden(f"{CHANGE_OVERRIDE} is for tenant admins")
            ctx.caller = replace(ctx.caller, actor=replace(ctx.caller.actor, override=reason))
        ctx.idempotency_key = read_idempotency_key(request.headers) if self.creating else None


def requires(
    permission: Permission,
    *,
    conditional: bool | None = None,
    creating: bool = False,
    in_drafts: bool = False,
    bearer_keys: bool = False,
) -> Any:
    """Return the annotation of `ctx` for an operation that needs a permission.

    `creating` reads `Idempotency-Key`; `conditional`, by default the same, reads `If-Match`; `in_drafts`
    reads the query parameter `draft`; `bearer_keys` takes service keys as bearer tokens, too.
    """
    conditional = creating if conditional is None else conditional
    return Depends(Requires(permission, conditional, creating, in_drafts, bearer_keys))


# The contexts of more than one noun. Of policies, live or in a draft:
Reads = Annotated[RequestContext, requires(Permission.POLICIES_READ, in_drafts=True)]
Writes = Annotated[RequestContext, requires(Permission.POLICIES_WRITE, conditional=True, in_drafts=True)]
Creates = Annotated[RequestContext, requires(Permission.POLICIES_WRITE, creating=True, in_drafts=True)]
# Of what belongs to a tenant:
TenantReads = Annotated[RequestContext, requires(Permission.TENANT)]
TenantWrites = Annotated[RequestContext, requires(Permission.TENANT, conditional=True)]
TenantCreates = Annotated[RequestContext, requires(Permission.TENANT, creating=True)]
# Of decisions that were made:
DecisionReads = Annotated[RequestContext, requires(Permission.DECISIONS_READ)]


class Operation(APIRoute):
    """An operation, named and described by its handler. Every error is a problem document.

    `never` are statuses that it does not answer with though others do.

    Raises:
        TypeError: the handler needs what an operation does not read, such as a FastAPI dependency.
    """

    never: frozenset[int] = frozenset()
    described_body: Any = None
    """The model that describes the body where the handler gets it as it was sent."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        summary, _, description = " ".join((endpoint.__doc__ or "").split()).partition(". ")
        first, *words = endpoint.__name__.split("_")
        # Three operations have an older path, too.
        alias = "" if path.startswith(("/api/", "/admin/", "/access/", "/{tenant}/")) else "Alias"
        options["operation_id"] = first + "".join(map(str.capitalize, words)) + alias
        options["summary"] = summary.rstrip(".")
        options["description"] = options.get("description") or description or summary
        super().__init__(path, endpoint, **options)
        parameters = signature(endpoint).parameters
        # FastAPI would resolve other dependencies; here they would be left out silently.
        if options.get("dependencies") or not {"ctx"} <= parameters.keys() <= {"ctx", "body", "query"}:
            found = f"{', '.join(parameters)} and {len(options.get('dependencies') or ())} dependencies"
            raise TypeError(f"{endpoint.__name__} has {found}; a handler takes ctx, and maybe body and query")
        self.requires: Requires = get_args(parameters["ctx"].annotation)[1].dependency
        replaces = "PUT" in (self.methods or ()) and path.endswith("id}")
        self.document_body = (
            DocumentBody(parameters["body"], replaces=replaces) if "body" in parameters else None
        )
        query = get_args(parameters["query"].annotation)[0] if "query" in parameters else None
        self.query_model = get_args(query)[0] if isinstance(query, UnionType) else query
        answers = (options.get("responses") or {}).values()
        self.waits = "GET" not in (self.methods or ()) and any(
            POLICY_REVISION in each.get("headers", ()) for each in answers
        )
        """Whether `?wait` is one of the parameters: the operation changes what sidecars decide by."""
        self._query_names = frozenset(self.query_model.model_fields) if self.query_model else _NO_QUERY
        self._query_names |= PARAMETERS if self.waits else _NO_QUERY
        if self.requires.in_drafts:
            self._query_names |= {DRAFT}

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers requests, instead of FastAPI's own."""
        return self.answer

    async def answer(self, request: Request) -> Response:
        """Answer a request; an error is a problem document."""
        try:
            return await self._run(request)
        except ProblemError as problem:
            return problem.response()
        except HTTPException:
            raise
        except Exception:  # noqa: BLE001  # the cause is for the log, not for the caller
            _log.exception("request_failed", operation=self.operation_id)
            return internal_error().response()

    async def _run(self, request: Request) -> Response:
        ctx = await self.requires(request)
        span = current_span()
        if span is not None:
            span.attributes["extauthz.tenant"] = ctx.tenant
            span.attributes["extauthz.operation"] = self.operation_id or ""
        given = read_query(request.scope["query_string"], self._query_names)
        wait = take_wait(given)
        if DRAFT in given and self.requires.in_drafts:
            ctx.draft = row_id_of(given.pop(DRAFT))
            if ctx.draft is None:
                raise invalid([ParameterProblem(DRAFT, "must be the id of a draft")])
        self.requires.read_headers(request, ctx)
        arguments: dict[str, Any] = {"ctx": ctx}
        if self.document_body is not None:
            body = arguments["body"] = await self.document_body.read(request, ctx)
            if given and body is not None:
                # A value is in the body or in the query.
                raise invalid(ParameterProblem(name, "is for calls without a body") for name in given)
        elif request.method != "GET":
            await refuse_body(request)
        if self.query_model is not None and arguments.get("body") is None:
            try:
                arguments["query"] = self.query_model.model_validate(given)
            except ValidationError as error:
                problems = problems_of(error)
                raise invalid(ParameterProblem(each.pointer[1:], each.message) for each in problems) from None
        response: Response
        try:
            response = await self.endpoint(**arguments)
        except ReplayedError as replayed:
            response = replayed.response
        return response if wait is None else await awaited(response, wait, ctx.tenant, ctx.services)
