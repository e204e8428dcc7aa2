"""Findings about headers: joined, withheld, taken away, and those that claims become."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from extauthz.proxyconfig.files import examine_files
from extauthz.proxyconfig.findings import Severity
from tests.examined_files import CONDITIONS, ERROR, INFO, WARNING, changed, codes, found_in
from tests.proxy_changes import (
    Json,
    base,
    check_of,
    manager_of,
    setting,
    typed_struct,
)


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
