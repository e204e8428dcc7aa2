"""`/api/v1/resources/policies`: role rules, Casbin's `p` lines, by id and by value."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from uuid import UUID

from extauthz.admin import changes
from extauthz.admin.documents import new_document, reading, replacing_document
from extauthz.admin.operation import (
    Call,
    Reply,
    nothing_at,
)
from extauthz.admin.problems import ParameterProblem, ProblemDetails, invalid
from extauthz.admin.reading import name_filters
from extauthz.compile.documents import parse_role_rule
from extauthz.compile.fields import Fields
from extauthz.domain.policy import SubjectKind
from extauthz.domain.reasons import Effect
from extauthz.storage import role_rules
from extauthz.storage.outcome import Conflict, NotFound
from extauthz.storage.rows import Document, Stored
from extauthz.storage.write import Change, Written

if TYPE_CHECKING:
    from extauthz.domain.problem import Problem

PATH: Final = "/api/v1/resources/policies"
_NOUN: Final = "role rule"
_SHOWN: Final = ("created_at", "updated_at", "warnings")


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a rule is found by; None is anything."""

    sub: str
    dom: str
    obj: str
    act: str | None
    sub_kind: str | None
    effect: str | None

    @classmethod
    def of(cls, given: Mapping[str, str | None]) -> "_Wanted":
        names = {name: given.get(name) for name in ("act", "sub_kind", "effect")}
        return cls(str(given["sub"]), str(given["dom"]), str(given["obj"]), **names)


async def list_rules(call: Call) -> Reply | ProblemDetails:
    """List the rules that the caller may see."""
    filters = name_filters(call.query, "obj", "sub", "dom")
    if isinstance(filters, ProblemDetails):
        return filters
    return await changes.listed(call, role_rules.TABLE, role_rules.page, filters)


async def create(call: Call) -> Reply | ProblemDetails:
    """Store a new rule."""
    problems: list[Problem] = []
    document = new_document(call, problems)
    rule = parse_role_rule(document, "", problems, reading(call, call.services.new_id()))
    if problems or rule is None:
        return invalid(problems)
    if refusal := changes.foreign_domain(call, rule.dom) or changes.stale(call, None):
        return refusal

    async def work(change: Change) -> changes.Outcome[Stored]:
        if refusal := await changes.beyond_limit(call, change, "role_rules", 1):
            return refusal
        created = await role_rules.create(
            change, [role_rules.document_of(rule)], by_domain_admin=not call.caller.is_tenant_admin
        )
        if isinstance(created, Conflict):
            return created
        return await _present(change, str(created[0]["id"]))

    written = await changes.write(call, work)
    return _reply(written, HTTPStatus.CREATED, location=PATH)


async def get(call: Call) -> Reply | ProblemDetails:
    """Return one rule."""
    rule_id = call.id
    if rule_id is None:
        return nothing_at(call, _NOUN)
    stored = await changes.read(call, lambda connection: role_rules.get(connection, call.tenant, rule_id))
    if isinstance(stored, ProblemDetails):
        return stored
    if stored is None or not call.caller.may(stored.document["dom"]):
        return nothing_at(call, _NOUN)
    return changes.single(call, role_rules.TABLE, stored)


async def replace(call: Call) -> Reply | ProblemDetails:
    """Replace a rule by its id."""
    rule_id = call.id
    if rule_id is None:
        return nothing_at(call, _NOUN)
    assert call.body is not None
    problems: list[Problem] = []
    document = replacing_document(call.body.document, rule_id, problems, shown=_SHOWN)
    rule = parse_role_rule(document, "", problems, reading(call, str(rule_id)))
    if problems or rule is None:
        return invalid(problems)
    if refusal := changes.foreign_domain(call, rule.dom):
        return refusal

    async def work(change: Change) -> changes.Outcome[Stored]:
        stored = await role_rules.get(change.connection, change.tenant, rule_id)
        if stored is None or not call.caller.may(stored.document["dom"]):
            return nothing_at(call, _NOUN)
        return await _replaced(call, change, stored, role_rules.document_of(rule))

    return _reply(await changes.write(call, work), HTTPStatus.OK)


async def delete(call: Call) -> Reply | ProblemDetails:
    """Delete a rule by its id."""
    rule_id = call.id
    if rule_id is None:
        return nothing_at(call, _NOUN)

    async def work(change: Change) -> changes.Outcome[Stored]:
        stored = await role_rules.get(change.connection, change.tenant, rule_id)
        if stored is None or not call.caller.may(stored.document["dom"]):
            return nothing_at(call, _NOUN)
        return await _deleted(call, change, stored)

    written = await changes.write(call, work)
    return written if isinstance(written, ProblemDetails) else changes.gone_reply(written)


