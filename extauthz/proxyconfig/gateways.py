"""Builds objects for gateways outside of the pod: Envoy Gateway, the Gateway API's ExternalAuth, Contour.

Input: `Settings` and the proxy's TLS files. Output: YAML, or a list of problems. All three ask the Service
`extauthz` in the namespace `extauthz`, as deploy/kubernetes/overlays/shared and the Helm chart make it.
"""

from typing import Any, Final

from extauthz.domain.loopback import is_loopback
from extauthz.proxyconfig.kubernetes_objects import (
    GATEWAY_GROUP,
    GATEWAY_NAME,
    GATEWAY_NAMESPACE,
    SERVICE,
    SERVICE_NAMESPACE,
    WORKLOAD,
    WORKLOAD_NAMESPACE,
    Object,
    dumped,
    kubernetes_object,
    reference_grant,
)
from extauthz.proxyconfig.listener import (
    CHECK_RETRIES,
    CHECK_TIMEOUT_S,
    IDENTITY_PREFIX,
    RETRY_AFTER_S,
    RETRY_WITHIN_S,
)
from extauthz.proxyconfig.tls import ExpectedPeer, ProxyTls, certified_peer
from extauthz.settings import Settings

_CA: Final = "extauthz-ca"
_TIMEOUT: Final = f"{round(CHECK_TIMEOUT_S * 1000)}ms"

_HEADER: Final = """\
# extauthz behind {gateway}.
# Printed by `extauthz envoy-config --for {name}` from the settings of extauthz: print it again when
# GRPC_PORT, GRPC_TLS_* or CLAIM_HEADERS change, and examine it with `extauthz doctor FILE` after every edit.
# Made for {versions}.
#
{about}{notes}"""
_NO_SERVICE: Final = """\
#   * GRPC_HOST is a loopback address, which no gateway reaches: set GRPC_HOST=0.0.0.0 on the pods.
"""
_CA_MAP: Final = """\
#   * Put the CA of GRPC_TLS_CERT into the key ca.crt of the {kind} {name!r}.
"""

_ENVOY_GATEWAY: Final = """\
#   * SecurityPolicy: every request of the Gateway is checked. A policy of a route replaces the one of its
#     Gateway, so each needs extAuth, too (or mergeType).
#   * ClientTrafficPolicy: identity headers of clients are removed before any filter, paths are read strictly.
#   * ReferenceGrant: lets the policy name a Service of another namespace.
#   * Raw headers (Envoy: encode_raw_headers) and the client's certificate cannot be sent: docs/gateways.md.
"""
_GATEWAY_API: Final = """\
#   * HTTPRoute: ExternalAuth in the filters of each rule; a rule without it is not checked.
#   * ReferenceGrant: lets the route name a Service of another namespace.
#   * The filter sets neither a timeout nor raw headers nor context_extensions, and the order to other
#     filters is the implementation's: docs/gateways.md says what that costs.
"""
_CONTOUR: Final = """\
#   * ExtensionService: the cluster that Contour's Envoy asks; it has no health checks.
#   * HTTPProxy: authorization needs TLS at the virtual host. Routes with permitInsecure are not checked.
#   * Do not remove x-auth-* with requestHeadersPolicy: it runs after the check and takes what extauthz set.
#     Over gRPC extauthz removes those of clients.
#   * Raw headers (Envoy: encode_raw_headers) and a status for errors other than 403 cannot be set:
#     docs/gateways.md.
"""


