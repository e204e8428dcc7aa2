"""The log events of a serving command: its listen addresses, and each change of its readiness with the cause.

Input: addresses, and a function that returns the readiness. Output: log events.
"""

import asyncio
import os
import socket
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from extauthz.runtime.chosen_server import chosen_server, grpc_address
from extauthz.runtime.service_manager import ServiceManager
from extauthz.settings import Settings
from extauthz.telemetry.readiness import Readiness

_LOOK_EVERY_S: Final = 0.1
_FIRST_READY_S: Final = 2.0
_SETTLES_S: Final = 1.0
"""Seconds between two events about changed problems, so that a flapping problem does not fill the log."""

_log = structlog.get_logger("extauthz.runtime")


def where(listener: socket.socket) -> str:
    """Return the address of a listening socket as `host:port`."""
    host, port, *_ = listener.getsockname()
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def worker_addresses(settings: Settings) -> dict[str, object]:
    """Return the listen addresses of the workers (`grpc`, `http_authz` if enabled) and their gRPC server."""
    chosen = chosen_server(settings)
    found: dict[str, object] = {
        "grpc": [grpc_address(settings, index) for index in range(settings.workers)],
        "grpc_server": chosen.server.value,
        "grpc_server_reason": chosen.reason,
    }
    if settings.http_authz_port is not None:
        host = f"[{settings.grpc_host}]" if ":" in settings.grpc_host else settings.grpc_host
        found["http_authz"] = [f"{host}:{settings.http_authz_port + n}" for n in range(settings.workers)]
    return found


async def announce(
    addresses: Mapping[str, object],
    *,
    listening: asyncio.Event,
    stopping: asyncio.Event,
    readiness: Callable[[], Readiness],
    manager: ServiceManager | None = None,
) -> None:
    """Log `listening` when all addresses are open, `ready` once, then each change; until cancelled.

    systemd is told of the first readiness, of the end, and that the process is alive (None: the environment
    says how).

    `not_ready`: the process lost readiness. `ready_again`: it is ready again. `degraded`: it is ready and has
    problems. Each event lists the failed checks and the problems.
    """
    manager = manager or ServiceManager.of(os.environ)
    await listening.wait()
    _log.info("listening", **addresses)
    # A worker becomes ready shortly after its listeners open; that delay is not logged as `not_ready`.
    patient_until = asyncio.get_running_loop().time() + _FIRST_READY_S
    ready = was_ready = False
    problems: list[str] = []
    while not stopping.is_set():
        found = readiness()
        said = _said(found)
        manager.alive(asyncio.get_running_loop().time())
        before = was_ready, ready, problems
        if found.ready and not ready:
            _log.info("ready_again" if was_ready else "ready", **said)
            manager.ready()
            ready = was_ready = True
            problems = said["problems"]
        elif not found.ready and (was_ready or asyncio.get_running_loop().time() >= patient_until):
            if ready or problems != said["problems"]:
                _log.warning("not_ready", **said)
            ready, problems = False, said["problems"]
        elif found.ready and problems != said["problems"]:
            _log.warning("degraded" if said["problems"] else "no_longer_degraded", **said)
            problems = said["problems"]
        # At most one change per second is logged; the first `ready` is logged at once.
        changed = before[0] and before != (was_ready, ready, problems)
        await asyncio.sleep(_SETTLES_S if changed else _LOOK_EVERY_S)
    manager.stopping()


def _said(found: Readiness) -> dict[str, list[str]]:
    unavailable = sorted(name for name, available in found.checks.items() if not available)
    return {"unavailable": unavailable, "problems": list(found.problems)}
