"""What every operation does, written once: a request's caller, preconditions, transaction and answer.

    credentials -> permission -> query string -> If-Match, Idempotency-Key -> body -> handler -> answer

`requires(Permission.X)` is the dependency that does the first four and returns the `RequestContext`. A
handler returns a `Response`; errors are raised as `ProblemError`, in a change before anything is stored.
"""

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import structlog
from fastapi import Depends
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from extauthz.admin import idempotency, quotas
from extauthz.admin.authentication import Caller, authenticate
from extauthz.admin.authorization import Permission, is_permitted, not_permitted, require_domain
from extauthz.admin.documents import parameter_problems
from extauthz.admin.pagination import PageQuery, Position
from extauthz.admin.preconditions import IfMatch, entity_tag, read_idempotency_key, read_if_match
from extauthz.admin.problems import (
    ProblemError,
    internal_error,
    invalid,
    not_found,
    of_refusal,
    precondition_failed,
)
from extauthz.admin.request_body import JsonBody, TextBody, check_query, refuse_body, row_id_of
from extauthz.admin.row_warnings import MAX_NAMED_ROWS, header_of, unreadable_row, with_warnings
from extauthz.admin.services import AdminServices
from extauthz.compile.documents import Reading
from extauthz.compile.row_reader import KINDS, StoredReader
from extauthz.domain.policy import MAX_ALLOW_PRIORITY
from extauthz.domain.problem import Problem
from extauthz.storage import tenants
from extauthz.storage import write as storage_write
from extauthz.storage.encoding import encode_json
from extauthz.storage.outcome import Refusal
from extauthz.storage.rows import Document, Page, Stored, Table, rfc3339
from extauthz.storage.write import Change, Written

if TYPE_CHECKING:
    from uuid import UUID

    from extauthz.storage.pool import Connection

POLICY_REVISION: Final = "X-Policy-Revision"
POLICY_WARNINGS: Final = "X-Policy-Warnings"

_Value = TypeVar("_Value")
_log = structlog.get_logger("extauthz.admin")
Work = Callable[[Change], Awaitable[_Value | Refusal]]


@dataclass(frozen=True, slots=True)
class Reply:
    """A success. `body` None is an empty one; `media_type` other than JSON makes it a text."""

    status: int
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)
    media_type: str = "application/json"

    def response(self) -> Response:
        """Return the HTTP response."""
        headers = {"Cache-Control": "no-store"} | dict(self.headers)
        if self.body is None:
            return Response(status_code=self.status, headers=headers)
        content = encode_json(self.body) if self.media_type == "application/json" else str(self.body)
        return Response(content, status_code=self.status, headers=headers, media_type=self.media_type)


