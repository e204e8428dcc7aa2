"""`/api/v1/abac/policies`: condition trees on resources. Deletion is soft, every version is kept."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, NamedTuple, cast

from fastapi import APIRouter, Depends, Query
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ModelWrapValidatorHandler,
    TypeAdapter,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from starlette.responses import Response

from extauthz.admin import context
from extauthz.admin import documents as doc
from extauthz.admin.authorization import require_tenant_admin
from extauthz.admin.openapi import created, deleted, found, listed, op, written
from extauthz.admin.pagination import Order, PageQuery
from extauthz.admin.problems import forbidden, invalid, not_found
from extauthz.admin.request_body import JsonBody, PatchBody, ReplacingBody
from extauthz.admin.row_warnings import with_document_warnings
from extauthz.compile.casbin_conditions import parse_matcher
from extauthz.compile.conditions import parse_condition
from extauthz.compile.documents import Format, parse_attribute_policy, priority_problem
from extauthz.compile.warnings import DocumentWarning, policy_warnings
from extauthz.domain.policy import (
    MAX_ALLOW_PRIORITY,
    MAX_PRIORITY,
    MIN_PRIORITY,
    WILDCARD,
    AttributePolicy,
    Mode,
    Node,
)
from extauthz.domain.reasons import Effect
from extauthz.storage import attribute_policies
from extauthz.storage.encoding import encode_json
from extauthz.storage.outcome import Conflict, NotFound
from extauthz.storage.rows import Document as JsonDocument
from extauthz.storage.rows import Stored, rfc3339
from extauthz.storage.write import Change

if TYPE_CHECKING:
    from extauthz.domain.problem import Problem

PATH: Final = "/api/v1/abac/policies"
MAX_DOCUMENT_BYTES: Final = 256 * 1024
_NOUN: Final = "attribute policy"
_MEMBERS: Final = [each.name for each in fields(AttributePolicy) if each.name not in {"id", "condition"}]


class RuleData(NamedTuple):
    """A condition as its author wrote it, and as a tree."""

    written: object
    condition: Node


def _domain(value: object, info: ValidationInfo) -> object:
    if value is not doc.LEFT_OUT:
        return value
    if doc.context_of(info).reading.default_domain is None:
        raise doc.refused("is missing, the domain of the policy is needed")
    return doc.context_of(info).reading.default_domain


def _condition(value: object, info: ValidationInfo) -> RuleData:
    """Read a condition with the iterative reader, which takes trees of any depth."""
    problems: list[Problem] = []
    read = parse_matcher if info.data.get("format") is Format.CASBIN else parse_condition
    condition = read(value, "", problems, condition_headers=doc.context_of(info).reading.condition_headers)
    if problems or condition is None:
        raise doc.refused_at(problems)
    return RuleData(value, condition)


class AttributePolicyDocument(doc.Document):
    """An attribute policy."""

    patch_example: ClassVar = {"enabled": False}
    shown: ClassVar = ("version", "deleted_at", "created_at", "updated_at", "warnings")
    example: ClassVar = {
        "name": "owners read their own invoices",
        "resource": "invoice:read",
        "effect": "allow",
        "rule_data": {
            "type": "CONDITION",
            "attribute": "resource.owner",
            "operator": "eq",
            "value": {"attribute": "user.id"},
        },
    }
    name: Annotated[doc.Name, doc.about("a name for people")]
    resource: Annotated[doc.Name, doc.about("the name of a resource, or `*`")]
    actions: Annotated[
        list[Annotated[doc.Name, doc.about("an action, or `*`")]],
        Field(min_length=1),
        AfterValidator(doc.without_repeats),
    ] = [WILDCARD]  # noqa: RUF012  # Pydantic copies it
    domain: Annotated[doc.Name, BeforeValidator(_domain)] = doc.computed(
        description="applies to principals of this domain only; `*`: to every principal. Left out: `*`, or "
        "the only domain of a domain admin"
    )
    effect: Effect
    priority: Annotated[
        doc.Integer,
        Field(
            ge=MIN_PRIORITY,
            le=MAX_PRIORITY,
            description="an allow: -1000 to 1000 (domain admins: at most 0); above: tenant admins' denies",
        ),
    ] = 0
    enabled: doc.Flag = True
    mode: Mode = Mode.ENFORCE
    format: Format = Format.JSON
    rule_data: Annotated[
        Any,
        AfterValidator(_condition),
        WithJsonSchema({"anyOf": [{"x-schema": "Condition"}, {"type": "string"}]}),
        doc.about("a condition tree; with `format` `casbin` an expression"),
    ]

    @field_validator("priority")
    @classmethod
    def _fits_effect(cls, priority: int, info: ValidationInfo) -> int:
        if problem := priority_problem(info.data.get("effect"), priority, doc.context_of(info).reading):
            raise doc.refused(f"found {priority}, {problem}")
        return priority

    @model_validator(mode="wrap")
    @classmethod
    def _fits_size(cls, document: object, handler: ModelWrapValidatorHandler[Any]) -> Any:
        policy = handler(document)
        if len(encode_json(document)) > MAX_DOCUMENT_BYTES:
            raise doc.refused(f"is longer than {MAX_DOCUMENT_BYTES} bytes")
        return policy

    def to_document(self, policy_id: str) -> JsonDocument:
        """Return the document to store: the condition as its author wrote it, defaults written out."""
        members = self.model_dump(mode="json", exclude={"rule_data"})
        return {"id": policy_id, **members, "rule_data": self.rule_data.written}

    def warnings_of(self) -> list[DocumentWarning]:
        """Return what may surprise the author, with pointers into the author's document."""
        members = {name: getattr(self, name) for name in _MEMBERS}
        policy = AttributePolicy(id="-", **members, condition=self.rule_data.condition)
        return _warnings(policy, self.format)


