"""`/api/v1/recordings`: what is recorded of the requests of a tenant, since when, and erasing a subject."""

from typing import Annotated, Final

from fastapi import APIRouter
from starlette.responses import Response

from extauthz.domain.time_text import rfc3339
from extauthz.recording.bounds import MAX_LITERALS
from extauthz.rest import documents as doc
from extauthz.rest.answers import Reply, members_of
from extauthz.rest.authorization import Permission, recorded_domains
from extauthz.rest.context import RequestContext
from extauthz.rest.openapi import answer
from extauthz.rest.operation import DecisionReads, Operation, requires
from extauthz.rest.problems import accepted
from extauthz.storage import recorded_shapes
from extauthz.storage.recorded_shapes import RecordedDay
from extauthz.storage.rows import Document


class FoldedSlotOut(doc.Model):
    """A part of requests of which values are not kept."""

    template: str | None = doc.about("path of the route; null: requests without a route", "/orders/{id}")
    slot: str = doc.about("`{name}` of a route parameter, or an attribute", "{id}")
    whole: bool = doc.about(
        f"true: no value is kept; false: those beyond the first {MAX_LITERALS:,} are not", False
    )


class RecordedDayOut(doc.Model):
    """The recordings of one day, UTC."""

    day: str = doc.about("the day", "2026-01-31")
    shapes: int = doc.about("different requests", 212)
    requests: int = doc.about("all requests", 40_211)
    lost: int = doc.about("requests of which only this number is known", 0)
    folded: list[FoldedSlotOut]


class RecordingsOut(doc.Model):
    """What is recorded."""

    recording: bool = doc.about("whether this control plane takes recordings (`RECORD`)", True)
    since: doc.Time | None = doc.about("of the first recording that is kept", doc.EXAMPLE_TIME)
    kept_days: int = doc.about("days for which recordings are kept (`RECORD_DAYS`)", 90)
    shapes: int = doc.about("different requests; those of two days count twice", 212)
    requests: int = doc.about("all requests", 40_211)
    lost: int = doc.about("requests of which only this number is known", 0)
    attributes: list[str] = doc.about("attributes that are recorded of each request", ["user.department"])
    days: list[RecordedDayOut]


class ErasureDocument(doc.BodyModel):
    """The subject to erase."""

    subject: doc.Name = doc.about("the id of the user or service: `user.id`", "alice")


class ErasureOut(doc.Model):
    """What was erased."""

    shapes: int = doc.about("shapes that told of the subject", 12)


router: Final = APIRouter(prefix="/api/v1/recordings", tags=["Recordings"], route_class=Operation)


@router.get("", **answer(RecordingsOut))
async def get_recordings(ctx: DecisionReads) -> Response:
    """Show what is recorded of the tenant's requests.

    Requests that agree in everything that policies read are one shape, which is counted by the hour. Domain
    admins see the requests of principals of their domains.
    """
    domains = recorded_domains(ctx.caller)
    days = await ctx.read(lambda connection: recorded_shapes.days(connection, ctx.tenant, domains))
    services = ctx.services
    await services.recording.refresh(ctx.tenant)
    document: Document = {
        "recording": services.recording.takes_batches,
        "since": rfc3339(days[0].since) if days else None,
        "kept_days": services.recording.days,
        "shapes": sum(day.shapes for day in days),
        "requests": sum(day.requests for day in days),
        "lost": sum(day.lost for day in days),
        "attributes": sorted(services.recording.attributes(ctx.tenant, services.snapshot(ctx.tenant))),
        "days": [members_of(RecordedDayOut, day, folded=_slots(day)) for day in days],
    }
    return Reply(200, document).response()


@router.post("/erasures", **answer(ErasureOut))
async def erase_subject(
    ctx: Annotated[RequestContext, requires(Permission.TENANT)], body: ErasureDocument
) -> Response:
    """Erase a subject from the recordings.

    Of its requests all values but host and method are folded, and so is every value that is its id. Counts
    stay. The audit trail tells that and when, not of whom. Later requests are recorded again.
    """
    erased = await recorded_shapes.erase(
        ctx.services.pool,
        ctx.tenant,
        body.subject,
        actor=ctx.caller.actor.document(),
        event_id=ctx.services.new_id(),
    )
    return Reply(200, {"shapes": accepted(erased)}).response()


def _slots(day: RecordedDay) -> list[Document]:
    return [slot._asdict() for slot in day.folded]
