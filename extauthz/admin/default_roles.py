"""The default roles of resources as they are in force, which may be others than those that were declared.

Default roles become role rules when a name is registered for the first time ever. What is declared later, or
what became of those rules, does not change that; a resource is shown with the roles that have a rule now.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from extauthz.compile.fields import shown as quoted
from extauthz.compile.warnings import DocumentWarning, WarningCode
from extauthz.domain.policy import default_action
from extauthz.storage import resources
from extauthz.storage.rows import Stored

if TYPE_CHECKING:
    from extauthz.storage.pool import Connection

_NAMED: Final = 5


@dataclass(frozen=True, slots=True)
class InForce:
    """A resource whose document has the default roles that are in force, and what is said of the others."""

    stored: Stored
    warnings: tuple[DocumentWarning, ...] = ()


async def in_force(connection: "Connection", tenant: str, rows: Sequence[Stored]) -> list[InForce]:
    """Return resources with the default roles that they have at this moment."""
    found = await resources.default_roles_in_force(connection, tenant, rows)
    return [_of(stored, roles) for stored, roles in zip(rows, found, strict=True)]


def _of(stored: Stored, roles: Sequence[str]) -> InForce:
    declared = stored.document["defaultRoles"]
    assert isinstance(declared, list)
    if set(roles) == set(declared):
        return InForce(stored)
    name = str(stored.document["name"])
    missing = [role for role in declared if role not in roles]
    kept = [role for role in roles if role not in declared]
    said = [
        *([f"{_list(missing)} declared and not in force"] if missing else []),
        *([f"{_list(kept)} in force and no longer declared"] if kept else []),
    ]
    warning = DocumentWarning(
        WarningCode.DEFAULT_ROLES_NOT_IN_FORCE,
        "/defaultRoles",
        f"{', '.join(said)}: default roles become role rules when a name is registered for the first time; "
        f"change the role rules on {quoted(name)} instead (dom '*', act {quoted(default_action(name))})",
    )
    return InForce(replace(stored, document=stored.document | {"defaultRoles": list(roles)}), (warning,))


def _list(roles: Sequence[str]) -> str:
    named = ", ".join(map(quoted, roles[:_NAMED]))
    more = f" and {len(roles) - _NAMED} more" if len(roles) > _NAMED else ""
    return f"{named}{more} {'is' if len(roles) == 1 else 'are'}"
