"""Builds Istio's objects: the extension provider, its endpoints, and the policies that enable checks.

Input: `Settings` and the proxy's TLS files. Output: YAML, or a list of problems. The listen address selects
the deployment. Loopback or Unix sockets: extauthz is a container of each protected pod, with one endpoint per
worker. Another address: extauthz is a separate Service, whose pods run one worker each, because a Service
forwards to one port of a pod.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from betterproto2 import Casing
from envoy_data_plane.google.protobuf import Any as AnyMessage

from extauthz.domain.loopback import is_loopback
from extauthz.proxyconfig.addresses import HostPort, worker_endpoints
from extauthz.proxyconfig.kubernetes_objects import SERVICE_NAMESPACE, dumped, kubernetes_object
from extauthz.proxyconfig.listener import ACCESS_LOG, CHECK_TIMEOUT_S, identity_removal, strict_reading
from extauthz.proxyconfig.tls import ProxyTls, expected_peer
from extauthz.settings import Settings

PROVIDER: Final = "extauthz"
ROOT_NAMESPACE: Final = "istio-system"
LOCAL_HOST: Final = "extauthz.local"
SERVICE_HOST: Final = "extauthz.extauthz.svc.cluster.local"

_PORT_NAME: Final = "grpc"
_WORKLOADS: Final = {"extauthz": "enforced"}
_MANAGER: Final = "envoy.filters.network.http_connection_manager"

_HEADER: Final = """\
# extauthz under Istio, printed by `extauthz envoy-config --for istio` from the settings of extauthz:
# print it again when WORKERS, GRPC_HOST, GRPC_PORT, GRPC_UDS_DIR, GRPC_TLS_* or CLAIM_HEADERS change.
#
#   * IstioOperator: merge its meshConfig into yours (istioctl, Helm's meshConfig or the ConfigMap `istio`);
#     The timeout is written because Istio's default for a provider is 600 s.
#   * The others: kubectl apply. {shape}
#   * The namespace `default` and the label `extauthz: enforced` stand for your workloads; every workload
#     with the label has every request checked by extauthz.
#   * A provider cannot send raw headers (Envoy: encode_raw_headers). So a comma or `!` in a header of
#     CONDITION_HEADERS, and `!` in a query, make a condition on it unknown: a deny with an unknown
#     condition applies. A path with `!` is refused with 400; %21 is accepted in its place.
#   * Istio evaluates CUSTOM first, then DENY, then ALLOW: extauthz can deny what Istio would allow, and
#     Istio can still deny what extauthz allows.
"""
_IN_THE_POD: Final = "extauthz runs in every pod that has the label."
_SHARED: Final = "extauthz is a separate Deployment: one worker per pod, more pods for more load."


def istio_yaml(
    settings: Settings, *, tls: ProxyTls | None = None, body_octets: int | None = None
) -> str | list[str]:
    """Return the YAML of all objects, or the list of problems that prevent them.

    A check includes up to `body_octets` of the body; None: no body.
    """
    in_the_pod = settings.grpc_uds_dir is not None or is_loopback(settings.grpc_host)
    if not in_the_pod and settings.workers > 1:
        problem = (
            f"WORKERS={settings.workers} with GRPC_HOST={settings.grpc_host}: a Service forwards to one port "
            "of a pod, so other workers would receive no checks; set WORKERS=1 and run more pods"
        )
        return [problem]
    rule = _destination(settings, tls or ProxyTls(), LOCAL_HOST if in_the_pod else SERVICE_HOST)
    if isinstance(rule, str):
        return [rule]
    documents = [
        _mesh(LOCAL_HOST if in_the_pod else SERVICE_HOST, settings.grpc_port, body_octets),
        _service_entry(settings) if in_the_pod else _service(settings),
        rule,
        _envoy_filter(settings.claim_headers),
        kubernetes_object(
            "security.istio.io/v1",
            "PeerAuthentication",
            "extauthz",
            "default",
            {"selector": {"matchLabels": _WORKLOADS}, "mtls": {"mode": "STRICT"}},
        ),
        kubernetes_object(
            "security.istio.io/v1",
            "AuthorizationPolicy",
            "extauthz",
            "default",
            {
                "selector": {"matchLabels": _WORKLOADS},
                "action": "CUSTOM",
                "provider": {"name": PROVIDER},
                # A rule without conditions matches every request; an empty list of rules matches none.
                "rules": [{}],
            },
        ),
    ]
    header = _HEADER.format(shape=_IN_THE_POD if in_the_pod else _SHARED)
    return dumped(header, documents)


def _mesh(host: str, port: int, body_octets: int | None) -> dict[str, Any]:
    provider: dict[str, Any] = {
        "service": host,
        "port": port,
        "timeout": f"{CHECK_TIMEOUT_S}s",
        "failOpen": False,
        "statusOnError": "503",
    }
    if body_octets is not None:
        provider["includeRequestBodyInCheck"] = {
            "maxRequestBytes": body_octets,
            "allowPartialMessage": True,
            "packAsBytes": True,
        }
    mesh = {
        # The EnvoyFilter below, or extauthz with 400, refuses paths that are still ambiguous after this.
        "pathNormalization": {"normalization": "MERGE_SLASHES"},
        "accessLogFile": "/dev/stdout",
        "accessLogEncoding": "JSON",
        "accessLogFormat": json.dumps(ACCESS_LOG),
        "extensionProviders": [{"name": PROVIDER, "envoyExtAuthzGrpc": provider}],
    }
    spec = {"meshConfig": mesh}
    return kubernetes_object("install.istio.io/v1alpha1", "IstioOperator", "extauthz", ROOT_NAMESPACE, spec)


def _service_entry(settings: Settings) -> dict[str, Any]:
    spec = {
        "hosts": [LOCAL_HOST],
        "location": "MESH_EXTERNAL",
        "resolution": "STATIC",
        "ports": [{"name": _PORT_NAME, "number": settings.grpc_port, "protocol": "GRPC"}],
        "endpoints": [_endpoint(place) for place in worker_endpoints(settings)],
    }
    return kubernetes_object("networking.istio.io/v1", "ServiceEntry", "extauthz", ROOT_NAMESPACE, spec)


def _endpoint(place: HostPort | Path) -> dict[str, Any]:
    if isinstance(place, Path):
        # Istio's WorkloadEntry: the address of a Unix socket is an absolute path, without ports.
        return {"address": f"unix://{place}"}
    host = "127.0.0.1" if place.host == "localhost" else place.host
    return {"address": host, "ports": {_PORT_NAME: place.port}}


def _service(settings: Settings) -> dict[str, Any]:
    port = {
        "name": _PORT_NAME,
        "port": settings.grpc_port,
        "targetPort": settings.grpc_port,
        "appProtocol": "grpc",
    }
    spec = {"selector": {"app.kubernetes.io/name": "extauthz"}, "ports": [port]}
    return kubernetes_object("v1", "Service", "extauthz", SERVICE_NAMESPACE, spec)


def _destination(settings: Settings, tls: ProxyTls, host: str) -> dict[str, Any] | str:
    peer = expected_peer(settings, tls)
    if isinstance(peer, str):
        return peer
    # Istio has no active health checks; outlier detection ejects a worker that does not answer.
    policy: dict[str, Any] = {
        "loadBalancer": {"simple": "LEAST_REQUEST"},
        "outlierDetection": {
            "consecutiveGatewayErrors": 3,
            "interval": "1s",
            "baseEjectionTime": "5s",
            "maxEjectionPercent": 50,
        },
    }
    if peer is not None:
        policy["tls"] = {
            "mode": "SIMPLE",
            "caCertificates": str(peer.ca),
            "subjectAltNames": list(peer.names),
        }
        if tls.certificate is not None and tls.key is not None:
            policy["tls"] |= {
                "mode": "MUTUAL",
                "clientCertificate": str(tls.certificate),
                "privateKey": str(tls.key),
            }
    namespace = ROOT_NAMESPACE if host == LOCAL_HOST else SERVICE_NAMESPACE
    spec = {"host": host, "trafficPolicy": policy}
    return kubernetes_object("networking.istio.io/v1", "DestinationRule", "extauthz", namespace, spec)


def _envoy_filter(claim_headers: Iterable[str]) -> dict[str, Any]:
    """Return the EnvoyFilter that removes identity headers and makes path normalisation strict.

    Istio's own API has no settings for either.
    """
    chain = {"filterChain": {"filter": {"name": _MANAGER}}}
    match = {"context": "SIDECAR_INBOUND", "listener": chain}
    removal = {
        "name": "envoy.filters.http.header_mutation",
        "typed_config": AnyMessage.pack(identity_removal(claim_headers)).to_dict(casing=Casing.SNAKE),
    }
    strict = {
        "name": _MANAGER,
        "typed_config": AnyMessage.pack(strict_reading()).to_dict(casing=Casing.SNAKE),
    }
    patches = [
        {"applyTo": "HTTP_FILTER", "match": match, "patch": {"operation": "INSERT_FIRST", "value": removal}},
        {"applyTo": "NETWORK_FILTER", "match": match, "patch": {"operation": "MERGE", "value": strict}},
    ]
    spec = {"workloadSelector": {"labels": _WORKLOADS}, "configPatches": patches}
    return kubernetes_object("networking.istio.io/v1alpha3", "EnvoyFilter", "extauthz", "default", spec)