@dataclass(slots=True)
class RequestContext:
    """An authenticated and permitted request; `content` is its body, a JSON value or a text."""

    services: AdminServices
    caller: Caller
    path: str
    path_params: Mapping[str, str]
    if_match: IfMatch | None
    idempotency_key: str | None
    content: object = None

    @property
    def tenant(self) -> str:
        """The tenant whose rows the request is about."""
        return self.caller.tenant

    @property
    def by_domain_admin(self) -> bool:
        """Whether rows are written with the rights of a domain admin."""
        return not self.caller.is_tenant_admin

    @property
    def reading(self) -> Reading:
        """What documents are read under: the caller's rights bound domains and priorities."""
        is_tenant_admin = self.caller.is_tenant_admin
        return Reading(
            condition_headers=self.services.condition_headers,
            default_domain=self.caller.only_domain,
            highest_allow=MAX_ALLOW_PRIORITY if is_tenant_admin else 0,
            guardrails=is_tenant_admin,
            claim_headers=self.services.claim_headers,
        )

    def row_id(self, noun: str, parameter: str = "id") -> "UUID":
        """Return the id in the path; 404 for a text that is not the canonical form of an id."""
        found = row_id_of(self.path_params[parameter])
        if found is None:
            raise self.missing(noun, parameter)
        return found

    def missing(self, noun: str, parameter: str = "id") -> ProblemError:
        """Return 404 for the id in the path."""
        return not_found(f"there is no {noun} {self.path_params[parameter][:80]!r}")

    def visible(self, noun: str, stored: Stored | None) -> Stored:
        """Return a row of a domain that the caller administers; any other is 404."""
        if stored is not None:
            document = stored.document
            if self.caller.administers_domain(document["dom"] if "dom" in document else document["domain"]):
                return stored
        raise self.missing(noun)

    def require_domain(self, domain: str) -> None:
        """Refuse to write into a domain that the caller does not administer."""
        require_domain(self.caller, domain)

    def check_precondition(self, stored: Stored | None) -> None:
        """Compare `If-Match` with the row that is about to be written (None: a new one)."""
        if self.if_match is None or self.if_match.allows(None if stored is None else stored.revision):
            return
        state = (
            "there is no such object yet" if stored is None else "the object was written since it was read"
        )
        raise precondition_failed(f"If-Match names another state: {state}")

    def check_tenant_precondition(self, change: Change) -> None:
        """Compare `If-Match` of a write that is not about a single row with the tenant's revision."""
        # The change itself has counted the revision up already.
        if self.if_match is not None and not self.if_match.allows(change.previous):
            raise precondition_failed(
                "If-Match names another state: the tenant was written since it was read"
            )

    async def check_quota(self, change: Change, kind: str, added: int) -> None:
        """Refuse a change that would give the tenant more rows of a kind than its quota."""
        services = self.services
        await quotas.check_quota(services.quotas, change, services.policies.current(), kind, added)

    async def read(self, work: "Callable[[Connection], Awaitable[_Value]]") -> _Value:
        """Run `work` on one moment of the tenant."""
        found = await storage_write.read(self.services.pool, self.tenant, work)
        if isinstance(found, Refusal):
            raise of_refusal(found)
        return found

    async def write(
        self,
        work: Work[_Value],
        answer: "Callable[[_Value, int], Reply]",
        *,
        entries: str | None = None,
        secret: bool = False,
    ) -> Response:
        """Run `work` as one change of the tenant, with audit trail and revision, and return its answer.

        An error that `work` raises stores nothing. `answer` makes the answer of the value and the revision.
        `entries` is the pointer of the list whose entries are written; `secret` says that the answer holds
        one, and is not kept for an `Idempotency-Key`.
        """
        changes: list[Change] = []

        async def noted(change: Change) -> _Value | Refusal:
            changes.append(change)
            return await work(change)

        def finished(written: Written[_Value]) -> Response:
            unreadable = changes[0].unreadable if written.changed else self.services.unreadable(self.tenant)
            reply = answer(written.value, written.revision)
            shown = [self._warning(problem) for problem in unreadable[:MAX_NAMED_ROWS]]
            if shown:
                headers = dict(reply.headers) | {POLICY_WARNINGS: header_of(unreadable[:MAX_NAMED_ROWS])}
                body = with_warnings(reply.body, shown) if isinstance(reply.body, dict) else reply.body
                reply = replace(reply, body=body, headers=headers)
            return reply.response()

        services = self.services
        try:
            written = await storage_write.write(
                services.pool,
                self.tenant,
                self.caller.actor,
                noted,
                new_id=services.new_id,
                validate=services.validate,
                once=self.once(None if secret else finished),
            )
        except idempotency.ReplayedError as replayed:
            return replayed.response
        if isinstance(written, Refusal):
            raise of_refusal(written, entries=entries)
        return finished(written)

    def once(
        self, answer: Callable[[Written[Any]], Response] | None, *, tenant: str | None = None
    ) -> "idempotency.Once[Any] | None":
        """Return what keeps the answer under the `Idempotency-Key` of the request; None without one.

        `answer` None: it holds a secret. `tenant` is that of the transaction, if not the caller's.
        """
        if self.idempotency_key is None:
            return None
        claim = idempotency.claim_of(
            self.tenant, self.caller.actor, self.idempotency_key, self.path, self.content
        )
        return idempotency.Once(claim, self.tenant if tenant is None else tenant, answer)

    async def list(
        self,
        table: Table,
        page: "Callable[..., Awaitable[Page]]",
        query: PageQuery,
        show: Callable[[Stored], Document] | None = None,
    ) -> Response:
        """Return a page of the rows that the caller may see; `page` reads it from the database."""
        position = query.position(f"{self.tenant} {table.name}")
        bounds = {"domains": self.caller.domains, "after": position.after, "limit": position.limit}
        found = await self.read(lambda connection: page(connection, self.tenant, **query.filters(), **bounds))
        return self.page(table, position, found, show)

    def page(
        self, table: Table, position: Position, page: Page, show: Callable[[Stored], Document] | None = None
    ) -> Response:
        """Return a page; rows that are known not to be in force as they are stored have a warning."""
        prefix = f"/{table.kind}/"
        known: dict[str, list[Problem]] = {}
        for problem in self.services.unreadable(self.tenant):
            if problem.pointer.startswith(prefix):
                known.setdefault(problem.pointer.split("/")[2], []).append(problem)
        items = [self._warned((show or to_json)(stored), known.get(stored.id, ())) for stored in page.items]
        return list_of(items, position.cursor(page.next))

    def single(
        self, table: Table, stored: Stored, show: Callable[[Stored], Document] | None = None
    ) -> Response:
        """Return one row with its entity tag, and with a warning where it cannot be read."""
        problems: list[Problem] = []
        if stored.deleted_at is None and table.kind in KINDS:
            reading = Reading(
                condition_headers=self.services.condition_headers, claim_headers=self.services.claim_headers
            )
            StoredReader(reading).read(table.kind, stored.document, problems)
        document = self._warned((show or to_json)(stored), problems[:1])
        return Reply(HTTPStatus.OK, document, {"ETag": entity_tag(stored.revision)}).response()

    def _warned(self, document: Document, problems: Sequence[Problem]) -> Document:
        return with_warnings(document, [self._warning(problem) for problem in problems])

    def _warning(self, problem: Problem) -> Document:
        return unreadable_row(problem, in_detail=self.caller.is_tenant_admin)


