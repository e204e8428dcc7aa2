"""Which gRPC server the workers run (`GRPC_SERVER`), the reason for the choice, and where it listens."""

from dataclasses import dataclass

from extauthz.domain.loopback import is_loopback
from extauthz.settings import GrpcServer, Settings, native_installed


@dataclass(frozen=True, slots=True)
class ChosenServer:
    """The chosen gRPC server: `server` is `native` or `grpcio`, `reason` the setting or fact that decided."""

    server: GrpcServer
    reason: str


def chosen_server(settings: Settings) -> ChosenServer:
    """Return the gRPC server for the settings.

    `auto` selects `native` if it is installed and every listener is on loopback or a Unix socket, without
    TLS: the native server limits neither messages nor connections, so only processes of the same host may
    connect.
    """
    if settings.grpc_server is not GrpcServer.AUTO:
        return ChosenServer(settings.grpc_server, f"GRPC_SERVER={settings.grpc_server.value}")
    if settings.grpc_tls_cert is not None:
        return ChosenServer(GrpcServer.GRPCIO, "GRPC_TLS_CERT is set")
    if settings.grpc_uds_dir is None and not is_loopback(settings.grpc_host):
        return ChosenServer(GrpcServer.GRPCIO, f"GRPC_HOST {settings.grpc_host} is not a loopback address")
    if not native_installed():
        return ChosenServer(GrpcServer.GRPCIO, "the package pygrpc-native is not installed")
    listens = "Unix sockets" if settings.grpc_uds_dir is not None else "a loopback address"
    return ChosenServer(GrpcServer.NATIVE, f"it listens on {listens} without TLS")


def grpc_address(settings: Settings, index: int) -> str:
    """Return the listen address of a worker in gRPC's syntax: `host:port` or `unix:PATH`."""
    if settings.grpc_uds_dir is not None:
        return f"unix:{settings.grpc_uds_dir}/worker-{index}.sock"
    host = f"[{settings.grpc_host}]" if ":" in settings.grpc_host else settings.grpc_host
    return f"{host}:{settings.grpc_port + index}"
