"""`/api/v1/casbin/policy`: the tenant's role rules and bindings as lines of Casbin's CSV, out and in.

    p,role:finance,emea,invoice:read,read,allow         p, subject, domain, object, action, effect
    p,*,*,invoice:read,read,deny
    g,user:alice,role:finance,emea                      g, member, role, domain
    g,user:bob,role:finance,emea,2027-01-31T00:00:00Z   the same with an expiry, which Casbin itself ignores

Kinds are prefixes: a role with the name `user:x` is `role:user:x`. A deny on a name of kind `any` is three
lines, `role:`, `user:` and `service:`. Lines end in CRLF and are quoted as in RFC 4180; LF, white space after
a comma, blank lines and comments (`#`) are read, too, as Casbin's own adapters do.
"""

import csv
import io
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Body
from pydantic import Field
from starlette.responses import PlainTextResponse, Response

from extauthz.admin.answers import Reply, tenant_headers
from extauthz.admin.authorization import Permission
from extauthz.admin.context import RequestContext
from extauthz.admin.documents import Integer, Warned, example
from extauthz.admin.openapi import answer, written
from extauthz.admin.operation import Operation, requires
from extauthz.admin.preconditions import entity_tag
from extauthz.admin.problems import LineProblem, ProblemError, conflict, invalid, not_found
from extauthz.admin.quotas import check_rows_of_write
from extauthz.compile.documents import Reading, parse_role_binding, parse_role_rule
from extauthz.compile.roles import rule_subjects
from extauthz.domain.policy import WILDCARD, RoleBinding, RoleRule, SubjectKind
from extauthz.domain.problem import Problem
from extauthz.storage import role_bindings, role_rules, tenants
from extauthz.storage.outcome import Conflict, Refusal
from extauthz.storage.rows import Document, Page, Stored, rfc3339
from extauthz.storage.write import Change

if TYPE_CHECKING:
    from extauthz.storage.pool import Connection

PATH: Final = "/api/v1/casbin/policy"
CSV: Final = "text/csv"
EXAMPLE: Final = "p,role:finance,emea,invoice:read,read,allow\r\ng,user:alice,role:finance,emea\r\n"
_Count = Annotated[Integer, Field(ge=0), example(1)]


Line = tuple[str, ...]

_RULE_MEMBERS: Final = ("sub", "dom", "obj", "act", "effect")
_BINDING_MEMBERS: Final = ("user", "role", "dom", "expires_at")
_RULE_KINDS: Final = (SubjectKind.ROLE, SubjectKind.USER, SubjectKind.SERVICE, SubjectKind.WORKLOAD)
_READING: Final = Reading(assigned_id="-")


@dataclass(frozen=True, slots=True)
class ReadLine:
    """A line: its number from 1, its fields in canonical spelling, and its rule or binding."""

    number: int
    fields: Line
    document: Document


class CasbinImport(Warned):
    """How many lines were added, and how many were there already."""

    role_rules: _Count
    role_bindings: _Count
    unchanged: _Count


class CasbinLines(PlainTextResponse):
    """The lines, in the order of their creation."""

    media_type = CSV


_LINES: Final = {CSV: {"example": EXAMPLE}}
_EXPORT: Final = {
    200: {"description": "The lines, in the order of their creation", "content": _LINES},
    404: {},
}
router: Final = APIRouter(prefix=PATH, tags=["Casbin"], route_class=Operation)


@router.get("", **answer(None, "ETag", response_class=CasbinLines, responses=_EXPORT))
async def export_casbin_policy(ctx: Annotated[RequestContext, requires(Permission.TENANT)]) -> Response:
    """Export role rules and bindings as Casbin's CSV.

    Kinds are prefixes: `role:`, `user:`, `service:`, `workload:`; a deny on a name of any kind is four lines.
    A binding that expires has its expiry as a fifth field. Attribute policies are not in it.
    """

    async def work(connection: "Connection") -> tuple[list[Line], Stored | None]:
        return await _lines(connection, ctx.tenant), await tenants.get(connection, ctx.tenant)

    lines, tenant = await ctx.read(work)
    if tenant is None:
        raise not_found(f"there is no tenant {ctx.tenant!r}")
    return Reply(200, to_csv(lines), {"ETag": entity_tag(tenant.revision)}, CSV).response()


