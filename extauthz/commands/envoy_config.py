"""`extauthz envoy-config`: print a proxy configuration for the current settings."""

import sys
from collections.abc import Mapping
from typing import Final, Literal

from extauthz.commands.status import BAD_USAGE, OK, fail
from extauthz.proxyconfig.addresses import HostPort, is_address
from extauthz.proxyconfig.envoy import DEFAULT_LISTEN, DEFAULT_UPSTREAM, envoy_yaml
from extauthz.proxyconfig.gateways import gateway_yaml
from extauthz.proxyconfig.istio import istio_yaml
from extauthz.proxyconfig.tls import ProxyTls
from extauthz.settings import Settings, load_settings

Proxy = Literal["envoy", "istio", "envoy-gateway", "gateway-api", "contour", "http"]
"""`http` is Envoy that asks over HTTP: the same as `envoy` with the transport `http`."""

_OVER_HTTP: Final = {
    "istio": "deploy/istio/mesh.yaml has Istio's form",
    "envoy-gateway": "over HTTP Envoy Gateway shows extauthz listed headers only; use gRPC",
    "gateway-api": "over HTTP x-auth-* of clients cannot be removed by the Gateway API; use gRPC",
    "contour": "Contour asks over gRPC only",
}


def run(
    environ: Mapping[str, str],
    proxy: Proxy,
    *,
    listen: str | None,
    upstream: str | None,
    tls: ProxyTls,
    transport: Literal["grpc", "http"] = "grpc",
) -> int:
    """Print the configuration; return OK, or BAD_USAGE for options or settings that do not fit.

    `listen` and `upstream` are HOST:PORT; None takes the defaults. `transport` is that of the checks.
    """
    listen_at = HostPort.parse(listen) if listen else DEFAULT_LISTEN
    upstream_at = HostPort.parse(upstream) if upstream else DEFAULT_UPSTREAM
    if listen_at is None or upstream_at is None:
        return fail("--listen and --upstream are HOST:PORT, an IPv6 address in brackets", BAD_USAGE)
    if not is_address(listen_at.host):
        return fail(f"--listen {listen!r} is a name; Envoy listens on an IP address", BAD_USAGE)
    if (tls.certificate is None) != (tls.key is None):
        return fail("--tls-cert and --tls-key go together; give both or none", BAD_USAGE)
    settings = load_settings(environ, serving=False)
    if not isinstance(settings, Settings):
        return fail("; ".join(settings), BAD_USAGE)
    if transport == "http" and proxy in _OVER_HTTP:
        return fail(f"--transport http is for --for envoy; {_OVER_HTTP[proxy]}", BAD_USAGE)
    match proxy:
        case "istio":
            text = istio_yaml(settings, tls=tls)
        case "envoy-gateway" | "gateway-api" | "contour":
            text = gateway_yaml(settings, proxy, tls=tls)
        case _:
            over_http = "http" in {proxy, transport}
            text = envoy_yaml(settings, listen=listen_at, upstream=upstream_at, tls=tls, over_http=over_http)
    if not isinstance(text, str):
        return fail("; ".join(text), BAD_USAGE)
    sys.stdout.write(text)
    return OK
