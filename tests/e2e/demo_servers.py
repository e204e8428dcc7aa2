"""The demo's upstream and identity provider, without a demo."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from extauthz.demo.processes import LOOPBACK, Child, ReservedPorts, http_answers, spawn
from tests.light_processes import LIGHT

_READY_S = 30.0


@dataclass(frozen=True)
class DemoServers:
    """The ports of an upstream, which has no state, and of an identity provider, whose keys stay the same."""

    upstream: int
    provider: int

    @property
    def issuer(self) -> str:
        return f"http://{LOOPBACK}:{self.provider}"


@contextmanager
def demo_servers(folder: Path) -> Iterator[DemoServers]:
    """Start both; they end with the context."""
    ports = ReservedPorts()
    upstream, provider = ports.take(2)
    children: list[Child] = []
    try:
        for name, port in (("upstream", upstream), ("identity_provider", provider)):
            command = [sys.executable, "-m", f"extauthz.demo.{name}", "--port", str(port)]
            children.append(spawn(name, command, output=folder / f"{name}.log", environment=LIGHT))
        for child, port, path in zip(
            children, (upstream, provider), ("/", "/.well-known/openid-configuration"), strict=True
        ):
            child.wait_ready(partial(http_answers, port, path), timeout_s=_READY_S)
        yield DemoServers(upstream, provider)
    finally:
        for child in children:
            child.kill()
        ports.release()