@router.post("", **written(CasbinImport, openapi_extra={"requestBody": {"content": _LINES}}))
async def import_casbin_policy(
    ctx: Annotated[RequestContext, requires(Permission.TENANT, creating=True)],
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

    async def work(change: Change) -> dict[str, int] | Refusal:
        ctx.check_tenant_precondition(change)
        present = set(await _lines(change.connection, change.tenant))
        new = list({line.fields: line for line in lines if line.fields not in present}.values())
        rules = [line for line in new if line.fields[0] == "p"]
        bindings = [line for line in new if line.fields[0] == "g"]
        await ctx.check_quota(change, role_rules.TABLE, len(rules))
        await ctx.check_quota(change, role_bindings.TABLE, len(bindings))
        if rules:
            created = await role_rules.create(
                change, [line.document | {"id": change.new_id()} for line in rules]
            )
            if isinstance(created, Conflict):
                raise _conflict(created, rules, "has the value of a rule that is stored")
        if bindings:
            bound = await role_bindings.create(
                change, [line.document | {"id": change.new_id()} for line in bindings]
            )
            if isinstance(bound, Conflict):
                raise _conflict(bound, bindings, "is bound with another expiry")
        return {"role_rules": len(rules), "role_bindings": len(bindings), "unchanged": len(lines) - len(new)}

    return await ctx.write(work, lambda counts, revision: Reply(200, counts, tenant_headers(revision)))


async def _lines(connection: "Connection", tenant: str) -> list[Line]:
    """Return the tenant's lines; damaged rows are left out."""
    found: list[Line] = []
    problems: list[Problem] = []
    for stored in await _all(lambda after: role_rules.page(connection, tenant, after=after)):
        if rule := parse_role_rule(stored.document, "", problems, _READING):
            found += rule_lines(rule)
    for stored in await _all(lambda after: role_bindings.page(connection, tenant, after=after)):
        if binding := parse_role_binding(stored.document, "", problems, _READING):
            found.append(binding_line(binding))
    return found


async def _all(page: Callable[[UUID | None], Awaitable[Page[Stored]]]) -> list[Stored]:
    found: list[Stored] = []
    after: UUID | None = None
    while True:
        part = await page(after)
        found += part.items
        if part.next is None:
            return found
        after = UUID(part.next)


def _conflict(refused: Conflict, lines: Sequence[ReadLine], message: str) -> ProblemError:
    problems = [LineProblem(lines[clash.index].number, f"{message}: {clash.id}") for clash in refused.clashes]
    return conflict("lines contradict what is stored", refused.ids, problems)


def rule_lines(rule: RoleRule) -> Iterator[Line]:
    """Yield the lines of a role rule: one, or four for a name of kind `any`."""
    for subject in rule_subjects(rule):
        yield ("p", subject, rule.dom, rule.obj, rule.act, rule.effect.value)


def binding_line(binding: RoleBinding) -> Line:
    """Return the line of a binding."""
    line = ("g", f"{binding.user_kind.value}:{binding.user}", f"role:{binding.role}", binding.dom)
    if binding.expires_at is None:
        return line
    return (*line, rfc3339(datetime.fromtimestamp(binding.expires_at, UTC)))


def to_csv(lines: Iterable[Line]) -> str:
    """Return lines as CSV, each once."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(dict.fromkeys(lines))
    return text.getvalue()


def read_csv(text: str) -> tuple[list[ReadLine], list[LineProblem]]:
    """Read CSV; an invalid line is a problem. Names have no line ends, so no record spans two lines."""
    found: list[ReadLine] = []
    problems: list[LineProblem] = []
    for number, raw in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        line = raw.removesuffix("\r")
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        outcome = _read_line(line)
        if isinstance(outcome, str):
            problems.append(LineProblem(number, outcome))
        else:
            found.append(ReadLine(number, *outcome))
    return found, problems


def _read_line(line: str) -> tuple[Line, Document] | str:
    if "\r" in line:
        return "has a carriage return in it"
    try:
        [fields] = csv.reader([line.lstrip(" \t")], strict=True, skipinitialspace=True)
    except (csv.Error, ValueError):
        return "is not CSV: a quote is not closed, or stands inside a field"
    problems: list[Problem] = []
    kind, *values = (field.strip(" \t") for field in fields)
    match kind:
        case "p" if len(values) == len(_RULE_MEMBERS):
            document = _rule(values, problems)
            rule = None if problems else parse_role_rule(document, "", problems, _READING)
            if rule is not None:
                return next(iter(rule_lines(rule))), role_rules.document_of(rule)
        case "g" if len(values) in {len(_BINDING_MEMBERS) - 1, len(_BINDING_MEMBERS)}:
            document = _binding(values, problems)
            binding = None if problems else parse_role_binding(document, "", problems, _READING)
            if binding is not None:
                return binding_line(binding), role_bindings.document_of(binding)
        case "p" | "g":
            members = "subject, domain, object, action, effect" if kind == "p" else "member, role, domain"
            return f"has {len(values)} fields after {kind!r}; needed are {members}"
        case _:
            return f"begins with {kind[:20]!a}; lines begin with 'p' or 'g'"
    return "; ".join(f"{problem.pointer.removeprefix('/')} {problem.message}".strip() for problem in problems)


def _rule(values: list[str], problems: list[Problem]) -> Document:
    document: Document = dict(zip(_RULE_MEMBERS, values, strict=True))
    if values[0] != WILDCARD:
        kind, document["sub"] = _parted(values[0], _RULE_KINDS, "sub", problems)
        document["sub_kind"] = kind
    return document


def _binding(values: list[str], problems: list[Problem]) -> Document:
    document: Document = dict(zip(_BINDING_MEMBERS, values, strict=False))
    document["user_kind"], document["user"] = _parted(values[0], _RULE_KINDS, "member", problems)
    _, document["role"] = _parted(values[1], (SubjectKind.ROLE,), "role", problems)
    return document


def _parted(
    value: str, kinds: tuple[SubjectKind, ...], member: str, problems: list[Problem]
) -> tuple[str, str]:
    kind, colon, name = value.partition(":")
    if not colon or kind not in kinds:
        wanted = " or ".join(f"'{each.value}:'" for each in kinds)
        problems.append(
            Problem(f"/{member}", f"found {value[:60]!a}, a name that begins with {wanted} is needed")
        )
    return kind, name
