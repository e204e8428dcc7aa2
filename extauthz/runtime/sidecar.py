"""`extauthz sidecar`: the supervisor of the workers, and the port for health and metrics.

Input: `Settings`. Output: a running process until SIGTERM. Errors: `StartRefusedError`.
"""

import asyncio

from extauthz.admin.health import health_app
from extauthz.admin.server import ListenError, listen, serve
from extauthz.runtime.announce import announce, where, worker_addresses
from extauthz.runtime.policies import StartRefusedError
from extauthz.runtime.supervisor import Supervisor, reopen_on_hangup, stop_on_signals
from extauthz.settings import Settings


async def run_sidecar(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT, then drain.

    Raises:
        StartRefusedError: the operator has to correct the settings or the environment.
    """
    supervisor = Supervisor(settings, workers=settings.workers)
    try:
        listener = listen(settings.host, settings.sidecar_port)
    except ListenError as error:
        raise StartRefusedError(f"SIDECAR_PORT: {error}") from error
    stop_on_signals(supervisor)
    reopen_on_hangup(supervisor.reopen_logs)
    addresses = {"health": where(listener), **worker_addresses(settings)}
    tasks = [
        asyncio.create_task(serve(health_app(supervisor.readiness, supervisor.metrics), listener)),
        asyncio.create_task(
            announce(
                addresses,
                listening=supervisor.listening,
                stopping=supervisor.stopping,
                readiness=supervisor.readiness,
            )
        ),
    ]
    try:
        await supervisor.run()
    finally:
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        supervisor.close()
