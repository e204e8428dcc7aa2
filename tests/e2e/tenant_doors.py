"""Envoy in front of many tenants: a listener for each kind of check, and routes with context extensions.

The client chooses a route of the proxy by its header `x-route`: each names something else to extauthz.
"""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import yaml

from extauthz.demo import envoy
from tests.e2e.gate import ask_over_http
from tests.e2e.tenant_firms import ALL_TENANTS

HOST, TOKEN, OVER_HTTP = "host", "token", "http"
"""The doors into the mesh: TENANT_BINDING=host, =token, and =host once more, asked over HTTP."""
GRPC_DOORS = (HOST, TOKEN)
"""Those that carry the words of the proxy (`CONTEXTS`)."""
DOORS = (*GRPC_DOORS, OVER_HTTP)
UNOWNED = "unowned.local"

CONTEXTS: dict[str, Mapping[str, str]] = {
    **{f"tenant {slug}": {"tenant": slug} for slug in ALL_TENANTS},
    **{
        f"orders of {slug}": {"tenant": slug, "resource": "order:read", "action": "read"}
        for slug in ALL_TENANTS
    },
    "tenant unknown": {"tenant": "umbrella"},
    "tenant empty": {"tenant": ""},
    "tenant in capitals": {"tenant": "ACME"},
    "every tenant": {"tenant": "*"},
    "orders": {"resource": "order:read", "action": "read"},
    "orders of unknown": {"tenant": "umbrella", "resource": "order:read", "action": "read"},
    "resource alone": {"resource": "order:read"},
    "action alone": {"action": "read"},
    "resource alone of acme": {"tenant": "acme", "resource": "order:read"},
    "resource unknown": {"resource": "order:write", "action": "read"},
    "only acme's": {"resource": "only-acme:read", "action": "read"},
    "only acme's of globex": {"tenant": "globex", "resource": "only-acme:read", "action": "read"},
    "others": {"owner": "globex", "x-auth-tenant": "globex"},
}
"""What the proxy adds to the checks of one of its routes, which the client's `x-route` chooses here."""


def configuration(ports: Mapping[str, int], sidecars: Mapping[str, int], upstream: int) -> str:
    """The shipped bootstrap with a listener for each door, and with routes that name what `CONTEXTS` has."""
    document = yaml.safe_load(envoy.bootstrap(listener=0, extauthz=[0], upstream=upstream))
    resources = document["static_resources"]
    (listener,) = resources["listeners"]
    clusters = {cluster["name"]: cluster for cluster in resources["clusters"]}
    resources["clusters"], resources["listeners"] = [clusters["upstream"]], []
    for door, port in ports.items():
        cluster, own = deepcopy(clusters["extauthz"]), deepcopy(listener)
        cluster["name"] = f"extauthz-{door}"
        (endpoint,) = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
        endpoint["endpoint"]["address"]["socket_address"]["port_value"] = sidecars[door]
        own["name"], own["address"]["socket_address"]["port_value"] = door, port
        manager = own["filter_chains"][0]["filters"][0]["typed_config"]
        (check,) = [part for part in manager["http_filters"] if part["name"].endswith("ext_authz")]
        # A worker that shares two cores with the tests may need longer than in production.
        if door == OVER_HTTP:
            ask_over_http(check["typed_config"], cluster, sidecars[door], timeout="2s")
        else:
            service = check["typed_config"]["grpc_service"]
            service["envoy_grpc"]["cluster_name"], service["timeout"] = cluster["name"], "2s"
        (host,) = manager["route_config"]["virtual_hosts"]
        (everything,) = host["routes"]
        host["routes"] = [*(_naming(everything, name) for name in CONTEXTS), everything]
        resources["clusters"].append(cluster)
        resources["listeners"].append(own)
    return yaml.safe_dump(document)


def _naming(everything: Mapping[str, Any], name: str) -> dict[str, Any]:
    per_route = "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute"
    route = deepcopy(dict(everything))
    route["match"]["headers"] = [{"name": "x-route", "string_match": {"exact": name}}]
    settings = {"context_extensions": dict(CONTEXTS[name])}
    route["typed_per_filter_config"] = {
        "envoy.filters.http.ext_authz": {"@type": per_route, "check_settings": settings}
    }
    return route
