"""`doctor` where policies read bodies: what is printed sends them, and each change of it is found."""

from pathlib import Path

import pytest
import yaml

from extauthz.proxyconfig.body_settings import BodyNeed
from extauthz.proxyconfig.envoy import envoy_yaml
from extauthz.proxyconfig.files import examine_files
from extauthz.proxyconfig.gateways import gateway_yaml
from extauthz.proxyconfig.istio import istio_yaml
from extauthz.settings import Settings, load_settings

NEED = BodyNeed("the policy 'small'", 65536)


def printed(proxy: str, octets: int | None, **environ: str) -> str:
    settings = load_settings({"OIDC_ENABLED": "false", **environ})
    assert isinstance(settings, Settings), settings
    match proxy:
        case "envoy":
            text = envoy_yaml(settings, body_octets=octets)
        case "istio":
            text = istio_yaml(settings, body_octets=octets)
        case "http":
            text = envoy_yaml(settings, over_http=True, body_octets=octets)
        case _:
            text = gateway_yaml(settings, proxy, body_octets=octets)
    assert isinstance(text, str), text
    return text


def codes(text: str, folder: Path, need: BodyNeed | None = NEED) -> list[str]:
    (folder / "proxy.yaml").write_text(text)
    findings = examine_files([folder / "proxy.yaml"], frozenset(), claims=frozenset(), bodies=need)
    assert isinstance(findings, list)
    return [finding.code for finding in findings if finding.code.startswith("body-")]


SENDING = ("envoy", "istio", "contour", "gateway-api")


@pytest.mark.parametrize("proxy", SENDING)
def test_what_is_printed_sends_bodies_where_policies_read_them(tmp_path: Path, proxy: str) -> None:
    assert codes(printed(proxy, 65536), tmp_path) == []
    assert codes(printed(proxy, None), tmp_path) == ["body-missing"]
    assert codes(printed(proxy, 65535), tmp_path) == ["body-short"]
    assert codes(printed(proxy, None), tmp_path, None) == []


@pytest.mark.parametrize("proxy", ["envoy", "istio", "contour"])
@pytest.mark.parametrize("written", ["false", None])
def test_a_body_that_is_sent_as_text_is_reported(tmp_path: Path, proxy: str, written: str | None) -> None:
    lines = printed(proxy, 65536).splitlines()
    (at,) = [number for number, line in enumerate(lines) if line.strip().lower().startswith("pack")]
    if written is None:
        del lines[at]
    else:
        lines[at] = lines[at].replace("true", written)
    assert codes("\n".join(lines), tmp_path) == ["body-text"]


def test_the_default_size_of_contour_is_reported_as_too_short(tmp_path: Path) -> None:
    text = printed("contour", 65536).replace("maxRequestBytes: 65536", "allowPartialMessage: true", 1)
    text = text.replace("        allowPartialMessage: true\n        packAsBytes", "        packAsBytes", 1)
    assert codes(text, tmp_path) == ["body-short"]


def test_the_route_of_preflights_does_not_count_as_one_that_sends_bodies(tmp_path: Path) -> None:
    assert codes(printed("envoy", 65536, CORS_PREFLIGHT="policy"), tmp_path) == []
    assert codes(printed("envoy", None, CORS_PREFLIGHT="policy"), tmp_path) == ["body-missing"]


@pytest.mark.parametrize(("octets", "found"), [(65536, []), (4096, ["body-short"])])
def test_routes_may_send_what_the_filter_does_not(tmp_path: Path, octets: int, found: list[str]) -> None:
    document = yaml.safe_load(printed("envoy", None))
    manager = document["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    (host,) = manager["route_config"]["virtual_hosts"]
    buffer = {"max_request_bytes": octets, "allow_partial_message": True, "pack_as_bytes": True}
    kind = "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute"
    host["routes"][0]["typed_per_filter_config"] = {
        "envoy.filters.http.ext_authz": {"@type": kind, "check_settings": {"with_request_body": buffer}}
    }
    assert codes(yaml.safe_dump(document), tmp_path) == found


def test_an_envoy_filter_may_send_what_the_provider_does_not(tmp_path: Path) -> None:
    kind = "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz"
    value = {"@type": kind, "with_request_body": {"max_request_bytes": 65536, "pack_as_bytes": True}}
    patch = {
        "applyTo": "HTTP_FILTER",
        "match": {"context": "SIDECAR_INBOUND"},
        "patch": {"operation": "MERGE", "value": {"typed_config": value}},
    }
    more = {
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": {"name": "bodies", "namespace": "istio-system"},
        "spec": {"configPatches": [patch]},
    }
    assert codes(printed("istio", None) + "---\n" + yaml.safe_dump(more), tmp_path) == []


def test_where_no_body_can_be_read(tmp_path: Path) -> None:
    assert codes(printed("envoy-gateway", 65536), tmp_path) == ["body-text"]
    assert codes(printed("http", 65536, HTTP_AUTHZ_PORT="9291"), tmp_path) == ["body-over-http"]
