"""`/api/v1/role-bindings`: Casbin's `g` lines: roles of users, services and workloads, and inheritance."""

from dataclasses import replace
from typing import Annotated, Final

from fastapi import APIRouter, Query
from starlette.responses import Response

from extauthz.compile.documents.policy_documents import BoundKind, parse_role_binding
from extauthz.domain.policy import RoleBinding
from extauthz.rest import documents as doc
from extauthz.rest.answers import POLICY_REVISION
from extauthz.rest.authorization import require_domain, require_may_inherit, require_removable_binding
from extauthz.rest.collection import Collection
from extauthz.rest.context import RequestContext
from extauthz.rest.openapi import created, deleted, found, listed
from extauthz.rest.operation import Creates, Operation, Reads, Writes
from extauthz.rest.pagination import PageQuery
from extauthz.storage import role_bindings
from extauthz.storage.rows import Document, Stored
from extauthz.storage.write import Change

PATH: Final = "/api/v1/role-bindings"


class RoleBindingDocument(doc.PolicyDocument[RoleBinding]):
    """A role binding."""

    reader = parse_role_binding
    user: doc.OneName = doc.about("the user, service, workload or role that gets the role", "alice")
    user_kind: BoundKind = doc.about(
        "`role`: the role `user` inherits the role `role` (tenant admins only)", "user"
    )
    role: doc.OneName = doc.about("the role", "finance")
    dom: doc.Name = doc.about("the domain of the binding, or `*`", "emea")
    expires_at: doc.OptionalTime = doc.optional("exclusive; left out or null: never", "2026-12-31T00:00:00Z")

    def to_document(self, binding_id: str) -> Document:
        """Return the document to store."""
        return role_bindings.document_of(replace(self.entity, id=binding_id))


class RoleBindingOut(RoleBindingDocument, doc.StoredRow):
    """A stored role binding."""


class RoleBindingFilter(PageQuery):
    """Which bindings to list."""

    user: doc.Name | None = doc.optional("only bindings of this user, service, workload or role")
    role: doc.Name | None = doc.optional("only bindings to this role")
    dom: doc.Name | None = doc.optional("only bindings in this domain")


async def _require_removable(ctx: RequestContext, change: Change, stored: Stored) -> None:
    require_may_inherit(ctx, stored.document["user_kind"])
    await require_removable_binding(ctx, change, stored)


BINDINGS: Final[Collection[RoleBindingDocument]] = Collection(
    noun="role binding",
    path=PATH,
    rows=role_bindings,
    require_writable=_require_removable,
)
router: Final = APIRouter(prefix=PATH, tags=["Role bindings"], route_class=Operation)


@router.get("", **listed(RoleBindingOut, POLICY_REVISION))
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
    ctx.check_precondition(None)
    require_may_inherit(ctx, body.entity.user_kind)
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
