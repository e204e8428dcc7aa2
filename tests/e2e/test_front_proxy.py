"""The shipped front proxy in real Envoy: as strict as the bootstrap, and closed around the control plane."""

import contextlib
import http.client
import json
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from extauthz.demo import envoy
from extauthz.demo.processes import ReservedPorts, http_answers, spawn
from extauthz.shipped import shipped
from tests.certificates import Authority

CERTIFICATES = "/etc/envoy/tls"
SHARED = (
    "normalize_path",
    "merge_slashes",
    "path_with_escaped_slashes_action",
    "use_remote_address",
    "internal_address_config",
    "common_http_protocol_options",
    "http2_protocol_options",
    "max_request_headers_kb",
    "request_headers_timeout",
    "http_filters",
    "access_log",
)


def configuration(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(shipped(f"envoy/{name}.yaml").read_text())
    return document


def connection_manager(document: dict[str, Any]) -> dict[str, Any]:
    (listener,) = document["static_resources"]["listeners"]
    manager: dict[str, Any] = listener["filter_chains"][0]["filters"][0]["typed_config"]
    return manager


def cluster(document: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = (each for each in document["static_resources"]["clusters"] if each["name"] == name)
    return dict(found)


def with_certificates(text: str, folder: Path) -> str:
    certificate = Authority("test").issue("orders.example.com")
    (folder / "tls.crt").write_bytes(certificate.chain)
    (folder / "tls.key").write_bytes(certificate.key)
    return text.replace(CERTIFICATES, str(folder))


def test_envoy_accepts_it_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "front-proxy.yaml"
    file.write_text(with_certificates(shipped("envoy/front-proxy.yaml").read_text(), tmp_path))

    finished = subprocess.run(
        [envoy.binary(), "--mode", "validate", "-c", file, "--disable-hot-restart"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert finished.returncode == 0, finished.stderr
    assert "warning" not in finished.stderr


def test_the_front_proxy_has_the_safe_settings_of_the_bootstrap() -> None:
    front, plain = configuration("front-proxy"), configuration("bootstrap")

    for setting in SHARED:
        assert connection_manager(front)[setting] == connection_manager(plain)[setting], setting
    assert cluster(front, "extauthz") == cluster(plain, "extauthz")
    assert front["overload_manager"] == plain["overload_manager"]
    assert front["layered_runtime"] == plain["layered_runtime"]
    assert "admin" not in front


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Envoy with the shipped file, two echoing upstreams behind it, and no server at the port of extauthz."""
    folder = tmp_path_factory.mktemp("front-proxy")
    ports = ReservedPorts()
    listener, upstream, unused = ports.take(3)
    document = yaml.safe_load(with_certificates(shipped("envoy/front-proxy.yaml").read_text(), folder))
    (ingress,) = document["static_resources"]["listeners"]
    ingress["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": listener}
    for each in document["static_resources"]["clusters"]:
        each["type"] = "STATIC"
        (endpoint,) = each["load_assignment"]["endpoints"][0]["lb_endpoints"]
        to = unused if each["name"] == "extauthz" else upstream
        endpoint["endpoint"]["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": to}
    file = folder / "envoy.yaml"
    file.write_text(yaml.safe_dump(document))
    serve = [sys.executable, "-m", "extauthz.demo.upstream", "--port", str(upstream)]
    running = []
    try:
        running.append(spawn("upstream", serve, output=folder / "upstream.log"))
        running[-1].wait_ready(lambda: http_answers(upstream, "/"), timeout_s=15)
        running.append(spawn("Envoy", envoy.command(file), output=folder / "envoy.log"))
        running[-1].wait_ready(lambda: answers(listener), timeout_s=15)
        yield listener
    finally:
        for child in reversed(running):
            child.stop()
        ports.release()


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes


def send(port: int, host: str, path: str, method: str = "GET", **headers: str) -> Answer:
    # The certificate is of the test and for another name; the routes behind it are tested.
    context = ssl._create_unverified_context()
    connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=context)
    with contextlib.closing(connection):
        connection.putrequest(method, path, skip_host=True)
        connection.putheader("host", host)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())


def answers(port: int) -> bool:
    try:
        return send(port, "policies.example.com", "/api/v1/resources").status == 200
    except OSError:
        return False


def test_without_extauthz_nothing_reaches_the_upstream(port: int) -> None:
    assert send(port, "orders.example.com", "/orders/7").status == 503
    assert send(port, f"ORDERS.example.com:{port}", "/orders/7").status == 503


def test_preflights_are_answered_before_anything_is_asked(port: int) -> None:
    headers = {"origin": "https://shop.example.com", "access_control_request_method": "POST"}
    answer = send(port, "orders.example.com", "/orders/7", "OPTIONS", **headers)

    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == "https://shop.example.com"


@pytest.mark.parametrize("path", ["/api/v1/resources", "/api/v1/abac/policies?limit=1"])
def test_a_path_of_signed_policies_passes_without_a_check(port: int, path: str) -> None:
    answer = send(port, "policies.example.com", path, x_auth_subject="mallory")

    assert answer.status == 200
    seen = json.loads(answer.body)
    assert seen["path"] == path
    assert "x-auth-subject" not in seen["headers"]


@pytest.mark.parametrize(
    "path",
    [
        "/admin/tenants",
        "/metrics",
        "/healthz/ready",
        "/api/v1/check",
        "/api/v1/check/",
        "/access/v1/evaluation",
        "/acme/access/v1/evaluation",
        "/.well-known/authzen-configuration",
        "/api/v1/%63heck",
        "/api/v1//check",
        "/api/v1/../../admin/tenants",
        "/api/v1/%2e%2e/%2e%2e/admin/tenants",
        "/api/v1/..%2f..%2fadmin/tenants",
        "/api/v1x/../admin",
    ],
)
def test_internal_paths_are_not_reachable_from_outside(port: int, path: str) -> None:
    assert send(port, "policies.example.com", path, "POST").status in {400, 404}


def test_unknown_hosts_reach_no_upstream(port: int) -> None:
    assert send(port, "elsewhere.example.com", "/").status == 404
