"""The configuration of a tenant for the sidecars: status, hosts, identity providers, identity keys.

Input: names of tenants. Output: `TenantConfig`s, with the problems of damaged rows. A configuration is small
and changes rarely, so it is always read completely.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from extauthz.decide.tokens.registered_provider import read_registered
from extauthz.domain.host import canonical_host
from extauthz.domain.problem import Problem, pointer_token
from extauthz.domain.service_key import ID_PREFIX, IdentityKey, Scope
from extauthz.domain.tenant_config import TenantConfig, TenantIdentityProvider
from extauthz.storage import identity_providers
from extauthz.storage.columns import bounded_time

if TYPE_CHECKING:
    from collections.abc import Collection

    import asyncpg

    from extauthz.storage.pool import Connection


async def read(connection: Connection, tenants: Collection[str]) -> dict[str, TenantConfig]:
    """Return the configuration of each tenant that exists."""
    names = list(tenants)
    states = await connection.fetch(
        "SELECT tenant_id, status FROM tenants WHERE tenant_id = ANY($1::text[]) AND deleted_at IS NULL",
        names,
    )
    hosts = await _by_tenant(
        connection,
        "SELECT tenant_id, host FROM tenant_hosts WHERE tenant_id = ANY($1::text[]) ORDER BY host",
        names,
    )
    providers = await _by_tenant(
        connection,
        identity_providers.ACTIVE,
        names,
    )
    keys = await _by_tenant(
        connection,
        "SELECT tenant_id, id::text, secret_sha256, domain,"  # noqa: S608 - our own column
        f" {bounded_time('expires_at')} AS expires_at FROM service_api_keys AS t"
        " WHERE tenant_id = ANY($1::text[]) AND $2 = ANY (scopes) AND revoked_at IS NULL ORDER BY t.id",
        names,
        Scope.IDENTITY.value,
    )
    return {
        state["tenant_id"]: _config(
            # Fail closed: any status other than "active" suspends the tenant.
            suspended=state["status"] != "active",
            hosts=hosts.get(state["tenant_id"], []),
            providers=providers.get(state["tenant_id"], []),
            keys=keys.get(state["tenant_id"], []),
        )
        for state in states
    }


async def _by_tenant(
    connection: Connection, query: str, *arguments: object
) -> dict[str, list[asyncpg.Record]]:
    found: dict[str, list[asyncpg.Record]] = {}
    for record in await connection.fetch(query, *arguments):
        found.setdefault(record["tenant_id"], []).append(record)
    return found


def _config(
    *,
    suspended: bool,
    hosts: list[asyncpg.Record],
    providers: list[asyncpg.Record],
    keys: list[asyncpg.Record],
) -> TenantConfig:
    problems: list[Problem] = []
    read_providers = [_provider(record, problems) for record in providers]
    return TenantConfig(
        suspended=suspended,
        hosts=tuple(record["host"] for record in hosts if _is_host(record["host"], problems)),
        providers=tuple(provider for provider in read_providers if provider is not None),
        identity_keys=tuple(_identity_key(record) for record in keys),
        problems=tuple(problems),
    )


def _is_host(host: str, problems: list[Problem]) -> bool:
    """Return whether a stored host is canonical; no request has another one, so it is ignored."""
    if canonical_host(host) == host:
        return True
    problems.append(Problem(f"/tenant_hosts/{pointer_token(host)}", "is not a host in canonical form"))
    return False


def _identity_key(record: asyncpg.Record) -> IdentityKey:
    expires_at = record["expires_at"]
    return IdentityKey(
        id=ID_PREFIX + record["id"],
        tenant=record["tenant_id"],
        digest=record["secret_sha256"],
        domain=record["domain"],
        expires_at=None if expires_at is None else expires_at.timestamp(),
    )


def _provider(record: asyncpg.Record, problems: list[Problem]) -> TenantIdentityProvider | None:
    """Return the identity provider of a row; None for a damaged row, whose tokens are then refused."""
    tenant, row_id = record["tenant_id"], record["id"]
    document = identity_providers.active_document(record)
    reading = read_registered(document, tenant)
    if isinstance(reading, list):
        place = f"/identity_provider/{row_id}"
        problems += [problem.under(place) for problem in reading]
        return None
    return TenantIdentityProvider(tenant, row_id, document)
