"""Deletes history that is older than HISTORY_DAYS, and recordings older than RECORD_DAYS, once an hour."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import structlog

from extauthz.storage import recorded_shapes, revisions
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


async def forget_old_recordings(
    pool: Pool,
    tenants: Callable[[], Iterable[str]],
    days: int,
    *,
    clock: Callable[[], float],
    every: float = EVERY_S,
) -> None:
    """Delete what was recorded before the last `days` days, until cancelled; several processes may do so."""
    while True:
        await asyncio.sleep(every)
        before = datetime.fromtimestamp(clock(), UTC).date() - timedelta(days=days - 1)
        for tenant in list(tenants()):
            gone = await recorded_shapes.forget_before(pool, tenant, before)
            if isinstance(gone, Refusal):
                _log.warning("recordings_not_deleted", tenant=tenant, cause=type(gone).__name__)
        dropped = await recorded_shapes.drop_before(pool, before)
        if isinstance(dropped, Refusal):
            _log.warning("recordings_not_deleted", cause=type(dropped).__name__)
        elif dropped:
            _log.info("recordings_deleted", before=before.isoformat(), tables=dropped)
