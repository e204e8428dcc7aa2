"""`extauthz sidecar`: the supervisor of the workers, and the port for health and metrics.

Input: `Settings`. Output: a running process until SIGTERM. Errors: `StartRefusedError`.
"""

import asyncio
import importlib
import socket
from typing import TYPE_CHECKING

from extauthz.runtime.announce import announce, where, worker_addresses
from extauthz.runtime.listener import ListenError, listen
from extauthz.runtime.start_refused import StartRefusedError
from extauthz.runtime.supervisor import Supervisor, reopen_on_hangup, stop_on_signals
from extauthz.settings import Settings

if TYPE_CHECKING:
    from extauthz.keys.assertion_file import AssertionFile


async def run_sidecar(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT, then drain.

    Raises:
        StartRefusedError: the operator has to correct the settings or the environment.
    """
    keys = _assertion_keys(settings)
    supervisor = Supervisor(settings, workers=settings.workers)
    try:
        listener = listen(settings.host, settings.sidecar_port)
    except ListenError as error:
        raise StartRefusedError(f"SIDECAR_PORT: {error}") from error
    stop_on_signals(supervisor)
    reopen_on_hangup(supervisor.reopen_logs)
    addresses = {"health": where(listener), **worker_addresses(settings)}
    running = asyncio.create_task(supervisor.run())
    tasks = [
        asyncio.create_task(_serve_health(supervisor, listener, keys)),
        asyncio.create_task(
            announce(
                addresses,
                listening=supervisor.listening,
                stopping=supervisor.stopping,
                readiness=supervisor.readiness,
            )
        ),
    ]
    if keys is not None:
        tasks.append(asyncio.create_task(keys.follow()))
    try:
        await running
    finally:
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        supervisor.close()


def _assertion_keys(settings: Settings) -> "AssertionFile | None":
    """Return the keys to publish, None without them. Raises StartRefusedError."""
    if settings.assertion_key_file is None:
        return None
    # The cryptography library takes a part of a start that a sidecar without assertions does not pay here.
    from extauthz.runtime.assertion_keys import assertion_file

    return assertion_file(settings)


async def _serve_health(
    supervisor: Supervisor, listener: socket.socket, keys: "AssertionFile | None"
) -> None:
    # Importing the HTTP server takes a tenth of a start; in a thread it delays no worker.
    for module in ("extauthz.admin.health", "extauthz.runtime.http_server"):
        await asyncio.to_thread(importlib.import_module, module)
    from extauthz.admin.health import health_app
    from extauthz.runtime.http_server import serve

    await serve(
        health_app(supervisor.readiness, supervisor.metrics, None if keys is None else keys.key_set), listener
    )
