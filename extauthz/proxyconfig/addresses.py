"""Addresses of the gRPC listeners, as a proxy on the same host or in the same pod connects to them.

Input: `Settings`, or a text such as `127.0.0.1:8000`. Output: `HostPort`, a socket path, Envoy's `Address`.
A text that is not an address is None.
"""

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from envoy_data_plane.envoy.config.core.v3 import Address, Pipe, SocketAddress

from extauthz.settings import Settings


@dataclass(frozen=True, slots=True)
class HostPort:
    """A host (an IP address or a DNS name) and a TCP port (1 to 65535)."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return the host and port of `host:port` or `[ipv6]:port`; None if the text is neither."""
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
    """Return whether a host is an IP address rather than a DNS name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def worker_endpoints(settings: Settings) -> list[HostPort | Path]:
    """Return the listen address of each worker: a TCP port, or a Unix socket with `GRPC_UDS_DIR`."""
    if settings.grpc_uds_dir is not None:
        folder = settings.grpc_uds_dir.absolute()
        return [folder / f"worker-{index}.sock" for index in range(settings.workers)]
    host = _reachable(settings.grpc_host)
    return [HostPort(host, settings.grpc_port + index) for index in range(settings.workers)]


def http_endpoints(settings: Settings) -> list[HostPort]:
    """Return the address at which each worker answers checks over HTTP; empty without HTTP_AUTHZ_PORT."""
    port = settings.http_authz_port
    host = _reachable(settings.grpc_host)
    return [] if port is None else [HostPort(host, port + index) for index in range(settings.workers)]


def _reachable(host: str) -> str:
    """Return the address for local clients of a listener on `host`: loopback for `0.0.0.0` and `::`."""
    if is_address(host) and ipaddress.ip_address(host).is_unspecified:
        return "::1" if ":" in host else "127.0.0.1"
    return host


def socket_address(place: HostPort | Path) -> Address:
    """Return Envoy's `config.core.v3.Address` for a TCP address, or for the path of a Unix socket."""
    if isinstance(place, Path):
        return Address(pipe=Pipe(path=str(place)))
    return Address(socket_address=SocketAddress(address=place.host, port_value=place.port))
