"""Tests a listen address before a server uses it, and reports a problem in one line.

gRPC reports a failed bind as a log of its own and a generic error, and silently takes over the Unix socket
of a running process; so the address is tried with the operating system's own calls first.
"""

import errno
import os
import socket
from pathlib import Path
from typing import Any, Final

UNIX_PREFIX: Final = "unix:"


class GrpcListenError(OSError):
    """An address that cannot be listened on; the message is one line that names it."""

    def __init__(self, address: str, problem: str) -> None:
        super().__init__(f"cannot listen on {address!r}: {problem}")


def listen_problem(address: str) -> str | None:
    """Try to bind `host:port`, `[ipv6]:port` or `unix:path`; return what is in the way, if anything."""
    if address.startswith(UNIX_PREFIX):
        return _unix_problem(address.removeprefix(UNIX_PREFIX))
    return _tcp_problem(address)


def listen_addresses(address: str) -> list[str]:
    """Return the addresses that an address without a problem stands for: `localhost` may be two.

    Raises:
        OSError: the host cannot be resolved any more.
    """
    if address.startswith(UNIX_PREFIX):
        return [address]
    found = [where[0] for _, where in _resolved(address)]
    port = address.rpartition(":")[2]
    return [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host in dict.fromkeys(found)]


def _resolved(address: str) -> list[tuple[int, tuple[Any, ...]]]:
    host, _, port = address.rpartition(":")
    found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return [(family, where) for family, _, _, _, where in found]


def _tcp_problem(address: str) -> str | None:
    host, _, port = address.rpartition(":")
    if not host or not port.isascii() or not port.isdecimal() or int(port) > 65535:
        return "it is not host:port or unix:path"
    try:
        found = _resolved(address)
    except (OSError, UnicodeError) as error:
        return f"the host cannot be resolved ({error})"
    problems = [_bind_error(family, where) for family, where in found]
    in_use = [error for error in problems if error is not None and error.errno == errno.EADDRINUSE]
    failed = in_use or (problems if None not in problems else [])
    return _wording(failed[0]) if failed else None


def _bind_error(family: int, where: tuple[object, ...]) -> OSError | None:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As gRPC does: connections in TIME_WAIT do not keep a port, a listener does.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind(where)
    except OSError as error:
        return error
    return None


def _unix_problem(path: str) -> str | None:
    if not Path(path).parent.is_dir():
        return "its directory does not exist"
    if not os.access(Path(path).parent, os.W_OK | os.X_OK):
        return "its directory is not writable"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.connect(path)
    except (FileNotFoundError, ConnectionRefusedError):
        # Either nothing has the name, or a socket without a listener, which gRPC replaces.
        return None if not Path(path).exists() or Path(path).is_socket() else "it exists and is not a socket"
    except OSError as error:
        return _wording(error)
    return "another process listens there"


def _wording(error: OSError | None) -> str:
    return str(error.strerror or error).lower() if error is not None else "unknown"
