"""`extauthz envoy-config`: real Envoy accepts its output, and decides with it as with the shipped file."""

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from envoy_data_plane.envoy.service.auth.v3 import CheckResponse, DeniedHttpResponse
from envoy_data_plane.envoy.type.v3 import HttpStatus, StatusCode
from envoy_data_plane.google.rpc import Status

from extauthz.check.grpc_tls import GrpcTls, TlsIdentity
from extauthz.check.grpcio_server import GrpcioServer
from extauthz.demo import envoy, identity_provider
from extauthz.demo.calls import send
from extauthz.demo.processes import LOOPBACK, Child, ReservedPorts, http_answers, spawn
from extauthz.shipped import shipped
from tests.certificates import Authority
from tests.command_line import run_extauthz
from tests.e2e.demo_servers import DemoServers
from tests.e2e.demo_tokens import demo_token
from tests.light_processes import LIGHT

READY_S = 20.0
PERMISSION_DENIED = 7
DEFAULTS = [("codec_type", "AUTO")]


def printed(environ: Mapping[str, str], *arguments: str) -> str:
    finished = run_extauthz("envoy-config", *arguments, environ=environ)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def validated(configuration: Path) -> None:
    command: list[str | Path] = [
        envoy.binary(),
        "--mode",
        "validate",
        "-c",
        configuration,
        "--disable-hot-restart",
    ]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr


@dataclass
class Parts:
    """What stands around an Envoy under test: the demo's provider, its upstream, and a sidecar's settings."""

    folder: Path
    ports: ReservedPorts
    upstream_port: int
    provider_port: int
    children: list[Child]

    def spawn(self, name: str, command: list[str | Path], environ: Mapping[str, str] | None = None) -> Child:
        child = spawn(name, command, output=self.folder / f"{name}.log", environment=environ)
        self.children.append(child)
        return child

    def settings(self, **more: str) -> dict[str, str]:
        return {
            **LIGHT,
            "AUTH_SERVER_URL": f"http://{LOOPBACK}:{self.provider_port}",
            "OIDC_AUDIENCE": identity_provider.AUDIENCE,
            "POLICY_SOURCE": f"files:{shipped('policies/demo')}",
            "DECISION_LOG": str(self.folder / "decisions.jsonl"),
            "SIDECAR_PORT": str(self.ports.take()[0]),
            **more,
        }

    def sidecar(self, environ: Mapping[str, str]) -> Child:
        child = self.spawn("sidecar", [sys.executable, "-m", "extauthz", "sidecar"], environ)
        child.wait_ready(
            lambda: http_answers(int(environ["SIDECAR_PORT"]), "/healthz/ready"), timeout_s=READY_S
        )
        return child

    def envoy(self, environ: Mapping[str, str], *arguments: str) -> int:
        """Start Envoy with what the command prints; return the port that it listens on."""
        (port,) = self.ports.take()
        places = ["--listen", f"{LOOPBACK}:{port}", "--upstream", f"{LOOPBACK}:{self.upstream_port}"]
        configuration = self.folder / "envoy.yaml"
        configuration.write_text(printed(environ, *places, *arguments))
        validated(configuration)
        proxy = self.spawn("envoy", envoy.command(configuration))
        # Until the first health check has passed Envoy knows no healthy worker and answers 503.
        proxy.wait_ready(lambda: send(port, "/demo/notices").status not in {0, 503}, timeout_s=READY_S)
        return port

    def token(self, name: str) -> str:
        return demo_token(self.provider_port, name)


@pytest.fixture
def parts(tmp_path: Path, servers: DemoServers) -> Iterator[Parts]:
    ports = ReservedPorts()
    made = Parts(tmp_path, ports, servers.upstream, servers.provider, [])
    try:
        yield made
    finally:
        for child in reversed(made.children):
            child.kill()
        ports.release()