def gateway_yaml(
    settings: Settings, gateway: str, *, tls: ProxyTls | None = None, body_octets: int | None = None
) -> str | list[str]:
    """Return the YAML for `envoy-gateway`, `gateway-api` or `contour`, or the problems that prevent it.

    A check includes up to `body_octets` of the body; None: no body. Envoy Gateway has no setting for bytes,
    and extauthz reads no text: for it nothing is included.
    """
    if settings.grpc_uds_dir is not None:
        return [f"GRPC_UDS_DIR={settings.grpc_uds_dir}: no gateway reaches a pod's socket; unset it"]
    if settings.workers > 1:
        return [
            (
                f"WORKERS={settings.workers}: a Service forwards to one port of a pod, so other workers "
                "would receive no checks; set WORKERS=1 and run more pods"
            )
        ]
    peer = certified_peer(settings, tls or ProxyTls())
    if isinstance(peer, str):
        return [peer]
    if peer is not None and not (peer.dns or peer.uris):
        return [
            (
                f"GRPC_TLS_CERT {str(settings.grpc_tls_cert)!r} names neither a host nor a URI that a "
                "gateway could verify; issue a certificate with a DNS name"
            )
        ]
    match gateway:
        case "envoy-gateway":
            title, versions, about = "Envoy Gateway", "the API of Envoy Gateway 1.9", _ENVOY_GATEWAY
            documents = _envoy_gateway(settings, peer)
        case "gateway-api":
            title = "an implementation of the Gateway API"
            versions, about = "GEP-1494 (experimental in 1.4 to 1.6)", _GATEWAY_API
            documents = _gateway_api(settings, peer, body_octets)
        case _:
            title, versions, about = "Contour", "the API of Contour 1.33", _CONTOUR
            documents = _contour(settings, peer, body_octets)
    notes = _NO_SERVICE if is_loopback(settings.grpc_host) else ""
    if peer is not None:
        kind = "Secret" if gateway == "contour" else "ConfigMap"
        notes += _CA_MAP.format(kind=kind, name=_CA)
        if settings.grpc_tls_client_ca is not None:
            notes += f"#   * GRPC_TLS_CLIENT_CA is set: {_CLIENT_CERTIFICATES[gateway]}\n"
    header = _HEADER.format(gateway=title, name=gateway, versions=versions, about=about, notes=notes)
    return dumped(header, documents)


_CLIENT_CERTIFICATES: Final = {
    "envoy-gateway": "give the gateway a certificate with EnvoyProxy.spec.backendTLS.clientCertificateRef.",
    "gateway-api": "give the gateway a certificate (Gateway.spec.tls.backend.clientCertificateRef).",
    "contour": "give Envoy a certificate with tls.envoy-client-certificate in Contour's configuration.",
}


def _envoy_gateway(settings: Settings, peer: ExpectedPeer | None) -> list[Object]:
    gateway = {"group": GATEWAY_GROUP, "kind": "Gateway", "name": GATEWAY_NAME}
    check = {
        "failOpen": False,
        # Envoy Gateway's own default is 10 s.
        "timeout": _TIMEOUT,
        "statusOnError": 503,
        "grpc": {
            "backendRefs": [_backend(settings)],
            "backendSettings": {
                "loadBalancer": {"type": "LeastRequest"},
                "healthCheck": {
                    "active": {
                        "type": "GRPC",
                        "grpc": {},
                        "interval": "1s",
                        "timeout": "1s",
                        "unhealthyThreshold": 2,
                        "healthyThreshold": 1,
                    }
                },
                "retry": {
                    "numRetries": CHECK_RETRIES,
                    "retryOn": {"triggers": ["reset", "connect-failure", "refused-stream"]},
                    "perRetry": {
                        "backOff": {
                            "baseInterval": f"{round(RETRY_AFTER_S * 1000)}ms",
                            "maxInterval": f"{RETRY_WITHIN_S}s",
                        }
                    },
                },
            },
        },
    }
    removal: Object = {"removeOnMatch": [{"type": "Prefix", "value": IDENTITY_PREFIX}]}
    if settings.claim_headers:
        removal["remove"] = sorted(settings.claim_headers)
    clients = {
        "targetRefs": [gateway],
        "path": {"escapedSlashesAction": "RejectRequest", "disableMergeSlashes": False},
        "headers": {"withUnderscoresAction": "RejectRequest", "earlyRequestHeaders": removal},
    }
    group = "gateway.envoyproxy.io/v1alpha1"
    return [
        kubernetes_object(
            group,
            "SecurityPolicy",
            "extauthz",
            GATEWAY_NAMESPACE,
            {"targetRefs": [gateway], "extAuth": check},
        ),
        kubernetes_object(group, "ClientTrafficPolicy", "extauthz", GATEWAY_NAMESPACE, clients),
        reference_grant("SecurityPolicy", GATEWAY_NAMESPACE),
        *_backend_tls(peer),
    ]


