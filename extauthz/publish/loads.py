"""Full loads of tenants: one after the other, on a connection of their own, while others are followed.

A tenant may have a million rows. INVARIANT: reading them makes no change of another tenant wait.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from extauthz.domain.problem import Problem
from extauthz.publish.loading import free, short_steps
from extauthz.storage import feed
from extauthz.storage.availability import Unavailability, cause_of, unavailability_of
from extauthz.storage.copied_rows import CopiedRows

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from extauthz.publish.loading_threads import LoadingThreads
    from extauthz.publish.policy_size import PolicySizes
    from extauthz.publish.polling import Connect
    from extauthz.publish.tenant import Compiler, TenantPolicies
    from extauthz.storage.pool import Connection

_log = structlog.get_logger("extauthz.publish")


@dataclass(frozen=True, slots=True)
class Loaded:
    """What reading a tenant came to: its state, or all problems, or None where there is no such tenant.

    `revision` and `written_at` are the tenant's at the moment that was read (None: its rows could not be
    read), `began` is when reading began (steady clock).
    """

    found: TenantPolicies | list[Problem] | None
    revision: int | None
    written_at: datetime | None
    began: float


class TenantLoads:
    """Reads tenants whole; those that were begun are taken when they are done, and `wake` is called then."""

    def __init__(
        self,
        connect: Connect,
        compiler: Compiler,
        *,
        steady: Callable[[], float],
        wake: Callable[[], None],
        sizes: PolicySizes,
        threads: LoadingThreads,
        on_busy: Callable[[bool], None] = lambda _busy: None,
    ) -> None:
        """Take how connections are opened and rows compiled, and how large a tenant's policies may be.

        `on_busy` see `Publisher`.
        """
        self._connect = connect
        self._compiler = compiler
        self._steady = steady
        self._wake = wake
        self._sizes = sizes
        self._threads = threads
        self._on_busy = on_busy
        self._tasks: dict[str, asyncio.Task[Loaded]] = {}
        self._one_at_a_time = asyncio.Lock()

    async def read(self, connection: Connection, tenant: str, known: TenantPolicies | None) -> Loaded:
        """Read a tenant now. `known` is what rows that cannot be read fall back on.

        Raises:
            Exception: the connection is lost, or the server does not answer.
        """
        began = self._steady()
        try:
            async with feed.one_moment(connection):
                refusal = await self._sizes.measure(connection, tenant)
                documents = await feed.documents(connection, tenant) if refusal is None else None
            if refusal is not None:
                return Loaded([refusal], None, None, began)
            if documents is None:
                return Loaded(None, None, None, began)
            found = await self._threads.run(self._compiled, documents, known)
        except Exception as error:  # whatever a damaged row raises, it is a problem of this tenant alone
            kind = unavailability_of(error)
            if connection.is_closed() or kind not in {None, Unavailability.FAILED}:
                raise
            # Rows that nothing should have written: one tenant's must not hold up the others.
            problem = Problem("", f"the rows cannot be read: {type(error).__name__}: {error}")
            return Loaded([problem], None, None, began)
        return Loaded(found, documents.revision, documents.written_at, began)

    def _compiled(
        self, documents: feed.TenantDocuments, known: TenantPolicies | None
    ) -> TenantPolicies | list[Problem]:
        found = self._compiler.salvage(documents, known)
        rules = documents.role_rules
        for table in (
            documents.resources,
            rules.texts if isinstance(rules, CopiedRows) else rules,
            documents.role_bindings,
            documents.attribute_policies,
        ):
            free(table)
        return found

    def begin(self, tenant: str, known: TenantPolicies | None) -> None:
        """Read a tenant meanwhile, unless it is being read."""
        if tenant not in self._tasks:
            self._tasks[tenant] = asyncio.create_task(self._read_apart(tenant, known))

    def take(self) -> dict[str, Loaded]:
        """Return what was read since the last time. What could not be read is to be begun again."""
        done = {tenant: task for tenant, task in self._tasks.items() if task.done()}
        for tenant in done:
            del self._tasks[tenant]
        taken: dict[str, Loaded] = {}
        for tenant, task in done.items():
            error = task.exception()
            if error is None:
                taken[tenant] = task.result()
            else:
                _log.warning("tenant_not_read", tenant=tenant, cause=cause_of(error))
        return taken

    async def finish(self) -> bool:
        """Wait until all that was begun is read; tell whether there was any.

        Raises:
            Exception: what kept one of them from being read.
        """
        tasks = list(self._tasks.values())
        await asyncio.gather(*tasks)
        return bool(tasks)

    async def close(self) -> None:
        """Read no more."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _read_apart(self, tenant: str, known: TenantPolicies | None) -> Loaded:
        async with self._one_at_a_time:
            connection = await self._connect()
            self._on_busy(True)
            try:
                with short_steps():
                    loaded = await self.read(connection, tenant, known)
            except BaseException:
                connection.terminate()
                raise
            finally:
                self._on_busy(False)
            await connection.close()
        # One that failed is begun again at the next poll, not at once.
        self._wake()
        return loaded
