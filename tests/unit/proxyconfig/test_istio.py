"""Istio's objects: both shapes, every worker reachable, nothing that fails open."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from extauthz.proxyconfig.istio import istio_yaml
from extauthz.proxyconfig.tls import ProxyTls
from extauthz.settings import Settings, load_settings
from tests.certificates import Authority


def settings(**environ: str) -> Settings:
    found = load_settings(environ, serving=False)
    assert isinstance(found, Settings)
    return found


def objects(found: Settings, tls: ProxyTls | None = None) -> dict[str, dict[str, Any]]:
    text = istio_yaml(found, tls=tls)
    assert isinstance(text, str)
    return {document["kind"]: document["spec"] for document in yaml.safe_load_all(text)}


def provider(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    (only,) = found["IstioOperator"]["meshConfig"]["extensionProviders"]
    assert only["name"] == found["AuthorizationPolicy"]["provider"]["name"]
    details: dict[str, Any] = only["envoyExtAuthzGrpc"]
    return details


def test_in_the_same_pod_every_worker_is_a_loopback_endpoint() -> None:
    found = objects(settings(WORKERS="3", GRPC_PORT="9500"))

    assert found["ServiceEntry"]["endpoints"] == [
        {"address": "127.0.0.1", "ports": {"grpc": port}} for port in (9500, 9501, 9502)
    ]
    assert found["ServiceEntry"]["hosts"] == [provider(found)["service"]]
    assert found["ServiceEntry"]["resolution"] == "STATIC"
    assert "Service" not in found


def test_unix_sockets_are_endpoints_without_ports() -> None:
    found = objects(settings(WORKERS="2", GRPC_UDS_DIR="/run/extauthz", GRPC_HOST="0.0.0.0"))

    assert found["ServiceEntry"]["endpoints"] == [
        {"address": "unix:///run/extauthz/worker-0.sock"},
        {"address": "unix:///run/extauthz/worker-1.sock"},
    ]


def test_a_shared_service_scales_by_pods() -> None:
    found = objects(settings(GRPC_HOST="0.0.0.0", GRPC_PORT="9500"))

    assert provider(found)["service"] == "extauthz.extauthz.svc.cluster.local"
    assert [port["port"] for port in found["Service"]["ports"]] == [provider(found)["port"]] == [9500]
    assert "ServiceEntry" not in found

    problems = istio_yaml(settings(GRPC_HOST="0.0.0.0", WORKERS="2"))
    assert isinstance(problems, list)
    assert "WORKERS=1" in problems[0]


def test_the_istio_provider_fails_closed_within_a_short_timeout() -> None:
    found = objects(settings())

    assert provider(found) | {"service": "", "port": 0} == {
        "service": "",
        "port": 0,
        "timeout": "0.2s",
        "failOpen": False,
        "statusOnError": "503",
    }
    assert found["AuthorizationPolicy"]["action"] == "CUSTOM"
    assert found["AuthorizationPolicy"]["rules"] == [{}]
    assert found["PeerAuthentication"]["mtls"] == {"mode": "STRICT"}


def test_identity_headers_are_removed_first_and_paths_have_one_reading() -> None:
    found = objects(settings())

    removal, strict = (patch["patch"] for patch in found["EnvoyFilter"]["configPatches"])
    assert removal["operation"] == "INSERT_FIRST"
    assert removal["value"]["typed_config"]["mutations"] == {
        "request_mutations": [
            {"remove_on_match": {"key_matcher": {"prefix": "x-auth-", "ignore_case": True}}}
        ]
    }
    manager = strict["value"]["typed_config"]
    assert manager["path_with_escaped_slashes_action"] == "REJECT_REQUEST"
    assert manager["common_http_protocol_options"] == {"headers_with_underscores_action": "REJECT_REQUEST"}
    assert found["IstioOperator"]["meshConfig"]["pathNormalization"] == {"normalization": "MERGE_SLASHES"}


def test_headers_of_claims_are_removed_together_with_identity_headers() -> None:
    found = objects(settings(CLAIM_HEADERS="x-user-email,x-a"))

    removal, _ = (patch["patch"] for patch in found["EnvoyFilter"]["configPatches"])
    assert removal["value"]["typed_config"]["mutations"]["request_mutations"][1:] == [
        {"remove": "x-a"},
        {"remove": "x-user-email"},
    ]


@pytest.mark.parametrize("mutual", [False, True])
def test_tls_names_the_trusted_peers(tmp_path: Path, mutual: bool) -> None:
    chain = tmp_path / "cert.pem"
    chain.write_bytes(Authority("ours").issue("extauthz.internal", uris=("spiffe://a/b",)).chain)
    environ = {"GRPC_TLS_CERT": str(chain), "GRPC_TLS_KEY": "key.pem"}
    if mutual:
        environ["GRPC_TLS_CLIENT_CA"] = "ca.pem"
        assert isinstance(istio_yaml(settings(**environ)), list)
    tls = ProxyTls(Path("/ca"), Path("/cert"), Path("/key")) if mutual else ProxyTls()

    found = objects(settings(**environ), tls)["DestinationRule"]["trafficPolicy"]["tls"]

    assert found["subjectAltNames"] == ["extauthz.internal", "spiffe://a/b", "127.0.0.1"]
    assert found["mode"] == ("MUTUAL" if mutual else "SIMPLE")
    assert found["caCertificates"] == ("/ca" if mutual else str(chain))
    assert ("clientCertificate" in found) is mutual
