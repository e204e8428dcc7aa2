"""`/api/v1/role-bindings`: Casbin's `g` lines: roles of users, services and workloads, and inheritance."""

from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Final

from fastapi import APIRouter, Depends, Query
from pydantic import AfterValidator, ValidationInfo, WithJsonSchema, field_validator
from starlette.requests import Request
from starlette.responses import Response

from extauthz.admin import context
from extauthz.admin.authorization import require_removable_binding
from extauthz.admin.documents import Document, Name, OneName, StoredRow, about, refused, refused_at
from extauthz.admin.openapi import created, deleted, found, listed, op
from extauthz.admin.pagination import PageQuery
from extauthz.admin.problems import ProblemError, conflict, forbidden
from extauthz.admin.request_body import JsonBody
from extauthz.compile.documents import BoundKind, expiry, octets_problem, workload_problem
from extauthz.compile.inheritance import CYCLE
from extauthz.domain.policy import SubjectKind
from extauthz.domain.problem import Problem
from extauthz.storage import role_bindings
from extauthz.storage.outcome import Conflict, NotFound
from extauthz.storage.rows import Stored, rfc3339
from extauthz.storage.write import Change

PATH: Final = "/api/v1/role-bindings"
_NOUN: Final = "role binding"
_INHERITANCE: Final = "only tenant admins write inheritance between roles"


def _expiry(value: object) -> str | None:
    if value is None:
        return None
    found = expiry(value)
    if isinstance(found, str):
        raise refused(found)
    return rfc3339(datetime.fromtimestamp(found, UTC))


class RoleBindingDocument(Document):
    """A role binding."""

    example: ClassVar = {
        "user": "alice",
        "user_kind": "user",
        "role": "finance",
        "dom": "emea",
        "expires_at": "2026-12-31T00:00:00Z",
    }
    user: Annotated[OneName, about("the user, service, workload or role that gets the role")]
    user_kind: Annotated[
        BoundKind, about("`role`: the role `user` inherits the role `role` (tenant admins only)")
    ]
    role: Annotated[OneName, about("the role")]
    dom: Annotated[Name, about("the domain of the binding, or `*`")]
    expires_at: Annotated[
        Any,
        AfterValidator(_expiry),
        WithJsonSchema({"type": ["string", "null"], "format": "date-time"}),
        about("exclusive; left out or null: never"),
    ] = None

    @field_validator("user_kind")
    @classmethod
    def _names_workload(cls, kind: BoundKind, info: ValidationInfo) -> BoundKind:
        if problem := workload_problem(kind, info.data.get("user")):
            raise refused_at([Problem("/user", problem)], up=1)
        return kind

    @field_validator("role")
    @classmethod
    def _inherits_from_another(cls, role: str, info: ValidationInfo) -> str:
        if info.data.get("user_kind") is BoundKind.ROLE and info.data.get("user") == role:
            raise refused(f"{CYCLE}: {role} -> {role}")
        return role

    @field_validator("dom")
    @classmethod
    def _fits_together(cls, dom: str, info: ValidationInfo) -> str:
        names = {name: value for name in ("user", "role") if (value := info.data.get(name))}
        if problem := octets_problem(names | {"dom": dom}):
            raise refused_at([Problem("", problem)], up=1)
        return dom


class RoleBindingOut(RoleBindingDocument, StoredRow):
    """A stored role binding."""


class RoleBindingFilter(PageQuery):
    """Which bindings to list."""

    user: Annotated[Name | None, about("only bindings of this user, service, workload or role")] = None
    role: Annotated[Name | None, about("only bindings to this role")] = None
    dom: Annotated[Name | None, about("only bindings in this domain")] = None


class _BindingBody(JsonBody[RoleBindingDocument]):
    """Reads a binding. A role that inherits from itself is the shortest cycle, and 409 as any cycle."""

    def _read(self, document: object, request: Request) -> RoleBindingDocument:
        try:
            return super()._read(document, request)
        except ProblemError as error:
            if len(error.errors) == 1 and error.errors[0].message.startswith(CYCLE):
                raise conflict("the write contradicts itself", (), error.errors) from None
            raise


router: Final = APIRouter(prefix=PATH, tags=["Role bindings"], route_class=context.Route)


@router.get("", **op(listed(RoleBindingOut)))
async def list_role_bindings(ctx: context.Reads, query: Annotated[RoleBindingFilter, Query()]) -> Response:
    """List role bindings. Only bindings that the caller may see."""
    return await ctx.list(role_bindings.TABLE, role_bindings.page, query)


@router.post("", **op(created(RoleBindingOut), 409))
async def create_role_binding(
    ctx: context.Creates, body: Annotated[RoleBindingDocument, Depends(_BindingBody(RoleBindingDocument))]
) -> Response:
    """Create a role binding.

    A Casbin `g` line. Inheritance (`user_kind` `role`) is for tenant admins; a cycle of roles is 409 and
    is named.
    """
    ctx.require_domain(body.dom)
    ctx.check_precondition(None)
    if body.user_kind is BoundKind.ROLE and not ctx.caller.is_tenant_admin:
        raise forbidden(_INHERITANCE)

    async def work(change: Change) -> Stored | Conflict:
        await ctx.check_quota(change, "role_bindings", 1)
        document = {"id": change.new_id(), **body.model_dump(mode="json", exclude_none=True)}
        created = await role_bindings.create(change, [document], by_domain_admin=ctx.by_domain_admin)
        return created if isinstance(created, Conflict) else created[0]

    return await ctx.write(work, context.row_reply(201, location=PATH))


@router.get("/{id}", **op(found(RoleBindingOut), 404))
async def get_role_binding(ctx: context.Reads) -> Response:
    """Get a role binding. A binding in a domain that the caller does not administer is 404."""
    binding_id = ctx.row_id(_NOUN)
    stored = await ctx.read(lambda connection: role_bindings.get(connection, ctx.tenant, binding_id))
    return ctx.single(role_bindings.TABLE, ctx.visible(_NOUN, stored))


@router.delete("/{id}", **op(deleted(), 404))
async def delete_role_binding(ctx: context.Writes) -> Response:
    """Delete a role binding.

    Only tenant admins delete a tenant admin's binding on which a tenant admin's deny depends.
    """
    binding_id = ctx.row_id(_NOUN)

    async def work(change: Change) -> Stored | NotFound:
        stored = ctx.visible(_NOUN, await role_bindings.get(change.connection, change.tenant, binding_id))
        if stored.document["user_kind"] == SubjectKind.ROLE and not ctx.caller.is_tenant_admin:
            raise forbidden(_INHERITANCE)
        await require_removable_binding(
            ctx.caller, change, stored, condition_headers=ctx.services.condition_headers
        )
        ctx.check_precondition(stored)
        return await role_bindings.delete(change, binding_id)

    return await ctx.write(work, context.no_content)
