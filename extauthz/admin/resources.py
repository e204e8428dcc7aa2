"""`/api/v1/resources`: what there is to protect, the routes that lead to it, and its default roles.

Registering is idempotent: a service declares the same resources at each start. What a declaration says about
a name that is there already replaces what is stored, what it leaves out stays; another service's name is 409.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from extauthz.admin import changes, limits, registrar
from extauthz.admin.default_roles import InForce, in_force
from extauthz.admin.documents import merged, refuse_id, refuse_unknown_removals, replacing_document
from extauthz.admin.operation import Call, Reply, nothing_at
from extauthz.admin.paging import read_position
from extauthz.admin.problems import ProblemDetails, invalid
from extauthz.admin.reading import entity_tag, name_filters
from extauthz.compile.documents import parse_resource
from extauthz.compile.warnings import DocumentWarning, resource_warnings
from extauthz.domain.policy import Resource
from extauthz.domain.problem import Problem
from extauthz.storage import resources, role_rules
from extauthz.storage.outcome import Clash, Conflict, Refusal
from extauthz.storage.rows import Document, Page, Stored, rfc3339
from extauthz.storage.write import Change

if TYPE_CHECKING:
    from extauthz.storage.pool import Connection

PATH: Final = "/api/v1/resources"
_NOUN: Final = "resource"
_SHOWN: Final = ("createdAt", "updatedAt", "warnings")


@dataclass(frozen=True, slots=True)
class _Declaration:
    """One registration, read: the resource, and which members its author wrote."""

    resource: Resource
    written: Mapping[str, object]

    def document(self, resource_id: str, stored: Mapping[str, object]) -> Document:
        """Return what is to be stored: what was written, and the rest as it is `stored`."""
        complete = resources.document_of(
            self.resource,
            resource_id,
            display_name=_text(self.written.get("displayName")),
            default_roles=_names(self.written.get("defaultRoles")),
        )
        kept = {name: value for name, value in stored.items() if name not in self.written}
        return complete | kept


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _names(value: object) -> list[str]:
    return list(dict.fromkeys(value)) if isinstance(value, list | tuple) else []


async def register(call: Call) -> Reply | ProblemDetails:
    """Register one resource."""
    assert call.body is not None
    problems: list[Problem] = []
    declaration = _declared(call.body.document, "", problems)
    if problems or declaration is None:
        return invalid(problems)

    if refusal := registrar.foreign_services(call, [declaration.resource]):
        return refusal

    async def work(change: Change) -> changes.Outcome[tuple[InForce, bool]]:
        found = await resources.by_names(change.connection, change.tenant, [declaration.resource.name])
        if refusal := changes.stale(call, found.get(declaration.resource.name)):
            return refusal
        registered = await _register(call, change, [declaration])
        return registered[0] if isinstance(registered, tuple) else registered

    written = await changes.write(call, work)
    if isinstance(written, ProblemDetails):
        return written
    in_force, is_new = written.value
    stored = in_force.stored
    headers = {changes.POLICY_REVISION: str(written.revision), "ETag": entity_tag(stored.revision)}
    if is_new:
        headers["Location"] = f"{PATH}/{stored.id}"
    return Reply(HTTPStatus.CREATED if is_new else HTTPStatus.OK, _shown_with(in_force, declaration), headers)


async def register_all(call: Call) -> Reply | ProblemDetails:
    """Register many resources, all of them or none; pointers begin with the position in the list."""
    assert call.body is not None
    problems: list[Problem] = []
    if not isinstance(call.body.document, list):
        return invalid([Problem("", "a list of resources is needed")])
    read = [
        _declared(document, f"/{position}", problems) for position, document in enumerate(call.body.document)
    ]
    declarations = [declaration for declaration in read if declaration is not None]
    problems += _repeated(declarations) if not problems else []
    if problems:
        return invalid(problems)
    resources_read = [declaration.resource for declaration in declarations]
    if refusal := registrar.foreign_services(call, resources_read, bulk=True):
        return refusal

    async def work(change: Change) -> changes.Outcome[tuple[tuple[InForce, bool], ...]]:
        refusal = changes.tenant_stale(call, change)
        return refusal or await _register(call, change, declarations, bulk=True)

    written = await changes.write(call, work, entries="")
    if isinstance(written, ProblemDetails):
        return written
    body = [
        _shown_with(in_force, declaration)
        for (in_force, _), declaration in zip(written.value, declarations, strict=True)
    ]
    any_new = any(is_new for _, is_new in written.value)
    return Reply(
        HTTPStatus.CREATED if any_new else HTTPStatus.OK, body, changes.tenant_headers(written.revision)
    )


async def list_resources(call: Call) -> Reply | ProblemDetails:
    """List the tenant's resources."""
    filters = name_filters(call.query, "name", "serviceName")
    if isinstance(filters, ProblemDetails):
        return filters
    service = registrar.service_of(call)
    position = read_position(call.query, scope=f"{call.tenant} resources {service}")
    if isinstance(position, ProblemDetails):
        return position
    wanted = filters.get("serviceName", service)
    if service is not None and wanted != service:
        return Reply(HTTPStatus.OK, {"items": [], "next_cursor": None})

    async def work(connection: "Connection") -> tuple[Page, dict[str, tuple[DocumentWarning, ...]]]:
        found = await resources.page(
            connection,
            call.tenant,
            name=filters.get("name"),
            service_name=wanted,
            after=position.after,
            limit=position.limit,
        )
        rows = await in_force(connection, call.tenant, found.items)
        page = Page(tuple(row.stored for row in rows), found.next)
        return page, {row.stored.id: row.warnings for row in rows}

    page = await changes.read(call, work)
    if isinstance(page, ProblemDetails):
        return page
    rows, warnings = page
    return changes.shown_page(
        call,
        resources.TABLE,
        position,
        rows,
        lambda stored: _with_warnings(shown(stored), warnings[stored.id]),
    )


