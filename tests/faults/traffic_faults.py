"""Faults that traffic makes: silent connections, octets that are not HTTP/2, writes without pause."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
from typing import TYPE_CHECKING

from extauthz.demo.processes import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tests.faults.mesh import FaultyStack

CONNECTIONS = 200
_SEED = 20_261_129


@contextlib.contextmanager
def silent_connections(stack: FaultyStack) -> Iterator[None]:
    """Open connections to Envoy and to the first worker, and send nothing on them."""
    with contextlib.ExitStack() as opened:
        for port in (stack.envoy_port, stack.grpc_port):
            for _ in range(CONNECTIONS):
                opened.enter_context(socket.create_connection((LOOPBACK, port), timeout=5))
        yield


def sends(octets: Callable[[random.Random], bytes]) -> Callable[[FaultyStack], AbstractContextManager[None]]:
    """Return the fault in which connections to the workers' ports carry these octets, again and again."""

    @contextlib.contextmanager
    def injected(stack: FaultyStack) -> Iterator[None]:
        over = threading.Event()

        def client() -> None:
            chance = random.Random(_SEED)
            while not over.wait(0.01):
                for port in range(stack.grpc_port, stack.grpc_port + stack.workers):
                    with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), 2) as peer:
                        peer.settimeout(0.2)
                        peer.sendall(octets(chance))
                        peer.recv(1024)

        with _running(client, over):
            yield

    return injected


def noise(chance: random.Random) -> bytes:
    """Return octets of no protocol."""
    return chance.randbytes(chance.randrange(1, 4096))


def broken_frames(chance: random.Random) -> bytes:
    """Return the connection preface of HTTP/2 (RFC 9113 3.4), followed by noise in place of frames."""
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]) + noise(chance)


@contextlib.contextmanager
def writes_without_pause(stack: FaultyStack) -> Iterator[None]:
    """Create and delete rules of another resource over REST, one after the other."""
    over = threading.Event()

    def client() -> None:
        rule = {"sub": "auditor", "dom": "*", "obj": "ledger:read", "act": "read", "effect": "allow"}
        while not over.is_set():
            created = stack.rest.ask("POST", "/api/v1/resources/policies", rule)
            assert created.status == 201, created
            removed = stack.rest.ask("DELETE", f"/api/v1/resources/policies/{created.id}")
            assert removed.status == 204, removed

    with _running(client, over):
        yield


@contextlib.contextmanager
def _running(client: Callable[[], None], over: threading.Event) -> Iterator[None]:
    failures: list[BaseException] = []

    def run() -> None:
        try:
            client()
        except BaseException as failure:  # noqa: BLE001 - raised again by the test's own thread
            failures.append(failure)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    if failures:
        raise failures[0]
