"""`/api/v1/role-bindings`: Casbin's `g` lines: who has which role, and which roles inherit."""

from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from uuid import UUID

from extauthz.admin import changes, examples
from extauthz.admin.documents import new_document, reading
from extauthz.admin.operation import (
    PAGING,
    Answer,
    Call,
    Content,
    Operation,
    Parameter,
    Reply,
    Who,
    nothing_at,
)
from extauthz.admin.problems import ProblemDetails, conflict, forbidden, invalid
from extauthz.admin.reach import denied_through
from extauthz.admin.reading import name_filters
from extauthz.compile.documents import parse_role_binding
from extauthz.compile.inheritance import CYCLE
from extauthz.domain.policy import SubjectKind
from extauthz.storage import role_bindings
from extauthz.storage.outcome import Conflict
from extauthz.storage.rows import Stored
from extauthz.storage.write import Change

if TYPE_CHECKING:
    from collections.abc import Sequence

    from extauthz.domain.problem import Problem

PATH: Final = "/api/v1/role-bindings"
_NOUN: Final = "role binding"
_INHERITANCE: Final = "only tenant admins write inheritance between roles"


async def list_bindings(call: Call) -> Reply | ProblemDetails:
    """List the bindings that the caller may see."""
    filters = name_filters(call.query, "user", "role", "dom")
    if isinstance(filters, ProblemDetails):
        return filters
    return await changes.listed(call, role_bindings.TABLE, role_bindings.page, filters)


async def create(call: Call) -> Reply | ProblemDetails:
    """Store a new binding."""
    problems: list[Problem] = []
    document = new_document(call, problems)
    binding = parse_role_binding(document, "", problems, reading(call, call.services.new_id()))
    if problems or binding is None:
        return _own_heir(problems) or invalid(problems)
    if refusal := changes.foreign_domain(call, binding.dom) or changes.stale(call, None):
        return refusal
    if binding.user_kind is SubjectKind.ROLE and not call.caller.is_tenant_admin:
        return forbidden(_INHERITANCE)

    async def work(change: Change) -> changes.Outcome[Stored]:
        if refusal := await changes.beyond_limit(call, change, "role_bindings", 1):
            return refusal
        created = await role_bindings.create(
            change,
            [role_bindings.document_of(binding)],
            by_domain_admin=not call.caller.is_tenant_admin,
        )
        if isinstance(created, Conflict):
            return created
        stored = await role_bindings.get(change.connection, change.tenant, UUID(binding.id))
        assert stored is not None, "it was written in this transaction"
        return stored

    written = await changes.write(call, work)
    if isinstance(written, ProblemDetails):
        return written
    return changes.written_reply(written, HTTPStatus.CREATED, changes.shown(written.value), location=PATH)


def _own_heir(problems: "Sequence[Problem]") -> ProblemDetails | None:
    """Return the conflict that the shortest cycle is, too: a role that inherits from itself."""
    if len(problems) != 1 or not problems[0].message.startswith(CYCLE):
        return None
    return conflict("the write contradicts itself", (), problems)


async def get(call: Call) -> Reply | ProblemDetails:
    """Return one binding."""
    binding_id = call.id
    if binding_id is None:
        return nothing_at(call, _NOUN)
    stored = await changes.read(
        call, lambda connection: role_bindings.get(connection, call.tenant, binding_id)
    )
    if isinstance(stored, ProblemDetails):
        return stored
    if stored is None or not call.caller.may(stored.document["dom"]):
        return nothing_at(call, _NOUN)
    return changes.single(call, role_bindings.TABLE, stored)


async def delete(call: Call) -> Reply | ProblemDetails:
    """Delete a binding by its id."""
    binding_id = call.id
    if binding_id is None:
        return nothing_at(call, _NOUN)

    async def work(change: Change) -> changes.Outcome[Stored]:
        stored = await role_bindings.get(change.connection, change.tenant, binding_id)
        if stored is None or not call.caller.may(stored.document["dom"]):
            return nothing_at(call, _NOUN)
        if stored.document["user_kind"] == SubjectKind.ROLE and not call.caller.is_tenant_admin:
            return forbidden(_INHERITANCE)
        if refusal := await _lifting(call, change, stored) or changes.stale(call, stored):
            return refusal
        return await role_bindings.delete(change, binding_id)

    written = await changes.write(call, work)
    return written if isinstance(written, ProblemDetails) else changes.gone_reply(written)


async def _lifting(call: Call, change: Change, stored: Stored) -> ProblemDetails | None:
    """Refuse a domain admin to lift a tenant admin's deny by taking away a role that they gave."""
    if call.caller.is_tenant_admin or stored.by_domain_admin:
        return None
    headers = call.services.condition_headers
    if not await denied_through(change, stored.document, condition_headers=headers):
        return None
    return forbidden(
        "a tenant admin wrote this binding and a deny that depends on it: only a tenant admin deletes it"
    )


_STORED: Final = Content("RoleBinding", examples.ROLE_BINDING_STORED)

OPERATIONS: Final = (
    Operation(
        method="GET",
        path=PATH,
        name="listRoleBindings",
        tag="Role bindings",
        who=Who.POLICY_READER,
        handler=list_bindings,
        summary="List role bindings",
        parameters=(
            Parameter("user", "only bindings of this user, service or role"),
            Parameter("role", "only bindings to this role"),
            Parameter("dom", "only bindings in this domain"),
            *PAGING,
        ),
        answers=(
            Answer(
                HTTPStatus.OK,
                "A page of bindings",
                Content("RoleBindingPage", examples.page_of(examples.ROLE_BINDING_STORED)),
            ),
        ),
    ),
    Operation(
        method="POST",
        path=PATH,
        name="createRoleBinding",
        tag="Role bindings",
        who=Who.POLICY_WRITER,
        handler=create,
        summary="Create a role binding",
        description=(
            "A Casbin `g` line. Inheritance (`user_kind` `role`) is for tenant admins; a cycle of roles is "
            "409 and is named."
        ),
        body=Content("RoleBindingDocument", examples.ROLE_BINDING),
        preconditions=True,
        answers=(
            Answer(HTTPStatus.CREATED, "The binding", _STORED, ("X-Policy-Revision", "ETag", "Location")),
        ),
        problems=(HTTPStatus.CONFLICT,),
    ),
    Operation(
        method="GET",
        path=PATH + "/{id}",
        name="getRoleBinding",
        tag="Role bindings",
        who=Who.POLICY_READER,
        handler=get,
        summary="Get a role binding",
        answers=(Answer(HTTPStatus.OK, "The binding", _STORED, ("ETag",)),),
        problems=(HTTPStatus.NOT_FOUND,),
    ),
    Operation(
        method="DELETE",
        path=PATH + "/{id}",
        name="deleteRoleBinding",
        tag="Role bindings",
        who=Who.POLICY_WRITER,
        handler=delete,
        summary="Delete a role binding",
        description=(
            "A binding that a tenant admin wrote, and on which a tenant admin's deny depends, is for tenant "
            "admins only."
        ),
        preconditions=True,
        answers=(Answer(HTTPStatus.NO_CONTENT, "The binding is gone", headers=("X-Policy-Revision",)),),
        problems=(HTTPStatus.NOT_FOUND,),
    ),
)
