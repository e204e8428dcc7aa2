"""What a serving command logs of itself: where it listens, whether it is ready, and why it is not."""

import asyncio
import socket
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from extauthz.admin.health import Readiness
from extauthz.runtime.chosen_server import chosen_server
from extauthz.runtime.grpc_transport import grpc_address
from extauthz.settings import Settings

_LOOK_EVERY_S: Final = 0.1
_FIRST_READY_S: Final = 2.0
_SETTLES_S: Final = 1.0
"""Problems that come and go are logged at most this often."""

_log = structlog.get_logger("extauthz.runtime")


def where(listener: socket.socket) -> str:
    """Return the address of a listening socket as `host:port`."""
    host, port, *_ = listener.getsockname()
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def worker_addresses(settings: Settings) -> dict[str, object]:
    """Return where the workers listen (`grpc`, `http_authz` where it is on) and with which server."""
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
) -> None:
    """Log `listening` once all addresses are open and `ready` once, then each change; until cancelled.

    A loss of readiness is `not_ready`, its end `ready_again`; problems of a process that is ready are
    `degraded`. Each names what is wrong.
    """
    await listening.wait()
    _log.info("listening", **addresses)
    # A worker that has just opened its listeners may need a moment for what it has loaded.
    patient_until = asyncio.get_running_loop().time() + _FIRST_READY_S
    ready = was_ready = False
    problems: list[str] = []
    while not stopping.is_set():
        found = readiness()
        said = _said(found)
        before = was_ready, ready, problems
        if found.ready and not ready:
            _log.info("ready_again" if was_ready else "ready", **said)
            ready = was_ready = True
            problems = said["problems"]
        elif not found.ready and (was_ready or asyncio.get_running_loop().time() >= patient_until):
            if ready or problems != said["problems"]:
                _log.warning("not_ready", **said)
            ready, problems = False, said["problems"]
        elif found.ready and problems != said["problems"]:
            _log.warning("degraded" if said["problems"] else "no_longer_degraded", **said)
            problems = said["problems"]
        # What comes and goes is logged once a second at most; the first readiness delays nothing.
        changed = before[0] and before != (was_ready, ready, problems)
        await asyncio.sleep(_SETTLES_S if changed else _LOOK_EVERY_S)


def _said(found: Readiness) -> dict[str, list[str]]:
    unavailable = sorted(name for name, available in found.checks.items() if not available)
    return {"unavailable": unavailable, "problems": list(found.problems)}