def _warnings(policy: AttributePolicy, notation: Format) -> list[DocumentWarning]:
    found = list(policy_warnings(policy))
    if notation is not Format.CASBIN:
        return found
    # An expression is one text, which a pointer cannot point into.
    moved = (
        replace(each, pointer="/rule_data") if each.pointer.startswith("/rule_data") else each
        for each in found
    )
    return list(dict.fromkeys(moved))


class AttributePolicyOut(AttributePolicyDocument, doc.StoredRow):
    """A stored attribute policy."""

    example: ClassVar = {"actions": ["*"], "domain": "*", "priority": 0, "enabled": True} | {
        "mode": "enforce", "format": "json", "version": 1, "deleted_at": None,
    }  # fmt: skip
    version: Annotated[doc.Integer, Field(ge=1)]
    deleted_at: doc.Time | None


class AttributePolicyVersion(doc.Model):
    """One version of a policy."""

    example: ClassVar = {
        "version": 1,
        "deleted": False,
        "document": {"id": doc.EXAMPLE_ID, **AttributePolicyDocument.example},
        "actor": {"kind": "user", "id": "alice", "domain": None, "request_id": None},
        "revision": 7,
        "created_at": doc.EXAMPLE_TIME,
    }
    version: Annotated[doc.Integer, Field(ge=1)]
    deleted: doc.Flag
    document: Annotated[dict[str, Any], doc.about("the document of the policy in this version")]
    actor: dict[str, Any]
    revision: Annotated[doc.Integer, Field(ge=0)]
    created_at: doc.Time


class DeletedQuery(doc.Query):
    """Whether to show a deleted policy."""

    deleted: Annotated[doc.QueryFlag, doc.about("also when it is deleted (`deleted_at`)")] = False


class AttributePolicyFilter(PageQuery):
    """Which policies to list."""

    resource: Annotated[doc.Name | None, doc.about("only policies on this resource")] = None
    deleted: Annotated[doc.QueryFlag, doc.about("the deleted ones instead of the present ones")] = False


_ADAPTER: Final = TypeAdapter(AttributePolicyDocument)
router: Final = APIRouter(prefix=PATH, tags=["Attribute policies"], route_class=context.Route)
_WRITTEN: Final = (written(200, AttributePolicyOut), 404)


