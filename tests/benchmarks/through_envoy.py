"""Real Envoy as shipped in front of one server of the benchmark; it answers allowed requests by itself."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from extauthz.demo import envoy
from extauthz.demo.processes import ReservedPorts, http_answers, spawn
from tests.benchmarks.measured_servers import on_core

CHECK_TIMEOUT: Final = "5s"
"""Instead of the shipped 0.2 s: a slow answer is a slow one, and ends no run."""

BODY: Final = b"passed"


def configuration(listener: int, server: int) -> str:
    """Return the shipped configuration with a direct response in place of the upstream, and a longer timeout.

    An upstream costs the same behind every authorizer, and would hide a part of the difference. The peers
    have no health service, so no health is asked.
    """
    document: dict[str, Any] = yaml.safe_load(
        envoy.bootstrap(listener=listener, extauthz=[server], upstream=1)
    )
    resources = document["static_resources"]
    for cluster in resources["clusters"]:
        cluster.pop("health_checks", None)
    for found in resources["listeners"]:
        (chain,) = found["filter_chains"]
        (manager,) = chain["filters"]
        for each in manager["typed_config"]["http_filters"]:
            if each["name"] == "envoy.filters.http.ext_authz":
                each["typed_config"]["grpc_service"]["timeout"] = CHECK_TIMEOUT
        for host in manager["typed_config"]["route_config"]["virtual_hosts"]:
            for route in host["routes"]:
                del route["route"]
                route["direct_response"] = {"status": 200, "body": {"inline_string": BODY.decode()}}
    return yaml.safe_dump(document, sort_keys=False)


@contextlib.contextmanager
def proxy(folder: Path, core: int, server: int) -> Iterator[int]:
    """Run Envoy with one worker thread on a core, in front of the server on a port; return its own port."""
    folder.mkdir()
    ports = ReservedPorts()
    (listener,) = ports.take()
    file = folder / "envoy.yaml"
    file.write_text(configuration(listener, server))
    command = [str(word) for word in envoy.command(file)]
    command[command.index("--concurrency") + 1] = "1"
    with on_core(core):
        child = spawn("envoy", command, output=folder / "envoy.log", environment={})
    try:
        child.wait_ready(lambda: _listens(listener), timeout_s=30)
        yield listener
    finally:
        child.stop(grace_s=1.0)
        ports.release()


def _listens(port: int) -> bool:
    """Say whether Envoy answers; without a token ours denies, and the others allow."""
    return any(http_answers(port, "/invoices/1", status=status) for status in (200, 401))
