"""The write path: a transaction that changes a tenant's policies completely or not at all.

Input: a tenant, an actor, the work. Output: `Written`, or a `Refusal`, with which nothing is stored.

INVARIANT: the first statement locks the tenant's row by incrementing its revision. Writes to a tenant are
therefore serialized, commit order is revision order, and what a write reads (an existing name or route, a
cycle of roles) cannot change until it has committed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeVar

import structlog

from extauthz.storage import audit, revisions
from extauthz.storage.audit import Occurrence
from extauthz.storage.encoding import encode_json
from extauthz.storage.outcome import NotFound, Refusal, refusals_returned
from extauthz.storage.pool import tenant_transaction
from extauthz.storage.written_row import WrittenRow

if TYPE_CHECKING:
    from uuid import UUID

    from extauthz.domain.problem import Problem
    from extauthz.storage.idempotency import Once
    from extauthz.storage.pool import Connection, Pool
    from extauthz.storage.rows import Document

CHANNEL: Final = "extauthz_policy"
"""The NOTIFY channel of commits: `<tenant>:<revision>`, or `epoch` for a new epoch."""
MAX_CHANGES: Final = 5_000
MAX_CHANGES_BYTES: Final = 8 * 2**20
"""A change record that exceeds either limit has no rows; sidecars then reload the tenant."""
KEPT_REVISIONS: Final = 10_000
"""Revisions whose change records are kept per tenant; a sidecar at an older revision reloads."""
CONFIG_KINDS: Final = frozenset({"tenant", "tenant_hosts", "identity_provider", "service_key"})
"""Kinds of the tenant's configuration: a change record only names them, and sidecars read all again."""
_SWEEP_EVERY: Final = 64

_Value = TypeVar("_Value")
_log = structlog.get_logger("extauthz.storage")


@dataclass(frozen=True, slots=True)
class Actor:
    """The author of a write, for the audit trail. `kind` is `user`, `service_key`, `admin_key` or similar.

    `override` is the reason why the tenant's change guard is overridden; None: it is not.
    """

    kind: str
    id: str
    domain: str | None = None
    request_id: str | None = None
    override: str | None = None

    def document(self) -> dict[str, object]:
        """Return the document that is stored in audit events and versions."""
        return {"kind": self.kind, "id": self.id, "domain": self.domain, "request_id": self.request_id}


@dataclass(frozen=True, slots=True)
class Publication:
    """A draft that becomes live: its version and digest, and kind and id of the authors of its changes."""

    draft_id: UUID
    version: int
    digest: str
    authors: frozenset[tuple[str, str]]


@dataclass(slots=True)
class Change:
    """A write in progress; the functions of each kind (`role_rules.create`, ...) record their rows in it.

    `previous` is the revision of the tenant before the write. `unreadable` are the problems of other rows of
    the tenant that are damaged and therefore not in force. `draft` is the draft that is written to,
    `publishes` the one that becomes live. The audit
    trail gets `audited`, where it is given, instead of `rows`. `policy_digest` is that of the policies with
    the change, None where `validate` compiled none.
    """

    connection: Connection
    tenant: str
    actor: Actor
    revision: int
    previous: int
    new_id: Callable[[], str]
    rows: list[WrittenRow] = field(default_factory=list)
    unreadable: Sequence[Problem] = ()
    policy_digest: str | None = None
    draft: UUID | None = None
    publishes: Publication | None = None
    audited: Sequence[WrittenRow] | None = None

    def note(
        self,
        action: str,
        kind: str,
        row_id: str,
        *,
        before: Document | None = None,
        after: Document | None = None,
    ) -> None:
        """Record a written row; without `after` sidecars delete it."""
        published: Literal["upsert", "delete", "refresh"] = "delete" if after is None else "upsert"
        if kind in CONFIG_KINDS:
            published = "refresh"
        self.rows.append(WrittenRow(action, kind, row_id, before, after, published))


@dataclass(frozen=True, slots=True)
class Written(Generic[_Value]):
    """The result of the work, and the revision with which it is in force.

    `changed` is false if the work wrote no row; the revision is then the tenant's current one. `unreadable`
    is that of the change.
    """

    value: _Value
    revision: int
    changed: bool
    unreadable: Sequence[Problem] = ()


Work = Callable[[Change], Awaitable[_Value | Refusal]]
Validate = Callable[[Change], Awaitable[Refusal | None]]
Opening = Callable[["Connection"], Awaitable[Refusal | None]]


class _AbandonedError(Exception):
    """Rolls the transaction back, with a result to return."""

    def __init__(self, outcome: Written[Any] | Refusal) -> None:
        self.outcome = outcome


