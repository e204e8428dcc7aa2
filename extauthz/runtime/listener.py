"""Listening sockets of the HTTP servers."""

import os
import socket


class ListenError(OSError):
    """An address that cannot be bound; the message has the address and the reason."""


def listen(host: str, port: int) -> socket.socket:
    """Bind and listen on one address; port 0 takes a free one. Raises `ListenError`."""
    try:
        [(family, _, _, _, address), *_] = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        listener = socket.create_server((str(address[0]), int(address[1])), family=family)
        # Accepted connections inherit it; asyncio sets it only for sockets that name their protocol. Without
        # it the body, a second small write, waits 40 ms for the delayed acknowledgement of the head.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        known = error.errno is not None and error.errno > 0
        why = os.strerror(error.errno) if known and error.errno else error.strerror or str(error)
        raise ListenError(f"cannot listen on {host}:{port}: {why.lower()}") from error
