"""Listeners and workloads without a check: errors, warnings, and what needs none."""

import copy
from pathlib import Path
from typing import Any

import pytest

from extauthz.proxyconfig.findings import Severity
from tests.examined_files import ERROR, WARNING, codes, found_in
from tests.proxy_changes import (
    CHECK,
    OFF,
    UNASKED,
    Json,
    base,
    host_of,
    listener_of,
    manager_of,
)


def second_upstream(document: Json) -> Json:
    """Give a virtual host of its own to a cluster of its own, and return the host."""
    clusters = document["static_resources"]["clusters"]
    apart = copy.deepcopy(clusters[1]) | {"name": "apart"}
    endpoint = apart["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
    endpoint["address"]["socket_address"]["port_value"] = 8080
    clusters.append(apart)
    hosts = manager_of(document)["route_config"]["virtual_hosts"]
    host: Json = copy.deepcopy(hosts[0]) | {"name": "apart", "domains": ["apart.example.com"]}
    host["routes"][0]["route"]["cluster"] = "apart"
    hosts.append(host)
    return host


@pytest.mark.parametrize("off", [OFF, UNASKED], ids=["FilterConfig", "ExtAuthzPerRoute"])
def test_a_workload_that_is_never_checked_is_a_warning_where_another_is_checked(
    tmp_path: Path, off: Json
) -> None:
    document = base()
    host = second_upstream(document)
    host["typed_per_filter_config"] = {CHECK: off}

    assert codes(found_in(tmp_path, envoy=document)) == [(WARNING, "check-off")]

    # The same servers as those of a checked route: now the check can be passed by.
    host["routes"][0]["route"]["cluster"] = "upstream-too"
    assert codes(found_in(tmp_path, envoy=document)) == [(ERROR, "check-off")]


def listener_without_check(port: int, **more: Any) -> Json:
    listener: Json = {**copy.deepcopy(listener_of(base())), "name": "other", **more}
    listener["address"]["socket_address"]["port_value"] = port
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    manager["http_filters"] = manager["http_filters"][-1:]
    for name in ("normalize_path", "merge_slashes", "path_with_escaped_slashes_action"):
        del manager[name]
    return listener


@pytest.mark.parametrize(
    ("route", "direction", "expected"),
    [
        ({"cluster": "upstream"}, "INBOUND", [(ERROR, "check-missing")]),
        ({"cluster": "upstream"}, None, [(ERROR, "check-missing")]),
        ({"cluster": "upstream"}, "OUTBOUND", [(WARNING, "check-missing")]),
        ({"cluster": "elsewhere"}, "OUTBOUND", []),
        ({"cluster": "elsewhere"}, None, [(WARNING, "check-missing")]),
        ({"cluster": "admin"}, None, []),
        ({"cluster": "nowhere"}, None, []),
    ],
)
def test_a_listener_without_a_check_is_judged_by_what_it_leads_to(
    tmp_path: Path, route: Json, direction: str | None, expected: list[tuple[Severity, str]]
) -> None:
    document = base()
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 9901}}
    document["admin"] = {"address": address}
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
    document["static_resources"]["clusters"] += [
        {"name": "admin", "type": "STATIC", "load_assignment": {"endpoints": endpoints}},
        {"name": "nowhere", "type": "STATIC"},
        {"name": "elsewhere", "type": "EDS", "eds_cluster_config": {}},
    ]
    more = {} if direction is None else {"traffic_direction": direction}
    other = listener_without_check(10001, **more)
    host_of(other["filter_chains"][0]["filters"][0]["typed_config"])["routes"][0]["route"] = route
    document["static_resources"]["listeners"].append(other)

    assert codes(found_in(tmp_path, envoy=document)) == expected


def test_a_listener_for_probes_needs_no_check(tmp_path: Path) -> None:
    document = base()
    other = listener_without_check(10001)
    route = host_of(other["filter_chains"][0]["filters"][0]["typed_config"])["routes"][0]
    route |= {"match": {"path": "/healthz/ready"}, "route": {"cluster": "agent"}}
    document["static_resources"]["listeners"].append(other)

    assert found_in(tmp_path, envoy=document) == []

    route["route"] = {"cluster": "upstream"}
    assert codes(found_in(tmp_path, envoy=document)) == [(ERROR, "check-missing")]


def test_a_proxy_configuration_without_any_check_is_a_warning(tmp_path: Path) -> None:
    document = base()
    document["static_resources"]["listeners"] = [listener_without_check(10000)]
    clusters = document["static_resources"]["clusters"]
    document["static_resources"]["clusters"] = [one for one in clusters if one["name"] != "extauthz"]

    assert codes(found_in(tmp_path, envoy=document)) == [(WARNING, "check-missing")]