class Requires:
    """A dependency: authenticates the caller, checks its permission, and reads query names and headers."""

    def __init__(self, permission: Permission, *, conditional: bool, creating: bool) -> None:
        self.permission = permission
        self.conditional = conditional
        self.creating = creating

    async def __call__(self, request: Request) -> RequestContext:
        """Return the context of the request, which bodies are read in."""
        services: AdminServices = request.app.state.services
        address = None if request.client is None else request.client.host
        caller = await authenticate(request.headers, address, services)
        if not is_permitted(caller, self.permission):
            raise not_permitted(caller, self.permission)
        if self.permission.of_operator and "id" in request.path_params:
            # The operator has no tenant of its own: it acts in the one that the path names.
            caller = replace(caller, tenant=request.path_params["id"])
            if not tenants.SLUG.fullmatch(caller.tenant):
                raise not_found(f"there is no tenant {caller.tenant[:80]!r}")
        route: Route = request.scope["route"]
        check_query(request.scope["query_string"], route.query_names)
        context = RequestContext(
            services,
            caller,
            request.scope["path"],
            request.path_params,
            read_if_match(request.headers) if self.conditional else None,
            read_idempotency_key(request.headers) if self.creating else None,
        )
        request.state.context = context
        if request.method != "GET" and not route.reads_body:
            await refuse_body(request)
        return context


def requires(permission: Permission, *, conditional: bool | None = None, creating: bool = False) -> Any:
    """Return the dependency for an operation that needs a permission; it comes first in a signature.

    `creating` reads `Idempotency-Key`; `conditional`, by default the same, reads `If-Match`.
    """
    return Depends(
        Requires(permission, conditional=creating if conditional is None else conditional, creating=creating)
    )


Reads = Annotated[RequestContext, requires(Permission.POLICIES_READ)]
Writes = Annotated[RequestContext, requires(Permission.POLICIES_WRITE, conditional=True)]
Creates = Annotated[RequestContext, requires(Permission.POLICIES_WRITE, creating=True)]


class Route(APIRoute):
    """FastAPI's route: named and described by its handler, with every error as a problem document."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        summary, _, description = " ".join((endpoint.__doc__ or "").split()).partition(". ")
        first, *words = endpoint.__name__.split("_")
        # Three operations have an older path, too.
        alias = "" if path.startswith(("/api/", "/admin/")) else "Alias"
        options["operation_id"] = first + "".join(map(str.capitalize, words)) + alias
        options["summary"] = summary.rstrip(".")
        options["description"] = options.get("description") or description or summary
        super().__init__(path, endpoint, **options)
        calls = [dependency.call for dependency in self.dependant.dependencies]
        self.requires = next((call for call in calls if isinstance(call, Requires)), None)
        self.reads_body = next((call for call in calls if isinstance(call, JsonBody | TextBody)), None)
        models: list[Any] = [each.field_info.annotation for each in self.dependant.query_params]
        self.query_names = frozenset(name for model in models for name in model.model_fields)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return FastAPI's handler inside of ours."""
        handler = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handler(request)
            except ProblemError as problem:
                return problem.response()
            except RequestValidationError as error:
                return invalid(parameter_problems(error.errors())).response()
            except HTTPException:
                raise
            except Exception:  # noqa: BLE001  # the cause is for the log, not for the caller
                _log.exception("request_failed", operation=self.operation_id)
                return internal_error().response()

        return answer


def to_json(stored: Stored) -> Document:
    """Return a row as the API shows it."""
    return stored.document | {
        "created_at": rfc3339(stored.created_at),
        "updated_at": rfc3339(stored.updated_at),
    }


def list_of(items: Sequence[object], next_cursor: str | None) -> Response:
    """Return a page of a list."""
    return Reply(HTTPStatus.OK, {"items": list(items), "next_cursor": next_cursor}).response()


def row_reply(
    status: int, show: Callable[[Stored], Document] = to_json, location: str | None = None
) -> Callable[[Stored, int], Reply]:
    """Return what makes the answer of a row that a write left behind."""

    def reply(stored: Stored, revision: int) -> Reply:
        headers = {POLICY_REVISION: str(revision), "ETag": entity_tag(stored.revision)}
        if location is not None:
            headers["Location"] = f"{location}/{stored.id}"
        return Reply(status, show(stored), headers)

    return reply


def tenant_headers(revision: int) -> dict[str, str]:
    """Return the headers of an answer that is not about a single row: the entity tag is the tenant's."""
    return {POLICY_REVISION: str(revision), "ETag": entity_tag(revision)}


def no_content(_: object, revision: int) -> Reply:
    """Return the answer of a deletion."""
    return Reply(HTTPStatus.NO_CONTENT, headers={POLICY_REVISION: str(revision)})
