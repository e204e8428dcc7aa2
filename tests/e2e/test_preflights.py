"""CORS preflights behind real Envoy with `CORS_PREFLIGHT=policy`."""

import http.client
import json
from collections.abc import Iterator

import pytest

from extauthz.demo.calls import DecisionLogReader, send
from tests.e2e.checked_envoy import LOOPBACK, checked_envoy, policy_folder
from tests.e2e.raw_http import http2_reply, request
from tests.e2e.tenant_firms import DORMANT, granted, refused
from tests.e2e.tenant_mesh import TenantMesh, tenant_mesh
from tests.e2e.test_envoy_config import Parts, parts

__all__ = ["parts"]

ORIGIN = "https://shop.example"
PREFLIGHT = {"origin": ORIGIN, "access-control-request-method": "PUT"}
POLICIES = {
    "resources": [
        {
            "name": "order:write",
            "serviceName": "shop",
            "routes": [{"methods": ["PUT"], "path": "/orders/{id}"}],
        },
        {"name": "any", "serviceName": "shop", "routes": [{"methods": ["*"], "path": "/any"}]},
    ]
}


def options(port: int, path: str, *headers: tuple[str, str], body: bytes = b"") -> tuple[int, str | None]:
    """Send OPTIONS with these header lines, repetitions included; return the status and the reason."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=5)
    try:
        connection.putrequest("OPTIONS", path, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value)
        connection.endheaders(body or None)
        response = connection.getresponse()
        answer = response.read()
        assert answer.startswith(b"{"), (response.status, answer)
        return response.status, json.loads(answer).get("reason")
    finally:
        connection.close()


@pytest.mark.parametrize("transport", ["native", "grpcio"])
def test_a_preflight_passes_where_the_asked_method_has_a_route(parts: Parts, transport: str) -> None:
    port = checked_envoy(parts, transport, POLICIES, CORS_PREFLIGHT="policy")
    log = DecisionLogReader(parts.folder / "decisions.jsonl")

    passed = send(
        port, "/orders/7", method="OPTIONS", headers=PREFLIGHT | {"X-Auth-Subject": "root", "x-auth-new": "1"}
    )

    assert passed.status == 200
    assert passed.received is not None
    assert passed.decision_id is not None
    ours = {name: value for name, value in passed.received.items() if name.startswith("x-auth-")}
    assert ours == {
        "x-auth-kind": "anonymous",
        "x-auth-tenant": "default",
        "x-auth-roles": "anonymous",
        "x-auth-decision-id": passed.decision_id,
    }
    line = log.line(passed.decision_id)
    assert line is not None
    expected: dict[str, object] = {
        "decision": "allow", "reason": "preflight", "matched_rule_id": None, "matched_rule_kind": None,
        "resource": "order:write", "action": "write", "method": "OPTIONS", "principal_kind": "anonymous",
        "authentication": "none", "status": 200, "shadow": [],
    }  # fmt: skip
    assert {name: line[name] for name in expected} == expected

    lines = tuple(PREFLIGHT.items())
    missing, bad = (401, "token_missing"), (401, "token_malformed")
    assert options(port, "/nowhere", *lines) == missing
    assert options(port, "/any", *lines) == missing
    assert options(port, "/orders/7", lines[0]) == missing
    assert options(port, "/orders/7", lines[1]) == missing
    assert options(port, "/orders/7", lines[0], ("access-control-request-method", "POST")) == missing
    assert options(port, "/orders/7", *lines, ("origin", "https://other.example")) == missing
    assert options(port, "/orders/7", *lines, lines[1]) == missing
    assert options(port, "/orders/7", *lines, ("authorization", "Basic eA==")) == bad
    assert options(port, "/orders/7", *lines, ("authorization", "Bearer a.b.c")) == bad
    assert options(port, "/orders/7", *lines, ("cookie", "session=1")) == missing
    assert options(port, "/orders/7", *lines, ("content-length", "2"), body=b"{}") == missing
    assert send(port, "/orders/7", method="PUT", headers=PREFLIGHT).reason == "token_missing"
    assert options(port, "/orders/7", *lines, ("content-length", "0"))[0] == 200


def test_a_body_without_a_length_is_seen_with_the_printed_configuration(parts: Parts) -> None:
    (grpc,) = parts.ports.take()
    environ = parts.settings(
        GRPC_PORT=str(grpc), CORS_PREFLIGHT="policy", POLICY_SOURCE=policy_folder(parts, POLICIES)
    )
    parts.sidecar(environ)
    port = parts.envoy(environ)
    lines = tuple(PREFLIGHT.items())
    chunked = ("transfer-encoding", "chunked")
    fields = (
        (":method", "OPTIONS"),
        (":path", "/orders/7"),
        (":scheme", "http"),
        (":authority", "app.example"),
    )
    over_http2 = [(name.encode(), value.encode()) for name, value in (*fields, *lines)]

    assert options(port, "/orders/7", *lines)[0] == 200
    assert options(port, "/orders/7", *lines, chunked, body=b"0\r\n\r\n")[0] == 200
    with_body = options(port, "/orders/7", *lines, chunked, body=b"2\r\n{}\r\n0\r\n\r\n")
    assert with_body == (401, "token_missing")
    assert http2_reply(port, over_http2).status == 200
    assert http2_reply(port, over_http2, b"{}").status == 401


@pytest.mark.parametrize(("transport", "setting"), [("native", "off"), ("http", "policy")])
def test_where_a_body_may_be_hidden_or_without_the_setting_it_is_a_request_like_others(
    parts: Parts, transport: str, setting: str
) -> None:
    port = checked_envoy(parts, transport, POLICIES, CORS_PREFLIGHT=setting)

    assert options(port, "/orders/7", *PREFLIGHT.items()) == (401, "token_missing")


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TenantMesh]:
    with tenant_mesh(tmp_path_factory.mktemp("mesh"), CORS_PREFLIGHT="policy") as started:
        yield started


def test_a_preflight_of_a_suspended_tenant_is_denied(mesh: TenantMesh) -> None:
    lines = [f"{name}: {value}".encode() for name, value in PREFLIGHT.items()]
    lines[1] = b"access-control-request-method: GET"

    def asked(firm: str, *more: bytes) -> object:
        host = mesh.firms[firm].host.encode()
        return mesh.send(request(b"/orders/7", *lines, *more, method=b"OPTIONS", host=host))

    assert asked("acme") == granted("acme", None)
    assert asked(DORMANT) == refused("tenant_suspended")
    assert asked("acme", b"x-service-api-key: sak_live_x") == refused("api_key_invalid")
