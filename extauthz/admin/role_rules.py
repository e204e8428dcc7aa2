"""`/api/v1/resources/policies`: role rules, Casbin's `p` lines, by id and by value."""

from typing import Annotated, ClassVar, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import BeforeValidator, ValidationInfo, field_validator
from starlette.requests import Request
from starlette.responses import Response

from extauthz.admin import context
from extauthz.admin import documents as doc
from extauthz.admin.authorization import require_tenant_admin
from extauthz.admin.openapi import created, deleted, found, listed, op, written
from extauthz.admin.pagination import PageQuery
from extauthz.admin.problems import ParameterProblem, invalid
from extauthz.admin.request_body import JsonBody, ReplacingBody
from extauthz.compile.documents import octets_problem, subject_kind, workload_problem
from extauthz.domain.policy import RoleRule, SubjectKind
from extauthz.domain.problem import Problem
from extauthz.domain.reasons import Effect
from extauthz.storage import role_rules
from extauthz.storage.outcome import Conflict, NotFound
from extauthz.storage.rows import Stored
from extauthz.storage.write import Change

PATH: Final = "/api/v1/resources/policies"
_NOUN: Final = "role rule"


def _kind(kind: object, info: ValidationInfo) -> object:
    if kind is not doc.LEFT_OUT:
        return kind
    return subject_kind(info.data.get("sub"), None, info.data.get("effect"))


class RoleRuleDocument(doc.Document):
    """A role rule. Its members are the fields of the entity `RoleRule` and the columns of the table."""

    example: ClassVar = {
        "sub": "finance",
        "sub_kind": "role",
        "dom": "*",
        "obj": "invoice:read",
        "act": "read",
        "effect": "allow",
    }
    sub: Annotated[doc.Name, doc.about("the subject: a role, user, service or workload, or `*`")]
    dom: Annotated[doc.Name, doc.about("the domain, or `*` for every domain and for none")]
    obj: Annotated[doc.Name, doc.about("the resource, or `*`")]
    act: Annotated[doc.Name, doc.about("the action, or `*`")]
    effect: Effect
    sub_kind: Annotated[SubjectKind, BeforeValidator(_kind)] = doc.computed(
        description="the kind of `sub`; left out, `role` in an allow and `any` in a deny"
    )

    @field_validator("act")
    @classmethod
    def _fits_together(cls, act: str, info: ValidationInfo) -> str:
        names = {name: value for name in ("sub", "dom", "obj") if (value := info.data.get(name))}
        if problem := octets_problem(names | {"act": act}):
            raise doc.refused_at([Problem("", problem)], up=1)
        return act

    @field_validator("sub_kind")
    @classmethod
    def _fits_subject(cls, kind: SubjectKind, info: ValidationInfo) -> SubjectKind:
        found = subject_kind(info.data.get("sub"), kind, info.data.get("effect"))
        if not isinstance(found, SubjectKind):
            raise doc.refused(found)
        if problem := workload_problem(found, info.data.get("sub")):
            raise doc.refused_at([Problem("/sub", problem)], up=1)
        return found

    def to_rule(self, rule_id: str) -> RoleRule:
        """Return the entity."""
        return RoleRule(rule_id, **{name: getattr(self, name) for name in type(self).model_fields})


class RoleRuleOut(RoleRuleDocument, doc.StoredRow):
    """A stored role rule."""


class RoleRuleValue(doc.Document):
    """The value of a rule; `act`, `sub_kind` and `effect` narrow it down."""

    example: ClassVar = {"sub": "finance", "dom": "*", "obj": "invoice:read"}
    sub: doc.Name
    dom: doc.Name
    obj: doc.Name
    act: Annotated[doc.Name | None, doc.NOT_NULL] = None
    sub_kind: Annotated[SubjectKind | None, doc.NOT_NULL] = None
    effect: Annotated[Effect | None, doc.NOT_NULL] = None


class RoleRuleFilter(PageQuery):
    """Which rules to list."""

    obj: Annotated[doc.Name | None, doc.about("only rules on this resource")] = None
    sub: Annotated[doc.Name | None, doc.about("only rules for this subject")] = None
    dom: Annotated[doc.Name | None, doc.about("only rules of this domain")] = None


class RoleRuleValueQuery(doc.Query):
    """The value of a rule in the query string."""

    sub: Annotated[doc.Name | None, doc.about("the subject")] = None
    dom: Annotated[doc.Name | None, doc.about("the domain")] = None
    obj: Annotated[doc.Name | None, doc.about("the resource")] = None
    act: Annotated[doc.Name | None, doc.about("the action")] = None
    sub_kind: Annotated[SubjectKind | None, doc.about("narrows it down")] = None
    effect: Annotated[Effect | None, doc.about("narrows it down")] = None


class _ValueBody(JsonBody[RoleRuleValue]):
    """Reads the value of a rule; the query string then has none."""

    def _read(self, document: object, request: Request) -> RoleRuleValue:
        if request.query_params:
            raise invalid(
                [ParameterProblem(name, "is for calls without a body") for name in request.query_params]
            )
        return super()._read(document, request)


_RULE: Final = JsonBody[RoleRuleDocument](RoleRuleDocument)
router: Final = APIRouter(prefix=PATH, tags=["Role rules"], route_class=context.Route)


