"""Places of a connection manager in a configuration, and other listeners of the same Envoy.

A container moves the connection manager of a document elsewhere; `files` receives what the document then
names as `FOLDER/name`.
"""

import copy
from collections.abc import Callable, Iterator
from typing import Any

from tests.proxy_changes import (
    CHECK,
    HTTP,
    METADATA,
    TYPES,
    Json,
    base,
    check_of,
    listener_of,
    manager_of,
    typed_struct,
)

Container = Callable[[Json, dict[str, Json]], None]
ELSEWHERE = {"destination_port": 1}


def plain(document: Json, files: dict[str, Json]) -> None:
    """Leave it where it is."""


def default_chain(document: Json, files: dict[str, Json]) -> None:
    listener = listener_of(document)
    listener["default_filter_chain"] = listener["filter_chains"][0]
    good = copy.deepcopy(listener_of(base())["filter_chains"][0])
    listener["filter_chains"] = [{"filter_chain_match": ELSEWHERE, **good}]


def second_chain(document: Json, files: dict[str, Json]) -> None:
    good = copy.deepcopy(listener_of(base())["filter_chains"][0])
    listener_of(document)["filter_chains"].insert(0, {"filter_chain_match": ELSEWHERE, **good})


def matched_chain(document: Json, files: dict[str, Json]) -> None:
    listener = listener_of(document)
    good = copy.deepcopy(listener_of(base())["filter_chains"][0])
    listener["filter_chains"] = [{"name": "good", **good}, {"name": "it", **listener["filter_chains"][0]}]
    name = {"@type": TYPES + "google.protobuf.StringValue", "value": "it"}
    listener["filter_chain_matcher"] = {"on_no_match": {"action": {"name": "it", "typed_config": name}}}


def second_listener(document: Json, files: dict[str, Json]) -> None:
    good = copy.deepcopy(listener_of(base()))
    document["static_resources"]["listeners"].insert(0, good)


def wrapped_manager(document: Json, files: dict[str, Json]) -> None:
    network = listener_of(document)["filter_chains"][0]["filters"][0]
    network["typed_config"] = typed_struct(network["typed_config"])


def camel_case(document: Json, files: dict[str, Json]) -> None:
    renamed = respelt(document)
    document.clear()
    document.update(renamed)


def respelt(value: Any) -> Any:
    """Spell the members of messages as protobuf's JSON does; names of filters and of metadata stay."""
    match value:
        case dict():
            free = {"json_format", "map", "context_extensions"}
            return {
                name if "." in name or "@" in name else camel(name): member
                if name in free
                else respelt(member)
                for name, member in value.items()
            }
        case list():
            return [respelt(member) for member in value]
    return value


def camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)


def routes_from_a_file(document: Json, files: dict[str, Json]) -> None:
    manager = manager_of(document)
    routes = manager.pop("route_config")
    routes["name"] = "discovered"
    manager["rds"] = {"route_config_name": "discovered", "config_source": from_file("routes.yaml")}
    kind = TYPES + "envoy.config.route.v3.RouteConfiguration"
    files["routes.yaml"] = {"resources": [{"@type": kind, **routes}]}


def scoped_routes(document: Json, files: dict[str, Json]) -> None:
    manager = manager_of(document)
    routes = manager.pop("route_config")
    extractor = {"name": "x-scope", "element_separator": ";", "index": 0}
    manager["scoped_routes"] = {
        "name": "scopes",
        "scope_key_builder": {"fragments": [{"header_value_extractor": extractor}]},
        "rds_config_source": from_file("routes.yaml"),
        "scoped_route_configurations_list": {
            "scoped_route_configurations": [
                {"name": "a", "route_configuration": routes, "key": {"fragments": [{"string_key": "a"}]}}
            ]
        },
    }


def discovered_check(document: Json, files: dict[str, Json]) -> None:
    checks = [one for one in manager_of(document)["http_filters"] if one["name"] == CHECK]
    for check in checks:
        config = check.pop("typed_config")
        types = sorted(types_in(config))
        check["config_discovery"] = {"config_source": from_file("check.yaml"), "type_urls": types}
        kind = TYPES + "envoy.config.core.v3.TypedExtensionConfig"
        files["check.yaml"] = {"resources": [{"@type": kind, "name": CHECK, "typed_config": config}]}


def types_in(config: Json) -> Iterator[str]:
    yield str(config.get("type_url", config["@type"])).removeprefix(TYPES)


def from_file(name: str) -> Json:
    return {"path_config_source": {"path": f"FOLDER/{name}"}, "resource_api_version": "V3"}


CONTAINERS: dict[str, Container] = {
    "plain": plain,
    "default chain": default_chain,
    "second chain": second_chain,
    "chain by matcher": matched_chain,
    "second listener": second_listener,
    "TypedStruct": wrapped_manager,
    "camelCase": camel_case,
    "routes from a file": routes_from_a_file,
    "scoped routes": scoped_routes,
    "check from a file": discovered_check,
}


def tcp_proxy(cluster: str) -> Json:
    kind = TYPES + "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"
    config = {"@type": kind, "stat_prefix": "tcp", "cluster": cluster}
    return {"name": "envoy.filters.network.tcp_proxy", "typed_config": config}


def network_check(**settings: Any) -> Json:
    kind = TYPES + "envoy.extensions.filters.network.ext_authz.v3.ExtAuthz"
    service = {"envoy_grpc": {"cluster_name": "extauthz"}, "timeout": "0.2s"}
    config = {"@type": kind, "stat_prefix": "tcp", "grpc_service": service, **settings}
    return {"name": "envoy.filters.network.ext_authz", "typed_config": config}


def raw_bytes(*filters: Json) -> Container:
    def contain(document: Json, files: dict[str, Json]) -> None:
        default_chain(document, files)
        listener_of(document)["default_filter_chain"] = {"filters": list(filters)}

    return contain


def other_default(document: Json, files: dict[str, Json]) -> None:
    """Let the check be discovered, and another filter stand in for it meanwhile."""
    discovered_check(document, files)
    check = check_of(manager_of(document))
    cors = HTTP + "cors.v3.Cors"
    check["config_discovery"] |= {
        "default_config": {"@type": cors},
        "apply_default_config_without_warming": True,
        "type_urls": [*check["config_discovery"]["type_urls"], cors.removeprefix(TYPES)],
    }
    files["check.yaml"]["resources"] = []


WHOLE: dict[str, tuple[Container, bool]] = {
    "bytes to the workload": (raw_bytes(tcp_proxy("upstream-too")), True),
    "bytes, checked": (raw_bytes(network_check(), tcp_proxy("upstream")), False),
    "bytes, failing open": (
        raw_bytes(network_check(failure_mode_allow=True), tcp_proxy("upstream")), True,
    ),
    "bytes, checked by metadata": (
        raw_bytes(network_check(filter_enabled_metadata=METADATA), tcp_proxy("upstream")), True,
    ),
    "discovered, with another default": (other_default, True),
}  # fmt: skip
