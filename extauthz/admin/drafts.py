"""`/api/v1/drafts`: changes that are written, read, compared and checked before they are live.

Requests about policies go to a draft with the query parameter `draft`. `draft_changes` has the lists.
"""

from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from starlette.responses import Response

from extauthz.admin.audit import ActorOut
from extauthz.rest import documents as doc
from extauthz.rest.answers import Reply, members_of, no_content, tagged, written_headers
from extauthz.rest.authorization import Permission
from extauthz.rest.context import RequestContext
from extauthz.rest.draft_rights import require_rights
from extauthz.rest.openapi import answer, created, deleted, found, listed, written
from extauthz.rest.operation import Operation, requires
from extauthz.rest.pagination import PageQuery, Paging
from extauthz.rest.problems import accepted, conflict, forbidden
from extauthz.storage import draft_comparison, draft_publication, drafts
from extauthz.storage.draft_comparison import RowDifference
from extauthz.storage.draft_writes import DraftWritten
from extauthz.storage.drafts import Draft
from extauthz.storage.outcome import Refusal
from extauthz.storage.rows import Document, Page
from extauthz.storage.write import Change, Written

PATH: Final = "/api/v1/drafts"
NOUN: Final = "draft"


class DraftDocument(doc.BodyModel):
    """A new draft."""

    title: doc.Name | None = doc.optional("what it is for", "finance reads invoices")


class DraftOut(doc.Warned):
    """A draft."""

    id: doc.RowId
    title: doc.Name | None
    state: Literal["open", "published"] = doc.about("`published`: nothing is added to it", "open")
    version: doc.Positive = doc.about("its `ETag`; every change raises it", 1)
    base_revision: doc.NonNegative = doc.about("the live revision that it was made for", 7)
    live_revision: doc.NonNegative = doc.about("the present one; another than the base: rebase it", 7)
    changes: doc.NonNegative = doc.about("how many rows were written in it, each time counted", 0)
    created_by: ActorOut
    published_by: ActorOut | None
    published_revision: doc.NonNegative | None
    created_at: doc.Time
    updated_at: doc.Time


class DraftDifference(doc.Model):
    """A row as it is live, and as the draft has it."""

    action: Literal["create", "update", "delete"] = doc.example("create")
    kind: str = doc.example("role_rule")
    id: doc.RowId
    before: Any = doc.about("the live document; null: there is none")
    after: Any = doc.about("the document in the draft; null: it is deleted", {"sub": "finance"})
    authors: list[ActorOut] = doc.about("the authors of its changes")
    conflict: Literal["changed", "taken"] | None = doc.about(
        "`changed`: written live since; `taken`: another live row has its value or route"
    )


class Rebase(doc.BodyModel):
    """What is kept of the rows that conflict."""

    resolve: dict[str, Literal["draft", "live"]] = doc.about(
        "by the id of the row; `live` drops its changes from the draft",
        {doc.EXAMPLE_ID: "live"},
        default_factory=dict,
    )


class DraftFilter(PageQuery):
    """Which drafts to list."""

    state: Literal["open", "published"] | None = doc.optional("only open, or only published drafts")


ReadsDrafts = Annotated[RequestContext, requires(Permission.POLICIES_READ)]
WritesDrafts = Annotated[RequestContext, requires(Permission.POLICIES_WRITE, conditional=True)]
CreatesDrafts = Annotated[RequestContext, requires(Permission.POLICIES_WRITE, creating=True)]
router: Final = APIRouter(prefix=PATH, tags=["Drafts"], route_class=Operation)


def to_shown(draft: Draft) -> Document:
    """Return a draft as the API shows it."""
    return members_of(DraftOut, draft)


def _headers(made: DraftWritten[Draft]) -> dict[str, str]:
    """Return the headers of an answer about a draft: the live revision, which stays, and its version."""
    return written_headers(made.revision, made.version)


def draft_of(ctx: RequestContext) -> UUID:
    """Return the draft that the path names; 404 for a text that is not an id."""
    return ctx.row_id(NOUN)


@router.get("", **listed(DraftOut))
async def list_drafts(ctx: ReadsDrafts, query: Annotated[DraftFilter, Query()]) -> Response:
    """List drafts, oldest first."""
    return await ctx.page_of(query, "drafts", drafts.page, to_shown)


@router.post("", **created(DraftOut))
async def create_draft(ctx: CreatesDrafts, body: DraftDocument | None = None) -> Response:
    """Create a draft on the present live policies."""
    ctx.check_precondition(None)

    def reply(made: Written[Draft]) -> Response:
        assert isinstance(made, DraftWritten)
        location = {"Location": f"{PATH}/{made.value.id}"}
        return Reply(201, to_shown(made.value), _headers(made) | location).response()

    services = ctx.services
    made = await draft_publication.create(
        services.pool,
        ctx.tenant,
        ctx.caller.actor,
        title=None if body is None else body.title,
        most=services.quotas.drafts,
        new_id=services.new_id,
        draft_id=UUID(services.new_id()),
        once=ctx.once(reply),
    )
    return reply(accepted(made))


