"""The shell sessions that the pages show, typed into a bash next to a running demo."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from extauthz.demo.command import facts
from extauthz.demo.processes import LOOPBACK, ReservedPorts
from extauthz.demo.stack import Stack
from tests.docs.samples import ROOT, agrees, samples, session

PAGES = {sample.page for sample in samples() if sample.language == "shell"}
_END = "--end-of-command--"
_IN_EFFECT_WITHIN_S = 1.0


class Shell:
    """One bash session."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def type(self, command: str) -> list[str]:
        """Run a command, which must succeed; return what it printed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{command}\nprintf '\\n{_END} %s\\n' $?\n")
        self._process.stdin.flush()
        printed: list[str] = []
        for line in self._process.stdout:
            if line.startswith(_END):
                assert line.split()[1] == "0", f"{command}\n{printed}"
                # The line end before the mark ended nothing.
                return "".join(printed).removesuffix("\n").splitlines()
            printed.append(line)
        raise AssertionError(f"bash ended in: {command}\n{printed}")


@contextmanager
def bash(folder: Path, **environ: str) -> Iterator[Shell]:
    process = subprocess.Popen(
        ["bash", "--norc", "--noprofile"],
        cwd=folder,
        env={
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.defpath]),
            "HOME": str(folder),
            "LANG": "C.UTF-8",
        }
        | environ,
        start_new_session=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        try:
            yield Shell(process)
        finally:
            # With what it has started: a session that fails does not get to its own `kill`.
            os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def own_ports() -> Iterator[dict[str, str]]:
    """Yield free ports for the commands of a session, which the pages leave at their defaults."""
    reserved = ReservedPorts()
    grpc, sidecar, listen = (reserved.take()[0] for _ in range(3))
    try:
        yield {"GRPC_PORT": str(grpc), "SIDECAR_PORT": str(sidecar), "LISTEN": f"{LOOPBACK}:{listen}"}
    finally:
        reserved.release()


@pytest.mark.parametrize(
    "page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in sorted(PAGES)]
)
def test_a_console_session_runs_as_the_page_shows(stack: Stack, tmp_path: Path, page: Path) -> None:
    (tmp_path / "demo.json").write_text(json.dumps(facts(stack)))
    for sample in samples():
        if sample.page == page and sample.title is not None:
            (tmp_path / sample.title).write_text(sample.text, "utf-8")
    with own_ports() as ports, bash(tmp_path, **ports) as shell:
        for sample in samples():
            if sample.page != page or sample.language != "shell":
                continue
            for command, shown in session(sample):
                deadline = time.monotonic() + _IN_EFFECT_WITHIN_S
                printed = shell.type(command)
                # What was just written may take a second to reach the proxy.
                while not agrees(shown, printed) and "$ENVOY/" in command and time.monotonic() < deadline:
                    printed = shell.type(command)
                assert agrees(shown, printed), f"{sample}: {command}\n{printed}"