@router.get("", **op(listed(RoleRuleOut)))
async def list_role_rules(ctx: context.Reads, query: Annotated[RoleRuleFilter, Query()]) -> Response:
    """List role rules. Only rules that the caller may see."""
    return await ctx.list(role_rules.TABLE, role_rules.page, query)


@router.post("", **op(created(RoleRuleOut), 409))
async def create_role_rule(
    ctx: context.Creates, body: Annotated[RoleRuleDocument, Depends(_RULE)]
) -> Response:
    """Create a role rule. A Casbin `p` line. A rule with the same value as another is 409."""
    ctx.require_domain(body.dom)
    ctx.check_precondition(None)

    async def work(change: Change) -> Stored | Conflict:
        await ctx.check_quota(change, "role_rules", 1)
        document = role_rules.document_of(body.to_rule(change.new_id()))
        created = await role_rules.create(change, [document], by_domain_admin=ctx.by_domain_admin)
        return created if isinstance(created, Conflict) else created[0]

    return await ctx.write(work, context.row_reply(201, location=PATH))


@router.put("", **op(written(200, RoleRuleOut), 404, 409))
async def replace_role_rule_by_value(
    ctx: context.Writes, body: Annotated[RoleRuleDocument, Depends(_RULE)]
) -> Response:
    """Replace a role rule found by its value.

    Found by exactly (sub, dom, obj, act), else as the only rule with (sub, dom, obj). Several are 409
    with their ids. The action and the effect may change.
    """
    ctx.require_domain(body.dom)

    async def work(change: Change) -> Stored | NotFound | Conflict:
        found = await role_rules.by_value(
            change.connection, change.tenant, sub=body.sub, dom=body.dom, obj=body.obj, act=body.act
        )
        return found if isinstance(found, NotFound | Conflict) else await _replace(ctx, change, found, body)

    return await ctx.write(work, context.row_reply(200))


@router.delete("", **op(deleted(), 404, 409))
async def delete_role_rule_by_value(
    ctx: context.Writes,
    query: Annotated[RoleRuleValueQuery, Query()],
    body: Annotated[RoleRuleValue | None, Depends(_ValueBody(RoleRuleValue, required=False))],
) -> Response:
    """Delete a role rule found by its value.

    Found by exactly (sub, dom, obj, act), else as the only rule with (sub, dom, obj). Several are 409
    with their ids. The value is in the body or in the query.
    """
    wanted = _in_query(query) if body is None else body
    ctx.require_domain(wanted.dom)

    async def work(change: Change) -> Stored | NotFound | Conflict:
        found = await role_rules.by_value(change.connection, change.tenant, **wanted.model_dump())
        return found if isinstance(found, NotFound | Conflict) else await _delete(ctx, change, found)

    return await ctx.write(work, context.no_content)


def _in_query(query: RoleRuleValueQuery) -> RoleRuleValue:
    missing = [name for name in ("sub", "dom", "obj") if getattr(query, name) is None]
    if missing:
        raise invalid([ParameterProblem(name, "is missing, here or in the body") for name in missing])
    return RoleRuleValue.model_validate(query.model_dump(exclude_none=True))


@router.get("/{id}", **op(found(RoleRuleOut), 404))
async def get_role_rule(ctx: context.Reads) -> Response:
    """Get a role rule. A rule of a domain that the caller does not administer is 404."""
    rule_id = ctx.row_id(_NOUN)
    stored = await ctx.read(lambda connection: role_rules.get(connection, ctx.tenant, rule_id))
    return ctx.single(role_rules.TABLE, ctx.visible(_NOUN, stored))


@router.put("/{id}", **op(written(200, RoleRuleOut), 404, 409))
async def replace_role_rule(
    ctx: context.Writes, body: Annotated[RoleRuleDocument, Depends(ReplacingBody(RoleRuleDocument, _NOUN))]
) -> Response:
    """Replace a role rule. An object as it was read may be changed and sent back."""
    rule_id = ctx.row_id(_NOUN)
    ctx.require_domain(body.dom)

    async def work(change: Change) -> Stored | NotFound | Conflict:
        stored = ctx.visible(_NOUN, await role_rules.get(change.connection, change.tenant, rule_id))
        return await _replace(ctx, change, stored, body)

    return await ctx.write(work, context.row_reply(200))


@router.delete("/{id}", **op(deleted(), 404))
async def delete_role_rule(ctx: context.Writes) -> Response:
    """Delete a role rule. Only tenant admins delete a deny that a tenant admin wrote."""
    rule_id = ctx.row_id(_NOUN)

    async def work(change: Change) -> Stored | NotFound:
        return await _delete(
            ctx, change, ctx.visible(_NOUN, await role_rules.get(change.connection, change.tenant, rule_id))
        )

    return await ctx.write(work, context.no_content)


async def _replace(
    ctx: context.RequestContext, change: Change, stored: Stored, body: RoleRuleDocument
) -> Stored | NotFound | Conflict:
    require_tenant_admin(ctx.caller, stored, domain="dom")
    ctx.check_precondition(stored)
    document = role_rules.document_of(body.to_rule(stored.id))
    return await role_rules.replace(change, document, by_domain_admin=ctx.by_domain_admin)


async def _delete(ctx: context.RequestContext, change: Change, stored: Stored) -> Stored | NotFound:
    require_tenant_admin(ctx.caller, stored, domain="dom")
    ctx.check_precondition(stored)
    return await role_rules.delete(change, UUID(stored.id))