@router.get("", **op(listed(AttributePolicyOut)))
async def list_attribute_policies(
    ctx: context.Reads, query: Annotated[AttributePolicyFilter, Query()]
) -> Response:
    """List attribute policies. Only policies that the caller may see."""
    return await ctx.list(attribute_policies.TABLE, attribute_policies.page, query, to_shown)


@router.post("", **op(created(AttributePolicyOut)))
async def create_attribute_policy(
    ctx: context.Creates, body: Annotated[AttributePolicyDocument, Depends(JsonBody(AttributePolicyDocument))]
) -> Response:
    """Create an attribute policy.

    Domain admins write for their own domains, and below the priority of tenant admins' denies.
    """
    ctx.require_domain(body.domain)
    ctx.check_precondition(None)

    async def work(change: Change) -> Stored | Conflict:
        await ctx.check_quota(change, "attribute_policies", 1)
        document = body.to_document(change.new_id())
        created = await attribute_policies.create(change, [document], by_domain_admin=ctx.by_domain_admin)
        return created if isinstance(created, Conflict) else created[0]

    return await ctx.write(work, context.row_reply(201, _with_warnings(body.warnings_of()), location=PATH))


@router.get("/{id}", **op(found(AttributePolicyOut), 404))
async def get_attribute_policy(ctx: context.Reads, query: Annotated[DeletedQuery, Query()]) -> Response:
    """Get an attribute policy. A deleted policy is 404 unless `deleted` is true."""
    policy_id = ctx.row_id(_NOUN)
    found = await ctx.read(lambda connection: attribute_policies.get(connection, ctx.tenant, policy_id))
    stored = ctx.visible(_NOUN, found)
    if stored.deleted_at is not None and not query.deleted:
        raise not_found(
            f"the attribute policy {stored.id!r} was deleted at {rfc3339(stored.deleted_at)}; "
            "'?deleted=true' shows it, and 'restore' brings it back"
        )
    return ctx.single(attribute_policies.TABLE, stored, to_shown)


@router.put("/{id}", **op(*_WRITTEN))
async def replace_attribute_policy(
    ctx: context.Writes,
    body: Annotated[AttributePolicyDocument, Depends(ReplacingBody(AttributePolicyDocument, _NOUN))],
) -> Response:
    """Replace an attribute policy. An object as it was read may be changed and sent back."""
    ctx.require_domain(body.domain)

    async def work(change: Change) -> Stored | NotFound:
        stored = await _present(ctx, change)
        ctx.check_precondition(stored)
        return await _replace(ctx, change, stored, body)

    return await ctx.write(work, context.row_reply(200, _with_warnings(body.warnings_of())))


@router.patch("/{id}", **op(*_WRITTEN))
async def patch_attribute_policy(
    ctx: context.Writes, patch: Annotated[doc.Patch, Depends(PatchBody(AttributePolicyDocument, _NOUN))]
) -> Response:
    """Change some members of an attribute policy.

    A JSON merge patch (RFC 7396); a `rule_data` with a `type` replaces the whole tree.
    """

    async def work(change: Change) -> tuple[Stored, AttributePolicyDocument] | NotFound:
        stored = await _present(ctx, change)
        rule_data = patch.members.get("rule_data")
        # A whole tree: members of the old root that it lacks would make another tree of it.
        is_tree = isinstance(rule_data, Mapping) and "type" in rule_data
        document, problems = patch.apply(stored.document, whole={"rule_data": rule_data} if is_tree else None)
        body = doc.validate(_ADAPTER, document, ctx, problems)
        # RFC 9110 13.2.1: preconditions are evaluated after the checks of the request itself.
        ctx.check_precondition(stored)
        ctx.require_domain(body.domain)
        replaced = await _replace(ctx, change, stored, body)
        return replaced if isinstance(replaced, NotFound) else (replaced, body)

    def reply(written: tuple[Stored, AttributePolicyDocument], revision: int) -> context.Reply:
        stored, body = written
        return context.row_reply(200, _with_warnings(body.warnings_of()))(stored, revision)

    return await ctx.write(work, reply)


