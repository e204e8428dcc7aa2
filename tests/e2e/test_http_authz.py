"""The HTTP variant behind real Envoy (`http_service`), fail-open and fail-closed, strict and lenient."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from extauthz.demo import envoy
from extauthz.demo.calls import send
from extauthz.demo.processes import LOOPBACK, Child
from tests.e2e.gate import ask_over_http
from tests.e2e.test_envoy_config import READY_S, Parts, parts, validated

__all__ = ["parts"]

SIDECAR: list[str | Path] = [sys.executable, "-m", "extauthz", "sidecar"]
AMBIGUOUS = [
    "/demo/notices/../invoices/17",
    "//demo/notices",
    "/demo/notices;x",
    "/demo%2fnotices",
    "/demo/%2e/x",
]


def configuration(listener: int, authz: int, upstream: int, *, fail_open: bool, strict_paths: bool) -> str:
    """The shipped bootstrap, asking over HTTP instead of gRPC."""
    document = yaml.safe_load(envoy.bootstrap(listener=listener, extauthz=[authz], upstream=upstream))
    resources = document["static_resources"]
    manager: dict[str, Any] = resources["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    filters = {part["name"].rpartition(".")[2]: part for part in manager["http_filters"]}
    (cluster,) = [each for each in resources["clusters"] if each["name"] == "extauthz"]
    check = filters["ext_authz"]["typed_config"]
    ask_over_http(check, cluster, authz, timeout="0.5s")
    check["failure_mode_allow"] = fail_open
    if not strict_paths:
        for name in ("normalize_path", "merge_slashes", "path_with_escaped_slashes_action"):
            del manager[name]
        manager["common_http_protocol_options"].pop("headers_with_underscores_action")
        manager["http_filters"].remove(filters["header_mutation"])
    return yaml.safe_dump(document)


def proxy(parts: Parts, authz: int, *, fail_open: bool, strict_paths: bool = True) -> int:
    (port,) = parts.ports.take()
    file = parts.folder / f"envoy-{port}.yaml"
    text = configuration(port, authz, parts.upstream_port, fail_open=fail_open, strict_paths=strict_paths)
    file.write_text(text)
    validated(file)
    child = parts.spawn("envoy", envoy.command(file))
    child.wait_ready(lambda: send(port, "/demo/notices").status in {200, 403}, timeout_s=READY_S)
    return port


def sidecar(parts: Parts, **more: str) -> tuple[Child, int, Path]:
    (authz,) = parts.ports.take(2)[:1]
    environ = parts.settings(
        GRPC_PORT=str(parts.ports.take(2)[0]), HTTP_AUTHZ_PORT=str(authz), WORKERS="2", **more
    )
    return parts.sidecar(environ), authz, Path(environ["DECISION_LOG"])


@pytest.mark.parametrize("fail_open", [False, True])
def test_requests_pass_or_are_denied_as_the_policies_decide(parts: Parts, *, fail_open: bool) -> None:
    _, authz, log = sidecar(parts)
    port = proxy(parts, authz, fail_open=fail_open)
    second_worker = proxy(parts, authz + 1, fail_open=fail_open)
    alice, bob = parts.token("alice"), parts.token("bob")

    for at in (port, second_worker):
        allowed = send(at, "/demo/invoices/17", token=alice)
        assert allowed.status == 200
        assert allowed.received is not None
        assert allowed.received["x-auth-subject"] == "alice"
        assert "x-service-api-key" not in allowed.received
        denied = send(at, "/demo/invoices/17", token=bob)
        assert (denied.status, denied.reason) == (403, "no_matching_rule")
        assert send(at, "/demo/invoices/sealed-1", token=alice).status == 403
        assert (send(at, "/demo/invoices/17").status, send(at, "/elsewhere").status) == (401, 401)
        assert send(at, "/demo/invoices/17", token="a.b.c").status == 401
        assert send(at, "/demo/notices;x").status == 400
        assert send(at, "/demo/notices", method="HEAD").status == 200

    entrances = {
        json.loads(line)["entrance"] for line in log.read_text().splitlines() if '"decision"' in line
    }
    assert entrances == {"http"}


@pytest.mark.parametrize("fail_open", [False, True])
def test_without_envoys_own_care_paths_and_headers_have_one_reading(parts: Parts, *, fail_open: bool) -> None:
    _, authz, _ = sidecar(parts)
    port = proxy(parts, authz, fail_open=fail_open, strict_paths=False)
    alice = parts.token("alice")

    assert {send(port, path, token=alice).status for path in AMBIGUOUS} == {400}
    spoofed = {"X-Auth-Subject": "root", "x_auth_subject": "root", "x-auth-new": "1", "X-Service-Api-Key": ""}
    assert send(port, "/demo/invoices/17", token=alice, headers=spoofed).status == 401
    del spoofed["X-Service-Api-Key"]
    allowed = send(port, "/demo/invoices/17", token=alice, headers=spoofed)
    assert allowed.status == 200
    assert allowed.received is not None
    ours = {name: value for name, value in allowed.received.items() if "auth" in name and "x" in name[:1]}
    assert ours == {
        "x-auth-subject": "alice",
        "x-auth-kind": "user",
        "x-auth-tenant": "default",
        "x-auth-roles": "finance",
        "x-auth-decision-id": allowed.decision_id,
    }


@pytest.mark.parametrize("fail_open", [False, True])
def test_a_503_of_the_check_is_denied_in_every_failure_mode(parts: Parts, *, fail_open: bool) -> None:
    """No keys: a 5xx here would let every token pass where Envoy fails open."""
    token = parts.token("alice")
    (unused,) = parts.ports.take()
    jwks_uri = f"http://{LOOPBACK}:{unused}/"
    (authz,) = parts.ports.take()
    environ = parts.settings(
        GRPC_PORT=str(parts.ports.take()[0]), HTTP_AUTHZ_PORT=str(authz), JWKS_URI=jwks_uri
    )
    child = parts.spawn("sidecar", SIDECAR, environ)
    port = proxy(parts, authz, fail_open=False)
    if fail_open:
        port = proxy(parts, authz, fail_open=True)

    denied = send(port, "/demo/invoices/17", token=token)
    assert (denied.status, denied.reason) == (403, "keys_unavailable")
    child.kill()
    assert send(port, "/demo/invoices/17", token=token).status == (200 if fail_open else 503)
