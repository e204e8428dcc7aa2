"""`/api/v1/resources`: what is protected, the routes that lead to it, and its default roles.

`registration` has the requests that create them.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal, Self
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from starlette.responses import Response

from extauthz.admin.role_rules import RoleRuleOut
from extauthz.compile.documents.body_needs import resource_reads_body
from extauthz.compile.documents.policy_documents import Reading
from extauthz.compile.documents.resource_documents import (
    MAX_DEFAULT_ROLES,
    MAX_METHODS,
    MAX_ROUTES,
    parse_resource,
)
from extauthz.compile.documents.warnings import DocumentWarning, resource_warnings
from extauthz.domain.forwarding import MAX_CLAIM_HEADERS, AuthorizationHeader
from extauthz.domain.policy import AuthenticationRequirement, Resource
from extauthz.domain.problem import Problem
from extauthz.domain.time_text import rfc3339
from extauthz.rest import documents as doc
from extauthz.rest import registrars
from extauthz.rest.answers import (
    POLICY_REVISION,
    Reply,
    no_content,
    to_json,
    with_warnings,
)
from extauthz.rest.authorization import Permission
from extauthz.rest.collection import written_from
from extauthz.rest.context import RequestContext
from extauthz.rest.openapi import answer, deleted, found, listed, written
from extauthz.rest.operation import Operation, Reads, requires
from extauthz.rest.pagination import PageQuery, Paging
from extauthz.rest.problems import accepted, conflict, invalid
from extauthz.rest.quotas import MAX_ROWS_A_WRITE
from extauthz.rest.request_body import merge_patch
from extauthz.storage import attribute_policies, public_resources, resources, role_rules
from extauthz.storage.outcome import NotFound
from extauthz.storage.rows import Document, Page, Stored
from extauthz.storage.write import Change

PATH: Final = "/api/v1/resources"
_NOUN: Final = "resource"


class McpDocument(doc.Model):
    """One message of the Model Context Protocol: a method, and what its parameter names."""

    method: str = doc.about("a method, or `notifications/*`", "tools/call")
    tool: doc.Text = doc.optional("of `tools/call`: a tool, or `*`", "delete-invoice")
    prompt: doc.Text = doc.optional("of `prompts/get`: a prompt, or `*`")
    uri: doc.Text = doc.optional(
        "of `resources/read`, `resources/subscribe`, `resources/unsubscribe`: a URI with `{name}`, or `*`"
    )


class RouteDocument(doc.Model):
    """A route that leads to a resource."""

    host: str | None = doc.optional("an exact host, or `*.suffix`; left out: every host")
    methods: list[str] = doc.about(
        'upper-case, never HEAD, which is decided as GET; or `["*"]`', min_length=1, max_length=MAX_METHODS
    )
    path: str = doc.about("a template: `{name}` is one segment, a final `/**` the rest")
    action: doc.OneName = doc.optional(
        "left out: the text after the last `:` of the resource's name, else `access`"
    )
    authentication: AuthenticationRequirement = doc.optional(
        "left out: `optional` on a public resource, else `required`"
    )
    mcp: Literal["session"] | McpDocument = doc.optional(
        "covers only these messages of the Model Context Protocol, of what is posted to the path"
    )


def _read(document: object, pointer: str, problems: list[Problem], reading: Reading) -> Resource | None:
    return parse_resource(document, pointer, problems, reading.claim_headers)


_ROUTES: Final = [{"methods": ["GET"], "path": "/invoices/{id}"}]


class ResourceDocument(doc.PolicyDocument[Resource]):
    """A resource, as a service declares it."""

    reader = _read
    conditions_at: ClassVar = "/routes"
    shown: ClassVar = ("createdAt", "updatedAt", "warnings")
    patch_example: ClassVar = {"displayName": "Invoices"}
    name: doc.OneName = doc.about("stable and unique in the tenant", "invoice:read")
    serviceName: doc.OneName = doc.about("the service it belongs to", "billing")
    displayName: doc.Name = doc.optional("a name for people; left out: the name", "Read invoices")
    defaultRoles: list[doc.OneName] = doc.about(
        "become role rules when the name is registered for the first time",
        ["finance"],
        default=[],
        max_length=MAX_DEFAULT_ROLES,
    )
    routes: list[RouteDocument] = doc.example(_ROUTES, default=[], max_length=MAX_ROUTES)
    public: doc.Flag = doc.about(
        "true: allow rules for everyone; shown only where both rules are in force", default=False
    )
    headers: dict[str, str] = doc.optional(
        "headers that the workload gets, each with the attribute `user.*` of its value",
        max_length=MAX_CLAIM_HEADERS,
    )
    authorization: AuthorizationHeader = doc.optional(
        "`remove`: the workload does not get the `Authorization` header; left out: `keep`"
    )
    assertion: bool = doc.optional("`false`: the workload gets no `x-auth-assertion`; left out: `true`")
    require_bound: bool = doc.optional(
        "`true`: a bearer token has to be bound to a certificate (RFC 8705); left out: `false`"
    )

    @property
    def roles(self) -> list[str]:
        """The default roles, each once."""
        return doc.without_repeats(self.defaultRoles)

    def declared_over(self, stored: Stored | None, ctx: RequestContext) -> Self:
        """Return the declaration with `public` as it is stored, where it was left out."""
        if "public" in self.written or stored is None or not public_resources.is_public(stored.document):
            return self
        return doc.validate(type(self).model_validate, {**self.written, "public": True}, ctx)

    def to_document(self, resource_id: str, stored: Mapping[str, object] | None = None) -> Document:
        """Return the document to store: the members that were written, and the others as `stored`."""
        complete = resources.document_of(
            self.entity,
            resource_id,
            display_name=self.displayName,
            default_roles=self.roles,
            public=self.public,
        )
        complete |= {name: self.written[name] for name in resources.WORKLOAD_MEMBERS if name in self.written}
        return complete | {name: value for name, value in (stored or {}).items() if name not in self.written}

    def document_warnings(self) -> Sequence[DocumentWarning]:
        """Return what may surprise the author."""
        return resource_warnings(self.entity)

    @property
    def reads_body(self) -> bool:
        """Whether a route reads the body of requests."""
        return resource_reads_body(self.entity)


def to_shown(stored: Stored) -> Document:
    """Return a resource as the API shows it."""
    times = {"createdAt": rfc3339(stored.created_at), "updatedAt": rfc3339(stored.updated_at)}
    return with_warnings(stored.document | times, stored.warnings)


class ResourceOut(ResourceDocument, doc.Warned):
    """A stored resource."""

    id: doc.RowId
    createdAt: doc.Time
    updatedAt: doc.Time


class ResourceFilter(PageQuery):
    """Which resources to list."""

    name: doc.Name | None = doc.optional("only the resource of this name")
    serviceName: doc.Name | None = doc.optional("only resources of this service")


class RemovalQuery(doc.QueryModel):
    """What to delete together with a resource."""

    cascade: doc.QueryFlag = doc.about("delete the rules that name it, too", default=False)


_Reads = Annotated[RequestContext, requires(Permission.RESOURCES_WRITE, in_drafts=True)]
_Writes = Annotated[RequestContext, requires(Permission.RESOURCES_WRITE, conditional=True, in_drafts=True)]
_ONE: Final = PATH + "/{id}"
router: Final = APIRouter(tags=["Resources"], route_class=Operation)


@router.get(PATH, **listed(ResourceOut, POLICY_REVISION))
async def list_resources(ctx: _Reads, query: Annotated[ResourceFilter, Query()]) -> Response:
    """List resources. A registrar sees the resources of its service."""
    service = registrars.service_of(ctx.caller)
    position = query.position(f"{ctx.scope} resources {service}")
    wanted = query.serviceName or service
    others = service is not None and wanted != service

    async def work(connection: Any) -> Page[Stored]:
        if others:
            return Page((), None)
        page = await resources.page(
            connection, ctx.tenant, name=query.name, service_name=wanted, **position.bounds
        )
        return Page(tuple(await resources.in_force(connection, ctx.tenant, page.items)), page.next)

    page, revision = await ctx.read_page(work)
    return ctx.page(resources.TABLE, position, page, to_shown, revision=revision)


@router.get(_ONE, **found(ResourceOut))
async def get_resource(ctx: _Reads) -> Response:
    """Get a resource. A registrar sees the resources of its service."""

    async def work(connection: Any) -> Stored:
        stored = await _visible(ctx, connection)
        return (await resources.in_force(connection, ctx.tenant, [stored]))[0]

    return ctx.single(resources.TABLE, await ctx.read(work), to_shown)


@router.patch(_ONE, **written(ResourceOut))
async def patch_resource(ctx: _Writes, body: Annotated[doc.Patch, merge_patch(ResourceDocument)]) -> Response:
    """Change some members of a resource.

    A JSON merge patch (RFC 7396); a list replaces the old one. A resource keeps its name.
    """

    async def work(change: Change) -> tuple[Stored, ResourceDocument]:
        stored = await _visible(ctx, change.connection)
        document, problems = body.apply(stored.document)
        if isinstance(document, dict) and document.get("name") != stored.document["name"]:
            problems.append(Problem("/name", "cannot be changed: rules name it"))
        patched = doc.validate(ResourceDocument.model_validate, document, ctx, problems)
        ctx.check_precondition(stored)
        registrars.require_service(ctx.caller, [(patched.serviceName, "/serviceName")])
        registrars.require_declarable(ctx.caller, [(patched.public, patched.entity.routes, stored, "")])
        replaced = accepted(await resources.replace(change, patched.to_document(stored.id)))
        await ctx.ask_about_bodies(change, patched)
        (after,) = await resources.in_force(change.connection, change.tenant, [replaced])
        return after, patched

    return await ctx.write(work, written_from(ctx, to_shown))


@router.delete(_ONE, **deleted())
async def delete_resource(ctx: _Writes, query: Annotated[RemovalQuery, Query()]) -> Response:
    """Delete a resource and its routes.

    The rules that its default roles or `public` became are deleted, too. Other rules that name it are 409,
    unless `cascade` is true: then role rules are deleted and attribute policies are deleted softly.
    """
    ctx.row_id(_NOUN)
    registrars.require_may_cascade(ctx.caller, cascade=query.cascade)

    async def work(change: Change) -> Stored | NotFound:
        stored = await _visible(ctx, change.connection)
        ctx.check_precondition(stored)
        registrars.require_removal(ctx.caller, stored)
        await remove_rules(change, stored, cascade=query.cascade)
        return await resources.delete(change, stored.uuid)

    return await ctx.write(work, no_content)


async def remove_rules(change: Change, stored: Stored, *, cascade: bool) -> None:
    """Delete the rules that name a resource; without `cascade` only those of its default roles."""
    rules, others = await resources.rules_on(change, stored, limit=MAX_ROWS_A_WRITE + 1)
    policies = await attribute_policies.on_resource(
        change.connection, change.tenant, str(stored.document["name"])
    )
    if (others or policies) and not cascade:
        detail = "rules name this resource; delete them first, or add ?cascade=true"
        raise conflict(detail, [*others, *policies])
    if len(rules) > MAX_ROWS_A_WRITE:
        message = f"more than {MAX_ROWS_A_WRITE} rules name it, which is more than one write deletes"
        raise invalid([Problem("", message)])
    await role_rules.delete_all(change, rules)
    await attribute_policies.delete_all(change, policies)


@router.get(_ONE + "/policies", **answer(list[RoleRuleOut], "Link"))
async def list_role_rules_of_resource(ctx: Reads, query: Paging) -> Response:
    """List the role rules on a resource. A bare array; `Link` leads to the next page."""
    position = query.position(f"{ctx.scope} rules of {ctx.path_params['id']}")

    async def work(connection: Any) -> tuple[Stored, Page[Stored]]:
        stored = await _stored(ctx, connection)
        where = {"obj": str(stored.document["name"]), "domains": ctx.caller.domains} | position.bounds
        return stored, await role_rules.page(connection, ctx.tenant, **where)

    stored, page = await ctx.read(work)
    headers = {}
    if (following := position.cursor(page.next)) is not None:
        draft = {} if ctx.draft is None else {"draft": str(ctx.draft)}
        parameters = urlencode({"limit": position.limit, "cursor": following} | draft)
        headers["Link"] = f'<{PATH}/{stored.id}/policies?{parameters}>; rel="next"'
    return Reply(200, [to_json(rule) for rule in page.items], headers).response()


async def _stored(ctx: RequestContext, connection: Any) -> Stored:
    stored = await resources.get(connection, ctx.tenant, ctx.row_id(_NOUN))
    if stored is None:
        raise ctx.missing(_NOUN)
    return stored


async def _visible(ctx: RequestContext, connection: Any) -> Stored:
    """Return the resource that the path names; 404 for one of another service than a registrar's."""
    stored = await _stored(ctx, connection)
    if not registrars.sees_resource(ctx.caller, stored):
        raise ctx.missing(_NOUN)
    return stored
