"""Checks the database every second, so that a process reports its loss and its return within seconds.

Input: an address, a pool. Output: calls of `DatabaseState`.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from extauthz.storage.availability import DatabaseState, Unavailability, unavailability_of
from extauthz.storage.connection import connect
from extauthz.storage.pool import require_writable

if TYPE_CHECKING:
    from extauthz.storage.address import DatabaseAddress
    from extauthz.storage.pool import Pool
    from extauthz.storage.session import Session

LOOK_EVERY_S: Final = 1.0
ANSWER_WITHIN_S: Final = 2.0


async def watch(address: DatabaseAddress, pool: Pool, state: DatabaseState) -> None:
    """Report the state of a separate connection to `state`, until cancelled.

    When the server no longer accepts writes, the connections of `pool`, which lead to it too, are replaced.
    """
    session: Session | None = None
    try:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            with contextlib.suppress(Exception):
                session = await _looked(address, pool, state, session)
    finally:
        if session is not None:
            session.terminate()


async def _looked(
    address: DatabaseAddress, pool: Pool, state: DatabaseState, session: Session | None
) -> Session:
    if session is None or session.is_closed() or state.refuses_connections:
        # Only another attempt shows that a server which refused connections accepts them again.
        opened = await connect(address, application="extauthz-watch", state=state)
        if session is not None:
            session.terminate()
        session = opened
    try:
        await require_writable(session, within=ANSWER_WITHIN_S)
    except Exception as error:
        session.terminate()
        state.answering_failed(error)
        if unavailability_of(error) is Unavailability.READ_ONLY:
            await pool.expire_connections()
        raise
    state.answered()
    return session
