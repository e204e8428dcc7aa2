"""Parts of connection managers, and what changes them.

Each starts from what `extauthz envoy-config` prints.
"""

import copy
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from extauthz.proxyconfig.envoy import envoy_yaml
from extauthz.settings import Settings, load_settings

Json = dict[str, Any]

CHECK = "envoy.filters.http.ext_authz"
TYPES = "type.googleapis.com/"
HTTP = TYPES + "envoy.extensions.filters.http."
FILTER_CONFIG = TYPES + "envoy.config.route.v3.FilterConfig"
PER_ROUTE = HTTP + "ext_authz.v3.ExtAuthzPerRoute"
MATCHED = TYPES + "envoy.extensions.common.matching.v3.ExtensionWithMatcher"
HEADER_INPUT = {
    "name": "header",
    "typed_config": {
        "@type": TYPES + "envoy.type.matcher.v3.HttpRequestHeaderMatchInput",
        "header_name": "x-skip",
    },
}
SKIP = {
    "name": "skip",
    "typed_config": {"@type": TYPES + "envoy.extensions.filters.common.matcher.action.v3.SkipFilter"},
}  # fmt: skip
ONE_PERCENT = {"default_value": {"numerator": 1}}
NEVER = {"default_value": {"numerator": 0}}
ON = {"default_value": True, "runtime_key": "unset.key"}


@functools.cache
def _printed() -> str:
    settings = load_settings({}, serving=False)
    assert isinstance(settings, Settings)
    # As JSON, which is read a hundred times as fast.
    return json.dumps(yaml.load(str(envoy_yaml(settings)), Loader=yaml.CSafeLoader))


def written(document: Json, folder: Path) -> str:
    """Return a document as YAML, with the files that it names in a folder."""
    text: str = yaml.dump(document, Dumper=yaml.CSafeDumper, sort_keys=False)
    return text.replace("FOLDER", str(folder))


def base() -> Json:
    """Return what `extauthz envoy-config` prints, and the upstream under a second name."""
    document: Json = json.loads(_printed())
    clusters = document["static_resources"]["clusters"]
    (upstream,) = [one for one in clusters if one["name"] == "upstream"]
    # The same servers under another name.
    clusters.append({**copy.deepcopy(upstream), "name": "upstream-too"})
    return document


def manager_of(document: Json) -> Json:
    manager: Json = listener_of(document)["filter_chains"][0]["filters"][0]["typed_config"]
    return manager


def listener_of(document: Json) -> Json:
    listener: Json = document["static_resources"]["listeners"][0]
    return listener


def check_of(manager: Json) -> Json:
    (found,) = [one for one in manager["http_filters"] if one["name"] == CHECK]
    assert isinstance(found, dict)
    return found


def host_of(manager: Json) -> Json:
    host: Json = manager["route_config"]["virtual_hosts"][0]
    return host


def typed_struct(config: Json, kind: str = "xds.type.v3") -> Json:
    inner = dict(config)
    return {"@type": f"{TYPES}{kind}.TypedStruct", "type_url": inner.pop("@type"), "value": inner}


def header_matcher(action: Json, otherwise: Json | None = None) -> Json:
    predicate = {"single_predicate": {"input": HEADER_INPUT, "value_match": {"exact": "yes"}}}
    matcher: Json = {"matcher_list": {"matchers": [{"predicate": predicate, "on_match": {"action": action}}]}}
    return matcher | ({} if otherwise is None else {"on_no_match": {"action": otherwise}})


def header_tree(action: Json) -> Json:
    return {
        "matcher_tree": {
            "input": HEADER_INPUT,
            "exact_match_map": {"map": {"yes": {"action": action}}},
        }
    }


def delegate(config: Json, **more: Any) -> Json:
    kind = HTTP + "composite.v3.ExecuteFilterAction"
    run = {"@type": kind, **more, "typed_config": {"name": "c", "typed_config": config}}
    return {"name": "run", "typed_config": run}


Change = Callable[[Json], None]


def entry(**members: Any) -> Change:
    def change(manager: Json) -> None:
        check_of(manager).update(copy.deepcopy(members))

    return change


def setting(**members: Any) -> Change:
    def change(manager: Json) -> None:
        check_of(manager)["typed_config"].update(copy.deepcopy(members))

    return change


def wrapped(wrap: Callable[[Json], Json], *before: Change) -> Change:
    def change(manager: Json) -> None:
        for one in before:
            one(manager)
        check = check_of(manager)
        check["typed_config"] = wrap(check["typed_config"])

    return change


def in_sequence(*changes: Change) -> Change:
    def change(manager: Json) -> None:
        for one in changes:
            one(manager)

    return change


def per_route(place: str, config: Json, name: str = CHECK) -> Change:
    """Set the configuration of a named filter at one level of the routes."""

    def change(manager: Json) -> None:
        host = host_of(manager)
        route = host["routes"][0]
        match place:
            case "route":
                level = route
            case "virtual host":
                level = host
            case "route configuration":
                level = manager["route_config"]
            case "weighted cluster":
                action = route["route"]
                action.pop("cluster", None)
                clusters = action.setdefault(
                    "weighted_clusters",
                    {"clusters": [{"name": "upstream", "weight": 1}, {"name": "upstream-too", "weight": 1}]},
                )
                level = clusters["clusters"][1]
            case "one of two routes":
                host["routes"].insert(0, {**copy.deepcopy(route), "match": {"path": "/public"}})
                level = host["routes"][0]
            case "one of two hosts":
                other = {**copy.deepcopy(host), "name": "other", "domains": ["other.example.com"]}
                manager["route_config"]["virtual_hosts"].append(other)
                level = other
            case "route in a matcher":
                host["matcher"] = route_matcher(host.pop("routes"))
                level = host["matcher"]["on_no_match"]["action"]["typed_config"]
            case _:
                raise AssertionError(place)
        level.setdefault("typed_per_filter_config", {})[name] = copy.deepcopy(config)

    return change