def test_requests_pass_or_are_denied_as_the_policies_decide(parts: Parts) -> None:
    first = str(parts.ports.take(2)[0])
    environ = parts.settings(GRPC_PORT=first, WORKERS="2")
    parts.sidecar(environ)

    port = parts.envoy(environ)

    alice, bob = parts.token("alice"), parts.token("bob")
    assert send(port, "/demo/invoices/17", token=bob).status == 403
    assert send(port, "/demo/invoices/17").status == 401
    assert send(port, "/demo/invoices%2f17", token=alice).status == 400
    assert send(port, "/demo/invoices/17", token=alice, headers={"x_auth_subject": "root"}).status == 400
    allowed = send(
        port, "/demo/invoices/17", token=alice, headers={"X-Auth-Subject": "root", "x-auth-new": "1"}
    )
    assert allowed.status == 200
    assert allowed.received is not None
    assert allowed.received["x-auth-subject"] == "alice"
    assert "x-auth-new" not in allowed.received
    parts.children[-1].wait_ready(lambda: "finance-reads-invoices" in access_log(parts), timeout_s=5)
    lines = [json.loads(line) for line in access_log(parts).splitlines() if line.startswith("{")]
    (line,) = [line for line in lines if line["matched_rule_id"] == "finance-reads-invoices"]
    assert line["decision"] == "allow"
    assert line["subject"] == "alice"


def access_log(parts: Parts) -> str:
    return (parts.folder / "envoy.log").read_text()


def test_every_worker_is_asked_and_none_answering_is_503(parts: Parts) -> None:
    # Short: a Unix socket's path has at most 107 bytes.
    sockets = parts.folder / "s"
    sockets.mkdir()
    environ = parts.settings(GRPC_UDS_DIR=str(sockets), WORKERS="2")
    sidecar = parts.sidecar(environ)

    port = parts.envoy(environ)

    token = parts.token("alice")
    assert {send(port, "/demo/invoices/17", token=token).status for _ in range(20)} == {200}
    log = Path(environ["DECISION_LOG"])
    parts.children[-1].wait_ready(lambda: workers_in(log) == {0, 1}, timeout_s=5)
    sidecar.kill()
    assert send(port, "/demo/invoices/17", token=token).status == 503


def workers_in(log: Path) -> set[int]:
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.endswith("}")]
    return {line["worker"] for line in lines if line["event"] == "decision"}


def test_with_tls_envoy_trusts_only_this_certificate(parts: Parts) -> None:
    authority, other = Authority("ours"), Authority("other")
    ours, client = authority.issue("extauthz.internal"), authority.issue("proxy.internal")
    files = {"ca": authority.pem, "cert": ours.chain, "client": client.chain, "client-key": client.key}
    for name, content in files.items():
        (parts.folder / name).write_bytes(content)
    server = denying(ours.chain, ours.key, authority.pem)
    environ = {
        "GRPC_PORT": str(server.start()),
        "GRPC_TLS_CERT": str(parts.folder / "cert"),
        "GRPC_TLS_KEY": str(parts.folder / "key"),
        "GRPC_TLS_CLIENT_CA": str(parts.folder / "ca"),
    }
    server.set_serving(serving=True)
    try:
        proxy = ["--tls-cert", str(parts.folder / "client"), "--tls-key", str(parts.folder / "client-key")]
        port = parts.envoy(environ, *proxy, "--tls-ca", str(parts.folder / "ca"))
        assert send(port, "/").status == 402
        # Without the CA the certificate itself is the anchor.
        port = parts.envoy(environ, *proxy)
        assert send(port, "/").status == 402

        (parts.folder / "cert").write_bytes(other.issue("extauthz.internal").chain)
        (port,) = parts.ports.take()
        configuration = parts.folder / "other.yaml"
        configuration.write_text(printed(environ, "--listen", f"{LOOPBACK}:{port}", *proxy))
        parts.spawn("envoy", envoy.command(configuration)).wait_ready(
            lambda: send(port, "/").status == 503, timeout_s=READY_S
        )
    finally:
        server.drain(0.1)


