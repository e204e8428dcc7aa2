"""A pool that removes the tenant conditions from its statements, so that only row-level security remains.

Each `tenant_id = $n` is made true before a statement is sent, in whatever form the storage writes it, and so
is the id by which a presented key is looked up.
"""

import re
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import asyncpg

from extauthz.storage.session import Session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from extauthz.storage.pool import DatabaseAddress, Pool

# The parameter stays, so that it keeps its type; it compares with nothing any more.
_REWRITTEN = (
    (re.compile(r"(?:\b\w+\.)?\btenant_id = ANY\(\$(\d+)::text\[\]\)"), r"($\1::text[] IS NOT NULL)"),
    (re.compile(r"(?:\b\w+\.)?\btenant_id = \$(\d+)\b"), r"($\1::text IS NOT NULL)"),
    (re.compile(r"\b\w+\.tenant_id = \w+\.tenant_id\b"), "true"),
    (re.compile(r"(FROM service_api_keys WHERE) id = \$1::uuid$"), r"\1 ($1::uuid IS NOT NULL)"),
)
_LOOKS = re.compile(r"^\s*(?:WITH|SELECT|UPDATE|DELETE)\b")
_TABLES = re.compile(
    r"\b(?:FROM|UPDATE|JOIN)\s+(attribute_policies|attribute_policy_versions|audit_events|default_roles_applied"
    r"|change_guards|draft_approvals|policy_tests"
    r"|draft_changes|draft_rows|drafts|idempotency_keys|identity_providers|policy_bodies|policy_changes|policy_heads"
    r"|policy_revisions|recorded_contexts|recorded_shapes|recording_days|recording_senders|replay_jobs|resources|role_bindings"
    r"|role_rules|route_claims|row_history|service_api_keys|sidecars|tenant_hosts|tenants)\b"
)


@dataclass
class Statements:
    """What was sent to tables of tenants: what lost conditions, and what had none to lose."""

    rewritten: list[str] = field(default_factory=list)
    untouched: list[str] = field(default_factory=list)

    def without_conditions(self, query: str) -> str:
        changed, places = query, 0
        for pattern, replacement in _REWRITTEN:
            changed, found = pattern.subn(replacement, changed)
            places += found
        if _LOOKS.match(query) and _TABLES.search(query):
            (self.rewritten if places else self.untouched).append(query)
        assert not re.search(r"tenant_id =", changed.partition("RETURNING")[0]), changed
        return changed


def _connection_class(statements: Statements) -> type[Any]:
    class Unconditional(Session):
        async def execute(self, query: str, *args: Any, **options: Any) -> str:
            return await super().execute(statements.without_conditions(query), *args, **options)

        async def executemany(self, command: str, *args: Any, **options: Any) -> None:
            await super().executemany(statements.without_conditions(command), *args, **options)

        async def fetch(self, query: str, *args: Any, **options: Any) -> Any:
            return await super().fetch(statements.without_conditions(query), *args, **options)

        async def fetchrow(self, query: str, *args: Any, **options: Any) -> Any:
            return await super().fetchrow(statements.without_conditions(query), *args, **options)

        async def fetchval(self, query: str, *args: Any, **options: Any) -> Any:
            return await super().fetchval(statements.without_conditions(query), *args, **options)

    return Unconditional


@asynccontextmanager
async def unconditional_pool(address: "DatabaseAddress") -> "AsyncIterator[tuple[Pool, Statements]]":
    statements = Statements()
    async with asyncpg.create_pool(
        host=address.host,
        port=address.port,
        user=address.user,
        password=address.password,
        database=address.database,
        ssl=False,
        min_size=0,
        max_size=8,
        connection_class=_connection_class(statements),
        server_settings={"timezone": "UTC"},
    ) as pool:
        yield pool, statements
