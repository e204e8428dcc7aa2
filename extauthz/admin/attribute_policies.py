"""`/api/v1/abac/policies`: condition trees on resources. Deleting is soft, every state is kept."""

from collections.abc import Mapping, Sequence
from dataclasses import replace as replace_members
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, TypeGuard
from uuid import UUID

from extauthz.admin import changes
from extauthz.admin.documents import (
    merged,
    new_document,
    reading,
    refuse_unknown_removals,
    replacing_document,
)
from extauthz.admin.operation import Call, Reply, nothing_at
from extauthz.admin.paging import Order, read_position
from extauthz.admin.problems import ProblemDetails, forbidden, invalid, not_found
from extauthz.admin.reading import flag, name_filters
from extauthz.compile.documents import Format, parse_attribute_policy
from extauthz.compile.warnings import DocumentWarning, policy_warnings
from extauthz.domain.policy import MAX_ALLOW_PRIORITY, AttributePolicy
from extauthz.domain.problem import Problem
from extauthz.domain.reasons import Effect
from extauthz.storage import attribute_policies
from extauthz.storage.attribute_policies import Version, VersionPage
from extauthz.storage.encoding import encode_json
from extauthz.storage.outcome import Conflict
from extauthz.storage.rows import Document, Stored, rfc3339
from extauthz.storage.write import Change, Written

if TYPE_CHECKING:
    from extauthz.storage.pool import Connection

PATH: Final = "/api/v1/abac/policies"
MAX_DOCUMENT_BYTES: Final = 256 * 1024
_NOUN: Final = "attribute policy"
_SHOWN: Final = ("version", "deleted_at", "created_at", "updated_at", "warnings")


async def list_policies(call: Call) -> Reply | ProblemDetails:
    """List the present or the deleted policies that the caller may see."""
    filters = name_filters(call.query, "resource")
    if isinstance(filters, ProblemDetails):
        return filters
    deleted = flag(call.query, "deleted")
    if isinstance(deleted, ProblemDetails):
        return deleted
    return await changes.listed(
        call, attribute_policies.TABLE, attribute_policies.page, {**filters, "deleted": deleted}, shown
    )


async def create(call: Call) -> Reply | ProblemDetails:
    """Store a new policy."""
    problems: list[Problem] = []
    document = new_document(call, problems)
    policy = _read(call, document, call.services.new_id(), problems)
    if problems or policy is None:
        return invalid(problems)
    if refusal := changes.foreign_domain(call, policy.domain) or changes.stale(call, None):
        return refusal

    async def work(change: Change) -> changes.Outcome[Stored]:
        if refusal := await changes.beyond_limit(call, change, "attribute_policies", 1):
            return refusal
        created = await attribute_policies.create(
            change, [_document(policy, document)], by_domain_admin=not call.caller.is_tenant_admin
        )
        if isinstance(created, Conflict):
            return created
        stored = await attribute_policies.get(change.connection, change.tenant, UUID(policy.id))
        assert stored is not None, "it was written in this transaction"
        return stored

    return _reply(await changes.write(call, work), policy, HTTPStatus.CREATED, location=PATH)


async def get(call: Call) -> Reply | ProblemDetails:
    """Return one policy; with `deleted` also one that is deleted."""
    policy_id = call.id
    if policy_id is None:
        return nothing_at(call, _NOUN)
    deleted = flag(call.query, "deleted")
    if isinstance(deleted, ProblemDetails):
        return deleted
    stored = await changes.read(
        call, lambda connection: attribute_policies.get(connection, call.tenant, policy_id)
    )
    if isinstance(stored, ProblemDetails):
        return stored
    if not _visible(stored, call):
        return nothing_at(call, _NOUN)
    if stored.deleted_at is not None and not deleted:
        return not_found(
            f"the attribute policy {stored.id!r} was deleted at {rfc3339(stored.deleted_at)}; "
            "'?deleted=true' shows it, and 'restore' brings it back"
        )
    return changes.single(call, attribute_policies.TABLE, stored, shown)


