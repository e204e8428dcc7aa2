"""The latency of honest requests during a flood on another connection: one half of `bench_hostile`.

The choices, and why:

- Four honest connections, as from a proxy with four worker threads, 600 requests a second in all: about a
  sixth of what the worker answers at most. Requests are due at random times (a Poisson process) whatever
  becomes of those before; one that is late because its connection was still busy is timed from when it was
  due. So an answer that takes long cannot thin out the load that would have noticed.
- One flooding connection with eight requests under way at any time, as fast as they are answered: the
  worker's core is busy throughout (`server_busy`, `flood_per_s`), and what is answered faster floods faster.
- The worker has one core. The clients share the other, and the flooder has SCHED_IDLE there: it runs whenever
  the honest client does not. What the flood costs the client's side is not ours to judge, and what is left
  of it is measured too: the same floods against a server that only receives and answers (`doing_nothing`).
- Every round measures each kind once, and alone before and after. The p99 of one such window is its ninth
  worst request, which is as much chance as load; so there are two ratios: `p99_ratio` is the median of the
  rounds, each to the alone of the same round, and `all_p99_ratio` is of the requests of all rounds together.
- On a shared machine only the quieter half of the rounds counts, judged by how much CPU others took and not
  by the result.
"""

import gc
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import grpc

from extauthz.check.grpcio_server import GrpcioServer
from extauthz.runtime.reporting import spare_collector
from extauthz.telemetry.logs import configure
from tests.benchmarks.measuring import percentile, pin
from tests.builders import read_answer
from tests.real_service import KEY_SET, real_service

CHECK = "/envoy.service.auth.v3.Authorization/Check"
WORKER_CORE, CLIENT_CORE = 0, 1
CONNECTIONS = 4
REQUESTS_PER_S = 600
UNDER_WAY = 8
WINDOW_S = 1.5
ROUNDS = 5
ALONE = "nobody"
# One connection a channel: by default gRPC gives all channels of a process the same.
OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class Window(NamedTuple):
    """What was seen while one kind flooded: the honest latencies in ms, and how hard both sides worked."""

    latencies: list[float]
    flood_per_s: float
    server_busy: float


class Latencies(NamedTuple):
    """The figures of each kind for our server and for one doing nothing; `others_busy` is in cores."""

    checking: dict[str, dict[str, float]]
    doing_nothing: dict[str, dict[str, float]]
    others_busy: float


def serve(folder: Path, *, checking: bool) -> None:
    """Be a server until standard input ends; policies, keys and the kinds of requests are in the folder."""
    pin(WORKER_CORE)
    configure("info", "json", stream=sys.stderr)
    policies = json.loads((folder / "policies").read_text())
    with real_service(folder, policies, key_set=(folder / "keys").read_bytes()) as running:
        fixed = running.service.answer((folder / "honest").read_bytes(), 1.0)
        assert read_answer(fixed).allowed, "what is measured as honest is denied"
        answer = running.service.answer if checking else lambda _raw, _left: fixed
        server = GrpcioServer(answer, ["127.0.0.1:0"])
        port = server.start()
        spare_collector()
        print(port, flush=True)
        sys.stdin.read()
        server.drain(0.5)


def flood(port: int, folder: Path) -> None:
    """Flood with the kind that standard input names, until the next line; answer each with the calls made."""
    pin(CLIENT_CORE)
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    answered = [0] * UNDER_WAY
    sending: list[bytes] = []
    changed = threading.Condition()

    def send(number: int) -> None:
        while True:
            with changed:
                changed.wait_for(lambda: sending)
                raw = sending[0]
            call(raw, timeout=30)
            answered[number] += 1

    with grpc.insecure_channel(f"127.0.0.1:{port}", OWN_CONNECTION) as channel:
        call = channel.unary_unary(CHECK, request_serializer=None, response_deserializer=None)
        for number in range(UNDER_WAY):
            threading.Thread(target=send, args=(number,), daemon=True).start()
        for line in sys.stdin:
            name = line.strip()
            with changed:
                sending[:] = [(folder / name).read_bytes()] if name else []
                changed.notify_all()
            print(sum(answered), flush=True)


def honest_latencies(port: int, raw: bytes) -> list[float]:
    """Return the milliseconds that each honest request took, from when it was due."""
    taken: list[float] = []
    begin = threading.Barrier(CONNECTIONS)

    def ask(seed: int) -> None:
        gaps = random.Random(seed)
        with grpc.insecure_channel(f"127.0.0.1:{port}", OWN_CONNECTION) as channel:
            call = channel.unary_unary(CHECK, request_serializer=None, response_deserializer=None)
            for _ in range(20):
                call(raw, timeout=30)
            begin.wait()
            due = time.perf_counter()
            end = due + WINDOW_S
            while True:
                due += gaps.expovariate(REQUESTS_PER_S / CONNECTIONS)
                if due > end:
                    return
                early = due - time.perf_counter()
                if early > 0:
                    time.sleep(early)
                    # How late the client's own timer fires is not the server's doing.
                    due = time.perf_counter()
                call(raw, timeout=30)
                taken.append((time.perf_counter() - due) * 1000)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return taken


