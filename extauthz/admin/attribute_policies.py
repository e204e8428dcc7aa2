"""`/api/v1/abac/policies`: condition trees on resources. Deletion is soft, every version is kept."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, ClassVar, Final, cast

from fastapi import APIRouter, Query
from pydantic import (
    Field,
    WithJsonSchema,
)
from starlette.responses import Response

from extauthz.compile.documents.body_needs import policy_reads_body
from extauthz.compile.documents.policy_documents import Format, Reading, parse_attribute_policy
from extauthz.compile.documents.warnings import DocumentWarning, policy_warnings
from extauthz.domain.policy import (
    MAX_ALLOW_PRIORITY,
    MAX_PRIORITY,
    MIN_PRIORITY,
    WILDCARD,
    AttributePolicy,
    Mode,
)
from extauthz.domain.problem import Problem
from extauthz.domain.reasons import Effect
from extauthz.domain.time_text import rfc3339
from extauthz.rest import documents as doc
from extauthz.rest.answers import POLICY_REVISION, members_of, to_json
from extauthz.rest.authorization import require_domain, require_tenant_admin
from extauthz.rest.collection import Collection, written_from
from extauthz.rest.openapi import created, deleted, found, listed, written
from extauthz.rest.operation import Creates, Operation, Reads, Writes
from extauthz.rest.pagination import BY_NUMBER, PageQuery, Paging
from extauthz.rest.problems import accepted, forbidden, not_found
from extauthz.rest.request_body import merge_patch
from extauthz.storage import attribute_policies
from extauthz.storage.encoding import encode_json
from extauthz.storage.rows import Document, Page, Stored
from extauthz.storage.write import Change

PATH: Final = "/api/v1/abac/policies"
MAX_DOCUMENT_BYTES: Final = 256 * 1024
EXAMPLE: Final = {
    "type": "CONDITION",
    "attribute": "resource.owner",
    "operator": "eq",
    "value": {"attribute": "user.id"},
}


def _read(
    document: object, pointer: str, problems: list[Problem], reading: Reading
) -> AttributePolicy | None:
    policy = parse_attribute_policy(document, pointer, problems, reading)
    if not problems and len(encode_json(document)) > MAX_DOCUMENT_BYTES:
        problems.append(Problem(pointer, f"is longer than {MAX_DOCUMENT_BYTES} bytes"))
    return policy


class AttributePolicyDocument(doc.PolicyDocument[AttributePolicy]):
    """An attribute policy."""

    reader = _read
    patch_example: ClassVar = {"enabled": False}
    shown: ClassVar = ("version", "deleted_at", "created_at", "updated_at", "warnings")
    name: doc.Name = doc.about("a name for people", "owners read their own invoices")
    resource: doc.Name = doc.about("the name of a resource, or `*`", "invoice:read")
    actions: Annotated[list[Annotated[doc.Name, doc.about("an action, or `*`")]], Field(min_length=1)] = [
        WILDCARD
    ]
    domain: doc.Name = doc.computed(
        "applies to principals of this domain only; `*`: to every principal. Left out: `*`, or the only "
        "domain of a domain admin",
        "*",
    )
    effect: Effect = doc.example("allow")
    priority: doc.Integer = doc.about(
        "an allow: -1000 to 1000 (domain admins: at most 0); above: tenant admins' denies",
        default=0,
        ge=MIN_PRIORITY,
        le=MAX_PRIORITY,
    )
    enabled: doc.Flag = True
    mode: Mode = Mode.ENFORCE
    format: Format = Format.JSON
    rule_data: Annotated[Any, WithJsonSchema({"anyOf": [{"x-schema": "Condition"}, {"type": "string"}]})] = (
        doc.about("a condition tree; with `format` `casbin` an expression", EXAMPLE)
    )

    def to_document(self, policy_id: str) -> Document:
        """Return the document to store: the condition as its author wrote it, defaults written out."""
        policy = replace(self.entity, id=policy_id)
        return attribute_policies.document_of(policy, notation=self.format, rule_data=self.rule_data)

    def document_warnings(self) -> list[DocumentWarning]:
        """Return what may surprise the author, with pointers into the author's document."""
        warnings = list(policy_warnings(self.entity))
        if self.format != Format.CASBIN:
            return warnings
        # An expression is one text, which a pointer cannot point into.
        moved = (
            replace(each, pointer="/rule_data") if each.pointer.startswith("/rule_data") else each
            for each in warnings
        )
        return list(dict.fromkeys(moved))

    @property
    def reads_body(self) -> bool:
        """Whether a condition reads the body of requests."""
        return policy_reads_body(self.entity)


class AttributePolicyOut(AttributePolicyDocument, doc.StoredRow):
    """A stored attribute policy."""

    version: doc.Positive = doc.example(1)
    deleted_at: doc.Time | None = doc.example(None)


class AttributePolicyVersion(doc.Model):
    """One version of a policy."""

    version: doc.Positive = doc.example(1)
    deleted: doc.Flag = doc.example(False)
    document: dict[str, Any] = doc.about("the document of the policy in this version", {"id": doc.EXAMPLE_ID})
    actor: dict[str, Any] = doc.about("as in the audit trail", {"kind": "user", "id": "alice"})
    revision: doc.NonNegative = doc.example(7)
    created_at: doc.Time


class DeletedQuery(doc.QueryModel):
    """Whether to show a deleted policy."""

    deleted: doc.QueryFlag = doc.about("also when it is deleted (`deleted_at`)", default=False)


