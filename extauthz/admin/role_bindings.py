"""`/api/v1/role-bindings`: Casbin's `g` lines: roles of users, services and workloads, and inheritance."""

from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from pydantic import AfterValidator, ValidationInfo, WithJsonSchema, field_validator
from starlette.responses import Response

from extauthz.admin.authorization import require_domain, require_removable_binding
from extauthz.admin.collection import Collection
from extauthz.admin.context import RequestContext
from extauthz.admin.documents import BodyModel, Name, OneName, StoredRow, about, refused, refused_at
from extauthz.admin.openapi import created, deleted, found, listed
from extauthz.admin.operation import Creates, Operation, Reads, Writes
from extauthz.admin.pagination import PageQuery
from extauthz.admin.problems import forbidden
from extauthz.compile.documents.policy_documents import BoundKind, expiry, workload_problem
from extauthz.compile.roles.inheritance import CYCLE
from extauthz.domain.names import octets_problem
from extauthz.domain.policy import SubjectKind
from extauthz.domain.problem import Problem
from extauthz.storage import role_bindings
from extauthz.storage.rows import Document, Stored, rfc3339
from extauthz.storage.write import Change

PATH: Final = "/api/v1/role-bindings"
_INHERITANCE: Final = "only tenant admins write inheritance between roles"


def _expiry(value: object) -> str | None:
    if value is None:
        return None
    found = expiry(value)
    if isinstance(found, str):
        raise refused(found)
    return rfc3339(datetime.fromtimestamp(found, UTC))


class RoleBindingDocument(BodyModel):
    """A role binding."""

    user: Annotated[OneName, about("the user, service, workload or role that gets the role", "alice")]
    user_kind: Annotated[
        BoundKind, about("`role`: the role `user` inherits the role `role` (tenant admins only)", "user")
    ]
    role: Annotated[OneName, about("the role", "finance")]
    dom: Annotated[Name, about("the domain of the binding, or `*`", "emea")]
    expires_at: Annotated[
        Any,
        AfterValidator(_expiry),
        WithJsonSchema({"type": ["string", "null"], "format": "date-time"}),
        about("exclusive; left out or null: never", "2026-12-31T00:00:00Z"),
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
            raise refused(f"{CYCLE}: {role} -> {role}", contradiction=True)
        return role

    @field_validator("dom")
    @classmethod
    def _fits_together(cls, dom: str, info: ValidationInfo) -> str:
        names = {name: value for name in ("user", "role") if (value := info.data.get(name))}
        if problem := octets_problem(names | {"dom": dom}):
            raise refused_at([Problem("", problem)], up=1)
        return dom

    def to_document(self, binding_id: str) -> Document:
        """Return the document to store."""
        return {"id": binding_id, **self.model_dump(mode="json", exclude_none=True)}


class RoleBindingOut(RoleBindingDocument, StoredRow):
    """A stored role binding."""


class RoleBindingFilter(PageQuery):
    """Which bindings to list."""

    user: Annotated[Name | None, about("only bindings of this user, service, workload or role")] = None
    role: Annotated[Name | None, about("only bindings to this role")] = None
    dom: Annotated[Name | None, about("only bindings in this domain")] = None


async def _require_removable(ctx: RequestContext, change: Change, stored: Stored) -> None:
    if stored.document["user_kind"] == SubjectKind.ROLE and not ctx.caller.is_tenant_admin:
        raise forbidden(_INHERITANCE)
    await require_removable_binding(ctx, change, stored)


BINDINGS: Final = Collection(
    noun="role binding",
    path=PATH,
    rows=role_bindings,
    to_document=RoleBindingDocument.to_document,
    require_writable=_require_removable,
)
router: Final = APIRouter(prefix=PATH, tags=["Role bindings"], route_class=Operation)


@router.get("", **listed(RoleBindingOut))
async def list_role_bindings(ctx: Reads, query: Annotated[RoleBindingFilter, Query()]) -> Response:
    """List role bindings. Only bindings that the caller may see."""
    return await BINDINGS.list(ctx, query)


@router.post("", **created(RoleBindingOut))
async def create_role_binding(ctx: Creates, body: RoleBindingDocument) -> Response:
    """Create a role binding.

    A Casbin `g` line. Inheritance (`user_kind` `role`) is for tenant admins; a cycle of roles is 409 and
    is named.
    """
    require_domain(ctx, body.dom)
    if body.user_kind is BoundKind.ROLE and not ctx.caller.is_tenant_admin:
        ctx.check_precondition(None)
        raise forbidden(_INHERITANCE)
    return await BINDINGS.create(ctx, body)


@router.get("/{id}", **found(RoleBindingOut))
async def get_role_binding(ctx: Reads) -> Response:
    """Get a role binding. A binding in a domain that the caller does not administer is 404."""
    return await BINDINGS.get(ctx)


@router.delete("/{id}", **deleted())
async def delete_role_binding(ctx: Writes) -> Response:
    """Delete a role binding.

    Only tenant admins delete a tenant admin's binding on which a tenant admin's deny depends.
    """
    return await BINDINGS.delete(ctx)