class Side:
    """A server, a client that floods it, and honest clients."""

    def __init__(self, folder: Path, server: "subprocess.Popen[str]", stack: ExitStack) -> None:
        self._server = server
        self._raw = (folder / "honest").read_bytes()
        self.port = int(_line(server))
        self._flooder = stack.enter_context(_child("--flood", str(self.port), str(folder)))

    @property
    def processes(self) -> list[int]:
        return [self._server.pid, self._flooder.pid]

    def window(self, kind: str) -> Window:
        """Measure honest requests while that kind floods."""
        before = self._flood("" if kind == ALONE else kind)
        began, busy = time.perf_counter(), cpu_s(self._server.pid)
        latencies = honest_latencies(self.port, self._raw)
        spent = time.perf_counter() - began
        server_busy = (cpu_s(self._server.pid) - busy) / spent
        return Window(latencies, (self._flood("") - before) / spent, server_busy)

    def _flood(self, kind: str) -> int:
        assert self._flooder.stdin is not None
        self._flooder.stdin.write(f"{kind}\n")
        self._flooder.stdin.flush()
        return int(_line(self._flooder))


def measured_latencies(requests: Mapping[str, bytes], policies: Mapping[str, object]) -> Latencies:
    """Measure honest requests alone and during a flood of each kind; one of the kinds is `honest`."""
    pin(CLIENT_CORE)
    gc.collect()
    gc.freeze()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        (folder / "policies").write_text(json.dumps(policies))
        (folder / "keys").write_bytes(KEY_SET)
        for kind, raw in requests.items():
            (folder / kind).write_bytes(raw)
        sides = [
            Side(folder, stack.enter_context(_child(how, name)), stack) for how in ("--serve", "--do-nothing")
        ]
        for side in sides:
            side.window("honest")
        rounds = [_round(sides, [ALONE, *requests, ALONE]) for _ in range(ROUNDS)]
    rounds.sort(key=lambda measured: measured[0])
    quieter = rounds[: ROUNDS // 2 + 1]
    checking, doing_nothing = (_figures([windows[side] for _, windows in quieter]) for side in (0, 1))
    return Latencies(checking, doing_nothing, round(statistics.median(others for others, _ in quieter), 2))


_Windows = dict[str, list[Window]]


def _round(sides: list[Side], kinds: list[str]) -> tuple[float, list[_Windows]]:
    """Measure every kind on every side; return the cores that others took meanwhile, and the windows."""
    ours = [os.getpid(), *(process for side in sides for process in side.processes)]
    began, busy = time.perf_counter(), machine_busy_s() - sum(map(cpu_s, ours))
    measured: list[_Windows] = [defaultdict(list) for _ in sides]
    for kind in kinds:
        for side, windows in zip(sides, measured, strict=True):
            windows[kind].append(side.window(kind))
    others = machine_busy_s() - sum(map(cpu_s, ours)) - busy
    return others / (time.perf_counter() - began), measured


def _figures(rounds: list[_Windows]) -> dict[str, dict[str, float]]:
    figures: dict[str, dict[str, float]] = {}
    alone = _all_percentile([window for windows in rounds for window in windows[ALONE]], 0.99)
    for kind in rounds[0]:
        seen = [window for windows in rounds for window in windows[kind]]
        together = _all_percentile(seen, 0.99)
        figures[kind] = {
            "requests": sum(len(window.latencies) for window in seen),
            "p50_ms": _median_percentile(seen, 0.5),
            "p99_ms": _median_percentile(seen, 0.99),
            "p99_ratio": round(
                statistics.median(
                    _median_percentile(windows[kind], 0.99) / _median_percentile(windows[ALONE], 0.99)
                    for windows in rounds
                ),
                2,
            ),
            "all_p99_ms": round(together, 3),
            "all_p99_ratio": round(together / alone, 2),
            "flood_per_s": round(statistics.median(window.flood_per_s for window in seen)),
            "server_busy": round(statistics.median(window.server_busy for window in seen), 2),
        }
    return figures


def _median_percentile(windows: list[Window], share: float) -> float:
    return round(statistics.median(percentile(window.latencies, share) for window in windows), 3)


def _all_percentile(windows: list[Window], share: float) -> float:
    return percentile([latency for window in windows for latency in window.latencies], share)


def cpu_s(process: int) -> float:
    """Return the CPU seconds that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def machine_busy_s() -> float:
    """Return the CPU seconds that all processes have used."""
    user, nice, system, _idle, _io, irq, softirq, *_ = Path("/proc/stat").read_text().split()[1:9]
    return sum(map(int, (user, nice, system, irq, softirq))) / _TICKS_PER_S


@contextmanager
def _child(*arguments: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "tests.benchmarks.flooding", *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        try:
            yield child
        finally:
            child.kill()


def _line(child: "subprocess.Popen[str]") -> str:
    assert child.stdout is not None
    line = child.stdout.readline()
    assert line, "a process that is measured has ended"
    return line


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--serve", where]:
            serve(Path(where), checking=True)
        case ["--do-nothing", where]:
            serve(Path(where), checking=False)
        case ["--flood", port_number, where]:
            flood(int(port_number), Path(where))
