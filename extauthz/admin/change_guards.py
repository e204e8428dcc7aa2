"""`/api/v1/change-guard`: what stands between a change of a tenant's policies and its being live."""

from typing import Any, Final, Literal, get_args

from fastapi import APIRouter
from starlette.responses import Response

from extauthz.domain.problem import Problem
from extauthz.rest import documents as doc
from extauthz.rest.answers import Reply, tagged, written_headers
from extauthz.rest.context import RequestContext
from extauthz.rest.openapi import found, written
from extauthz.rest.operation import Operation, TenantReads, TenantWrites
from extauthz.rest.problems import invalid
from extauthz.storage import change_guards
from extauthz.storage.change_guards import Guard
from extauthz.storage.rows import Document
from extauthz.storage.write import Change

PATH: Final = "/api/v1/change-guard"
Noun = Literal["attribute_policy", "resource", "role_binding", "role_rule"]


class ChangeGuardDocument(doc.BodyModel):
    """The settings of a tenant for changes."""

    tests: Literal["publish", "every_write"] = doc.about(
        "when policy tests run: for drafts that are published, or for direct writes, too",
        "publish",
        default="publish",
    )
    max_newly_allowed: doc.NonNegative | None = doc.optional(
        "a draft that newly allows more recorded requests needs an approval", 0
    )
    max_newly_denied: doc.NonNegative | None = doc.optional(
        "a draft that newly denies more recorded requests needs an approval", 20
    )
    nouns: list[Noun] = doc.about(
        "with a limit, direct writes of these need a draft",
        ["role_rule"],
        default_factory=lambda: list(get_args(Noun)),
        min_length=1,
    )


class ChangeGuardOut(ChangeGuardDocument, doc.Warned):
    """The settings of a tenant for changes, those that were not set with their defaults."""


router: Final = APIRouter(prefix=PATH, tags=["Change guard"], route_class=Operation)


def _can_approve(ctx: RequestContext) -> bool:
    """Tell whether a caller with a token can be a tenant admin."""
    services = ctx.services
    if not services.token_policy.oidc_enabled:
        return False
    return any(
        issuer.config.tenant == ctx.tenant and (issuer.config.admin_domain_claim or issuer.config.admin_roles)
        for issuer in services.keys.current().issuers.values()
    )


def _shown(guard: Guard) -> Document:
    return ChangeGuardDocument().model_dump(mode="json") | dict(guard.document)


@router.get("", **found(ChangeGuardOut))
async def get_change_guard(ctx: TenantReads) -> Response:
    """Get the settings of the tenant for changes."""
    guard = await ctx.read(lambda connection: change_guards.get(connection, ctx.tenant))
    return tagged(_shown(guard), guard.revision)


@router.put("", **written(ChangeGuardOut))
async def replace_change_guard(ctx: TenantWrites, body: ChangeGuardDocument) -> Response:
    """Replace the settings of the tenant for changes.

    With a limit, direct writes of guarded nouns are 409 `draft_required`; `X-Change-Override` with a reason
    overrides the guard for one request. The settings are in the audit trail, and raise no revision.
    """
    if (body.max_newly_allowed, body.max_newly_denied) != (None, None) and not _can_approve(ctx):
        message = "no caller could approve a draft: no identity provider of the tenant has tenant admins"
        raise invalid([Problem("/max_newly_allowed", message)])

    async def work(change: Change) -> Guard:
        before = await change_guards.get(change.connection, change.tenant)
        ctx.require_match(before.revision, "the settings were written since")
        document: dict[str, Any] = body.model_dump(mode="json", exclude_defaults=True)
        return await change_guards.put(change, document)

    def reply(guard: Guard, revision: int) -> Reply:
        return Reply(200, _shown(guard), written_headers(revision, guard.revision))

    return await ctx.write(work, reply, apart="change_guards")