@router.delete("/{id}", **op(deleted(), 404))
async def delete_attribute_policy(ctx: context.Writes) -> Response:
    """Delete an attribute policy softly. It takes no part in decisions any more; it can be restored."""
    policy_id = ctx.row_id(_NOUN)

    async def work(change: Change) -> Stored | NotFound:
        ctx.check_precondition(await _present(ctx, change))
        return await attribute_policies.delete(change, policy_id)

    return await ctx.write(work, context.no_content)


@router.post("/{id}/restore", **op(*_WRITTEN))
async def restore_attribute_policy(ctx: context.Writes) -> Response:
    """Restore a deleted attribute policy. A policy that is not deleted stays as it is."""
    policy_id = ctx.row_id(_NOUN)

    async def work(change: Change) -> tuple[Stored, AttributePolicy] | NotFound:
        stored = ctx.visible(_NOUN, await attribute_policies.get(change.connection, change.tenant, policy_id))
        _require_priority(ctx, stored)
        ctx.check_precondition(stored)
        problems: list[Problem] = []
        policy = parse_attribute_policy(stored.document, "", problems, ctx.reading)
        if policy is None:
            raise invalid(problems)
        restored = await attribute_policies.restore(change, policy_id)
        return (restored, policy) if isinstance(restored, Stored) else restored

    def reply(written: tuple[Stored, AttributePolicy], revision: int) -> context.Reply:
        stored, policy = written
        warnings = _warnings(policy, Format(str(stored.document["format"])))
        return context.row_reply(200, _with_warnings(warnings))(stored, revision)

    return await ctx.write(work, reply)


@router.get("/{id}/versions", **op(listed(AttributePolicyVersion), 404))
async def list_attribute_policy_versions(
    ctx: context.Reads, query: Annotated[PageQuery, Query()]
) -> Response:
    """List every version of an attribute policy, oldest first.

    Only versions in domains that the caller administers.
    """
    policy_id = ctx.row_id(_NOUN)
    position = query.position(f"{ctx.tenant} versions of {policy_id}", order=Order.NUMBER)

    async def work(connection: Any) -> attribute_policies.VersionPage:
        ctx.visible(_NOUN, await attribute_policies.get(connection, ctx.tenant, policy_id))
        return await attribute_policies.versions(
            connection,
            ctx.tenant,
            policy_id,
            domains=ctx.caller.domains,
            after=position.after_number,
            limit=position.limit,
        )

    found = await ctx.read(work)
    return context.list_of(
        [asdict(each) | {"created_at": rfc3339(each.created_at)} for each in found.items],
        position.cursor(found.next),
    )


async def _present(ctx: context.RequestContext, change: Change) -> Stored:
    """Return the policy that is about to be written, if the caller may write it."""
    policy_id = ctx.row_id(_NOUN)
    stored = ctx.visible(_NOUN, await attribute_policies.get(change.connection, change.tenant, policy_id))
    if stored.deleted_at is not None:
        raise ctx.missing(_NOUN)
    require_tenant_admin(ctx.caller, stored, domain="domain")
    return stored


async def _replace(
    ctx: context.RequestContext, change: Change, stored: Stored, body: AttributePolicyDocument
) -> Stored | NotFound:
    document = body.to_document(stored.id)
    return await attribute_policies.replace(change, document, by_domain_admin=ctx.by_domain_admin)


def _require_priority(ctx: context.RequestContext, stored: Stored) -> None:
    """Refuse to restore a policy that a domain admin could not write."""
    priority = cast("int", stored.document["priority"])
    allowed = 0 if stored.document["effect"] == Effect.ALLOW.value else MAX_ALLOW_PRIORITY
    if not ctx.caller.is_tenant_admin and priority > allowed:
        raise forbidden("the priority of this policy is above what a domain admin may write")


def to_shown(stored: Stored) -> JsonDocument:
    """Return a policy as the API shows it."""
    deleted_at = None if stored.deleted_at is None else rfc3339(stored.deleted_at)
    return context.to_json(stored) | {"version": stored.version, "deleted_at": deleted_at}


def _with_warnings(warnings: Sequence[DocumentWarning]) -> Any:
    return lambda stored: with_document_warnings(to_shown(stored), warnings)
