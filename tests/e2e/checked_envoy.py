"""A sidecar on policy files behind real Envoy, over each transport of a check."""

from collections.abc import Mapping
from typing import Any

import yaml

from extauthz.demo import envoy
from extauthz.demo.calls import send
from extauthz.demo.processes import LOOPBACK
from extauthz.domain.preflight import PREFLIGHT_HEADERS
from tests.e2e.gate import ask_over_http
from tests.e2e.test_envoy_config import READY_S, Parts, validated

TRANSPORTS = ("native", "grpcio", "http")
DENIED = frozenset({401, 403})


def policy_folder(parts: Parts, policies: Mapping[str, Any]) -> str:
    folder = parts.folder / "policies"
    folder.mkdir()
    (folder / "all.yaml").write_text(yaml.safe_dump(dict(policies)))
    return f"files:{folder}"


def checked_envoy(parts: Parts, transport: str, policies: Mapping[str, Any], **settings: str) -> int:
    """Start a sidecar with these policies and the shipped Envoy configuration; return Envoy's port."""
    grpc, http, listener = parts.ports.take(3)
    more = {"GRPC_PORT": str(grpc), "POLICY_SOURCE": policy_folder(parts, policies), **settings}
    if transport == "http":
        more["HTTP_AUTHZ_PORT"] = str(http)
    else:
        more["GRPC_SERVER"] = transport
    parts.sidecar(parts.settings(**more))
    asked = http if transport == "http" else grpc
    document = yaml.safe_load(
        envoy.bootstrap(listener=listener, extauthz=[asked], upstream=parts.upstream_port)
    )
    if transport == "http":
        over_http(document, http)
    return start_envoy(parts, document, listener)


def over_http(document: dict[str, Any], port: int) -> dict[str, Any]:
    """Have the configuration ask over HTTP; return the configuration of the check."""
    resources = document["static_resources"]
    manager = resources["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    (check,) = [each for each in manager["http_filters"] if each["name"].endswith("ext_authz")]
    (cluster,) = [each for each in resources["clusters"] if each["name"] == "extauthz"]
    found: dict[str, Any] = check["typed_config"]
    ask_over_http(found, cluster, port, timeout="0.5s")
    found["allowed_headers"]["patterns"] += [{"exact": name} for name in sorted(PREFLIGHT_HEADERS)]
    return found


def printed_over_http(parts: Parts, policies: Mapping[str, Any], **settings: str) -> int:
    """Start a sidecar, and Envoy with what `envoy-config --transport http` prints; return Envoy's port."""
    grpc, http = parts.ports.take(2)[0], parts.ports.take()[0]
    source = policy_folder(parts, policies)
    environ = parts.settings(GRPC_PORT=str(grpc), HTTP_AUTHZ_PORT=str(http), POLICY_SOURCE=source, **settings)
    parts.sidecar(environ)
    return parts.envoy(environ, "--transport", "http")


def start_envoy(
    parts: Parts, document: Mapping[str, Any], listener: int, denied: frozenset[int] | set[int] = DENIED
) -> int:
    file = parts.folder / f"envoy-{listener}.yaml"
    file.write_text(yaml.safe_dump(dict(document)))
    validated(file)
    proxy = parts.spawn(f"envoy-{listener}", envoy.command(file))
    # No route leads there, and no Envoy answers 401 or 403 by itself: the check has been asked.
    proxy.wait_ready(lambda: send(listener, "/nowhere").status in denied, timeout_s=READY_S)
    return listener


__all__ = ["LOOPBACK", "TRANSPORTS", "checked_envoy", "over_http", "policy_folder", "start_envoy"]