async def get(call: Call) -> Reply | ProblemDetails:
    """Return one resource."""
    found = await _stored(call)
    if isinstance(found, ProblemDetails):
        return found
    if not registrar.sees(call, found.stored):
        return nothing_at(call, _NOUN)

    def show(stored: Stored) -> Document:
        return _with_warnings(shown(stored), found.warnings)

    return changes.single(call, resources.TABLE, found.stored, show)


async def patch(call: Call) -> Reply | ProblemDetails:
    """Change some members of a resource (RFC 7396), judged as the whole that comes out."""
    resource_id = call.id
    if resource_id is None:
        return nothing_at(call, _NOUN)
    assert call.body is not None
    patched = call.body.document
    if not isinstance(patched, Mapping):
        return invalid([Problem("", "an object is needed")])

    async def work(change: Change) -> changes.Outcome[tuple[InForce, _Declaration]]:
        stored = await resources.get(change.connection, change.tenant, resource_id)
        if stored is None or not registrar.sees(call, stored):
            return nothing_at(call, _NOUN)
        problems: list[Problem] = []
        refuse_unknown_removals(patched, "ResourcePatch", problems, shown=_SHOWN)
        before = {name: value for name, value in stored.document.items() if name != "id"}
        document = replacing_document(merged(before, patched), resource_id, problems, shown=_SHOWN)
        declaration = _declared(document, "", problems)
        if declaration is not None and declaration.resource.name != stored.document["name"]:
            problems.append(Problem("/name", "cannot be changed: rules go by it"))
        if problems or declaration is None:
            return invalid(problems)
        resource = declaration.resource
        if refusal := changes.stale(call, stored):
            return refusal
        if refusal := registrar.foreign_services(call, [resource]) or registrar.foreign_routes(
            call, [(resource, stored)]
        ):
            return refusal
        replaced = await resources.replace(change, declaration.document(stored.id, {}))
        if not isinstance(replaced, Stored):
            return replaced
        (after,) = await in_force(change.connection, change.tenant, [replaced])
        return after, declaration

    written = await changes.write(call, work)
    if isinstance(written, ProblemDetails):
        return written
    after, declaration = written.value
    headers = {changes.POLICY_REVISION: str(written.revision), "ETag": entity_tag(after.stored.revision)}
    return Reply(HTTPStatus.OK, _shown_with(after, declaration), headers)


async def list_rules(call: Call) -> Reply | ProblemDetails:
    """List the role rules on one resource, a bare array; `Link` leads to more."""
    position = read_position(call.query, scope=f"{call.tenant} rules of {call.path['id']}")
    if isinstance(position, ProblemDetails):
        return position
    found = await _stored(call)
    if isinstance(found, ProblemDetails):
        return found
    stored = found.stored
    page = await changes.read(
        call,
        lambda connection: role_rules.page(
            connection,
            call.tenant,
            obj=str(stored.document["name"]),
            domains=call.caller.domains,
            after=position.after,
            limit=position.limit,
        ),
    )
    if isinstance(page, ProblemDetails):
        return page
    headers = {}
    if (following := position.cursor(page.next)) is not None:
        query = urlencode({"limit": position.limit, "cursor": following})
        headers["Link"] = f'<{PATH}/{stored.id}/policies?{query}>; rel="next"'
    return Reply(HTTPStatus.OK, [changes.shown(rule) for rule in page.items], headers)


