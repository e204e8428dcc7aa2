"""The answer of /config_dump of an Istio sidecar: the listeners, clusters and filters that Istio makes."""

from typing import Any

Json = dict[str, Any]

ENVOY = "type.googleapis.com/envoy."
BOTH: Json = {"any": True}


def sidecar(*, checked: bool, rule: Json = BOTH, services: int = 5) -> Json:
    """Return a dump; `checked`: a CUSTOM policy selects the workload, with a rule of these permissions."""
    filters = [removal(), selection(rule), check()] if checked else []
    inbound = [
        {"name": "virtualInbound-blackhole", "filters": [tcp("BlackHoleCluster")]},
        {"name": "virtualInbound-catchall-http", "filters": [manager(filters, "InboundPassthroughCluster")]},
        {"name": "virtualInbound", "filters": [tcp("InboundPassthroughCluster")]},
        {"name": "0.0.0.0_9080", "filters": [manager(filters, "inbound|9080||")]},
    ]
    outbound = [
        listener(f"0.0.0.0_{n}", [{"filters": [manager([], None)]}], "OUTBOUND") for n in range(services)
    ]
    plain = [
        listener(f"10.0.0.1_{n}", [{"filters": [tcp(f"outbound|{n}||s")]}], "OUTBOUND")
        for n in range(services)
    ]
    dynamic = [
        listener("virtualInbound", inbound, "INBOUND"),
        listener("virtualOutbound", [{"filters": [tcp("PassthroughCluster")]}], "OUTBOUND"),
        *outbound,
        *plain,
    ]
    static = [
        {"listener": probes("metrics", {"prefix": "/stats/prometheus"}, "prometheus_stats")},
        {"listener": probes("health", {"path": "/healthz/ready"}, "agent")},
    ]
    clusters = [
        cluster("BlackHoleCluster", type="STATIC"),
        cluster("InboundPassthroughCluster", type="ORIGINAL_DST"),
        cluster("PassthroughCluster", type="ORIGINAL_DST"),
        cluster("inbound|9080||", type="ORIGINAL_DST"),
        cluster("outbound|9191||extauthz.local", type="EDS", eds_cluster_config={}, outlier_detection={},
                transport_socket_matches=[{"name": "tls"}]),
    ]  # fmt: skip
    return {
        "configs": [
            {"@type": ENVOY + "admin.v3.BootstrapConfigDump", "bootstrap": bootstrap(static)},
            {"@type": ENVOY + "admin.v3.ClustersConfigDump", "dynamic_active_clusters": clusters},
            {
                "@type": ENVOY + "admin.v3.ListenersConfigDump",
                "static_listeners": static,
                "dynamic_listeners": dynamic,
            },
            {"@type": ENVOY + "admin.v3.RoutesConfigDump", "dynamic_route_configs": [{"route_config": {
                "@type": ENVOY + "config.route.v3.RouteConfiguration", "name": "80",
                "virtual_hosts": [host("outbound|80||s")]}}]},
        ]
    }  # fmt: skip


def bootstrap(static: list[Json]) -> Json:
    return {
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 15000}}},
        "layered_runtime": {"layers": [{"name": "admin", "admin_layer": {}}]},
        "static_resources": {
            "listeners": [one["listener"] for one in static],
            "clusters": [
                {"name": "prometheus_stats", "type": "STATIC", "load_assignment": at(15000)},
                {"name": "agent", "type": "STATIC", "load_assignment": at(15020)},
            ],
        },
    }


def at(port: int) -> Json:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {"endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]}


def listener(name: str, chains: list[Json], direction: str) -> Json:
    made = {
        "@type": ENVOY + "config.listener.v3.Listener",
        "name": name,
        "filter_chains": chains,
        "traffic_direction": direction,
    }
    return {"name": name, "active_state": {"version_info": "1", "listener": made}}


def probes(name: str, match: Json, target: str) -> Json:
    routes = [{"match": match, "route": {"cluster": target}}]
    return {
        "@type": ENVOY + "config.listener.v3.Listener",
        "name": name,
        "filter_chains": [{"filters": [connection_manager([], {"virtual_hosts": [{"routes": routes}]})]}],
    }


def host(target: str) -> Json:
    return {
        "name": "all",
        "domains": ["*"],
        "routes": [{"match": {"prefix": "/"}, "route": {"cluster": target}}],
    }


def manager(filters: list[Json], target: str | None) -> Json:
    return connection_manager(filters, None if target is None else {"virtual_hosts": [host(target)]})


def connection_manager(filters: list[Json], routes: Json | None) -> Json:
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": ENVOY + "extensions.filters.http.router.v3.Router"},
    }
    made: Json = {
        "@type": ENVOY + "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "http_filters": [*filters, router],
        "normalize_path": True,
    }
    if filters:
        made |= {
            "merge_slashes": True,
            "path_with_escaped_slashes_action": "REJECT_REQUEST",
            "common_http_protocol_options": {"headers_with_underscores_action": "REJECT_REQUEST"},
        }
    made |= {"rds": {"route_config_name": "80"}} if routes is None else {"route_config": routes}
    return {"name": "envoy.filters.network.http_connection_manager", "typed_config": made}


def tcp(target: str) -> Json:
    kind = ENVOY + "extensions.filters.network.tcp_proxy.v3.TcpProxy"
    return {"name": "envoy.filters.network.tcp_proxy", "typed_config": {"@type": kind, "cluster": target}}


def cluster(name: str, **more: Any) -> Json:
    return {"cluster": {"@type": ENVOY + "config.cluster.v3.Cluster", "name": name, **more}}


def removal() -> Json:
    matcher = {"prefix": "x-auth-", "ignore_case": True}
    kind = ENVOY + "extensions.filters.http.header_mutation.v3.HeaderMutation"
    mutations = {"request_mutations": [{"remove_on_match": {"key_matcher": matcher}}]}
    return {
        "name": "envoy.filters.http.header_mutation",
        "typed_config": {"@type": kind, "mutations": mutations},
    }


def selection(rule: Json) -> Json:
    """Return the filter by which Istio marks what a CUSTOM policy selects."""
    policy = {
        "permissions": [{"and_rules": {"rules": [rule]}}],
        "principals": [{"and_ids": {"ids": [BOTH]}}],
    }
    return {
        "name": "envoy.filters.http.rbac",
        "typed_config": {
            "@type": ENVOY + "extensions.filters.http.rbac.v3.RBAC",
            "shadow_rules": {
                "action": "DENY",
                "policies": {"istio-ext-authz-ns[a]-policy[b]-rule[0]": policy},
            },
            "shadow_rules_stat_prefix": "istio_ext_authz_",
        },
    }


def check() -> Json:
    service = {"envoy_grpc": {"cluster_name": "outbound|9191||extauthz.local"}, "timeout": "0.2s"}
    return {
        "name": "envoy.filters.http.ext_authz",
        "typed_config": {
            "@type": ENVOY + "extensions.filters.http.ext_authz.v3.ExtAuthz",
            "grpc_service": service,
            "transport_api_version": "V3",
            "status_on_error": {"code": "ServiceUnavailable"},
            "filter_enabled_metadata": {
                "filter": "envoy.filters.http.rbac",
                "path": [{"key": "istio_ext_authz_shadow_effective_policy_id"}],
                "value": {"string_match": {"prefix": "istio-ext-authz"}},
            },
        },
    }