async def replace(call: Call) -> Reply | ProblemDetails:
    """Replace a policy by its id."""
    policy_id = call.id
    if policy_id is None:
        return nothing_at(call, _NOUN)
    assert call.body is not None
    problems: list[Problem] = []
    document = replacing_document(call.body.document, policy_id, problems, shown=_SHOWN)
    policy = _read(call, document, str(policy_id), problems)
    if problems or policy is None:
        return invalid(problems)
    if refusal := changes.foreign_domain(call, policy.domain):
        return refusal

    async def work(change: Change) -> changes.Outcome[tuple[Stored, AttributePolicy]]:
        stored = await _present(call, change, policy_id)
        if isinstance(stored, ProblemDetails):
            return stored
        return changes.stale(call, stored) or await _replaced(call, change, policy, document)

    return _reply_of_both(await changes.write(call, work))


async def patch(call: Call) -> Reply | ProblemDetails:
    """Change some members of a policy (RFC 7396), judged as the whole that comes out."""
    policy_id = call.id
    if policy_id is None:
        return nothing_at(call, _NOUN)
    assert call.body is not None
    patched = call.body.document
    if not isinstance(patched, Mapping):
        return invalid([Problem("", "an object is needed")])

    async def work(change: Change) -> changes.Outcome[tuple[Stored, AttributePolicy]]:
        stored = await _present(call, change, policy_id)
        if isinstance(stored, ProblemDetails):
            return stored
        problems: list[Problem] = []
        refuse_unknown_removals(patched, "AttributePolicyPatch", problems, shown=_SHOWN)
        before = {name: value for name, value in stored.document.items() if name != "id"}
        document = replacing_document(_patched(before, patched), policy_id, problems, shown=_SHOWN)
        policy = _read(call, document, str(policy_id), problems)
        if problems or policy is None:
            return invalid(problems)
        # RFC 9110 13.2.1: preconditions count where the answer would be another without them.
        if refusal := changes.stale(call, stored) or changes.foreign_domain(call, policy.domain):
            return refusal
        return await _replaced(call, change, policy, document)

    return _reply_of_both(await changes.write(call, work))


def _patched(before: Document, patch_document: Mapping[str, object]) -> object:
    rule_data = patch_document.get("rule_data")
    if isinstance(rule_data, Mapping) and "type" in rule_data:
        # A tree of its own: members of the old root that it lacks would make another one of it.
        before = before | {"rule_data": {}}
        rest = {name: value for name, value in patch_document.items() if name != "rule_data"}
        return merged(before, rest) | {"rule_data": rule_data}
    return merged(before, patch_document)


async def delete(call: Call) -> Reply | ProblemDetails:
    """Delete a policy softly."""
    policy_id = call.id
    if policy_id is None:
        return nothing_at(call, _NOUN)

    async def work(change: Change) -> changes.Outcome[Stored]:
        stored = await _present(call, change, policy_id)
        if isinstance(stored, ProblemDetails):
            return stored
        return changes.stale(call, stored) or await attribute_policies.delete(change, policy_id)

    written = await changes.write(call, work)
    return written if isinstance(written, ProblemDetails) else changes.gone_reply(written)


async def restore(call: Call) -> Reply | ProblemDetails:
    """Bring a deleted policy back; one that is there stays as it is."""
    policy_id = call.id
    if policy_id is None:
        return nothing_at(call, _NOUN)

    async def work(change: Change) -> changes.Outcome[tuple[Stored, AttributePolicy]]:
        stored = await attribute_policies.get(change.connection, change.tenant, policy_id)
        if not _visible(stored, call):
            return nothing_at(call, _NOUN)
        if refusal := _above_domain_admins(call, stored) or changes.stale(call, stored):
            return refusal
        problems: list[Problem] = []
        policy = parse_attribute_policy(stored.document, "", problems, reading(call, stored.id))
        if policy is None:
            return invalid(problems)
        restored = await attribute_policies.restore(change, policy_id)
        return (restored, policy) if isinstance(restored, Stored) else restored

    return _reply_of_both(await changes.write(call, work))


async def versions(call: Call) -> Reply | ProblemDetails:
    """List every state that a policy, deleted or not, has been in, oldest first."""
    policy_id = call.id
    if policy_id is None:
        return nothing_at(call, _NOUN)
    position = read_position(call.query, scope=f"{call.tenant} versions of {policy_id}", order=Order.NUMBER)
    if isinstance(position, ProblemDetails):
        return position

    async def work(connection: "Connection") -> VersionPage | None:
        stored = await attribute_policies.get(connection, call.tenant, policy_id)
        if not _visible(stored, call):
            return None
        return await attribute_policies.versions(
            connection,
            call.tenant,
            policy_id,
            # A version of another domain is no row of the caller's.
            domains=call.caller.domains,
            after=position.after_number,
            limit=position.limit,
        )

    found = await changes.read(call, work)
    if found is None:
        return nothing_at(call, _NOUN)
    if isinstance(found, ProblemDetails):
        return found
    items = [_shown_version(each) for each in found.items]
    return Reply(HTTPStatus.OK, {"items": items, "next_cursor": position.cursor_by_number(found.next)})


