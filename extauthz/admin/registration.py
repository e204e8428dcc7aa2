"""Registration of resources: `POST /api/v1/resources` for one, `/resources/list` for many, all or none.

Registering is idempotent: a service declares the same resources at each start. A declaration of a name that
is there replaces the members that it has and keeps the others; the name of another service is 409.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Final

from fastapi import APIRouter
from starlette.responses import Response

from extauthz.admin.resources import PATH, ResourceDocument, ResourceOut, to_shown
from extauthz.domain.policy import PUBLIC_SUBJECTS
from extauthz.domain.problem import Problem
from extauthz.rest import authorization, registrars
from extauthz.rest.answers import Reply, row_reply, tenant_reply
from extauthz.rest.context import RequestContext
from extauthz.rest.openapi import REVISIONED, also, created, written
from extauthz.rest.operation import Operation, requires
from extauthz.rest.problems import accepted, invalid
from extauthz.rest.quotas import check_rows_of_write
from extauthz.storage import resources, role_rules
from extauthz.storage.outcome import Clash, Conflict, Refusal
from extauthz.storage.public_resources import is_public
from extauthz.storage.rows import Stored
from extauthz.storage.write import Change

Registered = tuple[Stored, bool]
"""A registered resource, and whether it is new."""
_Creates = Annotated[
    RequestContext, requires(authorization.Permission.RESOURCES_WRITE, creating=True, in_drafts=True)
]
_MANY: Final = written(list[ResourceOut], status=201, responses=also(200, list[ResourceOut], *REVISIONED))
router: Final = APIRouter(tags=["Resources"], route_class=Operation)


@router.post(PATH, **created(ResourceOut, responses=also(200, ResourceOut, *REVISIONED)))
async def register_resource(ctx: _Creates, body: ResourceDocument) -> Response:
    """Register a resource.

    Idempotent: the body replaces the members that it has of a name that is there, and keeps the others.
    The name of another service is 409, and so is a route that is taken. Default roles become role rules
    when a name is registered for the first time.
    """
    registrars.require_service(ctx.caller, [(body.serviceName, "/serviceName")])

    async def work(change: Change) -> Registered | Refusal:
        found = await resources.by_names(change.connection, change.tenant, [body.name])
        ctx.check_precondition(found.get(body.name))
        registered = await register(ctx, change, [body], found)
        return registered[0] if isinstance(registered, list) else registered

    def reply(registered: Registered, revision: int) -> Reply:
        stored, is_new = registered
        status, location = (201, PATH) if is_new else (200, None)
        return row_reply(status, lambda row: ctx.shown(to_shown(row), body), location)(stored, revision)

    return await ctx.write(work, reply)


@router.post(f"{PATH}/list", **_MANY)
@router.post("/resources/list", **_MANY)
async def register_resources(ctx: _Creates, body: list[ResourceDocument]) -> Response:
    """Register many resources, all or none.

    As `registerResource`; problems point into the list. `ETag` and `If-Match` are of the tenant: every write
    in it changes them.
    """
    first: dict[str, int] = {}
    problems = [
        Problem(f"/{position}/name", f"is the name of /{first[each.name]}, too")
        for position, each in enumerate(body)
        if first.setdefault(each.name, position) != position
    ]
    if problems:
        raise invalid(problems)
    services = [(each.serviceName, f"/{position}/serviceName") for position, each in enumerate(body)]
    registrars.require_service(ctx.caller, services)

    async def work(change: Change) -> list[Registered] | Refusal:
        ctx.check_tenant_precondition(change)
        found = await resources.by_names(change.connection, change.tenant, list(first))
        return await register(ctx, change, body, found, in_list=True)

    def reply(registered: list[Registered], revision: int) -> Reply:
        shown = [ctx.shown(to_shown(row), each) for (row, _), each in zip(registered, body, strict=True)]
        any_new = any(is_new for _, is_new in registered)
        return tenant_reply(shown, revision, 201 if any_new else 200)

    return await ctx.write(work, reply, entries="")


async def register(
    ctx: RequestContext,
    change: Change,
    bodies: Sequence[ResourceDocument],
    present: Mapping[str, Stored],
    *,
    in_list: bool = False,
) -> list[Registered] | Refusal:
    """Store declarations: first those of names that are there, so that routes can move to new resources."""
    bodies = [body.declared_over(present.get(body.name), ctx) for body in bodies]
    rows = [
        (body, present.get(body.name), f"/{position}" if in_list else "")
        for position, body in enumerate(bodies)
    ]
    declared = [
        (body.public, body.entity.routes if "routes" in body.written else None, stored, at)
        for body, stored, at in rows
    ]
    registrars.require_declarable(ctx.caller, declared)
    new = [position for position, (_, stored, _) in enumerate(rows) if stored is None]
    opened = sum(body.public and not (stored and is_public(stored.document)) for body, stored, _ in rows)
    await _check_quotas(ctx, change, [bodies[position] for position in new], opened)
    clashes: list[Clash] = []
    after: dict[str, Stored] = {}
    for position, (body, stored, _) in enumerate(rows):
        if stored is None:
            continue
        if (owner := stored.document["serviceName"]) != body.serviceName:
            clashes.append(Clash(position, stored.id, f"the name belongs to the service {owner!r}"))
            continue
        replaced = await resources.replace(change, body.to_document(stored.id, stored.document))
        if isinstance(replaced, Conflict):
            clashes += _at_positions(replaced, [position])
        else:
            after[body.name] = accepted(replaced)
    if new and not clashes:
        documents = [bodies[position].to_document(change.new_id()) for position in new]
        made = await resources.create(change, documents)
        if isinstance(made, Conflict):
            clashes += _at_positions(made, new)
        else:
            after |= {str(stored.document["name"]): stored for stored in made}
    if clashes:
        return Conflict("resource", tuple(clashes))
    await ctx.ask_about_bodies(change, *bodies)
    found = await resources.in_force(change.connection, change.tenant, [after[body.name] for body in bodies])
    return [(row, body.name not in present) for row, body in zip(found, bodies, strict=True)]


async def _check_quotas(
    ctx: RequestContext, change: Change, new: Sequence[ResourceDocument], opened: int
) -> None:
    rules = sum(len(body.roles) for body in new) + opened * len(PUBLIC_SUBJECTS)
    check_rows_of_write(len(new))
    check_rows_of_write(rules)
    if new:
        await ctx.check_quota(change, resources.TABLE, len(new))
    if rules:
        await ctx.check_quota(change, role_rules.TABLE, rules)


def _at_positions(conflict: Conflict, positions: Sequence[int]) -> list[Clash]:
    """Return clashes with the positions that the documents have in the body."""
    return [Clash(positions[clash.index], clash.id, clash.message) for clash in conflict.clashes]
