"""The HTTP variant with a path prefix, behind real Envoy with what `envoy-config --transport http` prints."""

from pathlib import Path

import yaml

from extauthz.demo.calls import send
from tests.command_line import run_extauthz
from tests.e2e.checked_envoy import LOOPBACK, printed_over_http, start_envoy
from tests.e2e.test_envoy_config import Parts, parts, printed

__all__ = ["parts"]

POLICIES = {
    "resources": [
        {
            "name": "invoice:read",
            "serviceName": "billing",
            "defaultRoles": ["finance"],
            "routes": [
                {"methods": ["GET"], "path": "/demo/notices", "authentication": "optional"},
                {"methods": ["GET"], "path": "/demo/invoices/{id}"},
                {"methods": ["GET"], "path": "/ext/authz/demo/invoices/{id}", "action": "sealed"},
            ],
        }
    ],
}


def test_the_path_is_what_follows_the_prefix(parts: Parts) -> None:
    port = printed_over_http(parts, POLICIES, HTTP_AUTHZ_PATH_PREFIX="/ext/authz", TOKEN_HEADER="x-my-token")
    alice = parts.token("alice")

    def asked(path: str, **headers: str) -> tuple[int, str | None]:
        found = send(port, path, headers={"x-my-token": alice, "authorization": "Basic eDp5", **headers})
        if found.received is not None:
            assert found.received["authorization"] == "Basic eDp5"
            assert found.received["x-auth-subject"] == "alice"
        return found.status, found.reason

    assert asked("/demo/invoices/7?a=/b") == (200, None)
    assert asked("/demo/invoices/7", **{"X-Auth-Subject": "root", "x-auth-new": "1"}) == (200, None)
    assert asked("/ext/authz/demo/invoices/7") == (403, "no_matching_rule")
    assert asked("/nowhere") == (403, "unmapped_route")
    assert asked("/demo/invoices/7;x") == (400, "path_ambiguous")
    assert send(port, "/demo/invoices/7", headers={"authorization": "Basic eDp5"}).reason == "token_missing"


def test_an_envoy_without_the_prefix_is_denied_and_doctor_says_so(parts: Parts, tmp_path: Path) -> None:
    grpc, http = parts.ports.take(2)[0], parts.ports.take()[0]
    folder = tmp_path / "rules"
    folder.mkdir()
    (folder / "all.yaml").write_text(yaml.safe_dump(POLICIES))
    environ = parts.settings(GRPC_PORT=str(grpc), HTTP_AUTHZ_PORT=str(http), POLICY_SOURCE=f"files:{folder}")
    (listener,) = parts.ports.take()
    places = ["--listen", f"{LOOPBACK}:{listener}", "--upstream", f"{LOOPBACK}:{parts.upstream_port}"]
    document = yaml.safe_load(printed(environ, *places, "--transport", "http"))
    with_prefix = environ | {"HTTP_AUTHZ_PATH_PREFIX": "/check"}
    parts.sidecar(with_prefix)
    start_envoy(parts, document, listener, denied={400})
    alice = parts.token("alice")

    for path in ("/demo/invoices/7", "/check", "/checkout", "/chec/k"):
        found = send(listener, path, token=alice)
        assert (found.status, found.reason) == (400, "request_malformed"), path

    report = run_extauthz("doctor", str(parts.folder / f"envoy-{listener}.yaml"), environ=with_prefix)
    assert "[http-path]" in report.stdout or "http-path" in report.stdout
    fine = run_extauthz("doctor", str(parts.folder / f"envoy-{listener}.yaml"), environ=environ)
    assert "http-path" not in fine.stdout
