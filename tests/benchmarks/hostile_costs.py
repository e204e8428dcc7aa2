"""The CPU time of the serving processes for each kind of hostile request: one half of `bench_hostile`.

A server of the sidecar, with real policies, tokens and decision log, is a process of its own on one core; for
requests through Envoy so is Envoy, with the shipped bootstrap. Clients send one kind at a time from the other
core, four connections at once, for one window; the processes' CPU time divided by the requests sent is the
cost of the kind. A ratio compares it with honest requests that were measured in the same round.
"""

import contextlib
import http.client
import itertools
import json
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import grpc

from extauthz.check.grpcio_server import GrpcioServer
from extauthz.check.native_server import NativeServer
from extauthz.demo import envoy
from extauthz.demo.processes import LOOPBACK, ReservedPorts, http_answers, spawn
from extauthz.runtime.reporting import spare_collector
from extauthz.telemetry.logs import configure
from tests.benchmarks.flooding import CHECK, CLIENT_CORE, OWN_CONNECTION, WORKER_CORE, cpu_s
from tests.benchmarks.measuring import pin
from tests.e2e.raw_http import http2_frame, http2_header_block, http2_request
from tests.real_service import KEY_SET, real_service
from tests.wire.raw_grpc import CHECK_PATH, RawConnection, message

CLIENTS: Final = 4
WINDOW_S: Final = 1.2
ROUNDS: Final = 3
HONEST: Final = "honest"
BURST: Final = 50
RESET: Final = struct.pack(">I", 8)  # RFC 9113 7

Kind = Callable[[int, Callable[[], bool]], int]
"""Sends requests to a port until it is stopped; returns their number."""


def serve(server: str, folder: Path) -> None:
    """Be a server until standard input ends."""
    pin(WORKER_CORE)
    configure("info", "json", stream=sys.stderr)
    policies = json.loads((folder / "policies").read_bytes())
    with real_service(folder, policies, key_set=(folder / "keys").read_bytes()) as running:
        service: Any = running.service
        any_port = [f"{LOOPBACK}:0"]
        hosted = (
            NativeServer(service.begin, any_port, refuse=service.refuse)
            if server == "native"
            else GrpcioServer(service.answer, any_port, refuse=service.refuse)
        )
        port = hosted.start()
        hosted.set_serving(serving=True)
        spare_collector()
        print(port, flush=True)
        sys.stdin.read()
        hosted.drain(0.5)


def calls(raw: bytes | list[bytes], metadata: tuple[tuple[str, str], ...] = ()) -> Kind:
    """Calls with this message, or with each of these in turn; an RPC error is an answer, too."""
    messages = raw if isinstance(raw, list) else [raw]
    turn = itertools.count()

    def send(port: int, over: Callable[[], bool]) -> int:
        options = (*OWN_CONNECTION, ("grpc.max_send_message_length", -1))
        made = 0
        with grpc.insecure_channel(f"{LOOPBACK}:{port}", options) as channel:
            ask = channel.unary_unary(CHECK, None, None)
            while not over():
                with contextlib.suppress(grpc.RpcError):
                    ask(messages[next(turn) % len(messages)], timeout=30, metadata=metadata)
                made += 1
        return made

    return send


def streams(opened: Callable[[RawConnection], int], each: int = BURST) -> Kind:
    """Calls of a client that writes its own HTTP/2: opened in bursts, each burst until it is over."""

    def send(port: int, over: Callable[[], bool]) -> int:
        made = 0
        while not over():
            with RawConnection(f"{LOOPBACK}:{port}") as client:
                numbers = [opened(client) for _ in range(each)]
                made += each
                client.ping()
                client.until(
                    lambda: client.pings > 0 and all(client.answers[number].over for number in numbers)  # noqa: B023
                )
        return made

    return send


def reset_at_once(port: int, over: Callable[[], bool]) -> int:
    """Whole calls, each followed by its cancellation, in bursts of one piece."""
    made = 0
    while not over():
        with RawConnection(f"{LOOPBACK}:{port}") as client:
            client.until(lambda: client.settled)
            with client.held():
                for _ in range(BURST):
                    number = client.open()
                    client.send(number, message(b"x" * 500))
                    client.reset(number)
            made += BURST
            client.ping()
            client.until(lambda: client.pings > 0)
    return made


def empty(client: RawConnection) -> int:
    return client.open(end=True)


def compressed(client: RawConnection) -> int:
    number = client.open(CHECK_PATH, ("grpc-encoding", "gzip"))
    client.send(number, _BOMB)
    return number


def never_finished(port: int, over: Callable[[], bool]) -> int:
    """Calls of which half the message is sent: until the server ends them, or for a second and a half."""
    made = 0
    while not over():
        with RawConnection(f"{LOOPBACK}:{port}") as client:
            numbers = []
            for _ in range(BURST):
                numbers.append(client.open())
                client.send(numbers[-1], message(b"x" * 500)[:100], end=False)
            made += BURST
            with contextlib.suppress(TimeoutError):
                client.until(lambda: all(client.answers[number].over for number in numbers), 1.5)  # noqa: B023
    return made


def pings(port: int, over: Callable[[], bool]) -> int:
    """Pings of HTTP/2, in bursts."""
    made = 0
    while not over():
        with RawConnection(f"{LOOPBACK}:{port}") as client:
            for _ in range(BURST):
                client.ping()
            made += BURST
            client.until(lambda: client.pings >= BURST)
    return made


