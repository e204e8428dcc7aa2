"""One sidecar with an identity provider of the test, behind Envoy in every posture.

One Envoy process has a listener for each posture: the shipped bootstrap, the same without its care for paths
and headers, and both of them failing open.
"""

import contextlib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from extauthz.demo import envoy
from extauthz.demo.processes import LOOPBACK, Child, ReservedPorts, http_answers, spawn
from tests.e2e.raw_http import LenientUpstream, Reply, http1, lenient_upstream, request
from tests.key_server import KeyServer
from tests.key_server_thread import identity_provider
from tests.light_processes import LIGHT
from tests.tokens import AUDIENCE, SigningKey

READY_S = 20.0
ALLOWED, DENIED = 200, 403
FORWARDED = ("authorization", "x-service-api-key", "x-request-id", "traceparent", "content-type")
"""The headers that Envoy must forward to a check over HTTP."""
RSA = SigningKey.rs256("rsa")
EC = SigningKey.es256("ec")

POLICIES = """
resources:
  - {name: "site:use", serviceName: site, routes: [{methods: ["*"], path: "/**", authentication: optional}]}
  - {name: "admin:use", serviceName: site, routes: [{methods: ["*"], path: "/admin/**"}]}
  - {name: "inside:use", serviceName: site, routes: [{methods: ["*"], path: "/inside"}]}
role_rules:
  - {id: allow-all, sub: "*", dom: "*", obj: "site:use", act: "*", effect: allow}
  - {id: allow-anonymous, sub: anonymous, dom: "*", obj: "site:use", act: "*", effect: allow}
  - {id: admins, sub: admin, dom: "*", obj: "admin:use", act: "*", effect: allow}
attribute_policies:
  - id: from-inside
    name: From the office network
    resource: inside:use
    effect: allow
    rule_data:
      {type: CONDITION, attribute: request.source.address, operator: cidr, value: 10.0.0.0/8}
"""


class Posture(NamedTuple):
    """How Envoy stands: with the shipped care for paths and headers or without, failing open or closed."""

    careful: bool
    fail_open: bool

    def __str__(self) -> str:
        return f"{'careful' if self.careful else 'careless'}-{'open' if self.fail_open else 'closed'}"


POSTURES = [Posture(careful, fail_open) for careful, fail_open in product((True, False), repeat=2)]


@dataclass
class Gate:
    """Everything around the requests of one test module; `ports` is where each posture listens."""

    ports: dict[Posture, int]
    upstream: LenientUpstream
    provider: KeyServer
    sidecar: Child
    proxy: Child
    grpc_port: int
    decision_log: Path

    def send(
        self, posture: Posture, target: bytes, *lines: bytes, method: bytes = b"GET", body: bytes = b""
    ) -> Reply:
        """Send a request with `Host` and these header lines."""
        return http1(self.ports[posture], request(target, *lines, method=method) + body)


def bearer(token: str) -> bytes:
    return b"Authorization: Bearer " + token.encode("utf-8", "surrogateescape")


def configuration(
    ports: dict[Posture, int],
    extauthz: int,
    upstream: int,
    *,
    health_checks: bool = True,
    check: Mapping[str, object] | None = None,
) -> str:
    """The shipped bootstrap with a listener for each posture, and with these settings of the check."""
    document = yaml.safe_load(envoy.bootstrap(listener=0, extauthz=[extauthz], upstream=upstream))
    (shipped,) = document["static_resources"]["listeners"]
    document["static_resources"]["listeners"] = [
        _listener(shipped, posture, port, check or {}) for posture, port in ports.items()
    ]
    if not health_checks:
        for cluster in document["static_resources"]["clusters"]:
            cluster.pop("health_checks", None)
    return yaml.safe_dump(document)


