"""The findings of doctor in Envoy configurations, by the meaning of a setting in its place."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from extauthz.proxyconfig.files import examine_files
from extauthz.proxyconfig.findings import Finding, Severity
from extauthz.shipped import shipped
from tests.istio_dump import sidecar
from tests.proxy_changes import (
    CHECK,
    CLOSED,
    ENABLED,
    HTTP,
    OFF,
    ON,
    ONE_PERCENT,
    OPENING,
    PER_ROUTE,
    TYPES,
    UNASKED,
    Json,
    base,
    check_of,
    host_of,
    listener_of,
    manager_of,
    setting,
    typed_struct,
)
from tests.proxy_containers import CONTAINERS
from tests.proxy_mutants import mutants

ERROR, WARNING, INFO = Severity.ERROR, Severity.WARNING, Severity.INFO
CONDITIONS = frozenset({"x-mode"})


def found_in(
    folder: Path, conditions: frozenset[str] | None = frozenset(), **documents: Any
) -> list[Finding]:
    for name, document in documents.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    found = examine_files([folder], conditions)
    assert isinstance(found, list)
    return found


def codes(found: list[Finding]) -> list[tuple[Severity, str]]:
    return [(one.severity, one.code) for one in found]


def changed(change: Callable[[Json], None]) -> Json:
    document = base()
    change(manager_of(document))
    return document


@pytest.mark.parametrize("mutant", list(mutants()), ids=lambda one: one.name)
def test_a_mutant_is_an_error_exactly_if_envoy_lets_requests_pass(tmp_path: Path, mutant: Any) -> None:
    # tests/e2e/test_doctor_against_envoy.py holds `opens` against real Envoy.
    found = found_in(tmp_path, envoy=mutant.document, **{
        name.removesuffix(".yaml"): document for name, document in mutant.files.items()
    })  # fmt: skip

    assert any(one.severity is ERROR for one in found) is mutant.opens
    assert all(one.file and one.line for one in found)


@pytest.mark.parametrize(
    ("change", "code", "at"),
    [
        ("disabled", "check-off", "disabled: true"),
        ("metadata", "check-partial", "filter: some.filter"),
        ("1 percent, not denied", "check-partial", "default_value:"),
        ("FilterConfig at the route", "check-off", "disabled: true"),
        ("FilterConfig at the weighted cluster", "check-off", "disabled: true"),
        ("ExtAuthzPerRoute at the virtual host", "check-off", "disabled: true"),
        ("skipped", "check-partial", "SkipFilter"),
        ("shadow mode", "check-partial", "shadow_mode: true"),
        ("asks the workload", "check-off", "cluster: upstream-too"),
    ],
)
def test_the_line_is_that_of_the_setting(tmp_path: Path, change: str, code: str, at: str) -> None:
    (error,) = [one for one in found_in(tmp_path, envoy=changed(OPENING[change])) if one.severity is ERROR]

    assert error.code == code
    assert at in (tmp_path / "envoy.yaml").read_text().splitlines()[(error.line or 0) - 1]


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


def test_a_dump_of_an_istio_sidecar_has_no_false_errors(tmp_path: Path) -> None:
    checked = found_in(tmp_path, dump=sidecar(checked=True))
    assert [one for one in checked if one.severity is ERROR] == []
    # Plain TCP to the original destination is reported once.
    assert codes(checked).count((WARNING, "check-missing")) == 1

    unchecked = found_in(tmp_path, dump=sidecar(checked=False, services=20))
    assert codes(unchecked) == [(WARNING, "check-missing")]


def test_selected_and_unselected_istio_workloads_are_distinguished(tmp_path: Path) -> None:
    one_path = {"url_path": {"path": {"exact": "/a"}}}

    found = found_in(tmp_path, dump=sidecar(checked=True, rule=one_path))

    assert (WARNING, "check-partial") in codes(found)
    assert ERROR not in {one.severity for one in found}


@pytest.mark.parametrize("shape", ["dump", "lists", "resources", "nested values", "camel case"])
@pytest.mark.parametrize("change", ["disabled", "FilterConfig at the route", "unchanged"])
def test_the_same_configuration_is_found_in_every_envelope(tmp_path: Path, shape: str, change: str) -> None:
    document = changed((OPENING | CLOSED)[change])
    resources = document["static_resources"]
    listener = {"@type": TYPES + "envoy.config.listener.v3.Listener", **resources["listeners"][0]}
    envelopes: dict[str, Any] = {
        "dump": {
            "configs": [
                {
                    "@type": TYPES + "envoy.admin.v3.BootstrapConfigDump",
                    "bootstrap": {"static_resources": resources},
                },
                {
                    "@type": TYPES + "envoy.admin.v3.ListenersConfigDump",
                    "static_listeners": [{"listener": listener}],
                },
            ]
        },
        "lists": resources["listeners"],
        "resources": {"version_info": "1", "resources": [listener]},
        "nested values": {"proxy": {"config": {"bootstrap": document}}},
        "camel case": {"staticResources": {"listeners": resources["listeners"]}},
    }

    found = found_in(tmp_path, envoy=envelopes[shape])

    assert [one.code for one in found if one.severity is ERROR] == (
        [] if change == "unchanged" else ["check-off"]
    )
    assert "file-unknown" not in {one.code for one in found}


def test_references_to_other_files_are_followed_and_missing_ones_reported(tmp_path: Path) -> None:
    document, files = base(), dict[str, Json]()
    CONTAINERS["routes from a file"](document, files)
    CONTAINERS["check from a file"](document, files)

    alone = found_in(tmp_path, envoy=document)
    assert codes(alone) == [(WARNING, "check-unknown")]
    with_routes = found_in(tmp_path, routes=files["routes.yaml"])
    assert codes(with_routes) == [(WARNING, "check-unknown")]
    with_all = found_in(tmp_path, check=files["check.yaml"])
    assert with_all == []


def test_routes_alone_are_judged_as_if_the_check_was_on(tmp_path: Path) -> None:
    routes = manager_of(changed(OPENING["FilterConfig at the one of two routes"]))["route_config"]
    kind = TYPES + "envoy.config.route.v3.RouteConfiguration"

    assert codes(found_in(tmp_path, routes={"resources": [{"@type": kind, **routes}]})) == [
        (ERROR, "check-off")
    ]


def test_a_single_filter_is_examined(tmp_path: Path) -> None:
    check = check_of(manager_of(changed(OPENING["metadata"])))

    assert codes(found_in(tmp_path, check={"resources": [check["typed_config"]]})) == [
        (ERROR, "check-partial")
    ]


@pytest.mark.parametrize(
    ("conditions", "raw", "expected"),
    [
        (CONDITIONS, True, []),
        (CONDITIONS, False, [(ERROR, "headers-joined")]),
        (CONDITIONS, None, [(ERROR, "headers-joined")]),
        (frozenset(), None, [(INFO, "headers-joined")]),
        (None, None, [(WARNING, "headers-joined")]),
        (None, True, []),
    ],
)
def test_a_proxy_that_joins_headers_is_found(
    tmp_path: Path,
    conditions: frozenset[str] | None,
    raw: bool | None,
    expected: list[tuple[Severity, str]],
) -> None:
    document = changed(setting(encode_raw_headers=raw))

    assert codes(found_in(tmp_path, conditions, envoy=document)) == expected


@pytest.mark.parametrize("wrap", [typed_struct, lambda config: config], ids=["TypedStruct", "plain"])
def test_joined_headers_are_found_inside_of_wrappings(tmp_path: Path, wrap: Callable[[Json], Json]) -> None:
    document = changed(setting(encode_raw_headers=False))
    check = check_of(manager_of(document))
    check["typed_config"] = wrap(check["typed_config"])

    assert codes(found_in(tmp_path, CONDITIONS, envoy=document)) == [(ERROR, "headers-joined")]


def test_over_http_raw_headers_cannot_be_seen(tmp_path: Path) -> None:
    def over_http(manager: Json) -> None:
        config = check_of(manager)["typed_config"]
        del config["grpc_service"], config["transport_api_version"]
        uri = {"uri": "http://extauthz", "cluster": "extauthz", "timeout": "0.2s"}
        config["http_service"] = {"server_uri": uri}

    assert codes(found_in(tmp_path, CONDITIONS, envoy=changed(over_http))) == [(INFO, "headers-joined")]


def test_condition_headers_of_a_manifest_count(tmp_path: Path) -> None:
    container = {"name": "extauthz", "env": [{"name": "CONDITION_HEADERS", "value": "X-Mode"}]}
    pod = {"enableServiceLinks": False, "containers": [container]}
    manifest = {"apiVersion": "v1", "kind": "Pod", "spec": pod}
    document = changed(setting(encode_raw_headers=False))

    assert codes(found_in(tmp_path, None, envoy=document, pod=manifest)) == [(ERROR, "headers-joined")]


@pytest.mark.parametrize(
    ("name", "patterns", "hides_path"),
    [
        ("allowed_headers", [{"prefix": ""}], False),
        ("allowed_headers", [{"exact": "authorization"}], True),
        ("allowed_headers", [{"exact": ":PATH", "ignore_case": True}], False),
        ("allowed_headers", [{"safe_regex": {"regex": "x-.*"}}], True),
        ("disallowed_headers", [{"exact": "cookie"}], False),
        ("disallowed_headers", [{"prefix": ":"}], True),
        ("disallowed_headers", [{"suffix": "path"}], True),
    ],
)
def test_headers_that_are_withheld_are_found_and_the_raw_path_among_them(
    tmp_path: Path, name: str, patterns: list[Json], hides_path: bool
) -> None:
    (found,) = found_in(tmp_path, envoy=changed(setting(**{name: {"patterns": patterns}})))

    assert (found.severity, found.code) == (WARNING, "headers-withheld")
    assert (":path" in found.message) is hides_path


def test_a_member_in_two_spellings_is_refused(tmp_path: Path) -> None:
    # Envoy takes one of the two without a word.
    document = changed(setting(failureModeAllow=False))

    assert (ERROR, "file-unreadable") in codes(found_in(tmp_path, envoy=document))


def test_numbers_of_enumerations_are_read(tmp_path: Path) -> None:
    document = base()
    manager = manager_of(document)
    manager["path_with_escaped_slashes_action"] = 2
    manager["common_http_protocol_options"]["headers_with_underscores_action"] = 1

    assert found_in(tmp_path, envoy=document) == []


def test_a_cache_before_the_check_is_an_error(tmp_path: Path) -> None:
    def cached(manager: Json) -> None:
        cache = {"@type": HTTP + "cache.v3.CacheConfig"}
        manager["http_filters"].insert(1, {"name": "cache", "typed_config": cache})

    assert codes(found_in(tmp_path, envoy=changed(cached))) == [(ERROR, "check-after-cache")]


def test_two_authorizers_of_which_one_is_never_used_are_reported(tmp_path: Path) -> None:
    def two(manager: Json) -> None:
        other = copy.deepcopy(check_of(manager)) | {"name": "other", "disabled": True}
        other["typed_config"]["grpc_service"]["envoy_grpc"]["cluster_name"] = "opa"
        manager["http_filters"].insert(2, other)

    assert codes(found_in(tmp_path, envoy=changed(two))) == [(WARNING, "check-off")]


def test_each_route_may_have_an_authorizer_of_its_own(tmp_path: Path) -> None:
    # As Envoy Gateway writes it: filters that are off, each enabled on the routes of its policy.
    def apart(manager: Json) -> None:
        check = check_of(manager)
        second = copy.deepcopy(check)
        check |= {"name": "first", "disabled": True}
        second |= {"name": "second", "disabled": True}
        manager["http_filters"].insert(2, second)
        (route,) = host_of(manager)["routes"]
        other = {**copy.deepcopy(route), "match": {"path": "/public"}}
        route["typed_per_filter_config"] = {"first": ENABLED}
        other["typed_per_filter_config"] = {"second": ENABLED}
        host_of(manager)["routes"].insert(0, other)

    assert found_in(tmp_path, envoy=changed(apart)) == []


def test_the_timeout_of_a_route_is_judged_too(tmp_path: Path) -> None:
    service = {"envoy_grpc": {"cluster_name": "extauthz"}, "timeout": "600s"}
    settings = {"@type": PER_ROUTE, "check_settings": {"grpc_service": service}}
    document = base()
    host_of(manager_of(document))["typed_per_filter_config"] = {CHECK: settings}

    assert codes(found_in(tmp_path, envoy=document)) == [(ERROR, "timeout-long")]


def test_a_changeable_runtime_is_reported(tmp_path: Path) -> None:
    share = {"default_value": {"numerator": 100}, "runtime_key": "check.share"}
    document = changed(setting(filter_enabled=share))
    assert found_in(tmp_path, envoy=document) == []

    document["admin"] = {"address": {"pipe": {"path": "/run/admin"}}}
    assert codes(found_in(tmp_path, envoy=document)) == [(WARNING, "check-partial")]

    rest = setting(filter_enabled=ONE_PERCENT, deny_at_disable=ON)
    denying = changed(rest) | {"admin": document["admin"]}
    assert codes(found_in(tmp_path, envoy=denying)) == [(WARNING, "check-partial")]

    layer = {"name": "disk", "disk_layer": {"symlink_root": "/srv/runtime"}}
    document["layered_runtime"] = {"layers": [layer]}
    assert codes(found_in(tmp_path, envoy=document)) == [(ERROR, "check-partial")]


def test_a_check_of_the_routers_upstream_is_not_judged(tmp_path: Path) -> None:
    def moved(manager: Json) -> None:
        check = check_of(manager)
        manager["http_filters"].remove(check)
        manager["http_filters"][-1]["typed_config"]["upstream_http_filters"] = [check]

    assert codes(found_in(tmp_path, envoy=changed(moved))) == [(WARNING, "check-unknown")]


def test_a_token_that_is_taken_away_over_http_is_an_error(tmp_path: Path) -> None:
    def over_http(manager: Json) -> None:
        config = check_of(manager)["typed_config"]
        del config["grpc_service"], config["transport_api_version"]
        uri = {"uri": "http://extauthz", "cluster": "extauthz", "timeout": "0.2s"}
        config |= {
            "http_service": {"server_uri": uri},
            "disallowed_headers": {"patterns": [{"prefix": "auth"}]},
        }

    assert codes(found_in(tmp_path, envoy=changed(over_http))) == [(ERROR, "headers-withheld")]


def test_shipped_configurations_need_no_reading_of_other_files(tmp_path: Path) -> None:
    found = examine_files([shipped("envoy")], CONDITIONS, strict=True)

    assert isinstance(found, list)
    assert codes(found) == [(WARNING, "check-off")]


@pytest.mark.parametrize(
    ("mutation", "is_removed"),
    [
        (None, False),
        ({"remove": "x-user-email"}, True),
        ({"remove": "X-User-Email"}, True),
        ({"remove": "x-user-mail"}, False),
        ({"remove_on_match": {"key_matcher": {"prefix": "x-user-"}}}, True),
        ({"remove_on_match": {"key_matcher": {"exact": "X-USER-EMAIL", "ignore_case": True}}}, True),
        ({"remove_on_match": {"key_matcher": {"suffix": "-groups"}}}, False),
        ({"append": {"header": {"key": "x-user-email", "value": ""}}}, False),
    ],
)
def test_headers_of_claims_have_to_be_removed_before_the_check(
    tmp_path: Path, mutation: Json | None, is_removed: bool
) -> None:
    def add(manager: Json) -> None:
        (removal,) = [one for one in manager["http_filters"] if "mutation" in one["name"]]
        if mutation is not None:
            removal["typed_config"]["mutations"]["request_mutations"].append(mutation)

    (tmp_path / "envoy.yaml").write_text(yaml.safe_dump(changed(add)))
    found = examine_files([tmp_path], frozenset(), claims=frozenset({"x-user-email"}))

    assert isinstance(found, list)
    left = [one for one in found if one.code == "claim-headers"]
    assert [(one.severity, "x-user-email" in one.message) for one in left] == (
        [] if is_removed else [(ERROR, True)]
    )
    without = examine_files([tmp_path], frozenset(), claims=frozenset())
    assert isinstance(without, list)
    assert "claim-headers" not in {one.code for one in without}


def test_headers_of_claims_are_also_those_that_a_manifest_sets(tmp_path: Path) -> None:
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}
    (tmp_path / "map.yaml").write_text(yaml.safe_dump(config | {"data": {"CLAIM_HEADERS": "X-User-Email"}}))

    found = found_in(tmp_path, envoy=base())

    assert (ERROR, "claim-headers") in codes(found)


JUNK: list[Any] = [None, {"x": "y"}, ["x"], -1.5]


@pytest.mark.parametrize("number", range(0, len(OPENING), 10))
def test_unusual_values_in_every_form_raise_no_error(tmp_path: Path, number: int) -> None:
    document = changed(OPENING[sorted(OPENING)[number]])
    # Most places are in all of these documents: together they have every kind of junk in each of them.
    for index, (place, name) in enumerate(_places(manager_of(document))):
        kept = place[name]
        place[name] = JUNK[(index + number // 10) % len(JUNK)]
        (tmp_path / "odd.json").write_text(json.dumps(document))
        assert isinstance(examine_files([tmp_path / "odd.json"]), list)
        place[name] = kept


def _places(manager: Json) -> list[tuple[Any, Any]]:
    """Return the places of the checks and of the routes, where a value may be odd."""
    found: list[tuple[Any, Any]] = []
    pending: list[Any] = [manager["route_config"], *manager["http_filters"][2:3]]
    while pending:
        value = pending.pop()
        names = (
            list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
        )
        found += [(value, name) for name in names]
        pending += [value[name] for name in names]
    return found
