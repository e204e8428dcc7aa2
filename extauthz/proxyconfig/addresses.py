"""Where the workers are, as a proxy beside them reaches them."""

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from envoy_data_plane.envoy.config.core.v3 import Address, Pipe, SocketAddress

from extauthz.settings import Settings


@dataclass(frozen=True, slots=True)
class HostPort:
    """A host, as an address or a name, and a port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read `host:port` or `[ipv6]:port`; None: it is neither."""
        host, colon, port = text.rpartition(":")
        host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        plausible = host and not any(c.isspace() or c in "/[]@," for c in host)
        if not colon or not plausible or (":" in host and not is_address(host)):
            return None
        if not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536):
            return None
        return cls(host, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def is_address(host: str) -> bool:
    """Whether a host is an IP address, not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def worker_endpoints(settings: Settings) -> list[HostPort | Path]:
    """Return where each worker answers, in their order: a port, or a Unix socket with `GRPC_UDS_DIR`."""
    if settings.grpc_uds_dir is not None:
        folder = settings.grpc_uds_dir.absolute()
        return [folder / f"worker-{index}.sock" for index in range(settings.workers)]
    host = _reachable(settings.grpc_host)
    return [HostPort(host, settings.grpc_port + index) for index in range(settings.workers)]


def _reachable(host: str) -> str:
    """Return how to reach a listener on `host` from beside it."""
    if is_address(host) and ipaddress.ip_address(host).is_unspecified:
        return "::1" if ":" in host else "127.0.0.1"
    return host


def socket_address(place: HostPort | Path) -> Address:
    """Return Envoy's form of a place."""
    if isinstance(place, Path):
        return Address(pipe=Pipe(path=str(place)))
    return Address(socket_address=SocketAddress(address=place.host, port_value=place.port))
