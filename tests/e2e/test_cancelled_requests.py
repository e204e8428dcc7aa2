"""A client that cancels many requests at once takes no answer from others, whichever gRPC server decides."""

import http.client
import os
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator

import pytest

from extauthz.demo import envoy
from extauthz.demo.calls import send
from extauthz.demo.stack import PolicyStore, Stack
from tests.e2e.patient_stack import patient
from tests.e2e.raw_http import LOOPBACK, http2_frame, http2_header_block, http2_request
from tests.light_processes import LIGHT

INVOICE = "/demo/invoices/17"
CLIENTS, BURSTS, CANCELLED = 4, 15, 40
CANCEL = struct.pack(">I", 8)  # RFC 9113 7


@pytest.fixture(params=["native", "grpcio"])
def stack(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    shipped_bootstrap = envoy.bootstrap
    monkeypatch.setattr(envoy, "bootstrap", lambda **ports: patient(shipped_bootstrap(**ports)))
    environ = {**LIGHT, "GRPC_SERVER": str(request.param), "PATH": os.defpath}
    with Stack(environ=environ, store=PolicyStore.FILES) as running:
        running.start()
        yield running


def cancel_many(port: int, token: str) -> None:
    """Send requests and their cancellations in one piece: Envoy asks about each and cancels that too."""
    fields = http2_request(INVOICE.encode(), (b"authorization", b"Bearer " + token.encode()))
    block = http2_header_block(fields)
    octets = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + http2_frame(4, 0, 0, b"")
    for stream in range(1, 2 * CANCELLED, 2):
        octets += http2_frame(1, 5, stream, block) + http2_frame(3, 0, stream, CANCEL)
    # A ping after them: its answer proves that they were read.
    octets += http2_frame(6, 0, 0, b"all-read")
    with socket.create_connection((LOOPBACK, port), 10) as connection:
        connection.sendall(octets)
        answered = b""
        while b"all-read" not in answered and (more := connection.recv(65536)):
            answered += more


def test_bursts_of_cancelled_requests_fail_no_other(stack: Stack) -> None:
    token = stack.tokens()["alice"]
    statuses: Counter[int] = Counter()
    over = threading.Event()

    def ask() -> None:
        connection = http.client.HTTPConnection(LOOPBACK, stack.envoy_port, timeout=10)
        while not over.is_set():
            connection.request("GET", INVOICE, headers={"authorization": f"Bearer {token}"})
            response = connection.getresponse()
            response.read()
            statuses[response.status] += 1
        connection.close()

    clients = [threading.Thread(target=ask) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    try:
        for number in range(BURSTS):
            # Tokens that no cache knows, so that each check takes long enough to be cancelled.
            cancel_many(stack.envoy_port, f"{token[:-4]}{number:04}")
            assert send(stack.envoy_port, INVOICE, token=token).status == 200
    finally:
        over.set()
        for client in clients:
            client.join()
    assert statuses[200] > BURSTS
    assert set(statuses) == {200}