def _listener(
    shipped: dict[str, Any], posture: Posture, port: int, check: Mapping[str, object]
) -> dict[str, Any]:
    listener: dict[str, Any] = deepcopy(shipped)
    listener["name"] = str(posture)
    listener["address"]["socket_address"]["port_value"] = port
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    filters = {part["name"].rpartition(".")[2]: part for part in manager["http_filters"]}
    filters["ext_authz"]["typed_config"]["failure_mode_allow"] = posture.fail_open
    filters["ext_authz"]["typed_config"].update(check)
    # A worker that shares two cores with the tests may need longer than in production.
    filters["ext_authz"]["typed_config"]["grpc_service"]["timeout"] = "1s"
    # Envoy leaves a connection with a protocol error open for a second; here there are hundreds of them.
    manager["delayed_close_timeout"] = "0.02s"
    if not posture.careful:
        for name in ("normalize_path", "merge_slashes", "path_with_escaped_slashes_action"):
            del manager[name]
        del manager["common_http_protocol_options"]["headers_with_underscores_action"]
        manager["http_filters"].remove(filters["header_mutation"])
    return listener


def ask_over_http(check: dict[str, Any], cluster: dict[str, Any], port: int, *, timeout: str) -> None:
    """Make an ext_authz filter and its cluster ask this port over HTTP instead of gRPC."""
    del check["grpc_service"]
    uri = {"uri": f"http://{LOOPBACK}:{port}", "cluster": cluster["name"], "timeout": timeout}
    check["http_service"] = {
        "server_uri": uri,
        "authorization_response": {"allowed_upstream_headers": {"patterns": [{"prefix": "x-auth-"}]}},
    }
    patterns = [*({"exact": name} for name in FORWARDED), {"prefix": "x-auth-"}, {"prefix": "x_auth_"}]
    check["allowed_headers"] = {"patterns": patterns}
    for name in ("health_checks", "typed_extension_protocol_options"):
        del cluster[name]


@contextmanager
def gate(
    folder: Path, *, check: Mapping[str, object] | None = None, workload: int | None = None, **settings: str
) -> Iterator[Gate]:
    """Start everything; `workload` is the port of another upstream."""
    with contextlib.ExitStack() as stack:
        upstream = stack.enter_context(lenient_upstream())
        provider = stack.enter_context(identity_provider(RSA, EC))
        reserved = ReservedPorts()
        stack.callback(reserved.release)
        ports = {posture: reserved.take()[0] for posture in POSTURES}
        grpc_port, health_port = reserved.take()[0], reserved.take()[0]
        (folder / "policies").mkdir()
        (folder / "policies" / "all.yaml").write_text(POLICIES)
        environment = {
            **LIGHT,
            "AUTH_SERVER_URL": provider.issuer,
            "OIDC_AUDIENCE": AUDIENCE,
            "JWKS_ALLOW_HOSTS": f"{LOOPBACK}:{provider.port}",
            "POLICY_SOURCE": f"files:{folder / 'policies'}",
            "DECISION_LOG": str(folder / "decisions.jsonl"),
            "GRPC_PORT": str(grpc_port),
            "SIDECAR_PORT": str(health_port),
            **settings,
        }
        sidecar = spawn(
            "sidecar",
            [sys.executable, "-m", "extauthz", "sidecar"],
            output=folder / "sidecar.log",
            environment=environment,
        )
        stack.callback(sidecar.kill)
        proxy = start_envoy(folder, configuration(ports, grpc_port, workload or upstream.port, check=check))
        stack.callback(proxy.kill)
        sidecar.wait_ready(lambda: http_answers(health_port, "/healthz/ready"), timeout_s=READY_S)
        closed = Posture(careful=True, fail_open=False)
        proxy.wait_ready(lambda: http1(ports[closed], request(b"/")).status == ALLOWED, timeout_s=READY_S)
        upstream.arrivals.clear()
        yield Gate(ports, upstream, provider, sidecar, proxy, grpc_port, folder / "decisions.jsonl")


def start_envoy(folder: Path, document: str) -> Child:
    file = folder / "envoy.yaml"
    file.write_text(document)
    return spawn("envoy", envoy.command(file), output=folder / "envoy.log")
