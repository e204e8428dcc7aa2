"""Resources, their routes, and their default roles.

Input: documents. Output: `Stored`, `Page`, or `Conflict`, `NotFound`.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace as replace_members
from typing import TYPE_CHECKING, Final, cast

from extauthz.compile.documents.mcp_routes import mcp_document, patterns_of
from extauthz.compile.documents.warnings import default_roles_warnings, public_warning
from extauthz.compile.routes.mcp_messages import claims_of
from extauthz.compile.routes.route_index import Template
from extauthz.domain.policy import PUBLIC_SUBJECTS, WILDCARD, SubjectKind, default_action
from extauthz.domain.reasons import Effect
from extauthz.storage import editing, public_resources, role_rules
from extauthz.storage.columns import Column
from extauthz.storage.conditions import equal
from extauthz.storage.outcome import Clash, Conflict, NotFound
from extauthz.storage.rows import MAX_PAGE, Document, Page, Stored, Table

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from uuid import UUID

    from extauthz.domain.policy import Resource, Route
    from extauthz.storage.pool import Connection
    from extauthz.storage.write import Change

TABLE: Final = Table(
    "resource",
    "resources",
    [
        Column("name", "name"),
        Column("displayName", "display_name"),
        Column("serviceName", "service_name"),
        Column("defaultRoles", "default_roles", "names"),
        Column("routes", "routes", "jsonb"),
        Column("public", "public", "boolean", optional=True),
        Column("headers", "headers", "jsonb", optional=True),
        Column("authorization", "authorization_header", optional=True),
        Column("assertion", "assertion", "boolean", optional=True),
        Column("require_bound", "require_bound", "boolean", optional=True),
    ],
    unique=("name",),
)
WORKLOAD_MEMBERS: Final = ("headers", "authorization", "assertion", "require_bound")
"""Members that are stored only where they were written."""


def document_of(
    resource: Resource,
    resource_id: str,
    *,
    display_name: str | None,
    default_roles: Sequence[str],
    public: bool = False,
) -> Document:
    """Return the document of a resource, with canonical routes and its defaults written out.

    `public` is there only where it is true.
    """
    return ({"public": True} if public else {}) | {
        "id": resource_id,
        "name": resource.name,
        "displayName": resource.name if display_name is None else display_name,
        "serviceName": resource.service,
        "defaultRoles": list(default_roles),
        "routes": [_route_document(route) for route in resource.routes],
    }


def _route_document(route: Route) -> Document:
    document: Document = {} if route.host is None else {"host": route.host}
    document |= {
        "methods": list(route.methods),
        "path": route.path,
        "action": route.action,
        "authentication": route.authentication.value,
    }
    return document | {"mcp": mcp_document(route.mcp)} if route.mcp else document


async def newest_revision(connection: Connection, tenant: str) -> int:
    """Return the newest revision of a resource that exists; 0 without one."""
    found: int = await connection.fetchval(
        "SELECT coalesce(max(revision), 0) FROM resources WHERE tenant_id = $1", tenant
    )
    return found


async def create(change: Change, documents: Sequence[Mapping[str, object]]) -> tuple[Stored, ...] | Conflict:
    """Insert resources with their routes; default roles of a name seen the first time ever become role rules.

    Of a public resource, two allow rules are written.

    An existing name is a conflict of kind `resource`, an existing route one of kind `route`.
    """
    created = await editing.create(change, TABLE, documents)
    if isinstance(created, Conflict):
        return created
    rows = [stored.document for stored in created]
    if conflict := await _claim_routes(change, rows, unstored={stored.id for stored in created}):
        return conflict
    await _apply_default_roles(change, rows)
    await public_resources.open_all(change, rows)
    return created


async def replace(change: Change, document: Mapping[str, object]) -> Stored | NotFound | Conflict:
    """Replace a resource and its routes by id; default roles apply only when it is created.

    The rules of a public resource are written when it becomes public, and deleted when it no longer is.
    """
    was_public = await change.connection.fetchval(
        "SELECT public FROM resources WHERE tenant_id = $1 AND id = $2::uuid", change.tenant, document["id"]
    )
    replaced = await editing.replace(change, TABLE, document)
    if not isinstance(replaced, Stored) or replaced.revision != change.revision:
        return replaced
    await change.connection.execute(
        "DELETE FROM route_claims WHERE tenant_id = $1 AND resource_id = $2::uuid", change.tenant, replaced.id
    )
    if conflict := await _claim_routes(change, [replaced.document]):
        return conflict
    is_public = public_resources.is_public(replaced.document)
    if is_public and not was_public:
        await public_resources.open_all(change, [replaced.document])
    elif was_public and not is_public:
        await public_resources.close(change, str(replaced.document["name"]))
    return replaced


async def delete(change: Change, resource_id: UUID) -> Stored | NotFound:
    """Delete a resource and its routes; rules with its name stay."""
    return await editing.remove(change, TABLE, resource_id)


async def get(connection: Connection, tenant: str, resource_id: UUID) -> Stored | None:
    """Return one resource; None if it does not exist."""
    return await TABLE.fetch(connection, tenant, resource_id)


async def by_names(connection: Connection, tenant: str, names: Collection[str]) -> dict[str, Stored]:
    """Return the resources with these names, by name."""
    records = await connection.fetch(
        f"SELECT {TABLE.selected_with_marks} FROM resources"  # noqa: S608 - our own columns
        " WHERE tenant_id = $1 AND name = ANY($2::text[])",
        tenant,
        list(names),
    )
    return {str(stored.document["name"]): stored for stored in map(TABLE.stored, records)}


async def page(
    connection: Connection,
    tenant: str,
    *,
    service_name: str | None = None,
    name: str | None = None,
    after: UUID | None = None,
    limit: int = MAX_PAGE,
) -> Page[Stored]:
    """Return a page of resources in the order of ids."""
    where = equal(service_name=service_name, name=name)
    return await TABLE.page(connection, tenant, where=where, after=after, limit=limit)


async def default_roles_in_force(
    connection: Connection, tenant: str, stored: Sequence[Stored]
) -> list[tuple[str, ...]]:
    """Return the default roles of each resource for which a role rule exists now.

    These are declared roles, and roles that became rules when the name was first registered and whose rule
    was not written since; they differ if the declaration was changed later.
    """
    declared = [
        (str(each.document["name"]), role)
        for each in stored
        for role in cast("Sequence[str]", each.document["defaultRoles"])
    ]
    names = [str(each.document["name"]) for each in stored]
    found: dict[str, dict[str, None]] = {name: {} for name in names}
    if declared:
        records = await connection.fetch(
            "SELECT r.obj, r.sub FROM role_rules AS r"
            " JOIN unnest($2::text[], $3::text[], $4::text[]) AS d (obj, act, sub)"
            " ON r.obj = d.obj AND r.act = d.act AND r.sub = d.sub"
            " WHERE r.tenant_id = $1 AND r.dom = '*' AND r.sub_kind = 'role' AND r.effect = 'allow'",
            tenant,
            [name for name, _ in declared],
            [default_action(name) for name, _ in declared],
            [role for _, role in declared],
        )
        there = {(record["obj"], record["sub"]) for record in records}
        for name, role in declared:
            if (name, role) in there:
                found[name][role] = None
    records = await connection.fetch(
        "SELECT r.obj, r.sub"
        " FROM unnest($2::text[], $3::text[], $4::text[]::bigint[]) AS d (obj, act, revision)"
        " JOIN default_roles_applied AS a ON a.tenant_id = $1 AND a.resource_name = d.obj"
        # A resource that was written once has the declaration that was applied.
        " AND a.revision <> d.revision"
        " JOIN role_rules AS r ON r.tenant_id = $1 AND r.obj = d.obj AND r.act = d.act"
        " AND r.revision = a.revision"
        " WHERE r.dom = '*' AND r.sub_kind = 'role' AND r.effect = 'allow' ORDER BY r.id",
        tenant,
        names,
        [default_action(name) for name in names],
        [str(each.revision) for each in stored],
    )
    for record in records:
        found[record["obj"]].setdefault(record["sub"])
    return [tuple(found[name]) for name in names]


async def rules_on(change: Change, stored: Stored, *, limit: int) -> tuple[tuple[Stored, ...], list[str]]:
    """Return at most `limit` role rules on a resource, and the ids of those that its declaration is not."""
    name = str(stored.document["name"])
    rules = await role_rules.on_resource(change.connection, change.tenant, name, limit=limit)
    (roles,) = await default_roles_in_force(change.connection, change.tenant, [stored])
    declared = cast("Sequence[str]", stored.document["defaultRoles"])
    subjects = {(role, SubjectKind.ROLE) for role in (*declared, *roles)}
    if public_resources.is_public(stored.document):
        subjects |= set(PUBLIC_SUBJECTS)
    own = {(sub, kind.value, WILDCARD, default_action(name), Effect.ALLOW.value) for sub, kind in subjects}
    members = ("sub", "sub_kind", "dom", "act", "effect")
    others = [rule.id for rule in rules if tuple(rule.document[each] for each in members) not in own]
    return rules, others


async def in_force(connection: Connection, tenant: str, rows: Sequence[Stored]) -> list[Stored]:
    """Return resources with the default roles and `public` that are in force, and warnings about the others.

    Default roles become role rules when a name is registered for the first time. A later declaration, or a
    change of those rules, does not change that: the roles that have a rule now are in force. Likewise a
    resource is public while both rules that this stands for exist.
    """
    found = await default_roles_in_force(connection, tenant, rows)
    public = await public_resources.in_force(connection, tenant, rows)
    return [_in_force(stored, roles, public) for stored, roles in zip(rows, found, strict=True)]


def _in_force(stored: Stored, roles: Sequence[str], public: Collection[str]) -> Stored:
    document = stored.document
    name, declared = str(document["name"]), cast("Sequence[str]", document["defaultRoles"])
    warnings = default_roles_warnings(name, declared, roles)
    if warnings:
        document = document | {"defaultRoles": list(roles)}
    if public_resources.is_public(document) and name not in public:
        warnings.append(public_warning(name))
        document = {member: value for member, value in document.items() if member != "public"}
    return replace_members(stored, document=document, warnings=tuple(warnings))


@dataclass(frozen=True, slots=True)
class _Claim:
    index: int
    resource_id: str
    resource: str
    host: str
    shape: str
    method: str

    @property
    def key(self) -> tuple[str, str, str]:
        return self.host, self.shape, self.method

    def __str__(self) -> str:
        return f"{self.method} {self.host or 'any host'} {self.shape} of {self.resource!r}"


def _claims(documents: Sequence[Document]) -> list[_Claim]:
    claims = []
    for index, document in enumerate(documents):
        for route in cast("Sequence[Mapping[str, object]]", document["routes"]):
            template = Template.parse(str(route["path"]))
            assert isinstance(template, Template), "routes are checked when their document is read"
            host = str(route.get("host") or "")
            methods = cast("Sequence[str]", route["methods"])
            claims += [
                _Claim(index, str(document["id"]), str(document["name"]), host, template.shape, claim)
                for claim in claims_of(methods, patterns_of(route.get("mcp")))
            ]
    return claims


async def _claim_routes(
    change: Change, documents: Sequence[Document], *, unstored: Collection[str] = ()
) -> Conflict | None:
    """Insert the claims of routes; `unstored` are ids of resources that exist only if this write succeeds."""
    claims = _claims(documents)
    if not claims:
        return None
    claimed = await change.connection.fetch(
        "INSERT INTO route_claims (tenant_id, host, shape, method, resource_id)"
        " SELECT $1, r.host, r.shape, r.method, r.resource_id"
        " FROM unnest($2::text[], $3::text[], $4::text[], $5::text[]::uuid[])"
        " AS r (host, shape, method, resource_id)"
        " ON CONFLICT DO NOTHING RETURNING 1",
        change.tenant,
        [claim.host for claim in claims],
        [claim.shape for claim in claims],
        [claim.method for claim in claims],
        [claim.resource_id for claim in claims],
    )
    if len(claimed) == len(claims):
        return None
    return Conflict("route", await _route_clashes(change, claims, unstored))


async def _route_clashes(
    change: Change, claims: Sequence[_Claim], unstored: Collection[str]
) -> tuple[Clash, ...]:
    records = await change.connection.fetch(
        "SELECT c.host, c.shape, c.method, c.resource_id::text AS id, s.name FROM route_claims AS c"
        " JOIN unnest($2::text[], $3::text[], $4::text[]) AS r (host, shape, method)"
        " ON c.host = r.host AND c.shape = r.shape AND c.method = r.method"
        " JOIN resources AS s ON s.tenant_id = c.tenant_id AND s.id = c.resource_id WHERE c.tenant_id = $1",
        change.tenant,
        *zip(*(claim.key for claim in claims), strict=True),
    )
    holders = {(row["host"], row["shape"], row["method"]): (row["id"], row["name"]) for row in records}
    clashes = []
    seen: set[tuple[str, str, str]] = set()
    for claim in claims:
        holder, name = holders[claim.key]
        if holder != claim.resource_id or claim.key in seen:
            stored = None if holder in unstored else holder
            clashes.append(Clash(claim.index, stored, f"{claim} already leads to {name!r}"))
        seen.add(claim.key)
    return tuple(clashes)


async def _apply_default_roles(change: Change, documents: Sequence[Document]) -> None:
    wanted = {str(document["name"]): document for document in documents if document["defaultRoles"]}
    if not wanted:
        return
    first_time = await change.connection.fetch(
        "INSERT INTO default_roles_applied (tenant_id, resource_name, revision)"
        " SELECT $1, name, $2 FROM unnest($3::text[]) AS r (name)"
        " ON CONFLICT DO NOTHING RETURNING resource_name",
        change.tenant,
        change.revision,
        list(wanted),
    )
    rules: list[Document] = [
        {
            "id": change.new_id(),
            "sub": role,
            "sub_kind": "role",
            "dom": "*",
            "obj": row["resource_name"],
            "act": default_action(row["resource_name"]),
            "effect": "allow",
        }
        for row in first_time
        for role in dict.fromkeys(cast("Sequence[str]", wanted[row["resource_name"]]["defaultRoles"]))
    ]
    # An equal rule that exists already is kept.
    stored = await role_rules.TABLE.insert(change.connection, change.tenant, rules, revision=change.revision)
    for rule in rules:
        if rule["id"] in stored:
            change.note("create", role_rules.TABLE.kind, str(rule["id"]), after=rule)
