"""The listeners of the control plane: the REST API, /admin on its own where ADMIN_PORT is set, health.

Input: `Settings`. Output: `RestListeners`. Errors: `StartRefusedError`.
"""

import socket
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

from extauthz.admin.app import Part, build_app, build_worker_app
from extauthz.rest.services import AdminServices
from extauthz.runtime.announce import where
from extauthz.runtime.http_server import serve
from extauthz.runtime.listener import ListenError, listen
from extauthz.runtime.rest_tls import RestTls, admin_tls, rest_tls
from extauthz.runtime.start_refused import StartRefusedError
from extauthz.runtime.tls_files import InvalidCertificateError
from extauthz.settings import Settings

_LOOPBACK: Final = "127.0.0.1"
_FEW_CONNECTIONS: Final = 128
"""Of a listener in addition to that of the API: together they leave descriptors of the 1,024 to the rest."""


@dataclass(frozen=True, slots=True)
class RestListeners:
    """Listening sockets; `admin` is None where /admin is part of the API.

    `health` is that of the workers, and `workers` a listener on loopback for them, where PORT speaks TLS.
    """

    api: socket.socket
    api_tls: RestTls | None
    admin: socket.socket | None
    admin_tls: RestTls | None
    health: socket.socket | None
    workers: socket.socket | None

    def addresses(self) -> dict[str, object]:
        """Return the addresses for the log."""
        found: dict[str, object] = {"rest": where(self.api)}
        if self.admin is not None:
            found["admin"] = where(self.admin)
        if self.health is not None:
            found["health"] = where(self.health)
        return found

    def serving(
        self, services: AdminServices, *, max_connections: int
    ) -> Iterator[Coroutine[Any, Any, None]]:
        """Yield what serves the API, /admin and the workers until it is cancelled."""
        part = Part.WHOLE if self.admin is None else Part.API
        yield serve(build_app(services, part), self.api, max_connections=max_connections, tls=self.api_tls)
        if self.admin is not None:
            yield serve(
                build_app(services, Part.ADMIN),
                self.admin,
                max_connections=_FEW_CONNECTIONS,
                tls=self.admin_tls,
            )
        if self.workers is not None:
            yield serve(build_worker_app(services), self.workers, max_connections=_FEW_CONNECTIONS)


def open_listeners(settings: Settings, owned: AsyncExitStack, *, with_workers: bool) -> RestListeners:
    """Open the listeners; `owned` closes them. Raises StartRefusedError."""

    def opened(host: str, port: int) -> socket.socket:
        listener = listen(host, port)
        owned.callback(listener.close)
        return listener

    try:
        has_admin = settings.admin_port is not None
        api_tls = rest_tls(settings)
        return RestListeners(
            api=opened(settings.host, settings.port),
            api_tls=api_tls,
            admin=(
                None
                if settings.admin_port is None
                else opened(settings.admin_host or settings.host, settings.admin_port)
            ),
            admin_tls=admin_tls(settings) if has_admin else None,
            health=opened(settings.host, settings.sidecar_port) if with_workers else None,
            # Workers report to this process. Its certificate need not have a name for loopback.
            workers=opened(_LOOPBACK, 0) if with_workers and api_tls is not None else None,
        )
    except (ListenError, InvalidCertificateError) as error:
        raise StartRefusedError(str(error)) from error
