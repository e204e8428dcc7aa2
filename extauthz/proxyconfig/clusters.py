"""Builds the Envoy clusters of the workers (with health checks and TLS) and of the upstream.

Input: `Settings` and the proxy's TLS files. Output: `config.cluster.v3.Cluster`, or the problem as a text.
"""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

from envoy_data_plane.envoy.config.cluster.v3 import (
    CircuitBreakers,
    CircuitBreakersThresholds,
    Cluster,
    ClusterDiscoveryType,
    ClusterLbPolicy,
)
from envoy_data_plane.envoy.config.core.v3 import (
    DataSource,
    HealthCheck,
    HealthCheckGrpcHealthCheck,
    Http2ProtocolOptions,
    KeepaliveSettings,
    TransportSocket,
)
from envoy_data_plane.envoy.config.endpoint.v3 import (
    ClusterLoadAssignment,
    Endpoint,
    LbEndpoint,
    LocalityLbEndpoints,
)
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    CommonTlsContext,
    SubjectAltNameMatcher,
    SubjectAltNameMatcherSanType,
    TlsCertificate,
    TlsParameters,
    TlsParametersTlsProtocol,
    UpstreamTlsContext,
)
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import (
    HttpProtocolOptions,
    HttpProtocolOptionsExplicitHttpConfig,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher
from envoy_data_plane.google.protobuf import Any

from extauthz.proxyconfig.addresses import HostPort, is_address, socket_address, worker_endpoints
from extauthz.proxyconfig.listener import CHECK_CLUSTER, UPSTREAM_CLUSTER
from extauthz.proxyconfig.tls import ProxyTls, expected_peer
from extauthz.settings import Settings

RETRIES_AT_ONCE: Final = 1024
"""Concurrent retries: all checks on a connection may need a retry at once. Envoy's default is three."""


def check_cluster(settings: Settings, tls: ProxyTls) -> Cluster | str:
    """Return the cluster with one endpoint per worker, or the problem as a text."""
    transport = _transport_socket(settings, tls)
    if isinstance(transport, str):
        return transport
    cluster = plain_cluster(CHECK_CLUSTER, worker_endpoints(settings), connect_s=0.2)
    cluster.transport_socket = transport
    cluster.lb_policy = ClusterLbPolicy.LEAST_REQUEST
    cluster.circuit_breakers = CircuitBreakers(
        thresholds=[CircuitBreakersThresholds(max_retries=RETRIES_AT_ONCE)]
    )
    # Keepalive closes the connection to an unresponsive or unreachable worker while no check is in flight.
    keepalive = KeepaliveSettings(interval=timedelta(seconds=5), timeout=timedelta(seconds=2))
    options = HttpProtocolOptions(
        explicit_http_config=HttpProtocolOptionsExplicitHttpConfig(
            http2_protocol_options=Http2ProtocolOptions(connection_keepalive=keepalive)
        )
    )
    cluster.typed_extension_protocol_options = {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": Any.pack(options)
    }
    cluster.health_checks = [health_check(HealthCheck(grpc_health_check=HealthCheckGrpcHealthCheck()))]
    return cluster


def health_check(probe: HealthCheck) -> HealthCheck:
    """Return a health check of workers, made of its probe: each second, off after two failures."""
    second = timedelta(seconds=1)
    probe.timeout = probe.interval = probe.no_traffic_interval = second
    probe.unhealthy_threshold, probe.healthy_threshold = 2, 1
    return probe


def upstream_cluster(upstream: HostPort) -> Cluster:
    """Return the cluster of the protected workload."""
    return plain_cluster(UPSTREAM_CLUSTER, [upstream], connect_s=1.0)


def plain_cluster(name: str, places: Sequence[HostPort | Path], *, connect_s: float) -> Cluster:
    """Return a cluster of these endpoints without more settings."""
    named = any(isinstance(place, HostPort) and not is_address(place.host) for place in places)
    endpoints = [LbEndpoint(endpoint=Endpoint(address=socket_address(place))) for place in places]
    return Cluster(
        name=name,
        type=ClusterDiscoveryType.STRICT_DNS if named else ClusterDiscoveryType.STATIC,
        connect_timeout=timedelta(seconds=connect_s),
        load_assignment=ClusterLoadAssignment(
            cluster_name=name, endpoints=[LocalityLbEndpoints(lb_endpoints=endpoints)]
        ),
    )


def _transport_socket(settings: Settings, tls: ProxyTls) -> TransportSocket | str | None:
    peer = expected_peer(settings, tls)
    if peer is None or isinstance(peer, str):
        return peer
    kinds = SubjectAltNameMatcherSanType
    names = [(kinds.DNS, peer.dns), (kinds.URI, peer.uris), (kinds.IP_ADDRESS, peer.addresses)]
    context = CommonTlsContext(
        tls_params=TlsParameters(tls_minimum_protocol_version=TlsParametersTlsProtocol.TLSv1_2),
        alpn_protocols=["h2"],
        validation_context=CertificateValidationContext(
            trusted_ca=DataSource(filename=str(peer.ca)),
            match_typed_subject_alt_names=[
                SubjectAltNameMatcher(san_type=kind, matcher=StringMatcher(exact=name))
                for kind, found in names
                for name in found
            ],
        ),
    )
    if tls.certificate is not None and tls.key is not None:
        context.tls_certificates = [
            TlsCertificate(
                certificate_chain=DataSource(filename=str(tls.certificate)),
                private_key=DataSource(filename=str(tls.key)),
            )
        ]
    return TransportSocket(
        name="envoy.transport_sockets.tls",
        typed_config=Any.pack(UpstreamTlsContext(common_tls_context=context)),
    )
