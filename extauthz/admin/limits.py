"""How much one tenant may have of each kind: what would make the installation slow for its neighbours."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from extauthz.admin.problems import ProblemDetails, invalid
from extauthz.domain.problem import Problem
from extauthz.storage import attribute_policies, identity_providers, resources, role_bindings, role_rules

if TYPE_CHECKING:
    from extauthz.compile.directory import Directory
    from extauthz.storage.write import Change

MAX_ROWS_A_WRITE: Final = 100_000


@dataclass(frozen=True, slots=True)
class Limits:
    """The most rows of a kind in one tenant; expired bindings and deleted policies count too."""

    resources: int = 50_000
    role_rules: int = 2_000_000
    role_bindings: int = 1_000_000
    attribute_policies: int = 20_000
    service_keys: int = 1_000
    identity_providers: int = 20
    hosts: int = 1_000


_TABLES: Final = {
    "resources": resources.TABLE,
    "role_rules": role_rules.TABLE,
    "role_bindings": role_bindings.TABLE,
    "attribute_policies": attribute_policies.TABLE,
    "identity_providers": identity_providers.TABLE,
}


def too_many(kind: str, limit: int, *, pointer: str = "") -> ProblemDetails:
    """Return the refusal of one more than there may be."""
    noun = kind.replace("_", " ")
    return invalid([Problem(pointer, f"the tenant would have more than {limit} {noun}, which is the limit")])


def too_many_written(added: int) -> ProblemDetails | None:
    """Refuse a single write of too many rows."""
    if added <= MAX_ROWS_A_WRITE:
        return None
    message = f"makes {added} rows, at most {MAX_ROWS_A_WRITE} fit into one write; send several"
    return invalid([Problem("", message)])


async def beyond(
    limits: Limits, change: "Change", directory: "Directory | None", kind: str, added: int
) -> ProblemDetails | None:
    """Refuse a change of the tenant that would add more rows than may be."""
    limit: int = getattr(limits, kind)
    most = _at_most(change, directory, kind)
    if most is not None and most + added <= limit:
        return None
    present = await _TABLES[kind].count(change.connection, change.tenant)
    return too_many(kind, limit) if present + added > limit else None


def _at_most(change: "Change", directory: "Directory | None", kind: str) -> int | None:
    """Return a bound without counting: what is published, and all that writes since then can have added."""
    snapshot = None if directory is None else directory.snapshots.get(change.tenant)
    if snapshot is None:
        return None
    published = {
        "resources": len(snapshot.resources_by_name),
        "role_rules": len(snapshot.role_rules_by_id),
        "role_bindings": len(snapshot.bindings_by_id),
    }.get(kind)
    if published is None:
        return None
    return published + MAX_ROWS_A_WRITE * (change.previous - snapshot.revision)
