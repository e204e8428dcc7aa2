"""The hosts of a tenant. A host belongs to one tenant, whose policies apply to requests for it.

Input: canonical host names. Output: the stored hosts, or `Conflict`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from extauthz.storage import editing
from extauthz.storage.outcome import Clash, Conflict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from extauthz.storage.pool import Connection
    from extauthz.storage.write import Change

KIND: Final = "tenant_hosts"


async def read(connection: Connection, tenant: str) -> tuple[str, ...]:
    """Return the tenant's hosts, sorted."""
    records = await connection.fetch(
        "SELECT host FROM tenant_hosts WHERE tenant_id = $1 ORDER BY host", tenant
    )
    return tuple(record["host"] for record in records)


async def replace(change: Change, hosts: Sequence[str]) -> tuple[str, ...] | Conflict:
    """Replace the hosts of the tenant: canonical names (`domain.host`) without ports and wildcards.

    A host of another tenant is a conflict that does not name the tenant; each clash has the index of its
    host.
    """
    wanted = list(dict.fromkeys(hosts))
    before = await read(change.connection, change.tenant)
    after = tuple(sorted(wanted))
    if after == before:
        return before
    await editing.wait_for_other_tenants(change, KIND)
    await change.connection.execute(
        "DELETE FROM tenant_hosts WHERE tenant_id = $1 AND NOT host = ANY($2::text[])", change.tenant, wanted
    )
    missing = sorted(set(wanted).difference(before))
    records = await change.connection.fetch(
        "INSERT INTO tenant_hosts (tenant_id, host) SELECT $1, r.host FROM unnest($2::text[]) AS r (host)"
        " ON CONFLICT DO NOTHING RETURNING host",
        change.tenant,
        missing,
    )
    taken = set(missing).difference(record["host"] for record in records)
    if taken:
        return Conflict(
            KIND,
            tuple(
                Clash(hosts.index(host), host, "the host belongs to another tenant")
                for host in wanted
                if host in taken
            ),
        )
    change.note("update", KIND, change.tenant, before={"hosts": list(before)}, after={"hosts": list(after)})
    return after
