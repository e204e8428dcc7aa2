"""Deletes history that is older than HISTORY_DAYS, tenant by tenant, once an hour."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import structlog

from extauthz.storage import revisions
from extauthz.storage.outcome import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from extauthz.storage.pool import Pool

EVERY_S: Final = 3600.0

_log = structlog.get_logger("extauthz.history")


async def forget_old_history(
    pool: Pool,
    tenants: Callable[[], Iterable[str]],
    days: int,
    *,
    clock: Callable[[], float],
    every: float = EVERY_S,
) -> None:
    """Delete what was replaced more than `days` ago, until cancelled; several processes may do so."""
    while True:
        await asyncio.sleep(every)
        moment = datetime.fromtimestamp(clock(), UTC) - timedelta(days=days)
        for tenant in list(tenants()):
            gone = await revisions.forget(pool, tenant, moment)
            if isinstance(gone, Refusal):
                _log.warning("history_not_deleted", tenant=tenant, cause=type(gone).__name__)
            elif gone:
                _log.info("history_deleted", tenant=tenant, revisions=gone, before=moment.isoformat())