def requests(*headers: Mapping[str, str], path: str = "/invoices/4711?verbose=1") -> Kind:
    """Requests over HTTP/1.1 on one connection, with each of these sets of headers in turn."""
    turn = itertools.count()

    def send(port: int, over: Callable[[], bool]) -> int:
        made = 0
        connection = http.client.HTTPConnection(LOOPBACK, port, timeout=30)
        while not over():
            try:
                connection.request("GET", path, headers=dict(headers[next(turn) % len(headers)]))
                response = connection.getresponse()
                response.read()
                if response.will_close:
                    connection.close()
            except (OSError, http.client.HTTPException):
                connection.close()
            made += 1
        connection.close()
        return made

    return send


def bursts(path: str, headers: Mapping[str, str], *, cancelled: bool) -> Kind:
    """Requests over HTTP/2 in bursts of one piece, cancelled at once or not."""
    fields = [(name.encode(), value.encode()) for name, value in headers.items()]
    block = http2_header_block(http2_request(path.encode(), *fields))
    burst = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + http2_frame(4, 0, 0, b"")
    for number in range(1, 2 * BURST, 2):
        burst += http2_frame(1, 5, number, block)
        if cancelled:
            burst += http2_frame(3, 0, number, RESET)
    burst += http2_frame(6, 0, 0, b"all-read")

    def send(port: int, over: Callable[[], bool]) -> int:

        made = 0
        while not over():
            with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), 10) as connection:
                connection.sendall(burst)
                found, ended = b"", 0
                while b"all-read" not in found or (not cancelled and ended < BURST):
                    more = connection.recv(65536)
                    if not more:
                        break
                    found += more
                    ended = _ended(found)
            made += BURST
        return made

    return send


def _ended(octets: bytes) -> int:
    """Count the streams that have ended."""
    ended, at = 0, 0
    while len(octets) >= at + 9:
        length, kind, flags = int.from_bytes(octets[at : at + 3]), octets[at + 3], octets[at + 4]
        ended += kind == 3 or (kind in {0, 1} and flags & 1)
        at += 9 + length
    return ended


_BOMB: Final = message(bytes(20_000_000), compressed=True)


class Target:
    """Processes whose CPU counts, and the port where requests for them are sent."""

    def __init__(self, port: int, processes: list[int]) -> None:
        self.port = port
        self._processes = processes

    def cost_us(self, kind: Kind) -> tuple[list[float], float]:
        """Return the CPU microseconds of each process for one request, and the requests a second."""
        end = time.monotonic() + WINDOW_S
        made = [0] * CLIENTS

        def send(number: int) -> None:
            made[number] = kind(self.port, lambda: time.monotonic() > end)

        before, began = [cpu_s(process) for process in self._processes], time.monotonic()
        clients = [threading.Thread(target=send, args=(number,)) for number in range(CLIENTS)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        spent = [(cpu_s(process) - each) * 1e6 for process, each in zip(self._processes, before, strict=True)]
        return [each / sum(made) for each in spent], sum(made) / (time.monotonic() - began)


@contextmanager
def target(server: str, policies: bytes, *, through_envoy: bool) -> Iterator[Target]:
    """Run a server, and Envoy in front of it where requests come through Envoy."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        (folder / "policies").write_bytes(policies)
        (folder / "keys").write_bytes(KEY_SET)
        command = [sys.executable, "-m", "tests.benchmarks.hostile_costs", server, name]
        child = stack.enter_context(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )
        stack.callback(child.kill)
        assert child.stdout is not None
        port = int(child.stdout.readline())
        if not through_envoy:
            yield Target(port, [child.pid])
            return
        reserved = ReservedPorts()
        stack.callback(reserved.release)
        listener, upstream = reserved.take(2)
        configuration = folder / "envoy.yaml"
        configuration.write_text(envoy.bootstrap(listener=listener, extauthz=[port], upstream=upstream))
        behind = [sys.executable, "-m", "extauthz.demo.upstream", "--port", str(upstream)]
        echo = spawn("upstream", behind, output=folder / "upstream.log")
        stack.callback(echo.kill)
        echo.wait_ready(lambda: http_answers(upstream, "/"), timeout_s=20)
        proxy = spawn("Envoy", envoy.command(configuration), output=folder / "envoy.log")
        stack.callback(proxy.kill)
        proxy.wait_ready(lambda: _status(listener) not in {0, 503}, timeout_s=20)
        yield Target(listener, [child.pid, proxy.pid])


def _status(port: int) -> int:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def measured_costs(
    server: str, kinds: Mapping[str, Kind], policies: bytes, *, through_envoy: bool
) -> dict[str, dict[str, float]]:
    """Return what each kind costs, medians of the rounds; one of the kinds is `honest`."""
    pin(CLIENT_CORE)
    costs: dict[str, list[list[float]]] = defaultdict(list)
    ratios: dict[str, list[float]] = defaultdict(list)
    rates: dict[str, list[float]] = defaultdict(list)
    with target(server, policies, through_envoy=through_envoy) as measured:
        measured.cost_us(kinds[HONEST])
        for _ in range(ROUNDS):
            honest = [0.0]
            for name, kind in kinds.items():
                cost, rate = measured.cost_us(kind)
                honest = cost if name == HONEST else honest
                costs[name].append(cost)
                rates[name].append(rate)
                ratios[name].append(max(sum(cost) / sum(honest), cost[0] / honest[0]))
    found: dict[str, dict[str, float]] = {}
    for name, rounds in costs.items():
        columns = [round(statistics.median(column), 1) for column in zip(*rounds, strict=True)]
        found[name] = {
            "server_us": columns[0],
            **({"envoy_us": columns[1]} if through_envoy else {}),
            "honest_ones": round(statistics.median(ratios[name]), 2),
            "per_s": round(statistics.median(rates[name])),
        }
    return found


if __name__ == "__main__":
    serve(sys.argv[1], Path(sys.argv[2]))
