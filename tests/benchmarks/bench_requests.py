"""CPU, rate and latency of one check: extauthz, empty servers and a lean Go server, in turns in one run.

Every server is a process on one core; the clients, and Envoy, have another. Before a server is measured, its
answers to 200 different requests, and its log of them, are compared with the right ones; during the
measurement every answer is judged again (`load`). Where there is no Go its two servers are left out.
"""

import argparse
import contextlib
import gc
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from extauthz.demo.process_tree import descendants
from tests.benchmarks.check_requests import POLICIES, RULE, Caller, assert_allowed, assert_denied
from tests.benchmarks.http1_client import HttpConnection
from tests.benchmarks.http2_client import GrpcConnection
from tests.benchmarks.load import SILENCE_S, Answer, Measured, StarvedError, answers_to, load
from tests.benchmarks.measured_servers import Server, built_peer, empty, go_peer, sidecar
from tests.benchmarks.measuring import MachineLoad, keep, pin, result_name
from tests.benchmarks.shapes import OURS, SHAPES, WHOLE, Requests
from tests.benchmarks.through_envoy import BODY, proxy
from tests.benchmarks.workers import prefer
from tests.key_server_thread import identity_provider
from tests.tokens import SigningKey

ROUNDS: Final = 5
SECONDS: Final = 1.0
CHECKED: Final = 200
WARM: Final = 200
HEADERS: Final = 21
ENVOY: Final = "through_envoy_4x1"


def check_answers(name: str, server: Server, requests: Requests) -> None:
    """Refuse to measure a server that does not answer as it has to."""
    connect = partial(GrpcConnection, server.port)
    before = server.log.stat().st_size if server.log is not None and server.log.exists() else 0
    for answer in answers_to(connect, [*requests.plain[:CHECKED], *requests.raw[:CHECKED]]):
        assert_allowed(answer, rule=RULE if server.names_rule else None, subject=server.log is not None)
        assert server.right(answer), f"{name}: {answer}"
    if server.log is None:
        return
    forged, without_rule = answers_to(connect, [requests.forged, requests.without_rule])
    assert_denied(forged, 401)
    assert_denied(without_rule, 403)
    wanted = [("allow", RULE)] * (2 * CHECKED) + [("deny", None)] * 2
    logged = [
        (line["decision"], line["matched_rule_id"] or None) for line in server.decisions(before, len(wanted))
    ]
    assert logged == wanted, f"{name}: its log has other decisions"


def passed(answer: Answer) -> bool:
    """Say whether Envoy let a request pass."""
    return answer.status == "200" and answer.message == BODY


def check_proxy(name: str, port: int, requests: Requests) -> None:
    """Refuse to measure a proxy that does not ask, or passes what is denied."""
    connect = partial(HttpConnection, port)
    for answer in answers_to(connect, requests.http[:CHECKED]):
        assert passed(answer), f"{name}: {answer}"
    (refused,) = answers_to(connect, [requests.http_without_token])
    assert (refused.status == "401") is (name in WHOLE), f"{name}: {refused}"


def started(
    folder: Path, core: int, caller: Caller, provider_port: int, requests: Requests
) -> Iterator[tuple[str, contextlib.AbstractContextManager[Server]]]:
    """Return each server, to be entered before the next is asked for."""
    policies = folder / "policies"
    policies.mkdir()
    (policies / "policies.json").write_text(json.dumps(POLICIES))
    for kind in OURS:
        yield kind, sidecar(folder / kind, core, kind, policies, caller, provider_port)
    answer = folder / "answer"
    yield "native_empty", empty(core, "native", answer)
    yield "grpcio_empty", empty(core, "grpcio", answer)
    binary = built_peer(folder)
    if binary is not None:
        yield "go_peer", go_peer(core, binary, folder / "go", caller, does_nothing=False)
        yield "go_empty", go_peer(core, binary, folder / "go_empty", caller, does_nothing=True)


def medians(rounds: list[Measured]) -> dict[str, object]:
    """Return the median of each figure, and the CPU of each round."""
    figures = [each.figures() for each in rounds]
    found: dict[str, object] = {
        name: round(statistics.median(each[name] for each in figures), 1) for name in figures[0]
    }
    return found | {
        "answers": sum(each.answers for each in rounds),
        "cpu_us_rounds": [round(each["cpu_us"], 1) for each in figures],
        "p99_us_rounds": [round(each["p99_us"], 1) for each in figures],
    }


