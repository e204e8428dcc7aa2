"""Envoy as gateways configure it: it removes identity headers of clients early, and extauthz sets its own."""

from typing import Any

import pytest
import yaml

from extauthz.demo.calls import send
from extauthz.demo.processes import LOOPBACK
from extauthz.proxyconfig.files import examine_files
from tests.doctor_files import ROOT
from tests.e2e.checked_envoy import policy_folder, start_envoy
from tests.e2e.test_envoy_config import Parts, parts

__all__ = ["parts"]

POLICIES = {
    "resources": [
        {
            "name": "notes",
            "serviceName": "notes",
            "routes": [{"methods": ["GET"], "path": "/notes"}],
            "defaultRoles": ["finance"],
        }
    ],
}


def cilium(listen: int, check: int, upstream: int) -> dict[str, Any]:
    """Return a bootstrap with the resources of Cilium's manifest, which Cilium's agent gives addresses."""
    file = ROOT / "deploy" / "gateways" / "cilium" / "extauthz.yaml"
    resources = next(iter(yaml.safe_load_all(file.read_text())))["spec"]["resources"]
    (listener,) = (one for one in resources if one.pop("@type").endswith(".Listener"))
    listener["address"] = {"socket_address": {"address": LOOPBACK, "port_value": listen}}
    clusters = [one for one in resources if one is not listener]
    for cluster in clusters:
        port = check if cluster["name"].startswith("extauthz/") else upstream
        cluster["type"] = "STATIC"
        address = {"socket_address": {"address": LOOPBACK, "port_value": port}}
        cluster["load_assignment"] = {
            "cluster_name": cluster["name"],
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        }
    return {"static_resources": {"listeners": [listener], "clusters": clusters}}


def as_envoy_gateway(document: dict[str, Any]) -> None:
    """Leave out of the check what Envoy Gateway cannot set."""
    manager = document["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    check = manager["http_filters"][0]["typed_config"]
    for name in ("encode_raw_headers", "include_peer_certificate", "validate_mutations"):
        del check[name]


def without_check(document: dict[str, Any], path: str) -> None:
    """Add a route that is not checked, where only the proxy can remove headers."""
    manager = document["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    routes = manager["route_config"]["virtual_hosts"][0]["routes"]
    off = {"@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute",
           "disabled": True}  # fmt: skip
    per_filter = {"envoy.filters.http.ext_authz": off}
    routes.insert(0, {**routes[0], "match": {"path": path}, "typed_per_filter_config": per_filter})


@pytest.mark.parametrize("gateway", ["cilium", "envoy-gateway"])
def test_identity_headers_are_extauthz_own(parts: Parts, gateway: str) -> None:
    grpc, listen = parts.ports.take(2)
    parts.sidecar(parts.settings(GRPC_PORT=str(grpc), POLICY_SOURCE=policy_folder(parts, POLICIES)))
    document = cilium(listen, grpc, parts.upstream_port)
    if gateway == "envoy-gateway":
        as_envoy_gateway(document)

    without_check(document, "/open")
    start_envoy(parts, document, listen)

    alice, bob = parts.token("alice"), parts.token("bob")
    assert send(listen, "/notes").status == 401
    assert send(listen, "/notes", token=bob).status == 403
    assert send(listen, "/notes%2f..", token=alice).status == 400
    forged = {"X-Auth-Subject": "root", "x-auth-new": "1"}
    allowed = send(listen, "/notes", token=alice, headers=forged)
    assert allowed.status == 200
    assert allowed.received is not None
    assert allowed.received["x-auth-subject"] == "alice"
    assert "x-auth-new" not in allowed.received
    unchecked = send(listen, "/open", headers=forged)
    assert unchecked.received is not None
    assert not any(name.startswith("x-auth-") for name in unchecked.received)
    found = examine_files([parts.folder / f"envoy-{listen}.yaml"])
    assert isinstance(found, list)
    assert "identity-headers" not in {one.code for one in found}