async def replace_by_value(call: Call) -> Reply | ProblemDetails:
    """Replace the rule that the body's own value finds: its action and effect may change."""
    assert call.body is not None
    problems: list[Problem] = []
    document = new_document(call, problems)
    rule = parse_role_rule(document, "", problems, reading(call, call.services.new_id()))
    if problems or rule is None:
        return invalid(problems)
    if refusal := changes.foreign_domain(call, rule.dom):
        return refusal

    async def work(change: Change) -> changes.Outcome[Stored]:
        found = await role_rules.by_value(
            change.connection, change.tenant, sub=rule.sub, dom=rule.dom, obj=rule.obj, act=rule.act
        )
        if isinstance(found, NotFound | Conflict):
            return found
        return await _replaced(call, change, found, role_rules.document_of(rule) | {"id": found.id})

    return _reply(await changes.write(call, work), HTTPStatus.OK)


async def delete_by_value(call: Call) -> Reply | ProblemDetails:
    """Delete the rule that a value finds, given in the body or in the query."""
    wanted = _wanted_by_query(call) if call.body is None else _wanted_by_body(call)
    if isinstance(wanted, ProblemDetails):
        return wanted
    if refusal := changes.foreign_domain(call, wanted.dom):
        return refusal

    async def work(change: Change) -> changes.Outcome[Stored]:
        found = await role_rules.by_value(
            change.connection,
            change.tenant,
            sub=wanted.sub,
            dom=wanted.dom,
            obj=wanted.obj,
            act=wanted.act,
            sub_kind=wanted.sub_kind,
            effect=wanted.effect,
        )
        if isinstance(found, NotFound | Conflict):
            return found
        return await _deleted(call, change, found)

    written = await changes.write(call, work)
    return written if isinstance(written, ProblemDetails) else changes.gone_reply(written)


def _wanted_by_query(call: Call) -> _Wanted | ProblemDetails:
    given = name_filters(call.query, "sub", "dom", "obj", "act", "sub_kind", "effect")
    if isinstance(given, ProblemDetails):
        return given
    problems = [
        ParameterProblem(name, "is missing, here or in the body")
        for name in ("sub", "dom", "obj")
        if name not in given
    ]
    problems += [
        ParameterProblem(name, f"must be one of {', '.join(choices)}")
        for name, choices in (("sub_kind", list(SubjectKind)), ("effect", list(Effect)))
        if name in given and given[name] not in choices
    ]
    return invalid(problems) if problems else _Wanted.of(given)


def _wanted_by_body(call: Call) -> _Wanted | ProblemDetails:
    assert call.body is not None
    if call.query:
        return invalid([ParameterProblem(name, "is for calls without a body") for name in call.query])
    problems: list[Problem] = []
    fields = Fields(call.body.document, "", problems)
    value: dict[str, str | None] = {name: fields.text(name) for name in ("sub", "dom", "obj")}
    value["act"] = fields.text("act", required=False)
    for name, choices in (("sub_kind", SubjectKind), ("effect", Effect)):
        if fields.has(name):
            value[name] = fields.choice(name, choices)
        fields.get(name)
    fields.done()
    return invalid(problems) if problems else _Wanted.of(value)


async def _replaced(
    call: Call, change: Change, stored: Stored, document: Document
) -> changes.Outcome[Stored]:
    if refusal := changes.outranked(call, stored, domain="dom") or changes.stale(call, stored):
        return refusal
    return await role_rules.replace(change, document, by_domain_admin=not call.caller.is_tenant_admin)


async def _deleted(call: Call, change: Change, stored: Stored) -> changes.Outcome[Stored]:
    if refusal := changes.outranked(call, stored, domain="dom") or changes.stale(call, stored):
        return refusal
    return await role_rules.delete(change, UUID(stored.id))


async def _present(change: Change, rule_id: str) -> Stored:
    stored = await role_rules.get(change.connection, change.tenant, UUID(rule_id))
    assert stored is not None, "it was written in this transaction"
    return stored


def _reply(
    written: Written[Stored] | ProblemDetails, status: HTTPStatus, *, location: str | None = None
) -> Reply | ProblemDetails:
    if isinstance(written, ProblemDetails):
        return written
    return changes.written_reply(written, status, changes.shown(written.value), location=location)
