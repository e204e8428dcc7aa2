"""The findings of doctor in Envoy configurations, by the meaning of a setting in its place."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from extauthz.proxyconfig.files import examine_files
from extauthz.shipped import shipped
from tests.examined_files import CONDITIONS, ERROR, WARNING, changed, codes, found_in
from tests.istio_dump import sidecar
from tests.proxy_change_tables import CLOSED, OPENING
from tests.proxy_changes import (
    CHECK,
    ENABLED,
    HTTP,
    ON,
    ONE_PERCENT,
    PER_ROUTE,
    TYPES,
    Json,
    base,
    check_of,
    host_of,
    manager_of,
    setting,
)
from tests.proxy_containers import CONTAINERS
from tests.proxy_mutants import mutants

MUTANTS = mutants()


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_an_error_exactly_if_envoy_lets_requests_pass(tmp_path: Path, name: str) -> None:
    # tests/e2e/test_doctor_against_envoy.py holds `opens` against real Envoy.
    mutant: Any = MUTANTS[name]()
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


@pytest.mark.parametrize(
    ("name", "authority", "is_valid"),
    [
        ("extauthz", None, True),
        ("extauthz.internal:9191", None, True),
        ("extauthz/extauthz", None, False),
        ("outbound|9191||extauthz.extauthz.svc.cluster.local", None, False),
        ("extauthz/extauthz", "extauthz", True),
    ],
)
def test_the_name_of_the_cluster_is_the_authority_of_a_check(
    tmp_path: Path, name: str, authority: str | None, is_valid: bool
) -> None:
    document = base()
    service = check_of(manager_of(document))["typed_config"]["grpc_service"]["envoy_grpc"]
    service["cluster_name"] = name
    if authority is not None:
        service["authority"] = authority

    assert ((WARNING, "authority-invalid") in codes(found_in(tmp_path, envoy=document))) is not is_valid


def test_identity_headers_may_be_removed_early(tmp_path: Path) -> None:
    document = base()
    manager = manager_of(document)
    (removal,) = (one for one in manager["http_filters"] if one["name"].endswith("header_mutation"))
    manager["http_filters"].remove(removal)
    assert (ERROR, "identity-headers") in codes(found_in(tmp_path, envoy=document))

    early = (
        "type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation"
    )
    mutations = removal["typed_config"]["mutations"]["request_mutations"]
    manager["early_header_mutation_extensions"] = [
        {"name": "early", "typed_config": {"@type": early, "mutations": mutations}}
    ]

    assert "identity-headers" not in {code for _, code in codes(found_in(tmp_path, envoy=document))}


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


def test_shipped_configurations_need_no_reading_of_other_files(tmp_path: Path) -> None:
    found = examine_files([shipped("envoy")], CONDITIONS, strict=True)

    assert isinstance(found, list)
    assert codes(found) == [(WARNING, "check-off")]


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
