"""`POST /api/v1/drafts/{id}/changes`: a list of changes, applied to a draft in order, all or none.

Neighbours of one kind and action become a few statements, so that 10,000 changes take seconds.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, Final, Literal, cast
from uuid import UUID

from fastapi import APIRouter
from pydantic import ValidationError
from starlette.responses import Response

from extauthz.admin import registration, resources
from extauthz.admin.attribute_policies import POLICIES, AttributePolicyDocument
from extauthz.admin.drafts import PATH, draft_of
from extauthz.admin.resources import ResourceDocument
from extauthz.admin.role_bindings import BINDINGS, RoleBindingDocument
from extauthz.admin.role_rules import RULES, RoleRuleDocument
from extauthz.domain.problem import Problem
from extauthz.rest import authorization, quotas, registrars
from extauthz.rest import documents as doc
from extauthz.rest.answers import Reply, tenant_reply
from extauthz.rest.authorization import Permission
from extauthz.rest.collection import Collection
from extauthz.rest.context import RequestContext
from extauthz.rest.openapi import written
from extauthz.rest.operation import Operation, requires
from extauthz.rest.problems import ProblemError, accepted, forbidden, invalid
from extauthz.rest.request_body import row_id_of
from extauthz.storage import bulk, draft_rows
from extauthz.storage import resources as stored_resources
from extauthz.storage.outcome import Clash, Conflict
from extauthz.storage.rows import Stored
from extauthz.storage.write import Change

ChangeAction = Literal["create", "update", "delete"]
EntityKind = Literal["resource", "role_rule", "role_binding", "attribute_policy"]
_MODELS: Final[Mapping[str, type[doc.PolicyDocument[Any]]]] = {
    "resource": ResourceDocument,
    "role_rule": RoleRuleDocument,
    "role_binding": RoleBindingDocument,
    "attribute_policy": AttributePolicyDocument,
}
_COLLECTIONS: Final[Mapping[str, Collection[Any]]] = {
    "role_rule": RULES,
    "role_binding": BINDINGS,
    "attribute_policy": POLICIES,
}
_RULE: Final = {"sub": "finance", "dom": "*", "obj": "invoice:read", "act": "read", "effect": "allow"}


class DraftChangeDocument(doc.BodyModel):
    """One change: `create` has a `document`, `delete` an `id`, `update` both."""

    action: ChangeAction = doc.about(
        "`create` of a resource registers it; a binding is not updated", "create"
    )
    kind: EntityKind = doc.example("role_rule")
    id: doc.Omissible[str] = doc.optional("the row to update or delete")
    document: doc.Omissible[dict[str, Any]] = doc.optional(
        "the whole document, as the noun's POST takes it", _RULE
    )
    cascade: doc.Flag = doc.about("deletes the rules that name a deleted resource, too", default=False)


class DraftChanged(doc.Model):
    """One row that the list wrote."""

    action: str = doc.example("create")
    kind: str = doc.example("role_rule")
    id: doc.RowId


class DraftChangesOut(doc.Warned):
    """Every row that a list of changes wrote in a draft, in order."""

    items: list[DraftChanged]


@dataclass(frozen=True, slots=True)
class _Entry:
    """A change that was read: its place in the list, and its document as the model of its kind."""

    position: int
    action: str
    kind: str
    id: str
    body: Any
    cascade: bool

    @property
    def key(self) -> str:
        """What occurs once among changes that are made together."""
        return str(self.body.name) if self.kind == "resource" and self.action == "create" else self.id


router: Final = APIRouter(prefix=PATH, tags=["Drafts"], route_class=Operation)


@router.post("/{id}/changes", **written(DraftChangesOut))
async def change_draft(
    ctx: Annotated[RequestContext, requires(Permission.POLICIES_WRITE, creating=True)],
    body: list[DraftChangeDocument],
) -> Response:
    """Apply a list of changes to a draft, in order, all or none.

    Each change is permitted, checked and refused as the request of its noun would be. Problems point into the
    list.
    """
    ctx.draft = draft_of(ctx)
    quotas.check_rows_of_write(len(body))
    entries = _read(ctx, body)

    async def work(change: Change) -> list[tuple[str, str, str]] | Conflict:
        for run in _runs(entries):
            refused = await _apply(ctx, change, run)
            if refused is not None:
                places = [entry.position for entry in run]
                moved = [Clash(places[each.index], each.id, each.message) for each in refused.clashes]
                return Conflict(refused.kind, tuple(moved))
        return [(row.action, row.kind, row.id) for row in change.rows]

    def reply(rows: list[tuple[str, str, str]], revision: int) -> Reply:
        items = [{"action": action, "kind": kind, "id": row_id} for action, kind, row_id in rows]
        return tenant_reply({"items": items}, revision)

    return await ctx.write(work, reply, entries="")


def _read(ctx: RequestContext, body: Sequence[DraftChangeDocument]) -> list[_Entry]:
    """Return the changes; 422 with every problem, 403 where the caller may not write them."""
    problems: list[Problem] = []
    entries: list[_Entry] = []
    for position, each in enumerate(body):
        found = [Problem(f"/{position}{at}", message) for at, message in _shape_problems(each)]
        model = None
        if not found and each.document is not None:
            document, found = doc.replacing(each.document, each.id, _MODELS[each.kind].shown)
            found = [problem.under(f"/{position}/document") for problem in found]
            try:
                model = _MODELS[each.kind].model_validate(document, context=ctx)
            except ValidationError as error:
                found += [problem.under(f"/{position}/document") for problem in doc.problems_of(error)]
        problems += found
        if not found:
            entries.append(_Entry(position, each.action, each.kind, each.id or "", model, each.cascade))
    if problems:
        raise invalid(problems)
    refused: list[Problem] = []
    for entry in entries:
        try:
            _require_permitted(ctx, entry)
        except ProblemError as error:
            refused.append(Problem(f"/{entry.position}", error.detail))
    if refused:
        raise forbidden("the list has changes that the caller may not make", errors=refused)
    return entries


def _shape_problems(each: DraftChangeDocument) -> Iterator[tuple[str, str]]:
    """Yield what is missing or does not belong to an action, with its place."""
    if each.kind == "role_binding" and each.action == "update":
        yield "/action", "a role binding is not updated; delete it and create another one"
    if each.action != "create" and (each.id is None or row_id_of(each.id) is None):
        yield "/id", "the id of the row is needed"
    if each.action == "create" and each.id is not None:
        yield "/id", "is assigned by the server; leave it out"
    if each.action != "delete" and each.document is None:
        yield "/document", "is missing"
    if each.action == "delete" and each.document is not None:
        yield "/document", "is not for a deletion"
    if each.cascade and (each.kind, each.action) != ("resource", "delete"):
        yield "/cascade", "is for the deletion of a resource"


def _require_permitted(ctx: RequestContext, entry: _Entry) -> None:
    """Refuse a change that the caller may not make, whatever is stored."""
    if entry.kind == "resource":
        if not authorization.is_permitted(ctx.caller, Permission.RESOURCES_WRITE):
            raise authorization.not_permitted(ctx.caller, Permission.RESOURCES_WRITE)
        registrars.require_may_cascade(ctx.caller, cascade=entry.cascade)
    elif entry.body is not None:
        entity = entry.body.entity
        authorization.require_domain(ctx, entity.domain if entry.kind == "attribute_policy" else entity.dom)
        if entry.kind == "role_binding":
            authorization.require_may_inherit(ctx, entity.user_kind)


def _runs(entries: Sequence[_Entry]) -> Iterator[list[_Entry]]:
    """Yield neighbours of one kind and action, each object at most once."""
    run: list[_Entry] = []
    keys: set[str] = set()
    for entry in entries:
        if run and ((run[0].kind, run[0].action) != (entry.kind, entry.action) or entry.key in keys):
            yield run
            run, keys = [], set()
        run.append(entry)
        if entry.key:
            keys.add(entry.key)
    if run:
        yield run


async def _apply(ctx: RequestContext, change: Change, run: Sequence[_Entry]) -> Conflict | None:
    kind, action = run[0].kind, run[0].action
    if kind == "resource":
        if action == "create":
            return await _register(ctx, change, run)
        return await (_update_resources if action == "update" else _delete_resources)(ctx, change, run)
    collection = _COLLECTIONS[kind]
    table = collection.rows.TABLE
    author = {"by_domain_admin": not ctx.caller.is_tenant_admin}
    if action == "create":
        await ctx.check_quota(change, table, len(run))
        documents = [entry.body.to_document(change.new_id()) for entry in run]
        made = await collection.rows.create(change, documents, **author)
        return made if isinstance(made, Conflict) else None
    present = await _present(ctx, change, run)
    for entry in run:
        stored = present[entry.id]
        try:
            collection.visible(ctx, stored)
        except ProblemError:
            raise _missing(entry) from None
        try:
            await collection.require_writable(ctx, change, stored)
        except ProblemError as refused:
            raise forbidden(refused.detail, errors=[Problem(f"/{entry.position}", refused.detail)]) from None
    if action == "delete":
        await bulk.delete_all(change, table, [present[entry.id] for entry in run])
        return None
    documents = [entry.body.to_document(entry.id) for entry in run]
    return await bulk.replace_all(change, table, documents, present, **author)


async def _present(ctx: RequestContext, change: Change, run: Sequence[_Entry]) -> dict[str, Stored]:
    """Return the rows of changes by id; 404 names the first that is not there."""
    rows = await draft_rows.stored(change.connection, ctx.tenant, [(entry.kind, entry.id) for entry in run])
    for entry in run:
        if (entry.kind, entry.id) not in rows:
            raise _missing(entry)
    return {row_id: stored for (_, row_id), stored in rows.items()}


def _missing(entry: _Entry) -> ProblemError:
    detail = f"there is no {entry.kind.replace('_', ' ')} {entry.id!r}"
    return ProblemError(HTTPStatus.NOT_FOUND, detail, [Problem(f"/{entry.position}/id", detail)])


async def _register(ctx: RequestContext, change: Change, run: Sequence[_Entry]) -> Conflict | None:
    bodies = [cast("ResourceDocument", entry.body) for entry in run]
    services = [(body.serviceName, f"/{entry.position}") for body, entry in zip(bodies, run, strict=True)]
    registrars.require_service(ctx.caller, services)
    names = [body.name for body in bodies]
    found = await stored_resources.by_names(change.connection, change.tenant, names)
    made = await registration.register(ctx, change, bodies, found, in_list=True)
    if not isinstance(made, Conflict):
        accepted(made)
        return None
    return made


async def _update_resources(ctx: RequestContext, change: Change, run: Sequence[_Entry]) -> Conflict | None:
    present = await _present(ctx, change, run)
    for index, entry in enumerate(run):
        body, stored = cast("ResourceDocument", entry.body), present[entry.id]
        if not registrars.sees_resource(ctx.caller, stored):
            raise _missing(entry)
        if body.name != stored.document["name"]:
            pointer = f"/{entry.position}/document/name"
            raise invalid([Problem(pointer, "cannot be changed: rules name it")])
        registrars.require_service(ctx.caller, [(body.serviceName, f"/{entry.position}")])
        declared = [(body.public, body.entity.routes, stored, f"/{entry.position}/document")]
        registrars.require_declarable(ctx.caller, declared)
        replaced = await stored_resources.replace(change, body.to_document(entry.id))
        if isinstance(replaced, Conflict):
            return Conflict(
                replaced.kind, tuple(Clash(index, each.id, each.message) for each in replaced.clashes)
            )
        accepted(replaced)
    return None


async def _delete_resources(ctx: RequestContext, change: Change, run: Sequence[_Entry]) -> Conflict | None:
    for entry in run:
        present = await _present(ctx, change, [entry])
        stored = present[entry.id]
        if not registrars.sees_resource(ctx.caller, stored):
            raise _missing(entry)
        registrars.require_removal(ctx.caller, stored)
        await resources.remove_rules(change, stored, cascade=entry.cascade)
        accepted(await stored_resources.delete(change, UUID(entry.id)))
    return None
