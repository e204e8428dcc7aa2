"""`/api/v1/casbin/policy`: all role rules and bindings of the tenant as Casbin's CSV, out and in."""

from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from uuid import UUID

from extauthz.admin import changes
from extauthz.admin.casbin_lines import (
    MEDIA_TYPE,
    Line,
    ReadLine,
    binding_line,
    read,
    rule_lines,
    written,
)
from extauthz.admin.limits import too_many_written
from extauthz.admin.operation import OF_TENANT, Answer, Call, Content, Operation, Reply, Text, Who
from extauthz.admin.problems import LineProblem, ProblemDetails, conflict, invalid, not_found
from extauthz.admin.reading import entity_tag
from extauthz.compile.documents import Reading, parse_role_binding, parse_role_rule
from extauthz.storage import role_bindings, role_rules, tenants
from extauthz.storage.outcome import Conflict
from extauthz.storage.rows import Document, Page, Stored
from extauthz.storage.write import Change

if TYPE_CHECKING:
    from extauthz.domain.problem import Problem
    from extauthz.storage.pool import Connection

PATH: Final = "/api/v1/casbin/policy"
_READING: Final = Reading()


async def export(call: Call) -> Reply | ProblemDetails:
    """Return every role rule and binding of one moment, in the order of their creation."""

    async def work(connection: "Connection") -> tuple[list[Line], Stored | None]:
        return await _lines(connection, call.tenant), await tenants.get(connection, call.tenant)

    found = await changes.read(call, work)
    if isinstance(found, ProblemDetails):
        return found
    lines, tenant = found
    if tenant is None:
        # Deleted since its administrator was recognised.
        return not_found(f"there is no tenant {call.tenant!r}")
    return Reply(HTTPStatus.OK, Text(written(lines), MEDIA_TYPE), {"ETag": entity_tag(tenant.revision)})


async def add(call: Call) -> Reply | ProblemDetails:
    """Add the lines that are not there yet, all of them or none."""
    assert call.body is not None
    assert isinstance(call.body.document, str)
    lines, problems = read(call.body.document)
    if problems:
        return invalid(problems)
    if refusal := too_many_written(len(lines)):
        return refusal

    async def work(change: Change) -> changes.Outcome[dict[str, int]]:
        if stale := changes.tenant_stale(call, change):
            return stale
        present = set(await _lines(change.connection, change.tenant))
        new = list({line.fields: line for line in lines if line.fields not in present}.values())
        rules = [line for line in new if line.fields[0] == "p"]
        bindings = [line for line in new if line.fields[0] == "g"]
        refusal = await changes.beyond_limit(
            call, change, "role_rules", len(rules)
        ) or await changes.beyond_limit(call, change, "role_bindings", len(bindings))
        if refusal:
            return refusal
        if rules:
            rules_made = await role_rules.create(change, [_rule(change, line) for line in rules])
            if isinstance(rules_made, Conflict):
                return _clashing(rules_made, rules, "says the same as a rule that is stored")
        if bindings:
            bindings_made = await role_bindings.create(change, [_binding(change, line) for line in bindings])
            if isinstance(bindings_made, Conflict):
                return _clashing(bindings_made, bindings, "is bound with another end")
        return {"role_rules": len(rules), "role_bindings": len(bindings), "unchanged": len(lines) - len(new)}

    outcome = await changes.write(call, work)
    if isinstance(outcome, ProblemDetails):
        return outcome
    return Reply(HTTPStatus.OK, outcome.value, changes.tenant_headers(outcome.revision))


async def _lines(connection: "Connection", tenant: str) -> list[Line]:
    """Return what the tenant has; rows are written through parsers, so each of them can be read."""
    found: list[Line] = []
    problems: list[Problem] = []
    for stored in await _all(lambda after: role_rules.page(connection, tenant, after=after)):
        if rule := parse_role_rule(stored.document, "", problems, _READING):
            found += rule_lines(rule)
    for stored in await _all(lambda after: role_bindings.page(connection, tenant, after=after)):
        if binding := parse_role_binding(stored.document, "", problems, _READING):
            found.append(binding_line(binding))
    return found


async def _all(page: Callable[[UUID | None], Awaitable[Page]]) -> list[Stored]:
    found: list[Stored] = []
    after: UUID | None = None
    while True:
        part = await page(after)
        found += part.items
        if part.next is None:
            return found
        after = UUID(part.next)


def _rule(change: Change, line: ReadLine) -> Document:
    rule = parse_role_rule(line.document | {"id": change.new_id()}, "", [], _READING)
    assert rule is not None, "the line was read"
    return role_rules.document_of(rule)


def _binding(change: Change, line: ReadLine) -> Document:
    binding = parse_role_binding(line.document | {"id": change.new_id()}, "", [], _READING)
    assert binding is not None, "the line was read"
    return role_bindings.document_of(binding)


def _clashing(refused: Conflict, lines: Sequence[ReadLine], message: str) -> ProblemDetails:
    problems = [LineProblem(lines[clash.index].number, f"{message}: {clash.id}") for clash in refused.clashes]
    return conflict("lines contradict what is stored", refused.ids, problems)


_EXAMPLE: Final = "p,role:finance,emea,invoice:read,read,allow\r\ng,user:alice,role:finance,emea\r\n"
_CSV: Final = Content("CasbinPolicy", _EXAMPLE, media_types=(MEDIA_TYPE,))

OPERATIONS: Final = (
    Operation(
        method="GET",
        path=PATH,
        name="exportCasbinPolicy",
        tag="Casbin",
        who=Who.TENANT_ADMIN,
        handler=export,
        summary="Export role rules and bindings as Casbin's CSV",
        description=(
            "Kinds are prefixes: `role:`, `user:`, `service:`; a deny on a name of any kind is three lines. "
            "A binding that expires has its end as a fifth field. Attribute policies are not in it."
        ),
        answers=(Answer(HTTPStatus.OK, "The lines, in the order of their creation", _CSV, ("ETag",)),),
        # Its administrator can be deleted with it while it asks.
        problems=(HTTPStatus.NOT_FOUND,),
    ),
    Operation(
        method="POST",
        path=PATH,
        name="importCasbinPolicy",
        tag="Casbin",
        who=Who.TENANT_ADMIN,
        handler=add,
        summary="Add lines of Casbin's CSV, all or none",
        description=(
            "Lines that are there already stay as they are. Every bad line is named with its number. "
            + OF_TENANT
        ),
        body=_CSV,
        bulk=True,
        preconditions=True,
        answers=(
            Answer(
                HTTPStatus.OK,
                "How many were added, and how many were there",
                Content("CasbinImport", {"role_rules": 1, "role_bindings": 1, "unchanged": 0}),
                ("X-Policy-Revision", "ETag"),
            ),
        ),
        problems=(HTTPStatus.CONFLICT,),
    ),
)
