"""Validates a change before it is committed: one that would not compile is refused."""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID

from extauthz.compile.row_reader import KINDS
from extauthz.compile.snapshot import Snapshot
from extauthz.domain.problem import Problem
from extauthz.publish.change_guard import withheld
from extauthz.publish.policy_size import PolicySizes, too_large
from extauthz.publish.policy_tests import failures
from extauthz.publish.tenant import Compiler, TenantPolicies, row_of, unreadable_rows
from extauthz.storage import change_guards, draft_rows, drafts, feed
from extauthz.storage.draft_view import DraftView
from extauthz.storage.encoding import encode_json
from extauthz.storage.outcome import Clash, Conflict, Invalid, Refusal
from extauthz.storage.pool import Connection
from extauthz.storage.rows import Document
from extauthz.storage.write import Change


class PolicyGate:
    """Compiles a change in memory, on top of the published state, inside the change's own transaction.

    The tenant's row is locked there, so what is compiled is what a commit would make.
    """

    def __init__(
        self,
        compiler: Compiler,
        published: Callable[[str], TenantPolicies | None],
        sizes: PolicySizes | None = None,
        *,
        on_override: Callable[[], None] = lambda: None,
    ) -> None:
        """Take how rows are compiled, and where a tenant's published state and its size are.

        `on_override` counts changes that override the change guard of their tenant.
        """
        self._on_override = on_override
        self._compiler = compiler
        self._published = published
        self._sizes = PolicySizes() if sizes is None else sizes

    async def validate(self, change: Change) -> Refusal | None:
        """Return why the change is refused, None where it is not; the hook of `storage.write.write`.

        INVARIANT: a row that was damaged before holds up no change of others; it is noted in the change.
        """
        state, followed = await self._before(change)
        octets = await self._octets_beyond_limit(change, None if state is None else followed)
        if octets is not None:
            if _adds(change) or (state is None and any(row.after is not None for row in change.rows)):
                return Invalid((too_large(octets, self._sizes.max_bytes or 0),))
            if state is None:
                # Rows are deleted of a set that is too large to be read.
                return None
        written = frozenset((row.kind, row.id) for row in change.rows)
        if state is None:
            # What the change has written is part of what is read here, under the tenant's lock.
            documents = await feed.documents(change.connection, change.tenant)
            if documents is None:
                # Nothing else can have deleted the tenant under its lock: nothing is left to compile.
                return None
            following = self._compiler.salvage(documents, suspects=written)
        else:
            rows = [
                feed.RowChange(row.kind, row.id, row.after)  # type: ignore[arg-type]  # `in` narrows no type
                for row in change.rows
                if row.kind in KINDS
            ]
            following = self._compiler.apply(state, change.revision, rows)
        if not isinstance(following, TenantPolicies):
            return _refusal(following)
        digest = following.snapshot.policy_digest
        change.policy_digest = digest.text or await asyncio.to_thread(digest.counted)
        own = [row.problem for key, row in following.unreadable.items() if key in written]
        if own:
            return _refusal(own)
        change.unreadable = [
            problem for problem in unreadable_rows(following) if row_of(problem) not in written
        ]
        return await self._withheld(change, following.snapshot)

    async def _withheld(self, change: Change, snapshot: Snapshot) -> Refusal | None:
        """Return which of the tenant's own settings refuses a change that would become live."""
        if change.draft is not None or not any(row.kind in KINDS for row in change.rows):
            return None
        guard = await change_guards.get(change.connection, change.tenant)
        if change.publishes is not None or guard.tests_every_write:
            failing = await failures(change, snapshot)
            if failing is not None:
                return failing
        return await withheld(change, guard, on_override=self._on_override)

    async def compiled(self, connection: Any, tenant: str, draft_id: UUID | None) -> Snapshot | list[Problem]:
        """Return the policies of a tenant as a transaction sees them; of a draft, `connection` is its view.

        Policies that do not compile are all their problems.
        """
        live = connection.live if isinstance(connection, DraftView) else connection
        state, _ = await self._state(live, tenant, await drafts.live_revision(live, tenant))
        if state is None:
            documents = await feed.documents(connection, tenant)
            found = [Problem("", "there is no such tenant")] if documents is None else None
            if found is not None or documents is None:
                return found or []
            loaded = await asyncio.to_thread(self._compiler.salvage, documents)
            return loaded.snapshot if isinstance(loaded, TenantPolicies) else loaded
        if draft_id is None:
            return state.snapshot
        keys = await draft_rows.keys_of(live, tenant, draft_id)
        rows = await draft_rows.stored(connection, tenant, keys)
        changed = [
            feed.RowChange(kind, row_id, rows[kind, row_id].document if (kind, row_id) in rows else None)  # type: ignore[arg-type]  # kinds of drafts are kinds of policies
            for kind, row_id in keys
        ]
        following = await asyncio.to_thread(self._compiler.apply, state, state.snapshot.revision + 1, changed)
        return following.snapshot if isinstance(following, TenantPolicies) else following

    async def _octets_beyond_limit(self, change: Change, followed: int | None) -> int | None:
        """Return the size that the tenant's policies would have, if that is more than any process reads.

        `followed` are the bytes written between the published state and the change, None where that is
        unknown.
        """
        limit = self._sizes.max_bytes
        if limit is None:
            return None
        if followed is not None:
            written = sum(_size(row.after) for row in change.rows)
            if not self._sizes.may_exceed(change.tenant, followed + written):
                return None
        octets = await feed.octets(change.connection, change.tenant)
        return octets if octets > limit else None

    async def _before(self, change: Change) -> tuple[TenantPolicies | None, int]:
        """Return the state that the change starts from, as `_state` does."""
        return await self._state(change.connection, change.tenant, change.previous)

    async def _state(
        self, connection: Connection, tenant: str, revision: int
    ) -> tuple[TenantPolicies | None, int]:
        """Return the state of a tenant at its present revision, None where it is not a few steps away.

        With it come the bytes that were written since the published state.
        """
        octets = 0
        state = self._published(tenant)
        if state is not None and state.snapshot.revision < revision:
            behind = {tenant: state.snapshot.revision}
            for step in await feed.changes_since(connection, behind):
                if step.predecessor != state.snapshot.revision or step.rows is None:
                    return None, octets
                following = self._compiler.apply(state, step.revision, step.rows)
                if not isinstance(following, TenantPolicies):
                    return None, octets
                state = following
                octets += step.octets
        at_hand = state is not None and state.snapshot.revision == revision
        return state if at_hand else None, octets


def _size(document: Document | None) -> int:
    return 0 if document is None else len(encode_json(document))


def _adds(change: Change) -> bool:
    """Tell whether the change makes the policies larger; any other is never refused for their size."""
    rows = [row for row in change.rows if row.kind in KINDS]
    return sum(_size(row.after) for row in rows) > sum(_size(row.before) for row in rows)


def _refusal(problems: list[Problem]) -> Refusal:
    cycles = [problem for problem in problems if problem.pointer.endswith("/role")]
    if cycles:
        return Conflict("role_binding", (Clash(0, None, cycles[0].message),))
    return Invalid(tuple(problems))