def _read(call: Call, document: object, policy_id: str, problems: list[Problem]) -> AttributePolicy | None:
    policy = parse_attribute_policy(document, "", problems, reading(call, policy_id))
    if policy is not None and len(encode_json(document)) > MAX_DOCUMENT_BYTES:
        problems.append(Problem("", f"is longer than {MAX_DOCUMENT_BYTES} bytes"))
    return policy


def _document(policy: AttributePolicy, document: object) -> Document:
    assert isinstance(document, Mapping)
    return attribute_policies.document_of(
        policy, notation=str(document.get("format", "json")), rule_data=document["rule_data"]
    )


def _visible(stored: Stored | None, call: Call) -> TypeGuard[Stored]:
    return stored is not None and call.caller.may(stored.document["domain"])


async def _present(call: Call, change: Change, policy_id: UUID) -> Stored | ProblemDetails:
    """Return the policy that is about to be written, if the caller may."""
    stored = await attribute_policies.get(change.connection, change.tenant, policy_id)
    if not _visible(stored, call) or stored.deleted_at is not None:
        return nothing_at(call, _NOUN)
    return changes.outranked(call, stored, domain="domain") or stored


async def _replaced(
    call: Call, change: Change, policy: AttributePolicy, document: object
) -> changes.Outcome[tuple[Stored, AttributePolicy]]:
    replaced = await attribute_policies.replace(
        change, _document(policy, document), by_domain_admin=not call.caller.is_tenant_admin
    )
    return (replaced, policy) if isinstance(replaced, Stored) else replaced


def _above_domain_admins(call: Call, stored: Stored) -> ProblemDetails | None:
    """Refuse to bring back what a domain admin could not write."""
    priority = stored.document["priority"]
    assert isinstance(priority, int)
    allowed = 0 if stored.document["effect"] == Effect.ALLOW.value else MAX_ALLOW_PRIORITY
    if call.caller.is_tenant_admin or priority <= allowed:
        return None
    return forbidden("the priority of this policy is above what a domain admin may write")


def shown(stored: Stored) -> Document:
    """Return a policy as the API shows it."""
    deleted_at = None if stored.deleted_at is None else rfc3339(stored.deleted_at)
    return changes.shown(stored) | {"version": stored.version, "deleted_at": deleted_at}


def _shown_version(version: Version) -> Document:
    return {
        "version": version.version,
        "deleted": version.deleted,
        "document": version.document,
        "actor": version.actor,
        "revision": version.revision,
        "created_at": rfc3339(version.created_at),
    }


def _reply_of_both(
    written: Written[tuple[Stored, AttributePolicy]] | ProblemDetails,
) -> Reply | ProblemDetails:
    if isinstance(written, ProblemDetails):
        return written
    stored, policy = written.value
    return _reply(Written(stored, written.revision, written.changed), policy, HTTPStatus.OK)


def _reply(
    written: Written[Stored] | ProblemDetails,
    policy: AttributePolicy,
    status: HTTPStatus,
    *,
    location: str | None = None,
) -> Reply | ProblemDetails:
    if isinstance(written, ProblemDetails):
        return written
    body = shown(written.value)
    if warnings := changes.shown_warnings(_in_its_notation(policy_warnings(policy), written.value)):
        body |= {"warnings": warnings}
    return changes.written_reply(written, status, body, location=location)


def _in_its_notation(warnings: Sequence[DocumentWarning], stored: Stored) -> list[DocumentWarning]:
    """Return warnings with the places that the author's document has: an expression is one text."""
    if stored.document["format"] != Format.CASBIN.value:
        return list(warnings)
    moved = (
        replace_members(each, pointer="/rule_data") if each.pointer.startswith("/rule_data") else each
        for each in warnings
    )
    return list(dict.fromkeys(moved))
