"""The children of the demo: they start, say why they do not, and never outlive us."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from extauthz.demo.process_tree import alive
from extauthz.demo.processes import (
    LOOPBACK,
    ProcessFailedError,
    ReservedPorts,
    StoppedError,
    spawn,
    unprivileged_user,
)
from extauthz.demo.stopping import Stopping
from tests.waiting import await_true

SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]


def await_gone(pid: int) -> None:
    """Wait until no live process has this id."""
    await_true(lambda: not alive(pid), within=5, what=f"the end of {pid}")


def test_reserved_ports_are_neighbours_that_only_their_owner_can_use() -> None:
    ports = ReservedPorts()
    first, second = ports.take(2)
    assert second == first + 1

    with socket.socket() as other, pytest.raises(OSError, match="Address already in use"):
        other.bind((LOOPBACK, first))
    for _ in range(2):
        with socket.create_server((LOOPBACK, first)):  # create_server sets SO_REUSEADDR, as servers do
            pass

    ports.release()
    with socket.socket() as other:
        other.bind((LOOPBACK, second))


def test_a_start_that_fails_quotes_the_last_lines(tmp_path: Path) -> None:
    child = spawn(
        "the doomed", [sys.executable, "-c", "print('no coal left')"], output=tmp_path / "doomed.log"
    )

    with pytest.raises(ProcessFailedError, match=r"the doomed ended while starting:\nno coal left"):
        child.wait_ready(lambda: False, timeout_s=10)
    child.stop()


def test_a_command_that_does_not_exist_is_named(tmp_path: Path) -> None:
    child = spawn("ghost", ["/nowhere/ghost"], output=tmp_path / "ghost.log")

    with pytest.raises(ProcessFailedError, match=r"/nowhere/ghost: .*No such file"):
        child.wait_ready(lambda: False, timeout_s=10)
    child.stop()


def test_a_process_that_never_answers_is_given_up(tmp_path: Path) -> None:
    child = spawn("mute", SLEEPER, output=tmp_path / "mute.log")

    with pytest.raises(ProcessFailedError, match=r"mute did not answer within 0\.1 s"):
        child.wait_ready(lambda: False, timeout_s=0.1)
    child.stop()
    await_gone(child.pid)


def test_a_wait_ends_when_everything_is_to_stop(tmp_path: Path) -> None:
    child = spawn("waiting", SLEEPER, output=tmp_path / "waiting.log")
    stopping = Stopping()
    stopping.set()

    with pytest.raises(StoppedError):
        child.wait_ready(lambda: False, timeout_s=60, stopping=stopping)
    child.stop()


@pytest.mark.parametrize("state", [signal.SIGCONT, signal.SIGSTOP], ids=["running", "stopped"])
def test_stop_ends_a_process_that_ignores_the_request_and_its_children(
    tmp_path: Path, state: signal.Signals
) -> None:
    stubborn = textwrap.dedent(
        """
        import signal, subprocess, sys, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        grandchild = subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True
        )
        print(grandchild.pid, flush=True)
        time.sleep(600)
        """
    )
    child = spawn("stubborn", [sys.executable, "-c", stubborn], output=tmp_path / "stubborn.log")
    child.wait_ready(lambda: child.last_lines() != "", timeout_s=10)
    grandchild = int(child.last_lines())
    child.send(state)

    child.stop(grace_s=0.2)

    assert not child.running
    await_gone(child.pid)
    await_gone(grandchild)
    child.stop()


def test_nothing_survives_a_kill_of_the_parent(tmp_path: Path) -> None:
    parent_code = textwrap.dedent(
        """
        import sys, time
        from pathlib import Path
        from extauthz.demo.processes import spawn
        sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
        child = spawn("child", sleeper, output=Path(sys.argv[1]))
        print(child.pid, flush=True)
        time.sleep(600)
        """
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", parent_code, str(tmp_path / "child.log")], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child_pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()

    await_gone(child_pid)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root changes the user")
def test_root_can_hand_a_process_to_an_ordinary_user(tmp_path: Path) -> None:
    user = unprivileged_user()
    assert user is not None

    child = spawn("ordinary", ["/bin/sh", "-c", "id -u; id -G"], output=tmp_path / "id.log", user=user)
    child.wait_ready(lambda: not child.running, timeout_s=10)
    child.stop()

    assert child.last_lines().split() == [str(user.uid), str(user.gid)]
