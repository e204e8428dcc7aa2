"""`/api/v1/casbin/policy`: the tenant's role rules and bindings as lines of Casbin's CSV, out and in.

`compile.documents.casbin_lines` has the format.
"""

from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Body
from starlette.responses import PlainTextResponse, Response

from extauthz.admin.tenants import tenant_of
from extauthz.compile.documents.casbin_lines import (
    CasbinLine,
    LineProblem,
    ReadLine,
    binding_line,
    read_csv,
    rule_lines,
    to_csv,
)
from extauthz.compile.documents.policy_documents import Reading, parse_role_binding, parse_role_rule
from extauthz.domain.policy import RoleBinding, RoleRule
from extauthz.rest.answers import Reply, tenant_reply
from extauthz.rest.authorization import Permission
from extauthz.rest.context import RequestContext
from extauthz.rest.documents import NonNegative, Warned, example
from extauthz.rest.openapi import answer, written
from extauthz.rest.operation import Operation, requires
from extauthz.rest.preconditions import entity_tag
from extauthz.rest.problems import conflict, invalid
from extauthz.rest.quotas import check_rows_of_write
from extauthz.storage import role_bindings, role_rules
from extauthz.storage.outcome import Conflict
from extauthz.storage.rows import Document, Page, Stored
from extauthz.storage.write import Change

if TYPE_CHECKING:
    from extauthz.storage.pool import Connection

PATH: Final = "/api/v1/casbin/policy"
CSV: Final = "text/csv"
EXAMPLE: Final = "p,role:finance,emea,invoice:read,read,allow\r\ng,user:alice,role:finance,emea\r\n"
_STORED: Final = Reading()


class CasbinImport(Warned):
    """How many lines were added, and how many were there already."""

    role_rules: NonNegative = example(1)
    role_bindings: NonNegative = example(1)
    unchanged: NonNegative = example(1)


class CasbinLines(PlainTextResponse):
    """The lines, in the order of their creation."""

    media_type = CSV


_LINES: Final = {CSV: {"example": EXAMPLE}}
_EXPORT: Final = {200: {"description": "The lines, in the order of their creation", "content": _LINES}}
router: Final = APIRouter(prefix=PATH, tags=["Casbin"], route_class=Operation)


@router.get("", **answer(None, "ETag", response_class=CasbinLines, responses=_EXPORT))
async def export_casbin_policy(
    ctx: Annotated[RequestContext, requires(Permission.TENANT, in_drafts=True)],
) -> Response:
    """Export role rules and bindings as Casbin's CSV.

    Kinds are prefixes: `role:`, `user:`, `service:`, `workload:`; a deny on a name of any kind is four lines.
    A binding that expires has its expiry as a fifth field. Attribute policies are not in it.
    """

    async def work(connection: "Connection") -> tuple[list[CasbinLine], Stored]:
        return await _lines(connection, ctx.tenant), await tenant_of(ctx, connection)

    lines, tenant = await ctx.read(work)
    return Reply(200, to_csv(lines), {"ETag": entity_tag(ctx.version(tenant.revision))}, CSV).response()


@router.post("", **written(CasbinImport, openapi_extra={"requestBody": {"content": _LINES}}))
async def import_casbin_policy(
    ctx: Annotated[RequestContext, requires(Permission.TENANT, creating=True, in_drafts=True)],
    body: Annotated[str, Body(media_type=CSV)],
) -> Response:
    """Add lines of Casbin's CSV, all or none.

    Lines that are there already stay as they are. Every invalid line is named by its number. `ETag` and
    `If-Match` are of the tenant: every write in it changes them.
    """
    lines, problems = read_csv(body)
    if problems:
        raise invalid(problems)
    check_rows_of_write(len(lines))

    async def work(change: Change) -> dict[str, int]:
        ctx.check_tenant_precondition(change)
        present = set(await _lines(change.connection, change.tenant))
        new = list({line.fields: line for line in lines if line.fields not in present}.values())
        rules = [line for line in new if isinstance(line.entity, RoleRule)]
        bindings = [line for line in new if isinstance(line.entity, RoleBinding)]
        await _insert(ctx, change, role_rules, rules, "has the value of a rule that is stored")
        await _insert(ctx, change, role_bindings, bindings, "is bound with another expiry")
        return {"role_rules": len(rules), "role_bindings": len(bindings), "unchanged": len(lines) - len(new)}

    return await ctx.write(work, tenant_reply)


async def _insert(
    ctx: RequestContext, change: Change, rows: ModuleType, lines: Sequence[ReadLine], contradiction: str
) -> None:
    """Store the entities of lines as `rows`, the module of `storage` for their kind."""
    await ctx.check_quota(change, rows.TABLE, len(lines))
    documents = [rows.document_of(line.entity) | {"id": change.new_id()} for line in lines]
    refused = await rows.create(change, documents) if documents else None
    if isinstance(refused, Conflict):
        problems = [
            LineProblem(lines[clash.index].number, f"{contradiction}: {clash.id}")
            for clash in refused.clashes
        ]
        raise conflict("lines contradict what is stored", refused.ids, problems)


async def _lines(connection: "Connection", tenant: str) -> list[CasbinLine]:
    """Return the tenant's lines; damaged rows are left out."""
    rules = [parse_role_rule(row, "", [], _STORED) for row in await _all(role_rules, connection, tenant)]
    bindings = [
        parse_role_binding(row, "", [], _STORED) for row in await _all(role_bindings, connection, tenant)
    ]
    found = [line for rule in rules if rule is not None for line in rule_lines(rule)]
    return found + [binding_line(binding) for binding in bindings if binding is not None]


async def _all(rows: ModuleType, connection: "Connection", tenant: str) -> list[Document]:
    found: list[Document] = []
    after: UUID | None = None
    while True:
        page: Page[Stored] = await rows.page(connection, tenant, after=after)
        found += [stored.document for stored in page.items]
        if page.next is None:
            return found
        after = UUID(page.next)
