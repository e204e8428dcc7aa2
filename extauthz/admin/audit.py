"""`/api/v1/audit`: who changed what, before and after, at which revision; newest first."""

from http import HTTPStatus
from typing import Final

from extauthz.admin import changes, examples
from extauthz.admin.operation import PAGING, Answer, Call, Content, Operation, Parameter, Reply, Who
from extauthz.admin.paging import read_position
from extauthz.admin.problems import ParameterProblem, ProblemDetails, invalid
from extauthz.admin.reading import name_filters, times
from extauthz.storage import audit
from extauthz.storage.audit import AuditEvent
from extauthz.storage.rows import Document, rfc3339


async def list_events(call: Call) -> Reply | ProblemDetails:
    """List the tenant's trail."""
    filters = name_filters(call.query, "entity_id", "kind", "actor")
    bounds = times(call.query, "since", "until")
    if isinstance(filters, ProblemDetails) or isinstance(bounds, ProblemDetails):
        refused = [each for each in (filters, bounds) if isinstance(each, ProblemDetails)]
        return invalid([error for each in refused for error in each.errors])
    if "since" in bounds and "until" in bounds and bounds["until"] <= bounds["since"]:
        return invalid([ParameterProblem("until", "must be after 'since'; it is exclusive")])
    position = read_position(call.query, scope=f"{call.tenant} audit")
    if isinstance(position, ProblemDetails):
        return position
    page = await changes.read(
        call,
        lambda connection: audit.page(
            connection,
            call.tenant,
            **filters,
            since=bounds.get("since"),
            until=bounds.get("until"),
            after=position.after,
            limit=position.limit,
        ),
    )
    if isinstance(page, ProblemDetails):
        return page
    items = [_shown(event) for event in page.items]
    return Reply(HTTPStatus.OK, {"items": items, "next_cursor": position.cursor(page.next)})


def _shown(event: AuditEvent) -> Document:
    return {
        "id": event.id,
        "at": rfc3339(event.at),
        "revision": event.revision,
        "actor": event.actor,
        "action": event.action,
        "kind": event.kind,
        "entity_id": event.entity_id,
        "before": event.before,
        "after": event.after,
    }


_TIME: Final = {"type": "string", "format": "date-time"}

OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/api/v1/audit",
        name="listAuditEvents",
        tag="Audit",
        who=Who.AUDITOR,
        handler=list_events,
        summary="List the audit trail, newest first",
        parameters=(
            Parameter("entity_id", "only events of this object"),
            Parameter("kind", "only events of this kind of object, such as `role_rule`"),
            Parameter("actor", "only what this actor did: the `id` of `actor`"),
            Parameter("since", "only events at this time or later (RFC 3339)", _TIME),
            Parameter("until", "only events before this time (RFC 3339)", _TIME),
            *PAGING,
        ),
        answers=(
            Answer(
                HTTPStatus.OK,
                "A page of events",
                Content("AuditPage", examples.page_of(examples.AUDIT_EVENT)),
            ),
        ),
    ),
)