@refusals_returned
async def write(
    pool: Pool,
    tenant: str,
    actor: Actor,
    work: Work[_Value],
    *,
    new_id: Callable[[], str],
    validate: Validate | None = None,
    opening: Opening | None = None,
    once: Once[Written[_Value]] | None = None,
) -> Written[_Value] | Refusal:
    """Run `work` in one transaction of the tenant and return its result.

    Nothing is stored if `work` returns a `Refusal` or writes no row, or if `validate`, which runs last and
    reads the written rows, returns a `Refusal`. `new_id` returns UUIDv7 texts. `opening` runs before the
    tenant's row is locked, and may create it. `once` runs before and after: its rows are committed with the
    change, also if `work` wrote no row.
    """
    arguments = (tenant, actor, work, new_id, validate, opening)
    try:
        async with tenant_transaction(pool, tenant) as connection:
            if once is None:
                return await _change(connection, *arguments)
            await once.begin(connection)
            try:
                async with connection.transaction():
                    written = await _change(connection, *arguments)
            except _AbandonedError as abandoned:
                if not isinstance(abandoned.outcome, Written):
                    raise
                written = abandoned.outcome
            await once.end(connection, written)
            return written
    except _AbandonedError as abandoned:
        return abandoned.outcome


async def _change(
    connection: Connection,
    tenant: str,
    actor: Actor,
    work: Work[_Value],
    new_id: Callable[[], str],
    validate: Validate | None,
    opening: Opening | None,
) -> Written[_Value]:
    """Run the transaction of `write`. Raises _AbandonedError with the result if nothing is to be stored."""
    refused = await opening(connection) if opening is not None else None
    if refused is not None:
        raise _AbandonedError(refused)
    head = await connection.fetchrow(
        "UPDATE tenants SET revision = revision + 1, updated_at = now()"
        " WHERE tenant_id = $1 AND deleted_at IS NULL RETURNING revision,"
        " (SELECT max(c.revision) FROM policy_changes AS c WHERE c.tenant_id = $1) AS newest_record,"
        " (SELECT max(r.revision) FROM policy_revisions AS r WHERE r.tenant_id = $1) AS newest_in_history",
        tenant,
    )
    if head is None:
        raise _AbandonedError(NotFound("tenant", tenant))
    revision, previous = head["revision"], head["revision"] - 1
    leftover: dict[str, int] | None = None
    if (head["newest_in_history"] or 0) > previous:
        # Left over from before a restore, as the change records are.
        await revisions.discard_after(connection, tenant, previous)
    if (head["newest_record"] or 0) > previous:
        revision = head["newest_record"] + 1
        leftover = await _discard_leftovers(connection, tenant, previous, revision)
    change = Change(connection, tenant, actor, revision, previous, new_id)
    value = await work(change)
    if isinstance(value, Refusal):
        raise _AbandonedError(value)
    if not change.rows:
        raise _AbandonedError(Written(value, previous, changed=False))
    refusal = await validate(change) if validate is not None else None
    if refusal is not None:
        raise _AbandonedError(refusal)
    await _record(change)
    if leftover is not None:
        details = Occurrence(new_id(), actor.document(), "discard", "change_records", None, leftover)
        await audit.record_in(connection, tenant, [details])
        _log.warning(
            "change_records_discarded",
            message="records above the tenant's revision are of a state that is not stored any more",
            tenant=tenant,
            **leftover,
        )
    return Written(value, revision, changed=True, unreadable=change.unreadable)


@refusals_returned
async def read(pool: Pool, tenant: str, work: Callable[[Connection], Awaitable[_Value]]) -> _Value:
    """Run `work` in a read-only transaction that sees one snapshot of one tenant."""
    async with tenant_transaction(pool, tenant, read_only=True) as connection:
        return await work(connection)


async def _discard_leftovers(
    connection: Connection, tenant: str, previous: int, revision: int
) -> dict[str, int]:
    """Delete the change records above the tenant's revision, and continue with a revision above them.

    They are left over from before a restore. INVARIANT: no revision is given twice, because a sidecar may
    still be at any revision that had a record.
    """
    await connection.execute("UPDATE tenants SET revision = $2 WHERE tenant_id = $1", tenant, revision)
    status = await connection.execute(
        "DELETE FROM policy_changes WHERE tenant_id = $1 AND revision > $2", tenant, previous
    )
    records = int(status.rpartition(" ")[2])
    return {"after_revision": previous, "up_to_revision": revision - 1, "records": records}


async def _record(change: Change) -> None:
    connection = change.connection
    await connection.execute(
        "WITH numbered AS (INSERT INTO policy_revisions (tenant_id, revision, policy_digest)"
        " VALUES ($1, $2, $5))"
        " INSERT INTO policy_changes (tenant_id, revision, predecessor, changes)"
        " VALUES ($1, $2, $3, $4::json)",
        change.tenant,
        change.revision,
        change.previous,
        _published(change.rows),
        change.policy_digest,
    )
    if change.revision % _SWEEP_EVERY == 0:
        await connection.execute(
            "DELETE FROM policy_changes WHERE tenant_id = $1 AND revision <= $2",
            change.tenant,
            change.revision - KEPT_REVISIONS,
        )
    await audit.append(
        connection,
        change.tenant,
        change.revision,
        change.actor.document(),
        change.rows if change.audited is None else change.audited,
        new_id=change.new_id,
    )
    await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, f"{change.tenant}:{change.revision}")


def _published(rows: list[WrittenRow]) -> str | None:
    if len(rows) > MAX_CHANGES:
        return None
    text = encode_json(
        [
            {"op": row.published, "kind": row.kind, "id": row.id}
            | ({"row": row.after} if row.published == "upsert" else {})
            for row in rows
        ]
    )
    return text if len(text) <= MAX_CHANGES_BYTES else None
