"""A process that a fork server starts is, from outside, the one that an exec starts."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from extauthz.demo.process_tree import alive, is_alive
from extauthz.demo.processes import free_port, http_answers, unprivileged_user
from extauthz.shipped import shipped
from tests.faults.worker_processes import workers_of
from tests.fork_server import ForkServerOnDemand
from tests.integration.serving import serving
from tests.light_processes import LIGHT
from tests.waiting import await_true

ASKED = [sys.executable, "-P", "-m", "extauthz", "path", "canonical"]
STARTED_ALIKE = ("SigBlk", "SigIgn", "SigCgt", "Uid", "Gid", "Groups", "Threads", "NoNewPrivs", "Umask")
DEMO = [sys.executable, "-P", "-m", "extauthz.demo.upstream", "--port", "PORT"]


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServerOnDemand]:
    started = ForkServerOnDemand()
    yield started
    started.close()


def seen(process: int) -> dict[str, Any]:
    """Return what the system tells of a process, and what should be equal in every start."""
    place = Path(f"/proc/{process}")
    status = dict(line.split(":", 1) for line in (place / "status").read_text().splitlines())
    return {
        **{name: status[name].split() for name in STARTED_ALIKE},
        "parent": int(status["PPid"]) == os.getpid(),
        "leads its group": os.getpgid(process) == process,
        "leads its session": os.getsid(process) == process,
        "folder": (place / "cwd").readlink(),
        "program": (place / "exe").readlink(),
        "command": [word for word in (place / "cmdline").read_text().split("\0") if word],
        "descriptors": {
            int(each.name): str(each.readlink()).partition(":")[0] for each in (place / "fd").iterdir()
        },
    }


@pytest.mark.executed
@pytest.mark.parametrize("new_session", [False, True])
def test_a_forked_process_is_like_an_executed_one(
    server: ForkServerOnDemand, tmp_path: Path, *, new_session: bool
) -> None:
    given, held = os.pipe()

    def asked() -> dict[str, Any]:
        with subprocess.Popen(
            ASKED,
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], **LIGHT},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=[given],
            start_new_session=new_session,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(b"/a/%62\n")
            process.stdin.flush()
            answer = process.stdout.readline()
            found = seen(process.pid)
            process.stdin.close()
            return {**found, "answer": answer, "status": process.wait(10)}

    executed = asked()
    with server.used():
        forked = asked()
    os.close(given)
    os.close(held)

    assert forked == executed
    assert forked["parent"]
    assert forked["status"] == 0


@pytest.mark.executed
@pytest.mark.parametrize(
    "arguments", [["policy", "test", "missing.yaml"], ["sidecar", "--unknown"], ["health"]]
)
def test_exit_status_and_output_are_those_of_an_exec(
    server: ForkServerOnDemand, tmp_path: Path, arguments: list[str]
) -> None:
    def ended() -> "subprocess.CompletedProcess[bytes]":
        return subprocess.run(
            [sys.executable, "-m", "extauthz", *arguments],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "SIDECAR_PORT": "1", **LIGHT},
            capture_output=True,
            check=False,
        )

    executed = ended()
    with server.used():
        forked = ended()

    assert executed.returncode != 0
    assert (forked.returncode, forked.stdout, forked.stderr) == (
        executed.returncode, executed.stdout, executed.stderr,
    )  # fmt: skip


@pytest.mark.executed
def test_a_forked_supervisor_forks_its_workers_and_replaces_them(
    server: ForkServerOnDemand, tmp_path: Path
) -> None:
    environ = {"POLICY_SOURCE": f"files:{shipped('policies/demo')}"}
    with server.used(), serving(tmp_path, environ) as found:
        found.start("sidecar")
        (worker,) = workers_of(found)
        assert psutil.Process(worker).ppid() == found.process.pid
        # Where it came from: an executed process has the environment of its start there.
        assert "GRPC_PORT" not in psutil.Process(worker).environ()

        os.kill(worker, signal.SIGKILL)

        await_true(lambda: workers_of(found) not in ([], [worker]), within=10, what="another worker")
        family = found.process.family()
    await_true(lambda: not any(map(alive, family)), within=10, what="the end of all")


@pytest.mark.executed
def test_a_forked_process_has_the_user_and_ends_with_its_parent(tmp_path: Path) -> None:
    program = f"""
        import sys, threading
        from pathlib import Path
        from extauthz.demo.processes import spawn, unprivileged_user
        from tests.fork_server import ForkServerOnDemand

        server = ForkServerOnDemand()
        with server.used():
            child = spawn("demo", {DEMO}, output=Path("log"), environment={LIGHT}, user=unprivileged_user())
        print(child.pid, flush=True)
        threading.Event().wait()
    """
    port = free_port()
    program = textwrap.dedent(program).replace("PORT", str(port))
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        await_true(lambda: http_answers(port, "/"), within=30, what="the upstream")
        user = unprivileged_user()
        assert child.uids().real == (os.getuid() if user is None else user.uid)
        assert child.ppid() == parent.pid
        parent.kill()
    await_true(lambda: not is_alive(child), within=10, what="the end of the child")


@pytest.mark.executed
def test_without_the_fork_server_a_start_is_executed(server: ForkServerOnDemand) -> None:
    version = [sys.executable, "-m", "extauthz", "--version"]
    environ = {"PATH": os.environ["PATH"], **LIGHT}
    with server.used():
        first = subprocess.run(version, env=environ, capture_output=True, check=True).stdout
        for each in psutil.Process().children():
            if "tests.fork_server_process" in each.cmdline():
                each.kill()
        assert subprocess.run(version, env=environ, capture_output=True, check=True).stdout == first
