"""Default roles and `public` of resources as they are in force, which may differ from what was declared.

Default roles become role rules when a name is registered for the first time. A later declaration, or a change
of those rules, does not change that; a resource is shown with the roles that have a rule now. Likewise a
resource is shown as public while both rules that this stands for exist.
"""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from dataclasses import replace as with_changes
from typing import Any, Final

from extauthz.admin.answers import with_warnings
from extauthz.compile.fields import shown as quoted
from extauthz.compile.warnings import DocumentWarning, WarningCode
from extauthz.domain.policy import default_action
from extauthz.storage import public_resources, resources
from extauthz.storage.rows import Document, Stored, rfc3339

_NAMED: Final = 5


@dataclass(frozen=True, slots=True)
class InForce:
    """A resource whose document has the default roles that have a rule now, and what to say of the others."""

    stored: Stored
    warnings: tuple[DocumentWarning, ...] = ()

    def to_json(self, *warnings: DocumentWarning) -> Document:
        """Return the resource as the API shows it."""
        return with_warnings(_to_json(self.stored), [*self.warnings, *warnings])


def _to_json(stored: Stored) -> Document:
    return stored.document | {
        "createdAt": rfc3339(stored.created_at),
        "updatedAt": rfc3339(stored.updated_at),
    }


async def in_force(connection: Any, tenant: str, rows: Sequence[Stored]) -> list[InForce]:
    """Return resources with the default roles that have a role rule now."""
    found = await resources.default_roles_in_force(connection, tenant, rows)
    public = await public_resources.in_force(connection, tenant, rows)
    return [
        _public_in_force(_in_force(stored, roles), public) for stored, roles in zip(rows, found, strict=True)
    ]


def _public_in_force(resource: InForce, public: Container[str]) -> InForce:
    document = resource.stored.document
    name = str(document["name"])
    if not public_resources.is_public(document) or name in public:
        return resource
    warning = DocumentWarning(
        WarningCode.PUBLIC_NOT_IN_FORCE,
        "/public",
        f"declared and not in force: an allow rule for '*' or 'anonymous' on {quoted(name)} (dom '*', act "
        f"{quoted(default_action(name))}) was deleted; write it again, or declare false and then true",
    )
    shown = {member: value for member, value in document.items() if member != "public"}
    return InForce(with_changes(resource.stored, document=shown), (*resource.warnings, warning))


def _in_force(stored: Stored, roles: Sequence[str]) -> InForce:
    declared = stored.document["defaultRoles"]
    assert isinstance(declared, list)
    if set(roles) == set(declared):
        return InForce(stored)
    name = str(stored.document["name"])
    missing = [role for role in declared if role not in roles]
    kept = [role for role in roles if role not in declared]
    said = [
        *([f"{_listed(missing)} declared and not in force"] if missing else []),
        *([f"{_listed(kept)} in force and no longer declared"] if kept else []),
    ]
    warning = DocumentWarning(
        WarningCode.DEFAULT_ROLES_NOT_IN_FORCE,
        "/defaultRoles",
        f"{', '.join(said)}: default roles become role rules when a name is registered for the first time; "
        f"change the role rules on {quoted(name)} instead (dom '*', act {quoted(default_action(name))})",
    )
    document = stored.document | {"defaultRoles": list(roles)}
    return InForce(with_changes(stored, document=document), (warning,))


def _listed(roles: Sequence[str]) -> str:
    named = ", ".join(map(quoted, roles[:_NAMED]))
    more = f" and {len(roles) - _NAMED} more" if len(roles) > _NAMED else ""
    return f"{named}{more} {'is' if len(roles) == 1 else 'are'}"
