"""A database with durable commits, as in production, that holds many rules."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from extauthz.demo.postgres import EmbeddedPostgres
from extauthz.domain.tenancy import DEFAULT_TENANT
from extauthz.storage import attribute_policies, role_rules
from extauthz.storage.pool import DatabaseAddress, open_pool
from extauthz.storage.write import Actor, Change, Written, write
from tests.folder_postgres import postgres_in_folder
from tests.integration.storage_documents import attribute_policy, new_id, role_rule

if TYPE_CHECKING:
    from extauthz.storage.pool import Pool
    from extauthz.storage.write import Work

_ACTOR = Actor("user", "benchmark", None, None)
_BATCH = 5_000


def address_of(server: EmbeddedPostgres) -> DatabaseAddress:
    parts = urlsplit(server.dsn)
    assert parts.port is not None
    return DatabaseAddress(
        "127.0.0.1", parts.port, parts.username or "", parts.password or "", parts.path[1:], "disable"
    )


@contextmanager
def started_postgres() -> Iterator[EmbeddedPostgres]:
    # As in production: commits reach the disk.
    with postgres_in_folder(durable=True) as server:
        server.start()
        yield server


async def add_rules(address: DatabaseAddress, first: int, count: int) -> None:
    """Add role rules of many subjects on many resources, a few thousand in one write."""
    async with open_pool(address) as pool:
        for start in range(first, first + count, _BATCH):
            await add_rules_of(pool, DEFAULT_TENANT, range(start, min(start + _BATCH, first + count)))


async def add_policies(address: DatabaseAddress, count: int) -> None:
    """Add attribute policies on as many resources, in one write."""
    policies = [attribute_policy(name=f"policy {n}", resource=f"service-{n}:read") for n in range(count)]

    async def work(change: Change) -> object:
        return await attribute_policies.create(change, policies)

    async with open_pool(address) as pool:
        await _written(pool, DEFAULT_TENANT, work)


async def add_rules_of(pool: "Pool", tenant: str, numbers: range) -> None:
    """Add one role rule for each number to a tenant, in one write."""
    rules = [
        role_rule(sub=f"role-{n % 997}", obj=f"service-{n // 50}:read", dom=f"domain-{n % 7}")
        for n in numbers
    ]

    async def work(change: Change) -> object:
        return await role_rules.create(change, rules)

    await _written(pool, tenant, work)


async def _written(pool: "Pool", tenant: str, work: "Work[object]") -> None:
    written = await write(pool, tenant, _ACTOR, work, new_id=new_id)
    assert isinstance(written, Written), written
