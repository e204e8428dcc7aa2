"""The servers of the benchmark, each a process on the server's core."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from cryptography.hazmat.primitives import serialization

from extauthz.demo.process_tree import descendants
from tests.benchmarks.check_requests import ALLOWED, RULE, SUBJECT, Caller
from tests.benchmarks.load import Answer
from tests.benchmarks.measuring import cpu_us
from tests.integration.serving import serving
from tests.tokens import AUDIENCE

_LOGGED_WITHIN_S: Final = 10.0
PEER: Final = Path(__file__).parent / "peer_go"


@dataclass(frozen=True)
class Server:
    """One running server: its port, its CPU so far, and how a right answer looks."""

    port: int
    cpu_us: Callable[[], float]
    right: Callable[[Answer], bool]
    log: Path | None = None
    """Where it writes one line a decision; None for the empty ones."""
    names_rule: bool = False
    """Whether the answer itself names the rule."""

    def decisions(self, after: int, wanted: int) -> list[dict[str, object]]:
        """Return the decisions logged from this byte on, once there are `count`."""
        assert self.log is not None
        ends = time.monotonic() + _LOGGED_WITHIN_S
        while True:
            with self.log.open("rb") as lines:
                lines.seek(after)
                whole = lines.read().rpartition(b"\n")[0].splitlines()
            found = [line for line in map(json.loads, whole) if line.get("event", "decision") == "decision"]
            if len(found) >= wanted:
                return found
            assert time.monotonic() < ends, f"{len(found)} of {wanted} decisions are in the log"
            time.sleep(0.05)


def _allowed(answer: Answer, *marks: bytes) -> bool:
    """Say whether an answer is an allow that has all of these in it."""
    status, message = answer
    return status == "0" and message.startswith(ALLOWED) and all(mark in message for mark in marks)


@contextlib.contextmanager
def on_core(core: int) -> Iterator[None]:
    """Start processes on one core; this one stays where it is."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def sidecar(
    folder: Path, core: int, grpc_server: str, policies: Path, caller: Caller, provider_port: int
) -> Iterator[Server]:
    """`extauthz sidecar` with one worker, as it ships; the CPU is that of all its processes."""
    folder.mkdir()
    with serving(
        folder,
        {"POLICY_SOURCE": f"files:{policies}"},
        GRPC_SERVER=grpc_server,
        OIDC_ENABLED="true",
        AUTH_SERVER_URL=caller.issuer,
        OIDC_AUDIENCE=AUDIENCE,
        JWKS_ALLOW_HOSTS=f"127.0.0.1:{provider_port}",
    ) as found:
        with on_core(core):
            found.start("sidecar")
        processes = [found.process.pid, *(each.pid for each in descendants(found.process.pid))]
        rule = RULE.encode()
        yield Server(
            found.grpc_port,
            lambda: cpu_us(processes),
            lambda answer: _allowed(answer, rule),
            found.log,
            names_rule=True,
        )


@contextlib.contextmanager
def empty(core: int, kind: str, answer: Path) -> Iterator[Server]:
    """One of `empty_servers`, which answers with the bytes of a file."""
    right = answer.read_bytes()
    command = [sys.executable, "-m", "tests.benchmarks.empty_servers", kind, str(answer)]
    with _process(core, command) as (process, output):
        port = int(output.readline())
        yield Server(port, lambda: cpu_us([process.pid]), lambda answer: answer == ("0", right))


@contextlib.contextmanager
def go_peer(core: int, binary: Path, folder: Path, caller: Caller, *, does_nothing: bool) -> Iterator[Server]:
    """The server of `peer_go`."""
    folder.mkdir()
    public = caller.key.private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (folder / "key.pem").write_bytes(public)
    log = folder / "decisions.jsonl"
    command = [str(binary), "-key", str(folder / "key.pem"), "-issuer", caller.issuer]
    command += ["-audience", AUDIENCE, "-log", str(log), *(["-empty"] if does_nothing else [])]
    # The names that it sets and the subject: it names no rule in its answers.
    marks = (b"x-auth-subject",) if does_nothing else (b"x-auth-subject", SUBJECT.encode())
    with _process(core, command) as (process, output):
        port = int(output.readline().rpartition(b":")[2])
        yield Server(
            port,
            lambda: cpu_us([process.pid]),
            lambda answer: _allowed(answer, *marks),
            None if does_nothing else log,
        )


@contextlib.contextmanager
def _process(core: int, command: Sequence[str]) -> Iterator[tuple["subprocess.Popen[bytes]", IO[bytes]]]:
    with on_core(core):
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield process, process.stdout
    finally:
        process.terminate()
        process.wait(10)


def built_peer(folder: Path) -> Path | None:
    """Return the Go server, None without Go."""
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if go is None:
        return None
    subprocess.run([go, "build", "-o", str(folder / "peer"), "."], cwd=PEER, check=True)
    return folder / "peer"
