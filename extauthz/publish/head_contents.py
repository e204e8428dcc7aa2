"""What a signed head names: the configuration and the policies of a tenant, read from bodies and compiled.

Input: a verified head, and where bodies are read. Output: a `TenantConfig`; a `TenantPolicies`, or problems.
Errors: HeadRejectedError for a body that is too large, has another digest or is malformed; OSError for one
that cannot be read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from extauthz.publish.loading_threads import LoadingThreads
from extauthz.publish.tenant import Compiler, TenantPolicies
from extauthz.signed.bodies import (
    MAX_CHANGE_BYTES,
    MAX_CONFIG_BYTES,
    check_digest,
    followed,
    read_change,
    read_config,
    read_whole,
    unpacked,
)
from extauthz.signed.head import Body, ChangeBody, Head, HeadRejectedError
from extauthz.telemetry.counts import HeadRejection

if TYPE_CHECKING:
    from collections.abc import Callable

    from extauthz.domain.problem import Problem
    from extauthz.domain.tenant_config import TenantConfig
    from extauthz.storage.feed import RowChange


class BodySource(Protocol):
    """Where bodies are read."""

    async def body(self, body: Body) -> bytes:
        """Return the octets of a body, not verified. Raises HeadRejectedError, OSError."""


class HeadContents:
    """Reads and compiles what heads of one tenant name."""

    def __init__(
        self,
        compiler: Compiler,
        tenant: str,
        *,
        max_bytes: int,
        keep: bool,
        on_busy: Callable[[bool], None],
    ) -> None:
        """Take what compiles. Whole policies have at most `max_bytes` octets; `on_busy` see `Publisher`.

        `keep` keeps the octets of the bodies of the last head, for its cache.
        """
        self._compiler = compiler
        self._tenant = tenant
        self._max_bytes = max_bytes
        self._keep = keep
        self._on_busy = on_busy
        self._kept: dict[str, bytes] = {}
        self._threads = LoadingThreads()

    def forget(self) -> None:
        """Keep no octets of an earlier head."""
        self._kept.clear()

    async def config(self, head: Head, source: BodySource) -> TenantConfig:
        """Return the configuration that a head names. Raises HeadRejectedError, OSError."""
        document = await self._document(head.config, MAX_CONFIG_BYTES, source)
        return read_config(document, self._tenant)

    async def policies(
        self,
        head: Head,
        config: TenantConfig,
        source: BodySource,
        *,
        state: TenantPolicies | None,
        before: Head | None,
    ) -> TenantPolicies | list[Problem]:
        """Compile the policies of a head: by its changes where they lead on from what is in force.

        `state` is in force: a row that cannot be read keeps its version there. `before` is its head, or
        None where it lacks rows of that head.

        Raises:
            HeadRejectedError: a body is not to be used.
            OSError: a body cannot be read.
        """
        if state is not None and before is not None and _same_history(before, head):
            revision = state.snapshot.revision
            if revision == head.revision and revision == before.revision:
                return state
            steps = [change for change in head.changes if change.predecessor >= revision]
            if steps and steps[0].predecessor == revision:
                found = await self._stepped(state, head, len(head.changes) - len(steps), source)
                if found is not None:
                    return found
        whole = await self._document(head.whole, self._max_bytes, source)
        documents = read_whole(whole, self._tenant, head.whole_revision, config)
        # A change that cannot be read keeps out its own rows, and neither others nor later changes.
        rows = [row for change in head.changes for row in await self._rows(change, source)]
        if head.changes:
            documents = await self._threads.run(followed, documents, rows, head.revision)
        self._on_busy(True)
        try:
            return await self._threads.run(self._compiler.salvage, documents, state)
        finally:
            self._on_busy(False)

    async def octets(self, body: Body, source: BodySource) -> bytes:
        """Return the octets of a body: those that are kept, else read anew and verified.

        Raises:
            HeadRejectedError: the body is not the one that was signed.
            OSError: the body cannot be read.
        """
        return self._kept.get(body.sha256) or await self._verified(body, source)

    async def _stepped(
        self, state: TenantPolicies, head: Head, first: int, source: BodySource
    ) -> TenantPolicies | None:
        """Apply the changes of the head from number `first` on; None: the rows contradict each other."""
        for change in head.changes[first:]:
            rows = await self._rows(change, source)
            found = await self._threads.apply(len(rows), self._compiler.apply, state, change.revision, rows)
            if not isinstance(found, TenantPolicies):
                return None
            state = found
        return state

    async def _rows(self, change: ChangeBody, source: BodySource) -> tuple[RowChange, ...]:
        document = await self._document(change.body, MAX_CHANGE_BYTES, source)
        return read_change(document, self._tenant, change.predecessor, change.revision)

    async def _document(self, body: Body, max_bytes: int, source: BodySource) -> object:
        if body.content_size > max_bytes:
            raise HeadRejectedError(
                HeadRejection.BODY, f"the body has {body.content_size} bytes; at most {max_bytes} are allowed"
            )
        octets = await self._verified(body, source)
        if self._keep:
            self._kept[body.sha256] = octets
        return await self._threads.run(unpacked, body, octets)

    async def _verified(self, body: Body, source: BodySource) -> bytes:
        octets = await source.body(body)
        check_digest(body, octets)
        return octets


def _same_history(before: Head, head: Head) -> bool:
    """Tell whether a revision of one head has the same content as that revision of the other."""
    return (before.epoch, before.history) == (head.epoch, head.history)
