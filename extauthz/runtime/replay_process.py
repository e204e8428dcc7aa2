"""`python -m extauthz.runtime.replay_process TENANT JOB`: one replay, in a process of its own.

The control plane starts it with its own environment, after it claimed the job (`runtime.replays`). It gives
way to processes that serve, and ends when its parent does: then its lease ends and the job is run again.
"""

import asyncio
import os
import signal
import sys
from typing import Final
from uuid import UUID

import structlog

from extauthz.publish.replaying import Replay, ReplayTakenError
from extauthz.runtime.policies import compiler, database
from extauthz.settings import load_settings
from extauthz.storage import replay_jobs
from extauthz.storage.availability import cause_of, unavailability_of
from extauthz.storage.pool import open_pool, tenant_transaction
from extauthz.telemetry import logs

NICENESS: Final = 19
_LOOK_EVERY_S: Final = 1.0
FAILED: Final = 1

_log = structlog.get_logger("extauthz.replay")


async def _run(tenant: str, job_id: UUID, attempt: int) -> int:
    settings = load_settings(os.environ, serving=False)
    assert not isinstance(settings, list), "the parent has read the same"
    logs.configure(settings.log_level, settings.log_format)
    async with open_pool(database(settings), max_size=1) as pool, asyncio.TaskGroup() as both:
        parent = both.create_task(_end_with_parent(os.getppid()))
        try:
            async with tenant_transaction(pool, tenant, read_only=True) as connection:
                job = await replay_jobs.running(connection, tenant, job_id, attempt)
            if job is not None:
                await Replay(pool, compiler(settings), tenant, job).run()
        except ReplayTakenError:
            _log.info("replay_given_up", tenant=tenant, job=str(job_id))
        except Exception as error:
            if unavailability_of(error) is None:
                raise
            # Another process takes the job up again.
            _log.warning("replay_interrupted", tenant=tenant, job=str(job_id), cause=cause_of(error))
            return FAILED
        finally:
            parent.cancel()
    return 0


async def _end_with_parent(parent: int) -> None:
    while os.getppid() == parent:  # noqa: ASYNC110  # nothing announces it
        await asyncio.sleep(_LOOK_EVERY_S)
    os._exit(FAILED)


def main(arguments: list[str]) -> None:
    """Run the replay that the arguments name: tenant, job, attempt."""
    tenant, job_id, attempt = arguments
    os.nice(NICENESS)
    for number in (signal.SIGINT, signal.SIGHUP):
        # Of a terminal, to every process of its group: the parent decides.
        signal.signal(number, signal.SIG_IGN)
    sys.exit(asyncio.run(_run(tenant, UUID(job_id), int(attempt))))


if __name__ == "__main__":
    main(sys.argv[1:])