def _gateway_api(settings: Settings, peer: ExpectedPeer | None, body_octets: int | None) -> list[Object]:
    check: Object = {"protocol": "GRPC", "backendRef": _backend(settings), "grpc": {}}
    if body_octets is not None:
        check["forwardBody"] = {"maxSize": body_octets}
    rule = {
        "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
        "filters": [{"type": "ExternalAuth", "externalAuth": check}],
        "backendRefs": [{"name": WORKLOAD, "port": 80}],
    }
    route = {
        "parentRefs": [{"name": GATEWAY_NAME, "namespace": GATEWAY_NAMESPACE}],
        "hostnames": ["orders.example.com"],
        "rules": [rule],
    }
    return [
        kubernetes_object(f"{GATEWAY_GROUP}/v1", "HTTPRoute", WORKLOAD, WORKLOAD_NAMESPACE, route),
        reference_grant("HTTPRoute", WORKLOAD_NAMESPACE),
        *_backend_tls(peer),
    ]


def _contour(settings: Settings, peer: ExpectedPeer | None, body_octets: int | None) -> list[Object]:
    service: Object = {
        "protocol": "h2c" if peer is None else "h2",
        "services": [{"name": SERVICE, "port": settings.grpc_port}],
        "loadBalancerPolicy": {"strategy": "WeightedLeastRequest"},
        "circuitBreakerPolicy": {"maxRetries": 1024},
        "timeoutPolicy": {"response": _TIMEOUT},
    }
    if peer is not None:
        service["validation"] = {
            "caSecret": _CA,
            "subjectName": peer.names[0],
            "subjectNames": list(peer.names),
        }
    authorization: Object = {
        "extensionRef": {
            "apiVersion": "projectcontour.io/v1alpha1",
            "name": SERVICE,
            "namespace": SERVICE_NAMESPACE,
        },
        "responseTimeout": _TIMEOUT,
        "failOpen": False,
    }
    if body_octets is not None:
        authorization["withRequestBody"] = {
            "maxRequestBytes": body_octets,
            "allowPartialMessage": True,
            "packAsBytes": True,
        }
    host = {
        "fqdn": "orders.example.com",
        "tls": {"secretName": "orders-tls"},
        "authorization": authorization,
    }
    routes = [{"conditions": [{"prefix": "/"}], "services": [{"name": WORKLOAD, "port": 80}]}]
    return [
        kubernetes_object(
            "projectcontour.io/v1alpha1", "ExtensionService", SERVICE, SERVICE_NAMESPACE, service
        ),
        kubernetes_object(
            "projectcontour.io/v1",
            "HTTPProxy",
            WORKLOAD,
            WORKLOAD_NAMESPACE,
            {"virtualhost": host, "routes": routes},
        ),
    ]


def _backend(settings: Settings) -> dict[str, Any]:
    return {"name": SERVICE, "namespace": SERVICE_NAMESPACE, "port": settings.grpc_port}


def _backend_tls(peer: ExpectedPeer | None) -> list[Object]:
    """Return the BackendTLSPolicy of the Service; none if the listener has no TLS."""
    if peer is None:
        return []
    validation: Object = {
        "hostname": peer.dns[0] if peer.dns else f"{SERVICE}.{SERVICE_NAMESPACE}.svc.cluster.local",
        "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": _CA}],
    }
    if not peer.dns:
        # The certificate is authenticated by these names in place of the host name.
        validation["subjectAltNames"] = [{"type": "URI", "uri": name} for name in peer.uris]
    spec = {"targetRefs": [{"group": "", "kind": "Service", "name": SERVICE}], "validation": validation}
    return [kubernetes_object(f"{GATEWAY_GROUP}/v1", "BackendTLSPolicy", "extauthz", SERVICE_NAMESPACE, spec)]
