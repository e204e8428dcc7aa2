"""Builds the gRPC server of a worker.

Input: `Settings`, the check service, the index of the worker. Output: a `Transport`. Errors:
`InvalidCertificateError`; `ListenError` when it starts.
"""

from typing import Protocol

from extauthz.check.grpcio_server import GrpcioServer
from extauthz.check.service import CheckService
from extauthz.runtime.chosen_server import chosen_server, grpc_address
from extauthz.runtime.tls_files import grpc_tls
from extauthz.settings import GrpcServer, Settings


class Transport(Protocol):
    """The interface of a gRPC server."""

    def start(self) -> int:
        """Listen and serve; return the first TCP port, 0 with Unix sockets only. Raises ListenError."""

    def set_serving(self, *, serving: bool) -> None:
        """Set the status of the gRPC health service: SERVING or NOT_SERVING."""

    def stalled_s(self) -> float:
        """Return the seconds for which calls have waited while no call made progress."""

    def drain(self, grace_s: float, *, notice_s: float = 0.0, quiet_s: float = 0.25) -> bool:
        """Report NOT_SERVING, serve until idle or for `grace_s` seconds, stop; return whether it was idle.

        Clients notice NOT_SERVING within `notice_s` seconds. The server is idle after `quiet_s` seconds
        without a call.
        """


def grpc_server(settings: Settings, service: CheckService, index: int) -> Transport:
    """Return the gRPC server of worker `index`; it does not listen yet.

    Raises:
        InvalidCertificateError: a file of the TLS settings cannot be read or is invalid.
    """
    listen = [grpc_address(settings, index)]
    if chosen_server(settings).server is GrpcServer.NATIVE:
        # Imported here because the package is optional (extra `native`).
        from extauthz.check.native_server import NativeServer

        return NativeServer(
            service.begin,
            listen,
            refuse=service.refuse,
            traced=None if service.tracing is None else service.begin,
        )
    server = GrpcioServer(
        service.answer,
        listen,
        tls=grpc_tls(settings),
        refuse=service.refuse,
        traced=None if service.tracing is None else service.answer,
    )
    service.while_waiting["grpc"] = server.while_waiting
    return server
