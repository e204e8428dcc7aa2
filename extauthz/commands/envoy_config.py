"""`extauthz envoy-config`: print a proxy configuration for the current settings."""

import sys
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from extauthz.commands.body_readers import PoliciesNotKnown, body_reader_of
from extauthz.commands.status import BAD_USAGE, OK, fail
from extauthz.proxyconfig.addresses import HostPort, is_address
from extauthz.proxyconfig.envoy import DEFAULT_LISTEN, DEFAULT_UPSTREAM, envoy_yaml
from extauthz.proxyconfig.gateways import gateway_yaml
from extauthz.proxyconfig.istio import istio_yaml
from extauthz.proxyconfig.tls import ProxyTls
from extauthz.settings import Settings, load_settings

Proxy = Literal["envoy", "istio", "envoy-gateway", "gateway-api", "contour", "http"]
"""`http` is Envoy that asks over HTTP: the same as `envoy` with the transport `http`."""

Bodies = Literal["auto", "yes", "no"]
"""Whether checks include bodies; `auto`: where the policies of files read them."""

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
    bodies: Bodies = "auto",
) -> int:
    """Print the configuration; return OK, or BAD_USAGE for options or settings that do not fit.

    `listen` and `upstream` are HOST:PORT; None takes the defaults. `transport` is that of the checks,
    `bodies` whether they include the body of the request.
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
    over_http = "http" in {proxy, transport}
    plan = _bodies(settings, bodies, "http" if over_http else proxy)
    if isinstance(plan, str):
        return fail(plan, BAD_USAGE)
    match proxy:
        case "istio":
            text = istio_yaml(settings, tls=tls, body_octets=plan.octets)
        case "envoy-gateway" | "gateway-api" | "contour":
            text = gateway_yaml(settings, proxy, tls=tls, body_octets=plan.octets)
        case _:
            text = envoy_yaml(
                settings,
                listen=listen_at,
                upstream=upstream_at,
                tls=tls,
                over_http=over_http,
                body_octets=plan.octets,
            )
    if not isinstance(text, str):
        return fail("; ".join(text), BAD_USAGE)
    sys.stdout.write("".join(f"# {line}\n" for line in plan.notes) + text)
    return OK


class _Plan(NamedTuple):
    """How many octets of bodies checks include, None for none, and what the file says about it."""

    octets: int | None
    notes: tuple[str, ...]


_UNREAD: Final = {
    "http": "over HTTP extauthz reads no body",
    "envoy-gateway": "Envoy Gateway sends bodies as text only, of which extauthz reads none",
}
_DENIED: Final = "Allows that need it never match, and denies always do"


def _bodies(settings: Settings, bodies: Bodies, proxy: str) -> _Plan | str:
    """Return what checks include of bodies, or why `--bodies yes` cannot be had."""
    if bodies == "no":
        return _Plan(None, ("Checks include no body (--bodies no).",))
    reader = ""
    if bodies == "auto":
        found = _reader(settings)
        if found is None or isinstance(found, _Plan):
            return found or _Plan(None, ())
        reader = found
    octets = settings.condition_body_max
    unread = _UNREAD.get(proxy) or (None if octets else "CONDITION_BODY_MAX=0: extauthz reads no body")
    if unread is not None:
        if bodies == "yes":
            return f"--bodies yes: {unread}"
        return _Plan(None, (f"WARNING: {reader} reads the body:", f"{unread}. {_DENIED}."))
    purpose = "." if bodies == "yes" else f": {reader} reads it."
    why = [
        f"Checks include up to {octets} bytes of the body (CONDITION_BODY_MAX)" + purpose,
        "Turn that off on routes of gRPC streams and WebSocket (ExtAuthzPerRoute): their clients await",
        "answers before they have sent all.",
    ]
    if proxy == "gateway-api":
        why.append("Whether it comes as bytes is up to the implementation; of text extauthz reads none.")
    return _Plan(octets, tuple(why))


def _reader(settings: Settings) -> str | _Plan | None:
    """Return what reads bodies; None where nothing does. A plan where the policies are not known here."""
    found = body_reader_of(settings)
    if not isinstance(found, PoliciesNotKnown):
        return found
    return _Plan(
        None,
        (
            f"Checks include no body: {found.why}.",
            "Where policies read request.body.* or have routes with mcp, print this with --bodies yes.",
        ),
    )
