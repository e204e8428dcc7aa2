"""`/api/v1/resources/policies`: role rules, Casbin's `p` lines, by id and by value."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from starlette.responses import Response

from extauthz.compile.documents.policy_documents import parse_role_rule
from extauthz.domain.policy import RoleRule, SubjectKind
from extauthz.domain.reasons import Effect
from extauthz.rest import documents as doc
from extauthz.rest.answers import POLICY_REVISION
from extauthz.rest.authorization import require_domain, require_tenant_admin
from extauthz.rest.collection import Collection, Find
from extauthz.rest.openapi import created, deleted, found, listed, written
from extauthz.rest.operation import Creates, Operation, Reads, Writes
from extauthz.rest.pagination import PageQuery
from extauthz.storage import role_rules
from extauthz.storage.rows import Document

PATH: Final = "/api/v1/resources/policies"


class RoleRuleDocument(doc.PolicyDocument[RoleRule]):
    """A role rule. Its members are the fields of the entity `RoleRule` and the columns of the table."""

    reader = parse_role_rule
    sub: doc.Name = doc.about("the subject: a role, user, service or workload, or `*`", "finance")
    dom: doc.Name = doc.about("the domain, or `*` for every domain and for none", "*")
    obj: doc.Name = doc.about("the resource, or `*`", "invoice:read")
    act: doc.Name = doc.about("the action, or `*`", "read")
    effect: Effect = doc.example("allow")
    sub_kind: SubjectKind = doc.computed(
        "the kind of `sub`; left out, `role` in an allow and `any` in a deny", "role"
    )

    def to_document(self, rule_id: str) -> Document:
        """Return the document to store."""
        return role_rules.document_of(self.entity._replace(id=rule_id))


class RoleRuleOut(RoleRuleDocument, doc.StoredRow):
    """A stored role rule."""


class RoleRuleValue(doc.BodyModel):
    """The value of a rule; `act`, `sub_kind` and `effect` narrow it down."""

    sub: doc.Name = doc.about("the subject", "finance")
    dom: doc.Name = doc.about("the domain", "*")
    obj: doc.Name = doc.about("the resource", "invoice:read")
    act: doc.Omissible[doc.Name] = doc.optional("the action")
    sub_kind: doc.Omissible[SubjectKind] = doc.optional("narrows it down")
    effect: doc.Omissible[Effect] = doc.optional("narrows it down")


class RoleRuleFilter(PageQuery):
    """Which rules to list."""

    obj: doc.Name | None = doc.optional("only rules on this resource")
    sub: doc.Name | None = doc.optional("only rules for this subject")
    dom: doc.Name | None = doc.optional("only rules of this domain")


RULES: Final[Collection[RoleRuleDocument]] = Collection(
    noun="role rule",
    path=PATH,
    rows=role_rules,
    require_writable=require_tenant_admin,
)


def _by_value(**value: Any) -> Find:
    return lambda change: role_rules.by_value(change.connection, change.tenant, **value)


router: Final = APIRouter(prefix=PATH, tags=["Role rules"], route_class=Operation)


@router.get("", **listed(RoleRuleOut, POLICY_REVISION))
async def list_role_rules(ctx: Reads, query: Annotated[RoleRuleFilter, Query()]) -> Response:
    """List role rules. Only rules that the caller may see."""
    return await RULES.list(ctx, query)


@router.post("", **created(RoleRuleOut))
async def create_role_rule(ctx: Creates, body: RoleRuleDocument) -> Response:
    """Create a role rule. A Casbin `p` line. A rule with the same value as another is 409."""
    require_domain(ctx, body.dom)
    return await RULES.create(ctx, body)


@router.put("", **written(RoleRuleOut))
async def replace_role_rule_by_value(ctx: Writes, body: RoleRuleDocument) -> Response:
    """Replace a role rule found by its value.

    Found by exactly (sub, dom, obj, act), else as the only rule with (sub, dom, obj). Several are 409
    with their ids. The action and the effect may change.
    """
    require_domain(ctx, body.dom)
    find = _by_value(sub=body.sub, dom=body.dom, obj=body.obj, act=body.act)
    return await RULES.replace(ctx, body, find)


@router.delete("", **deleted())
async def delete_role_rule_by_value(
    ctx: Writes, query: Annotated[RoleRuleValue | None, Query()] = None, body: RoleRuleValue | None = None
) -> Response:
    """Delete a role rule found by its value.

    Found by exactly (sub, dom, obj, act), else as the only rule with (sub, dom, obj). Several are 409
    with their ids. The value is in the body or in the query.
    """
    value = query if body is None else body
    assert value is not None, "a value is in the query where none is in the body"
    require_domain(ctx, value.dom)
    return await RULES.delete(ctx, find=_by_value(**value.model_dump()))


@router.get("/{id}", **found(RoleRuleOut))
async def get_role_rule(ctx: Reads) -> Response:
    """Get a role rule. A rule of a domain that the caller does not administer is 404."""
    return await RULES.get(ctx)


@router.put("/{id}", **written(RoleRuleOut))
async def replace_role_rule(ctx: Writes, body: RoleRuleDocument) -> Response:
    """Replace a role rule. An object as it was read may be changed and sent back."""
    require_domain(ctx, body.dom)
    return await RULES.replace(ctx, body)


@router.delete("/{id}", **deleted())
async def delete_role_rule(ctx: Writes) -> Response:
    """Delete a role rule. Only tenant admins delete a deny that a tenant admin wrote."""
    return await RULES.delete(ctx)