class AttributePolicyFilter(PageQuery):
    """Which policies to list."""

    resource: doc.Name | None = doc.optional("only policies on this resource")
    deleted: doc.QueryFlag = doc.about("the deleted ones instead of the present ones", default=False)


def to_shown(stored: Stored) -> Document:
    """Return a policy as the API shows it."""
    deleted_at = None if stored.deleted_at is None else rfc3339(stored.deleted_at)
    return to_json(stored) | {"version": stored.version, "deleted_at": deleted_at}


POLICIES: Final[Collection[AttributePolicyDocument]] = Collection(
    noun="attribute policy",
    path=PATH,
    rows=attribute_policies,
    domain="domain",
    require_writable=require_tenant_admin,
    show=to_shown,
)
router: Final = APIRouter(prefix=PATH, tags=["Attribute policies"], route_class=Operation)


@router.get("", **listed(AttributePolicyOut, POLICY_REVISION))
async def list_attribute_policies(ctx: Reads, query: Annotated[AttributePolicyFilter, Query()]) -> Response:
    """List attribute policies. Only policies that the caller may see."""
    return await POLICIES.list(ctx, query)


@router.post("", **created(AttributePolicyOut))
async def create_attribute_policy(ctx: Creates, body: AttributePolicyDocument) -> Response:
    """Create an attribute policy.

    Domain admins write for their own domains, and below the priority of tenant admins' denies.
    """
    require_domain(ctx, body.entity.domain)
    return await POLICIES.create(ctx, body)


@router.get("/{id}", **found(AttributePolicyOut))
async def get_attribute_policy(ctx: Reads, query: Annotated[DeletedQuery, Query()]) -> Response:
    """Get an attribute policy. A deleted policy is 404 unless `deleted` is true."""
    stored = await POLICIES.found(ctx)
    if stored.deleted_at is not None and not query.deleted:
        raise not_found(
            f"the attribute policy {stored.id!r} was deleted at {rfc3339(stored.deleted_at)}; "
            "'?deleted=true' shows it, and 'restore' brings it back"
        )
    return ctx.single(attribute_policies.TABLE, stored, to_shown)


@router.put("/{id}", **written(AttributePolicyOut))
async def replace_attribute_policy(ctx: Writes, body: AttributePolicyDocument) -> Response:
    """Replace an attribute policy. An object as it was read may be changed and sent back."""
    require_domain(ctx, body.entity.domain)
    return await POLICIES.replace(ctx, body)


@router.patch("/{id}", **written(AttributePolicyOut))
async def patch_attribute_policy(
    ctx: Writes, body: Annotated[doc.Patch, merge_patch(AttributePolicyDocument)]
) -> Response:
    """Change some members of an attribute policy.

    A JSON merge patch (RFC 7396); a `rule_data` with a `type` replaces the whole tree.
    """
    rule_data = body.members.get("rule_data")
    # A whole tree: members of the old root that it lacks would make another tree of it.
    is_tree = isinstance(rule_data, Mapping) and "type" in rule_data

    async def work(change: Change) -> tuple[Stored, AttributePolicyDocument]:
        stored = await POLICIES.writable(ctx, change)
        document, problems = body.apply(stored.document, whole=frozenset({"rule_data"} if is_tree else ()))
        policy = doc.validate(AttributePolicyDocument.model_validate, document, ctx, problems)
        # RFC 9110 13.2.1: preconditions are evaluated after the checks of the request itself.
        ctx.check_precondition(stored)
        require_domain(ctx, policy.entity.domain)
        return await POLICIES.store(ctx, change, stored, policy), policy

    return await ctx.write(work, written_from(ctx, to_shown))


@router.delete("/{id}", **deleted())
async def delete_attribute_policy(ctx: Writes) -> Response:
    """Delete an attribute policy softly. It takes no part in decisions any more; it can be restored."""
    return await POLICIES.delete(ctx)


@router.post("/{id}/restore", **written(AttributePolicyOut))
async def restore_attribute_policy(ctx: Writes) -> Response:
    """Restore a deleted attribute policy. A policy that is not deleted stays as it is."""

    async def work(change: Change) -> tuple[Stored, AttributePolicyDocument]:
        stored = await POLICIES.found(ctx, change)
        priority = cast("int", stored.document["priority"])
        allowed = 0 if stored.document["effect"] == Effect.ALLOW.value else MAX_ALLOW_PRIORITY
        if not ctx.caller.is_tenant_admin and priority > allowed:
            raise forbidden("the priority of this policy is above what a domain admin may write")
        ctx.check_precondition(stored)
        document, _ = doc.replacing(stored.document, stored.id, ())
        policy = doc.validate(AttributePolicyDocument.model_validate, document, ctx)
        await ctx.ask_about_bodies(change, policy)
        return accepted(await attribute_policies.restore(change, stored.uuid)), policy

    return await ctx.write(work, written_from(ctx, to_shown))


@router.get("/{id}/versions", **listed(AttributePolicyVersion))
async def list_attribute_policy_versions(ctx: Reads, query: Paging) -> Response:
    """List every version of an attribute policy, oldest first.

    Only versions in domains that the caller administers.
    """
    policy_id = ctx.row_id(POLICIES.noun)

    async def versions(connection: Any, tenant: str, **bounds: Any) -> Page[attribute_policies.Version]:
        POLICIES.visible(ctx, await attribute_policies.get(connection, tenant, policy_id))
        return await attribute_policies.versions(
            connection, tenant, policy_id, domains=ctx.caller.domains, **bounds
        )

    show = partial(members_of, AttributePolicyVersion)
    return await ctx.page_of(query, f"versions of {policy_id}", versions, show, order=BY_NUMBER)
