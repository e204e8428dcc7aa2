"""How many rows of each kind one tenant may have, so that it cannot slow down the other tenants."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from extauthz.domain.problem import Problem
from extauthz.rest.problems import ProblemError, invalid
from extauthz.storage.rows import Table

if TYPE_CHECKING:
    from extauthz.compile.snapshot import Snapshot
    from extauthz.storage.write import Change

MAX_ROWS_A_WRITE: Final = 100_000


@dataclass(frozen=True, slots=True)
class Quotas:
    """The most rows of a kind in one tenant; expired bindings and deleted policies count too."""

    resources: int = 50_000
    role_rules: int = 2_000_000
    role_bindings: int = 1_000_000
    attribute_policies: int = 20_000
    service_keys: int = 1_000
    identity_providers: int = 20
    hosts: int = 1_000
    drafts: int = 1_000
    policy_tests: int = 1_000


def too_many(kind: str, limit: int, *, pointer: str = "") -> ProblemError:
    """Return the error for a write beyond a quota."""
    noun = kind.replace("_", " ")
    return invalid([Problem(pointer, f"the tenant would have more than {limit} {noun}, which is the limit")])


def check_rows_of_write(added: int) -> None:
    """Refuse a single write of too many rows."""
    if added > MAX_ROWS_A_WRITE:
        message = f"makes {added} rows, at most {MAX_ROWS_A_WRITE} fit into one write; send several"
        raise invalid([Problem("", message)])


async def check_quota(
    quotas: Quotas, change: "Change", snapshot: "Snapshot | None", table: Table, added: int
) -> None:
    """Refuse a change that would give the tenant more rows of a table than its quota."""
    limit: int = getattr(quotas, table.name)
    # The published rows are not those of a draft.
    most = _at_most(change, snapshot, table.name) if snapshot is not None and change.draft is None else None
    if most is not None and most + added <= limit:
        return
    if await table.count(change.connection, change.tenant) + added > limit:
        raise too_many(table.name, limit)


def _at_most(change: "Change", snapshot: "Snapshot", kind: str) -> int | None:
    """Return an upper bound without counting: the published rows and all that later writes can have added."""
    published = {
        "resources": len(snapshot.resources_by_name),
        "role_rules": len(snapshot.role_rules_by_id),
        "role_bindings": len(snapshot.bindings_by_id),
    }.get(kind)
    if published is None:
        return None
    return published + MAX_ROWS_A_WRITE * (change.previous - snapshot.revision)
