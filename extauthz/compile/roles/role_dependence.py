"""Whether a deny depends on a role: whether it can stop to apply to a principal that loses the role."""

from collections.abc import Collection, Iterable
from typing import Final, assert_never

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

ROLES: Final = "user.roles"
_MEMBER_OPERATORS: Final = frozenset({"has", "hasAny", "hasAll"})


def with_inherited(role: str, domain: str, links: Iterable[tuple[str, str, str]]) -> set[str]:
    """Return the role and all that it inherits in a domain.

    `links` are heir, inherited role and domain of role-to-role bindings; expired ones count.
    """
    inherited: dict[str, list[str]] = {}
    for heir, parent, dom in links:
        if dom in {domain, WILDCARD}:
            inherited.setdefault(heir, []).append(parent)
    found, waiting = {role}, [role]
    while waiting:
        new = set(inherited.get(waiting.pop(), ())) - found
        found |= new
        waiting += new
    return found


def depends_on_roles(node: Node, roles: Collection[str]) -> bool:
    """Tell whether a condition can have another result for a principal that loses the roles."""
    match node:
        case Always():
            return False
        case UnreadableCondition():
            return True
        case Not(condition):
            return depends_on_roles(condition, roles)
        case All(conditions) | AnyOf(conditions):
            return any(depends_on_roles(condition, roles) for condition in conditions)
        case Condition(attribute, operator, value):
            return _compares(attribute, operator, value, roles)
    assert_never(node)


def _compares(attribute: str, operator: str, value: object, roles: Collection[str]) -> bool:
    if isinstance(value, AttributeName):
        return ROLES in {attribute, value.name}
    if attribute != ROLES or operator == "exists":
        return False
    if operator not in _MEMBER_OPERATORS:
        return True
    return not set(value if isinstance(value, tuple) else (value,)).isdisjoint(roles)
