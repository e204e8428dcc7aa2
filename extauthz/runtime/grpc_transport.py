"""Which gRPC server a worker runs (`GRPC_SERVER`), and why."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from extauthz.check.grpcio_server import GrpcioServer
from extauthz.check.service import CheckService
from extauthz.domain.loopback import is_loopback
from extauthz.runtime.tls_files import grpc_tls
from extauthz.settings import GrpcServer, Settings

NATIVE_PACKAGE = "pygrpc_native"


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


@dataclass(frozen=True, slots=True)
class ChosenServer:
    """`server` is `native` or `grpcio`, `reason` says why it is not the other one."""

    server: GrpcServer
    reason: str


def chosen_server(settings: Settings, *, installed: Callable[[], bool] | None = None) -> ChosenServer:
    """Return the server that the settings lead to.

    `auto` is native where every listener is on loopback or a Unix socket without TLS, as beside a workload:
    the native front bounds neither messages nor connections, so only processes of the same host may reach it.
    """
    if settings.grpc_server is not GrpcServer.AUTO:
        return ChosenServer(settings.grpc_server, f"GRPC_SERVER={settings.grpc_server.value}")
    if settings.grpc_tls_cert is not None:
        return ChosenServer(GrpcServer.GRPCIO, "GRPC_TLS_CERT is set")
    if settings.grpc_uds_dir is None and not is_loopback(settings.grpc_host):
        return ChosenServer(GrpcServer.GRPCIO, f"GRPC_HOST {settings.grpc_host} is not a loopback address")
    if not (installed or native_installed)():
        return ChosenServer(GrpcServer.GRPCIO, "the package pygrpc-native is not installed")
    listens = "Unix sockets" if settings.grpc_uds_dir is not None else "a loopback address"
    return ChosenServer(GrpcServer.NATIVE, f"it listens on {listens}")


def native_installed() -> bool:
    """Return whether the extra `native` is installed."""
    return importlib.util.find_spec(NATIVE_PACKAGE) is not None


def grpc_server(settings: Settings, service: CheckService, index: int) -> Transport:
    """Return the gRPC server of worker `index`; nothing listens yet.

    Raises:
        UnusableCertificateError: a file of the TLS settings cannot be used.
    """
    listen = [grpc_address(settings, index)]
    if chosen_server(settings).server is GrpcServer.NATIVE:
        # Imported here: the package is an extra.
        from extauthz.check.native_server import NativeServer

        return NativeServer(service.begin, listen)
    return GrpcioServer(service.answer, listen, tls=grpc_tls(settings), refuse=service.refuse_stranger)


def grpc_address(settings: Settings, index: int) -> str:
    """Return where a worker answers gRPC, as gRPC writes it."""
    if settings.grpc_uds_dir is not None:
        return f"unix:{settings.grpc_uds_dir}/worker-{index}.sock"
    host = f"[{settings.grpc_host}]" if ":" in settings.grpc_host else settings.grpc_host
    return f"{host}:{settings.grpc_port + index}"
