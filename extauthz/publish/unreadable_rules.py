"""What an unreadable stored rule counts as: an allow is dropped, any other rule is a deny.

Unknown never allows: an allow that cannot be evaluated does not match, a deny that cannot be evaluated does.
The same holds for a whole row. A member that cannot be read is taken in its widest meaning, so that the deny
holds at least where its author meant it to.
"""

from collections.abc import Mapping
from typing import Final

from extauthz.domain.names import name_problem
from extauthz.domain.policy import (
    MAX_PRIORITY,
    MIN_PRIORITY,
    WILDCARD,
    AttributePolicy,
    Mode,
    RoleRule,
    SubjectKind,
    UnreadableCondition,
)
from extauthz.domain.reasons import Effect

_NAMELESS: Final = "unreadable"
_KINDS: Final = {kind.value: kind for kind in SubjectKind}


def cautious_role_rule(document: Mapping[str, object]) -> RoleRule | None:
    """Return the deny that an unreadable role rule is taken for; None: it is an allow, and dropped."""
    if document.get("effect") == Effect.ALLOW.value:
        return None
    sub = _name(document.get("sub"))
    kind = _KINDS.get(str(document.get("sub_kind")), SubjectKind.ANY)
    return RoleRule(
        id=str(document.get("id")),
        sub=sub,
        sub_kind=SubjectKind.ANY if sub == WILDCARD else kind,
        dom=_name(document.get("dom")),
        obj=_name(document.get("obj")),
        act=_name(document.get("act")),
        effect=Effect.DENY,
    )


def cautious_policy(document: Mapping[str, object]) -> AttributePolicy | None:
    """Return the deny that an unreadable attribute policy is taken for; None: it is dropped.

    An allow is, and what by its own readable word decides nothing: disabled, or in shadow mode.
    """
    if (
        document.get("effect") == Effect.ALLOW.value
        or document.get("enabled") is False
        or document.get("mode") == Mode.SHADOW.value
    ):
        return None
    actions = document.get("actions")
    names = tuple(_name(action) for action in actions) if isinstance(actions, list | tuple) else ()
    priority = document.get("priority")
    bounded = (
        isinstance(priority, int)
        and not isinstance(priority, bool)
        and MIN_PRIORITY <= priority <= MAX_PRIORITY
    )
    return AttributePolicy(
        id=str(document.get("id")),
        name=_NAMELESS,
        resource=_name(document.get("resource")),
        actions=names or (WILDCARD,),
        domain=_name(document.get("domain")),
        effect=Effect.DENY,
        priority=priority if bounded and isinstance(priority, int) else MAX_PRIORITY,
        enabled=True,
        mode=Mode.ENFORCE,
        condition=UnreadableCondition(),
    )


def _name(value: object) -> str:
    return value if isinstance(value, str) and value and name_problem(value) is None else WILDCARD
