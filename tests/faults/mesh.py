"""The demo's stack with a gate in front of its database and of its identity provider."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

from extauthz.demo.processes import LOOPBACK
from extauthz.demo.stack import Stack
from tests.faults.tcp_gate import TcpGate
from tests.light_processes import LIGHT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHECK_TIMEOUT = "2s"
"""Instead of the shipped 0.2 s: on a machine that runs other tests a late answer is not a fault."""


class FaultyStack(Stack):
    """A stack whose extauthz reaches PostgreSQL and the identity provider through gates."""

    def __init__(self, *, workers: int = 2, **settings: str) -> None:
        """Take the number of workers, and settings that override the stack's own environment."""
        super().__init__(environ={**_inherited(), "WORKERS": str(workers)})
        assert self.postgres is not None
        self.settings = settings
        self.database_gate = TcpGate(self.postgres.port)
        self.provider_leads_to: int | None = None
        """A port that answers in place of the identity provider behind its gate."""
        self.provider_gate = TcpGate(lambda: self.provider_leads_to or self.people.port)

    def environment(self) -> dict[str, str]:
        """Return the stack's environment, with the gates in place of what lies behind them."""
        return super().environment() | {
            "POSTGRES_PORT": str(self.database_gate.port),
            "JWKS_URI": f"http://{LOOPBACK}:{self.provider_gate.port}/jwks",
            "JWKS_ALLOW_HOSTS": f"{LOOPBACK}:{self.people.port},{LOOPBACK}:{self.provider_gate.port}",
            "POLICY_POLL_INTERVAL": "1",
            **self.settings,
        }

    def bootstrap(self) -> str:
        """Return the shipped Envoy configuration, with more time for a check."""
        return patient(super().bootstrap())

    def stop(self) -> None:
        """End every process, then the gates."""
        self.database_gate.open()
        self.provider_gate.open()
        super().stop()
        self.database_gate.close()
        self.provider_gate.close()

    def log_of(self, child: str) -> Path:
        """Return the file that a process of the stack prints to."""
        return self.folder / f"{child}.log"

    def workers_pids(self) -> list[int]:
        """Return the processes of the sidecar's workers, in order of their number."""
        found: dict[int, int] = {}
        for pid in self.child("extauthz").family():
            command = _command_line(pid)
            if "worker" in command:
                found[int(command[command.index("worker") + 1])] = pid
        return [found[number] for number in sorted(found)]


@contextmanager
def faulty_stack(*, workers: int = 2, **settings: str) -> Iterator[FaultyStack]:
    """Run a stack with gates, in which Envoy gives a check `CHECK_TIMEOUT`."""
    with FaultyStack(workers=workers, **settings) as stack:
        stack.start()
        yield stack


def patient(bootstrap: str) -> str:
    """Return the shipped configuration with more time for a check, and nothing else changed."""
    changed, places = re.subn(r"(?<!_)timeout: 0\.2s", f"timeout: {CHECK_TIMEOUT}", bootstrap)
    assert places == 1
    return changed


def _inherited() -> dict[str, str]:
    return {**LIGHT} | {name: os.environ[name] for name in ("HOME", "PATH", "TMPDIR") if name in os.environ}


def _command_line(pid: int) -> list[str]:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as stream:  # noqa: PTH123 - a process, not a file of ours
            return stream.read().decode().split("\0")
    except OSError:
        return []
