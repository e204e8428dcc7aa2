"""`/api/v1/drafts/{id}/replay`: jobs that say what a draft would change for recorded requests."""

from collections.abc import Mapping
from typing import Any, Final, Literal
from uuid import UUID

from fastapi import APIRouter
from starlette.responses import Response

from extauthz.admin.audit import ActorOut
from extauthz.domain.problem import Problem
from extauthz.domain.time_text import parse_time
from extauthz.rest import documents as doc
from extauthz.rest.answers import Reply, list_of, members_of
from extauthz.rest.authorization import recorded_domains
from extauthz.rest.context import RequestContext
from extauthz.rest.openapi import answer, listed
from extauthz.rest.operation import DecisionReads, Operation
from extauthz.rest.problems import accepted, conflict
from extauthz.rest.request_body import row_id_of
from extauthz.storage import drafts, replay_jobs
from extauthz.storage.replay_jobs import MAX_UNFINISHED, JobStatus, NotQueued, ReplayJob
from extauthz.storage.rows import Document

_PATH: Final = "/api/v1/drafts/{id}/replay"
_DRAFT: Final = "draft"
_REPLAY: Final = "replay"


class ReplayWindow(doc.BodyModel):
    """Which recorded requests to judge; left out: all that are kept. Hours are whole."""

    since: doc.OptionalTime = doc.optional("only requests of this hour or later", "2026-01-05T00:00:00Z")
    until: doc.OptionalTime = doc.optional("only requests of hours before this time", "2026-01-12T00:00:00Z")

    @classmethod
    def problems_in(cls, document: Mapping[str, object], _: RequestContext) -> list[Problem]:
        """Return what is wrong with the times."""
        times = {name: parse_time(document.get(name)) for name in ("since", "until")}
        problems = [
            Problem(f"/{name}", "must be an RFC 3339 time such as 2026-01-31T08:00:00Z")
            for name in times
            if document.get(name) is not None and times[name] is None
        ]
        since, until = times.values()
        if since is not None and until is not None and until <= since:
            problems.append(Problem("/until", "must be after 'since'; it is exclusive"))
        return problems


class ReplayProgress(doc.Model):
    """How much is done."""

    judged: doc.NonNegative = doc.about("shapes that are judged", 1204)
    total: doc.NonNegative | None = doc.about("shapes to judge; null: not counted yet", 1204)


class ReplayOut(doc.Model):
    """A replay. docs/replay.md describes the result."""

    id: doc.RowId
    draft: doc.RowId
    draft_version: doc.Integer = doc.about("the version of the draft when it was asked for", 3)
    status: Literal["queued", "running", "done", "failed"] = doc.example("done")
    problem: str | None = doc.about("why it failed")
    progress: ReplayProgress
    since: str | None
    until: str | None
    domains: list[str] | None = doc.about("the domains of a domain admin that asked; null: every domain")
    live_revision: doc.NonNegative | None = doc.about("the live policies that were compared", 7)
    draft_digest: str | None = doc.about("SHA-256 of what the draft changed then")
    requested_by: ActorOut
    created_at: doc.Time
    ended_at: str | None
    result: Any = doc.about("null until it is done, and in lists")


router: Final = APIRouter(tags=["Drafts"], route_class=Operation)


@router.post(_PATH, **answer(ReplayOut, "Location", status=202, responses={409: {}}))
async def replay_draft(ctx: DecisionReads, body: ReplayWindow | None = None) -> Response:
    """Judge recorded requests on a draft.

    A job is queued; `Location` has its status, its progress and, when it is done, the result. Domain admins
    replay the requests of their domains. At most three jobs of a tenant wait or run at a time.
    """
    draft_id = ctx.row_id(_DRAFT)
    domains = recorded_domains(ctx.caller)
    window = (None, None) if body is None else (parse_time(body.since), parse_time(body.until))
    queued = accepted(
        await replay_jobs.queue(
            ctx.services.pool,
            ctx.tenant,
            UUID(ctx.services.new_id()),
            draft_id,
            requested_by=ctx.caller.actor.document(),
            domains=None if domains is None else sorted(domains),
            window=window,
        )
    )
    if queued is NotQueued.NO_DRAFT:
        raise ctx.missing(_DRAFT)
    if queued is NotQueued.TOO_MANY:
        raise conflict(f"{MAX_UNFINISHED} replays of this tenant are not done; wait until one is", ())
    assert isinstance(queued, ReplayJob)
    ctx.services.replay_queued()
    location = f"/api/v1/drafts/{draft_id}/replay/{queued.id}"
    return Reply(202, _shown(queued), {"Location": location}).response()


@router.get(_PATH, **listed(ReplayOut))
async def list_replays(ctx: DecisionReads) -> Response:
    """List the replays of a draft without their results, the newest first. The last twenty are kept."""
    draft_id = ctx.row_id(_DRAFT)

    async def work(connection: Any) -> list[ReplayJob] | None:
        if await drafts.get(connection, ctx.tenant, draft_id) is None:
            return None
        return await replay_jobs.of_draft(connection, ctx.tenant, draft_id)

    jobs = await ctx.read(work)
    if jobs is None:
        raise ctx.missing(_DRAFT)
    return list_of([_shown(job) for job in jobs if _sees(ctx, job)], None)


@router.get(_PATH + "/{replay_id}", **answer(ReplayOut))
async def get_replay(ctx: DecisionReads) -> Response:
    """Get a replay: its status, its progress, and its result when it is done."""
    draft_id, job_id = row_id_of(ctx.path_params["id"]), ctx.row_id(_REPLAY)
    if draft_id is None:
        raise ctx.missing(_REPLAY)
    job = await ctx.read(lambda connection: replay_jobs.get(connection, ctx.tenant, draft_id, job_id))
    if job is None or not _sees(ctx, job):
        raise ctx.missing(_REPLAY)
    return Reply(200, _shown(job)).response()


def _sees(ctx: RequestContext, job: ReplayJob) -> bool:
    """Tell whether the caller may see requests of all domains of a job (None: all)."""
    own = recorded_domains(ctx.caller)
    return own is None or (job.domains is not None and own.issuperset(job.domains))


def _shown(job: ReplayJob) -> Document:
    return members_of(
        ReplayOut,
        job,
        draft=str(job.draft_id),
        progress={"judged": job.judged, "total": job.total},
        result=job.result if job.status is JobStatus.DONE else None,
    )