def measured(
    servers: Mapping[str, Server], proxies: Mapping[str, int], requests: Requests, rounds: int, seconds: float
) -> dict[str, dict[str, object]]:
    """Measure every shape on every server in turn, and then the next round."""
    found: dict[str, dict[str, list[Measured]]] = {
        name: {} for name in (*(shape.name for shape in SHAPES), ENVOY)
    }

    def keep_round(shape: str, name: str, turn: int, result: Measured) -> None:
        found[shape].setdefault(name, []).append(result)
        figures = result.figures()
        print(
            f"round {turn + 1}/{rounds} {shape:22} {name:13} {figures['cpu_us']:7.1f} us CPU"
            f" {figures['requests_per_s']:9.0f}/s"
            f"  p50 {figures['p50_us']:7.0f} us  p99 {figures['p99_us']:7.0f} us",
            file=sys.stderr,
        )

    for turn in range(rounds):
        for shape in SHAPES:
            for name in shape.servers or tuple(servers):
                if name in servers:
                    once = shape.requests == "first_seen"
                    ask = partial(
                        load,
                        partial(GrpcConnection, servers[name].port),
                        connections=shape.connections,
                        calls=shape.calls,
                        right=servers[name].right,
                        cpu_us=servers[name].cpu_us,
                        seconds=SILENCE_S if once else seconds,
                        warm=requests.plain[:WARM],
                        once=once,
                    )
                    messages = requests.of(shape, turn)
                    # A token is new only once.
                    keep_round(shape.name, name, turn, ask(messages) if once else undisturbed(ask, messages))
        for name, port in proxies.items():
            ask = partial(
                load,
                partial(HttpConnection, port),
                connections=4,
                calls=1,
                right=passed,
                cpu_us=servers[name].cpu_us,
                seconds=1.5 * seconds,
                warm=requests.http[:WARM],
            )
            keep_round(ENVOY, name, turn, undisturbed(ask, requests.http))
    return {
        shape: {name: medians(each) for name, each in by_server.items()} for shape, by_server in found.items()
    }


def undisturbed(ask: Callable[[Sequence[bytes]], Measured], messages: Sequence[bytes]) -> Measured:
    """Measure, and again where other processes starved the server; at most three times."""
    for _ in range(2):
        try:
            return ask(messages)
        except StarvedError as error:
            print(f"measured again: {error}", file=sys.stderr)
    return ask(messages)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of load on one server in one round")
    parser.add_argument("--keep-as", default=result_name("requests"), help="the name of the result")
    arguments = parser.parse_args()
    machine = MachineLoad()
    cores = sorted(os.sched_getaffinity(0))
    client_core, server_core = cores[0], cores[-1]
    pin(client_core)
    key = SigningKey.rs256("bench")
    with (
        tempfile.TemporaryDirectory() as name,
        identity_provider(key) as provider,
        contextlib.ExitStack() as running,
    ):
        folder = Path(name)
        caller = Caller(key, provider.issuer)
        print("making requests and tokens", file=sys.stderr)
        requests = Requests(caller, arguments.rounds)
        servers: dict[str, Server] = {}
        for kind, starting in started(folder, server_core, caller, provider.port, requests):
            servers[kind] = running.enter_context(starting)
            check_answers(kind, servers[kind], requests)
            print(f"{kind} answers rightly", file=sys.stderr)
            if kind == "native":
                (answer,) = answers_to(partial(GrpcConnection, servers[kind].port), requests.plain[:1])
                (folder / "answer").write_bytes(answer.message)
        proxies: dict[str, int] = {}
        for kind, server in servers.items():
            proxies[kind] = running.enter_context(proxy(folder / f"envoy-{kind}", client_core, server.port))
            check_proxy(kind, proxies[kind], requests)
        print("Envoy answers rightly in front of each", file=sys.stderr)
        for pid in (os.getpid(), *(each.pid for each in descendants(os.getpid()))):
            prefer(pid)
        gc.freeze()
        numbers = measured(servers, proxies, requests, arguments.rounds, arguments.seconds)
        keep(
            arguments.keep_as,
            {
                "rounds": arguments.rounds,
                "seconds_a_round": arguments.seconds,
                "request_bytes": len(requests.plain[0]),
                "request_bytes_raw_headers": len(requests.raw[0]),
                "headers": HEADERS,
                "token_bytes": len(requests.token),
                "go": "go_peer" in servers,
                **numbers,
            },
            machine.document(),
        )


if __name__ == "__main__":
    main()