def route_matcher(routes: list[Json]) -> Json:
    def action(route: Json) -> Json:
        return {
            "name": "route",
            "typed_config": {"@type": TYPES + "envoy.config.route.v3.Route", **copy.deepcopy(route)},
        }

    return header_matcher(action(routes[0]), action(routes[0]))


def answered_here(manager: Json) -> None:
    """Let the only route with a setting answer by itself, and forward nothing."""
    host = host_of(manager)
    route = copy.deepcopy(host["routes"][0])
    route.pop("route")
    route |= {"match": {"path": "/public"}, "direct_response": {"status": 204}}
    route["typed_per_filter_config"] = {CHECK: {"@type": PER_ROUTE, "disabled": True}}
    host["routes"].insert(0, route)


def without_check(manager: Json) -> None:
    manager["http_filters"].remove(check_of(manager))


def upgraded(*, checked: bool) -> Change:
    def change(manager: Json) -> None:
        filters = copy.deepcopy(manager["http_filters"])
        if not checked:
            filters = [one for one in filters if one["name"] != CHECK]
        manager["upgrade_configs"] = [{"upgrade_type": "websocket", "filters": filters}]

    return change


def upgraded_on_the_route(manager: Json) -> None:
    upgraded(checked=False)(manager)
    manager["upgrade_configs"][0]["enabled"] = False
    route = host_of(manager)["routes"][0]["route"]
    route["upgrade_configs"] = [{"upgrade_type": "websocket", "enabled": True}]


def upgrade_off(manager: Json) -> None:
    upgraded(checked=False)(manager)
    manager["upgrade_configs"][0]["enabled"] = False


def asks_the_workload(manager: Json) -> None:
    config = check_of(manager)["typed_config"]
    del config["grpc_service"], config["transport_api_version"]
    uri = {"uri": "http://upstream", "cluster": "upstream-too", "timeout": "1s"}
    config["http_service"] = {"server_uri": uri}


def matched(
    inner: Callable[[Json], Json], matcher: Callable[[Json], Json], key: str = "xds_matcher"
) -> Change:
    def wrap(config: Json) -> Json:
        extension = {"name": "inner", "typed_config": inner(config)}
        return {"@type": MATCHED, "extension_config": extension, key: matcher(config)}

    return wrapped(wrap)


def composite(_: Json) -> Json:
    return {"@type": HTTP + "composite.v3.Composite"}


def same(config: Json) -> Json:
    return config


def chain_of(config: Json) -> Json:
    kind = HTTP + "filter_chain.v3.FilterChainConfig"
    return {"@type": kind, "default_filter_chain": {"filters": [{"name": "inner", "typed_config": config}]}}


def replaced_chain(manager: Json) -> None:
    wrapped(chain_of)(manager)
    cors = {"@type": HTTP + "cors.v3.Cors"}
    kind = HTTP + "filter_chain.v3.FilterChainConfigPerRoute"
    chain = {"@type": kind, "filter_chain": {"filters": [{"name": "inner", "typed_config": cors}]}}
    per_route("route", chain)(manager)


def named_chain(name: str) -> Change:
    def wrap(config: Json) -> Json:
        kind = HTTP + "composite.v3.ExecuteFilterAction"
        run = {"name": "run", "typed_config": {"@type": kind, "filter_chain_name": name}}
        chains = {"known": {"typed_config": [{"name": "c", "typed_config": config}]}}
        return {
            "@type": HTTP + "composite.v3.Composite",
            "named_filter_chains": chains,
            "matcher": header_matcher(run, run),
        }

    return wrapped(wrap)


def nested_matchers(config: Json) -> Json:
    inner = header_matcher(SKIP)
    return {"matcher_list": header_matcher(SKIP)["matcher_list"], "on_no_match": {"matcher": inner}}


OFF = {"@type": FILTER_CONFIG, "disabled": True}
UNASKED = {"@type": PER_ROUTE, "disabled": True}
ASKED = {"@type": PER_ROUTE, "check_settings": {"context_extensions": {"a": "b"}}}
ENABLED = {"@type": FILTER_CONFIG, "config": {}}
METADATA = {
    "filter": "some.filter",
    "path": [{"key": "check"}],
    "value": {"string_match": {"exact": "yes"}},
}

OFF_HERE: dict[str, Json] = {
    "FilterConfig": OFF,
    "ExtAuthzPerRoute": UNASKED,
    "ExtAuthzPerRoute in FilterConfig": {"@type": FILTER_CONFIG, "config": UNASKED},
    "ExtAuthzPerRoute in TypedStruct": typed_struct(UNASKED),
    "in FilterConfig, TypedStruct": {"@type": FILTER_CONFIG, "config": typed_struct(UNASKED, "udpa.type.v1")},
    "a quoted boolean": {"@type": FILTER_CONFIG, "disabled": "true"},
}
PLACES = (
    "route", "virtual host", "route configuration", "weighted cluster", "one of two routes",
    "one of two hosts", "route in a matcher",
)  # fmt: skip
