"""The gRPC server of a worker."""

from typing import Protocol

from extauthz.check.grpcio_server import GrpcioServer
from extauthz.check.service import CheckService
from extauthz.runtime.chosen_server import chosen_server
from extauthz.runtime.tls_files import grpc_tls
from extauthz.settings import GrpcServer, Settings


class Transport(Protocol):
    """What a worker needs of its gRPC server."""

    def start(self) -> int:
        """Listen and answer; return the first TCP port, 0 with Unix sockets only. Raises ListenError."""

    def set_serving(self, *, serving: bool) -> None:
        """Set what the health service says."""

    def stalled_s(self) -> float:
        """Return for how many seconds calls have waited while none made progress."""

    def drain(self, grace_s: float, *, notice_s: float = 0.0, quiet_s: float = 0.25) -> bool:
        """Say NOT_SERVING from now on, answer until idle, then stop; return whether the server was idle."""


def grpc_server(settings: Settings, service: CheckService, index: int) -> Transport:
    """Return the gRPC server of worker `index`; nothing listens yet.

    Raises:
        InvalidCertificateError: a file of the TLS settings cannot be used.
    """
    listen = [grpc_address(settings, index)]
    if chosen_server(settings).server is GrpcServer.NATIVE:
        # Imported here: the package is an extra.
        from extauthz.check.native_server import NativeServer

        return NativeServer(service.begin, listen, refuse=service.refuse)
    return GrpcioServer(service.answer, listen, tls=grpc_tls(settings), refuse=service.refuse)


def grpc_address(settings: Settings, index: int) -> str:
    """Return where a worker answers gRPC, as gRPC writes it."""
    if settings.grpc_uds_dir is not None:
        return f"unix:{settings.grpc_uds_dir}/worker-{index}.sock"
    host = f"[{settings.grpc_host}]" if ":" in settings.grpc_host else settings.grpc_host
    return f"{host}:{settings.grpc_port + index}"