def _declared(document: object, pointer: str, problems: list[Problem]) -> _Declaration | None:
    refuse_id(document, problems, pointer=pointer)
    without_id = document
    if isinstance(document, Mapping):
        without_id = {name: value for name, value in document.items() if name != "id"}
    resource = parse_resource(without_id, pointer, problems)
    if resource is None:
        return None
    assert isinstance(document, Mapping)
    return _Declaration(resource, document)


def _repeated(declarations: Sequence[_Declaration]) -> list[Problem]:
    first: dict[str, int] = {}
    return [
        Problem(f"/{position}/name", f"is the name of /{first[declaration.resource.name]} too")
        for position, declaration in enumerate(declarations)
        if first.setdefault(declaration.resource.name, position) != position
    ]


async def _register(
    call: Call, change: Change, declarations: Sequence[_Declaration], *, bulk: bool = False
) -> tuple[tuple[InForce, bool], ...] | Refusal | ProblemDetails:
    """Store declarations: first those of names that are there, so that routes can move to new resources."""
    names = [declaration.resource.name for declaration in declarations]
    present = await resources.by_names(change.connection, change.tenant, names)
    written = [
        (declaration.resource, present.get(declaration.resource.name))
        for declaration in declarations
        if "routes" in declaration.written
    ]
    if refusal := registrar.foreign_routes(call, written, names if bulk else None):
        return refusal
    if refusal := await _too_many(call, change, declarations, present):
        return refusal
    clashes: list[Clash] = []
    new: list[int] = []
    for position, declaration in enumerate(declarations):
        stored = present.get(declaration.resource.name)
        if stored is None:
            new.append(position)
            continue
        if stored.document["serviceName"] != declaration.resource.service:
            owner = stored.document["serviceName"]
            clashes.append(Clash(position, stored.id, f"the name belongs to the service {owner!r}"))
            continue
        replaced = await resources.replace(change, declaration.document(stored.id, stored.document))
        if isinstance(replaced, Conflict):
            clashes += _moved(replaced, [position])
        elif not isinstance(replaced, Stored):
            return replaced
    if not clashes and new:
        created = await resources.create(
            change, [declarations[position].document(change.new_id(), {}) for position in new]
        )
        if isinstance(created, Conflict):
            clashes += _moved(created, new)
    if clashes:
        return Conflict("resource", tuple(clashes))
    after = await resources.by_names(change.connection, change.tenant, names)
    rows = await in_force(change.connection, change.tenant, [after[name] for name in names])
    return tuple((row, name not in present) for row, name in zip(rows, names, strict=True))


async def _too_many(
    call: Call, change: Change, declarations: Sequence[_Declaration], present: Mapping[str, Stored]
) -> ProblemDetails | None:
    new = [declaration for declaration in declarations if declaration.resource.name not in present]
    rules = sum(len(_names(declaration.written.get("defaultRoles"))) for declaration in new)
    refusal = limits.too_many_written(len(new)) or limits.too_many_written(rules)
    if refusal is None and new:
        refusal = await changes.beyond_limit(call, change, "resources", len(new))
    if refusal is None and rules:
        refusal = await changes.beyond_limit(call, change, "role_rules", rules)
    return refusal


def _moved(refused: Conflict, positions: Sequence[int]) -> list[Clash]:
    """Return clashes with the positions that the documents have in the body."""
    return [Clash(positions[clash.index], clash.id, clash.message) for clash in refused.clashes]


async def _stored(call: Call) -> InForce | ProblemDetails:
    resource_id = call.id
    if resource_id is None:
        return nothing_at(call, _NOUN)

    async def work(connection: "Connection") -> InForce | None:
        stored = await resources.get(connection, call.tenant, resource_id)
        return None if stored is None else (await in_force(connection, call.tenant, [stored]))[0]

    found = await changes.read(call, work)
    return nothing_at(call, _NOUN) if found is None else found


def shown(stored: Stored) -> Document:
    """Return a resource as the API shows it."""
    return stored.document | {
        "createdAt": rfc3339(stored.created_at),
        "updatedAt": rfc3339(stored.updated_at),
    }


def _shown_with(row: InForce, declaration: _Declaration) -> Document:
    return _with_warnings(shown(row.stored), [*row.warnings, *resource_warnings(declaration.resource)])


def _with_warnings(document: Document, warnings: Sequence[DocumentWarning]) -> Document:
    return document | ({"warnings": changes.shown_warnings(warnings)} if warnings else {})
