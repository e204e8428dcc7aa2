"""Taking a resource away: no rule is left behind that names what is not there any more."""

from collections.abc import Sequence
from uuid import UUID

from extauthz.admin import changes, registrar
from extauthz.admin.limits import MAX_ROWS_A_WRITE
from extauthz.admin.operation import Call, Reply, nothing_at
from extauthz.admin.problems import ProblemDetails, conflict, forbidden, invalid
from extauthz.admin.reading import flag
from extauthz.domain.policy import WILDCARD, SubjectKind, default_action
from extauthz.domain.problem import Problem
from extauthz.domain.reasons import Effect
from extauthz.storage import attribute_policies, resources, role_rules
from extauthz.storage.rows import Document, Stored
from extauthz.storage.write import Change


async def delete(call: Call) -> Reply | ProblemDetails:
    """Delete a resource, and the rules its default roles became; other rules on it only with `cascade`."""
    resource_id = call.id
    if resource_id is None:
        return nothing_at(call, "resource")
    cascade = flag(call.query, "cascade")
    if isinstance(cascade, ProblemDetails):
        return cascade
    if cascade and registrar.service_of(call) is not None:
        return forbidden("'cascade' deletes rules, which is for tenant admins")

    async def work(change: Change) -> changes.Outcome[None]:
        return await _removed(call, change, resource_id, cascade=cascade)

    written = await changes.write(call, work)
    return written if isinstance(written, ProblemDetails) else changes.gone_reply(written)


async def _removed(call: Call, change: Change, resource_id: UUID, *, cascade: bool) -> changes.Outcome[None]:
    stored = await resources.get(change.connection, change.tenant, resource_id)
    if stored is None or not registrar.sees(call, stored):
        return nothing_at(call, "resource")
    if refusal := changes.stale(call, stored) or registrar.foreign_removal(call, stored):
        return refusal
    name = str(stored.document["name"])
    rules = await role_rules.on_resource(change.connection, change.tenant, name, limit=MAX_ROWS_A_WRITE + 1)
    policies = await attribute_policies.on_resource(change.connection, change.tenant, name)
    (in_force,) = await resources.default_roles_in_force(change.connection, change.tenant, [stored])
    defaults = _default_rules(stored, in_force)
    others = [rule.id for rule in rules if _value(rule) not in defaults]
    if (others or policies) and not cascade:
        detail = "rules name this resource; delete them first, or add ?cascade=true"
        return conflict(detail, [*others, *policies])
    if len(rules) > MAX_ROWS_A_WRITE:
        message = f"more than {MAX_ROWS_A_WRITE} rules name it, which is more than one write deletes"
        return invalid([Problem("", message)])
    await role_rules.delete_all(change, rules)
    await attribute_policies.delete_all(change, policies)
    await resources.delete(change, resource_id)
    return None


def _value(rule: Stored) -> tuple[object, ...]:
    return tuple(rule.document[member] for member in ("sub", "sub_kind", "dom", "act", "effect"))


def _default_rules(resource: Stored, in_force: Sequence[str]) -> set[tuple[object, ...]]:
    """Return what the rules say that the resource's default roles became."""
    document: Document = resource.document
    roles = document["defaultRoles"]
    assert isinstance(roles, list)
    action = default_action(str(document["name"]))
    return {
        (role, SubjectKind.ROLE.value, WILDCARD, action, Effect.ALLOW.value) for role in (*roles, *in_force)
    }
