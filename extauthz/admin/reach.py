"""Whether a tenant admin's deny reaches somebody through a role binding.

docs/reference/policy-language.md#attribute-policies: nothing that a domain admin
writes lifts a tenant admin's deny at 0 or above; taking away the role
that the deny is about would.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING, Final, assert_never

from extauthz.compile.documents import Reading, parse_attribute_policy
from extauthz.domain.policy import (
    WILDCARD,
    All,
    Always,
    AnyOf,
    AttributeName,
    Condition,
    Node,
    Not,
    UnreadableCondition,
)
from extauthz.storage import attribute_policies, role_bindings, role_rules

if TYPE_CHECKING:
    from extauthz.storage.rows import Document
    from extauthz.storage.write import Change

_ROLES: Final = "user.roles"
_BY_MEMBER: Final = frozenset({"has", "hasAny", "hasAll"})


async def denied_through(change: "Change", binding: "Document", *, condition_headers: frozenset[str]) -> bool:
    """Tell whether a deny that a tenant admin wrote depends on a role that the binding gives."""
    domain = str(binding["dom"])
    roles = await _roles(change, str(binding["role"]), domain)
    if await role_rules.denied_by_tenant_admins(change.connection, change.tenant, roles, domain):
        return True
    reading = Reading(condition_headers=condition_headers)
    for document in await attribute_policies.denies_of_tenant_admins(
        change.connection, change.tenant, domain, naming=_ROLES
    ):
        policy = parse_attribute_policy(document, "", [], reading)
        # An unreadable policy is treated as depending on the role.
        if policy is None or _depends(policy.condition, roles):
            return True
    return False


async def _roles(change: "Change", role: str, domain: str) -> set[str]:
    """Return the role and all that it inherits; whether a link has expired is not looked at."""
    above: dict[str, list[str]] = {}
    for line in await role_bindings.inheritance(change):
        if line["dom"] in {domain, WILDCARD}:
            above.setdefault(str(line["user"]), []).append(str(line["role"]))
    found, waiting = {role}, [role]
    while waiting:
        new = set(above.get(waiting.pop(), ())) - found
        found |= new
        waiting += new
    return found


def _depends(node: Node, roles: Collection[str]) -> bool:
    """Tell whether a condition can come out differently for who loses the roles."""
    match node:
        case Always():
            return False
        case UnreadableCondition():
            return True
        case Not(condition):
            return _depends(condition, roles)
        case All(conditions) | AnyOf(conditions):
            return any(_depends(condition, roles) for condition in conditions)
        case Condition(attribute, operator, value):
            return _compares(attribute, operator, value, roles)
    assert_never(node)


def _compares(attribute: str, operator: str, value: object, roles: Collection[str]) -> bool:
    if isinstance(value, AttributeName):
        return _ROLES in {attribute, value.name}
    if attribute != _ROLES or operator == "exists":
        return False
    if operator not in _BY_MEMBER:
        return True
    return not set(value if isinstance(value, tuple) else (value,)).isdisjoint(roles)
