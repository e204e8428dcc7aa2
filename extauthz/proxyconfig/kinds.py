"""Tables of the Kubernetes kinds that are examined, and of those that cannot configure authorization.

Input: a document. Output: its `Role`. Any other kind is reported as not examined, because an unlisted kind
may decide which requests are checked.
"""

from enum import Enum
from typing import Final

from extauthz.proxyconfig.documents import YamlValue


class Role(Enum):
    """How an object relates to external authorization."""

    EXAMINED = "examined"
    IRRELEVANT = "it cannot carry external authorization"
    UNKNOWN = "not examined"


GATEWAY: Final = "gateway.envoyproxy.io"
GATEWAY_API: Final = "gateway.networking.k8s.io"
CONTOUR: Final = "projectcontour.io"
_ISTIO_NETWORK: Final = "networking.istio.io"
_ISTIO_SECURITY: Final = "security.istio.io"

_EXAMINED: Final = {
    "": {"ConfigMap", "Secret"},
    _ISTIO_NETWORK: {"EnvoyFilter"},
    _ISTIO_SECURITY: {"AuthorizationPolicy", "PeerAuthentication"},
    "install.istio.io": {"IstioOperator"},
    "operator.istio.io": {"IstioControlPlane"},
    "sailoperator.io": {"Istio"},
    GATEWAY: {"SecurityPolicy", "ClientTrafficPolicy"},
    GATEWAY_API: {"HTTPRoute", "GRPCRoute"},
    CONTOUR: {"HTTPProxy", "ExtensionService", "ContourConfiguration", "ContourDeployment"},
    "cilium.io": {"CiliumEnvoyConfig", "CiliumClusterwideEnvoyConfig"},
    "kustomize.config.k8s.io": {"Kustomization", "Component"},
}

_IRRELEVANT_GROUPS: Final = frozenset({
    "", "apps", "batch", "autoscaling", "policy", "rbac.authorization.k8s.io", "storage.k8s.io",
    "snapshot.storage.k8s.io", "coordination.k8s.io", "scheduling.k8s.io", "discovery.k8s.io",
    "apiextensions.k8s.io", "admissionregistration.k8s.io", "apiregistration.k8s.io", "certificates.k8s.io",
    "events.k8s.io", "flowcontrol.apiserver.k8s.io", "node.k8s.io", "resource.k8s.io", "metrics.k8s.io",
    "authentication.k8s.io", "authorization.k8s.io", "autoscaling.k8s.io", "apps.openshift.io",
    "security.openshift.io", "kubelet.config.k8s.io", "kubeadm.k8s.io", "kubeproxy.config.k8s.io",
    "kind.x-k8s.io", "audit.k8s.io", "external-secrets.io", "generators.external-secrets.io",
    "cert-manager.io", "acme.cert-manager.io", "trust.cert-manager.io", "monitoring.coreos.com",
    "keda.sh", "bitnami.com", "postgresql.cnpg.io", "secrets-store.csi.x-k8s.io", "telemetry.istio.io",
})  # fmt: skip
_IRRELEVANT: Final = {
    "extensions": {"Deployment", "DaemonSet", "ReplicaSet", "NetworkPolicy", "PodSecurityPolicy"},
    "networking.k8s.io": {"NetworkPolicy", "IngressClass", "IPAddress", "ServiceCIDR"},
    _ISTIO_NETWORK: {
        "VirtualService", "Gateway", "DestinationRule", "ServiceEntry", "Sidecar", "WorkloadEntry",
        "WorkloadGroup", "ProxyConfig",
    },
    _ISTIO_SECURITY: {"RequestAuthentication"},
    GATEWAY: {"Backend", "BackendTrafficPolicy", "HTTPRouteFilter", "EnvoyGateway"},
    GATEWAY_API: {"Gateway", "GatewayClass", "ReferenceGrant", "BackendTLSPolicy", "ListenerSet"},
    CONTOUR: {"TLSCertificateDelegation"},
    "cilium.io": {
        "CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy", "CiliumEndpoint", "CiliumIdentity",
    },
}  # fmt: skip
_FILES: Final = (
    frozenset({"groups"}),  # Prometheus: rules
    frozenset({"rule_files", "tests"}),  # Prometheus: tests of rules
    frozenset({"scrape_configs"}),  # Prometheus: its configuration
    frozenset({"config_map_generator"}),
    frozenset({"secret_generator"}),
    frozenset({"framework", "skip-check"}),  # Checkov
    frozenset({"panels", "schema_version"}),  # Grafana: a dashboard
)


def role_of(document: YamlValue) -> Role:
    """Return the role of an object of the Kubernetes API."""
    kind, group = document.word("kind") or "", group_of(document)
    if kind in _EXAMINED.get(group, ()):
        return Role.EXAMINED
    if kind in _IRRELEVANT.get(group, ()):
        return Role.IRRELEVANT
    if group in _IRRELEVANT_GROUPS and document.word("api_version") is not None:
        return Role.IRRELEVANT
    return Role.UNKNOWN


def is_object(document: YamlValue) -> bool:
    """Return whether a document has a kind."""
    return bool(document.word("kind"))


def is_of(document: YamlValue, group: str, kind: str) -> bool:
    """Return whether a document is an object of an API group and kind."""
    return document.word("kind") == kind and group_of(document) == group


def group_of(document: YamlValue) -> str:
    """Return the API group of an object; empty for the core group."""
    version = document.word("api_version") or ""
    return version.rpartition("/")[0]


def is_other_file(document: YamlValue) -> bool:
    """Return whether a document without a kind is a known file format that configures no proxy."""
    return any(all(document.at(name) is not None for name in names) for names in _FILES)