@router.get("/{id}", **found(DraftOut))
async def get_draft(ctx: ReadsDrafts) -> Response:
    """Get a draft."""
    draft_id = draft_of(ctx)
    draft = await ctx.read(lambda connection: drafts.get(connection, ctx.tenant, draft_id))
    if draft is None:
        raise ctx.missing(NOUN)
    return tagged(to_shown(draft), draft.version)


@router.delete("/{id}", **deleted(409))
async def delete_draft(ctx: WritesDrafts) -> Response:
    """Delete a draft that is not published. For its creator and tenant admins."""

    def check(draft: Draft) -> None:
        ctx.check_draft(draft)
        require_owner(ctx, draft)

    services = ctx.services
    gone = await draft_publication.delete(
        services.pool, ctx.tenant, ctx.caller.actor, draft_of(ctx), check=check, new_id=services.new_id
    )
    return no_content(None, accepted(gone).live_revision).response()


def require_owner(ctx: RequestContext, draft: Draft) -> None:
    """Refuse to give up changes of others: only tenant admins and the creator of a draft do."""
    actor = ctx.caller.actor
    if not ctx.caller.is_tenant_admin and (actor.kind, actor.id) != (
        draft.created_by["kind"],
        draft.created_by["id"],
    ):
        raise forbidden("this is for tenant admins and for the creator of the draft")


@router.get("/{id}/diff", **answer(doc.PageOut[DraftDifference], "ETag", responses={409: {}}))
async def diff_draft(ctx: ReadsDrafts, query: Paging) -> Response:
    """List the rows that a draft changes, as they are live and as the draft has them.

    Domain admins see rows of their domains. Undone changes are not there.
    """
    ctx.draft = draft_of(ctx)
    position = query.position(f"{ctx.scope} diff")

    async def work(view: Any) -> Page[RowDifference]:
        return await draft_comparison.page(view, ctx.tenant, draft_of(ctx), **position.bounds)

    page = await ctx.read(work)
    items = [members_of(DraftDifference, each) for each in page.items if _sees(ctx, each)]
    return tagged({"items": items, "next_cursor": position.cursor(page.next)}, ctx.draft_version)


def _sees(ctx: RequestContext, each: RowDifference) -> bool:
    """Tell whether the caller may see a row: a domain admin those of its domains, no resources."""
    if ctx.caller.is_tenant_admin:
        return True
    documents = [document for document in (each.before, each.after) if document is not None]
    domains = [document.get("dom", document.get("domain")) for document in documents]
    return all(domain is not None and ctx.caller.administers_domain(domain) for domain in domains)


@router.post("/{id}/rebase", **written(DraftOut, 409))
async def rebase_draft(ctx: WritesDrafts, body: Rebase | None = None) -> Response:
    """Make the present live policies the base of a draft.

    Rows that were written live since, and values or routes that live rows have now, are 409 with each of them
    named, until `resolve` says what is kept. For its creator and tenant admins, where it resolves anything.
    """
    resolve = {} if body is None else body.resolve

    def check(draft: Draft) -> None:
        ctx.check_draft(draft)
        if resolve:
            require_owner(ctx, draft)

    services = ctx.services
    rebased = await draft_publication.rebase(
        services.pool,
        ctx.tenant,
        ctx.caller.actor,
        draft_of(ctx),
        resolve=resolve,
        check=check,
        validate=services.validate,
        new_id=services.new_id,
    )
    made = accepted(rebased)
    return Reply(200, to_shown(made.value), _headers(made)).response()


@router.post("/{id}/publish", **written(DraftOut))
async def publish_draft(ctx: CreatesDrafts) -> Response:
    """Make all changes of a draft live, in one transaction and one revision.

    Both the publisher and the author of each change need the permission for it, else 403 names them. 409
    where the live policies were written since the base of the draft: rebase it.
    """
    draft_id = draft_of(ctx)

    async def judge(change: Change, draft: Draft, changes: Any, live: Any) -> None:
        require_base(change, draft)
        await require_rights(ctx, change, changes, live)

    async def work(change: Change) -> Draft | Refusal:
        return await draft_publication.publish(change, draft_id, check=ctx.check_draft, judge=judge)

    def reply(draft: Draft, revision: int) -> Reply:
        return Reply(200, to_shown(draft), written_headers(revision, draft.version))

    return await ctx.write(work, reply)


def require_base(change: Change, draft: Draft) -> None:
    """Refuse to publish what was not made for the live policies, and a draft without an effect."""
    if draft.base_revision != change.previous:
        detail = f"the live policies are at revision {change.previous}; rebase the draft"
        raise conflict(f"{detail}, which was made for revision {draft.base_revision}", ())
    if not change.rows:
        raise conflict("the draft changes nothing", ())
