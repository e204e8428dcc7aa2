"""Configurations that are printed for gateways: accepted by doctor, never open, at the right Service."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from extauthz.proxyconfig.files import examine_files
from extauthz.proxyconfig.findings import Finding
from extauthz.proxyconfig.gateways import gateway_yaml
from extauthz.proxyconfig.tls import ProxyTls
from extauthz.settings import Settings, load_settings
from tests.certificates import Authority
from tests.command_line import run_extauthz

GATEWAYS = ("envoy-gateway", "gateway-api", "contour")


def settings(**environ: str) -> Settings:
    found = load_settings(environ, serving=False)
    assert isinstance(found, Settings)
    return found


def printed(found: Settings, gateway: str, tls: ProxyTls | None = None) -> str:
    text = gateway_yaml(found, gateway, tls=tls)
    assert isinstance(text, str)
    return text


def objects(text: str) -> dict[str, Any]:
    return {document["kind"]: document["spec"] for document in yaml.safe_load_all(text)}


def findings(folder: Path, text: str, **more: Any) -> list[Finding]:
    (folder / "printed.yaml").write_text(text)
    found = examine_files([folder], **more)
    assert isinstance(found, list)
    return found


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("tls")
    made = Authority("proxies").issue("extauthz.extauthz.svc.cluster.local")
    (folder / "tls.crt").write_bytes(made.chain)
    return {"GRPC_TLS_CERT": str(folder / "tls.crt"), "GRPC_TLS_KEY": str(folder / "tls.key")}


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_doctor_finds_nothing_in_what_is_printed(tmp_path: Path, gateway: str, tls: dict[str, str]) -> None:
    text = printed(settings(GRPC_HOST="0.0.0.0", **tls, CLAIM_HEADERS="x-user-email"), gateway)

    assert findings(tmp_path, text, claims=frozenset({"x-user-email"})) == []


@pytest.mark.parametrize(("gateway", "expected"), [
    ("envoy-gateway", []), ("gateway-api", []), ("contour", ["checks-in-plaintext"]),
])  # fmt: skip
def test_without_tls_only_plaintext_is_reported(tmp_path: Path, gateway: str, expected: list[str]) -> None:
    text = printed(settings(), gateway)

    assert [one.code for one in findings(tmp_path, text)] == expected
    assert "set GRPC_HOST=0.0.0.0" in text


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_the_port_of_the_settings_is_asked_and_tls_is_verified(gateway: str, tls: dict[str, str]) -> None:
    text = printed(settings(GRPC_HOST="0.0.0.0", GRPC_PORT="9500", **tls), gateway)
    found = objects(text)

    assert "port: 9500" in text
    name = "extauthz.extauthz.svc.cluster.local"
    if gateway == "contour":
        assert found["ExtensionService"]["protocol"] == "h2"
        assert found["ExtensionService"]["validation"]["subjectNames"][0] == name
    else:
        assert found["BackendTLSPolicy"]["validation"]["hostname"] == name


def test_envoy_gateway_fails_closed_in_time_and_removes_identity_headers() -> None:
    found = objects(printed(settings(GRPC_HOST="0.0.0.0", CLAIM_HEADERS="x-org"), "envoy-gateway"))

    check = found["SecurityPolicy"]["extAuth"]
    assert (check["failOpen"], check["timeout"], check["statusOnError"]) == (False, "200ms", 503)
    early = found["ClientTrafficPolicy"]["headers"]["earlyRequestHeaders"]
    assert early == {"removeOnMatch": [{"type": "Prefix", "value": "x-auth-"}], "remove": ["x-org"]}


def test_external_auth_has_the_members_of_the_gateway_api() -> None:
    found = objects(printed(settings(GRPC_HOST="0.0.0.0"), "gateway-api"))

    (rule,) = found["HTTPRoute"]["rules"]
    (external,) = rule["filters"]
    assert external == {
        "type": "ExternalAuth",
        "externalAuth": {
            "protocol": "GRPC",
            "backendRef": {"name": "extauthz", "namespace": "extauthz", "port": 9191},
            "grpc": {},
        },
    }


@pytest.mark.parametrize("gateway", GATEWAYS)
@pytest.mark.parametrize(
    ("environ", "named"),
    [({"WORKERS": "2"}, "WORKERS=2"), ({"GRPC_UDS_DIR": "/run/extauthz"}, "GRPC_UDS_DIR")],
)
def test_settings_that_no_gateway_can_reach_are_refused(
    gateway: str, environ: dict[str, str], named: str
) -> None:
    problems = gateway_yaml(settings(**environ), gateway)

    assert isinstance(problems, list)
    assert named in problems[0]


@pytest.mark.parametrize("gateway", GATEWAYS)
def test_a_client_certificate_is_the_gateways_own_setting(gateway: str, tls: dict[str, str]) -> None:
    text = printed(settings(GRPC_HOST="0.0.0.0", **tls, GRPC_TLS_CLIENT_CA=tls["GRPC_TLS_CERT"]), gateway)

    assert "GRPC_TLS_CLIENT_CA is set: give" in text


def test_http_is_envoy_that_asks_over_http() -> None:
    environ = {"HTTP_AUTHZ_PORT": "9291"}
    short = run_extauthz("envoy-config", "--for", "http", environ=environ)
    long = run_extauthz("envoy-config", "--for", "envoy", "--transport", "http", environ=environ)

    assert short.returncode == long.returncode == 0
    assert short.stdout == long.stdout
    assert "http_service" in short.stdout


@pytest.mark.parametrize("gateway", ["istio", *GATEWAYS])
def test_gateways_are_asked_over_grpc(gateway: str) -> None:
    finished = run_extauthz("envoy-config", "--for", gateway, "--transport", "http", environ={})

    assert finished.returncode == 2
    assert "--transport http is for --for envoy" in finished.stderr