BODIES = """
role_rules:
  - {id: use, sub: anonymous, dom: "*", obj: "site:use", act: use, effect: allow}
resources:
  - name: "site:use"
    serviceName: shop
    routes: [{methods: ["*"], path: /demo/notices, authentication: optional}]
  - name: "order:place"
    serviceName: shop
    routes: [{methods: [POST], path: /demo/orders, authentication: none}]
attribute_policies:
  - id: small-orders
    name: Orders of a few
    resource: "order:place"
    effect: allow
    format: casbin
    rule_data: request.body.count <= 10
"""


def test_policies_that_read_bodies_get_them_next_to_preflights(parts: Parts) -> None:
    policies = parts.folder / "policies"
    policies.mkdir()
    (policies / "all.yaml").write_text(BODIES)
    environ = parts.settings(
        POLICY_SOURCE=f"files:{policies}", GRPC_PORT=str(parts.ports.take()[0]), CORS_PREFLIGHT="policy"
    )
    parts.sidecar(environ)

    port = parts.envoy(environ)

    def sent(method: str, body: bytes | None, headers: Mapping[str, str]) -> int:
        connection = http.client.HTTPConnection(LOOPBACK, port, timeout=10)
        try:
            connection.request(method, "/demo/orders", body=body, headers=dict(headers))
            return connection.getresponse().status
        finally:
            connection.close()

    def posted(body: bytes) -> int:
        return sent("POST", body, {"content-type": "application/json"})

    assert posted(b'{"count": 10}') == 200
    assert posted(b'{"count": 11}') == 403
    # Longer than what a check includes: the check denies, and Envoy does not answer 413.
    assert posted(b'{"count": 10}' + b" " * 70_000) == 403
    asking = {"origin": "https://app.example.com", "access-control-request-method": "POST"}
    assert sent("OPTIONS", None, asking) == 200
    assert sent("OPTIONS", b"x", asking) == 401


def denying(chain: bytes, key: bytes, client_ca: bytes) -> GrpcioServer:
    """A server that denies with a status of its own, which shows that a request has reached it."""
    response = DeniedHttpResponse(status=HttpStatus(code=StatusCode.PaymentRequired))
    denial = bytes(CheckResponse(status=Status(code=PERMISSION_DENIED), denied_response=response))
    identity = TlsIdentity(chain, key, client_ca)
    return GrpcioServer(lambda *_: denial, [f"{LOOPBACK}:0"], tls=GrpcTls(identity, lambda: None))


def test_the_printed_configuration_equals_the_shipped_bootstrap_without_comments() -> None:
    # Order, the spelling of durations and 64-bit numbers, and defaults are all that may differ.
    assert plain(yaml.safe_load(printed({}))) == plain(
        yaml.safe_load(shipped("envoy/bootstrap.yaml").read_text())
    )


def plain(document: object) -> object:
    match document:
        case dict():
            return {
                name: plain(member) for name, member in document.items() if (name, member) not in DEFAULTS
            }
        case list():
            return [plain(member) for member in document]
        case str() if document.endswith("s") and document[:-1].replace(".", "").isdigit():
            return float(document[:-1])
        case str() if document.isdigit():
            return int(document)
    return document


@pytest.mark.parametrize(
    ("environ", "arguments", "problem"),
    [
        ({"WORKERS": "many", "GRPC_PORT": "0"}, [], "WORKERS is 'many'"),
        ({}, ["--listen", "10000"], "HOST:PORT"),
        ({}, ["--listen", "example.com:10000"], "--listen"),
        ({}, ["--tls-cert", "a.pem"], "--tls-key"),
        ({"GRPC_HOST": "0.0.0.0", "WORKERS": "2"}, ["--for", "istio"], "set WORKERS=1"),
        ({"GRPC_TLS_CERT": "/nowhere", "GRPC_TLS_KEY": "/nowhere"}, [], "GRPC_TLS_CERT '/nowhere'"),
    ],
)
def test_unusable_arguments_are_refused(environ: dict[str, str], arguments: list[str], problem: str) -> None:
    finished = run_extauthz("envoy-config", *arguments, environ=environ)

    assert finished.returncode == 2
    assert finished.stdout == ""
    assert problem in finished.stderr
    assert finished.stderr.count("\n") == 1
