"""The findings of doctor in Envoy files (file, line, code), and ambiguous files."""

import copy
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from extauthz.check.bounds import MAX_MESSAGE_BYTES
from extauthz.proxyconfig.advice import MOST_BODY_BYTES
from extauthz.proxyconfig.envoy import envoy_yaml
from extauthz.proxyconfig.files import UnreadableFile, examine_files
from extauthz.proxyconfig.findings import NOT_EXAMINED, Severity
from extauthz.proxyconfig.istio import istio_yaml
from extauthz.settings import Settings, load_settings
from extauthz.shipped import shipped
from tests.doctor_files import (
    CONTAINER,
    ERROR,
    GOOD,
    INFO,
    MESH,
    POLICY,
    ROOT,
    WARNING,
    changed,
    examine,
    line_of,
)


def test_shipped_and_printed_configurations_have_no_errors(tmp_path: Path) -> None:
    settings = load_settings({"WORKERS": "2"}, serving=False)
    assert isinstance(settings, Settings)
    printed = {"envoy": envoy_yaml(settings), "istio": istio_yaml(settings), "bootstrap": GOOD}
    assert examine(tmp_path, **{name: str(text) for name, text in printed.items()}) == []

    shipped_files = examine_files([shipped("envoy"), ROOT / "deploy"])
    assert not isinstance(shipped_files, UnreadableFile)
    assert [one for one in shipped_files if one.severity is ERROR] == []
    # Nothing of ours is unknown to doctor, so that --strict can be used on it.
    strictly = examine_files([shipped("envoy"), ROOT / "deploy"], strict=True)
    assert not isinstance(strictly, UnreadableFile)
    assert [one for one in strictly if one.code in NOT_EXAMINED] == []


@pytest.mark.parametrize(
    ("old", "new", "severity", "code", "at"),
    [
        ("failure_mode_allow: false", "failure_mode_allow: true", ERROR, "fail-open", None),
        ("failure_mode_allow: false", "failureModeAllow: yes", ERROR, "fail-open", None),
        (
            "failure_mode_allow: false",
            "filter_enabled: {default_value: {numerator: 10}}",
            ERROR,
            "check-partial",
            None,
        ),
        ("failure_mode_allow: false", "shadow_mode: true", ERROR, "check-partial", None),
        ("failure_mode_allow: false", "allowed_headers: {patterns: []}", WARNING, "headers-withheld", None),
        ("timeout: 0.2s\n                      failure", "timeout: 600s\n                      failure",
         ERROR, "timeout-long", "timeout: 600s"),
        ("timeout: 0.2s\n                      failure", "timeout: 3s\n                      failure",
         WARNING, "timeout-long", "timeout: 3s"),
        ("timeout: 0.2s\n                      failure", "timeout: 0s\n                      failure",
         ERROR, "timeout-long", "timeout: 0s"),
        ("timeout: 0.2s\n                      failure", "timeout: soon\n                      failure",
         ERROR, "timeout-unreadable", "timeout: soon"),
        ("failure_mode_allow: false", "with_request_body: {max_request_bytes: 524289}", ERROR, "body-large",
         None),
        ("failure_mode_allow: false", "with_request_body: {max_request_bytes: 1e9}", ERROR, "body-large",
         None),
        ("status_on_error: { code: ServiceUnavailable }", "stat_prefix: x", WARNING, "status-on-error",
         "ext_authz.v3.ExtAuthz"),
        ("include_peer_certificate: true", "stat_prefix: x", INFO, "peer-certificate",
         "ext_authz.v3.ExtAuthz"),
        ("normalize_path: true", "normalize_path: false", ERROR, "path-normalisation", None),
        ("merge_slashes: true", "merge_slashes: false", ERROR, "path-normalisation", None),
        ("path_with_escaped_slashes_action: REJECT_REQUEST",
         "path_with_escaped_slashes_action: KEEP_UNCHANGED", ERROR, "escaped-slashes", None),
        ("path_with_escaped_slashes_action: REJECT_REQUEST",
         "path_with_escaped_slashes_action: UNESCAPE_AND_FORWARD", WARNING, "escaped-slashes", None),
        ("headers_with_underscores_action: REJECT_REQUEST", "headers_with_underscores_action: ALLOW",
         WARNING, "underscores-allowed", None),
        ("{ prefix: x-auth-, ignore_case: true }", "{ prefix: x-authors-, ignore_case: true }", ERROR,
         "identity-headers", "- name: envoy.filters.http.ext_authz"),
        ("static_resources:\n",
         "admin: {address: {socket_address: {address: 0.0.0.0, port_value: 1}}}\nstatic_resources:\n", ERROR,
         "admin-exposed", "admin:"),
    ],
)  # fmt: skip
def test_a_single_harmful_change_is_found_at_its_place(
    tmp_path: Path, old: str, new: str, severity: Severity, code: str, at: str | None
) -> None:
    text = changed(GOOD, old, new)

    found = examine(tmp_path, envoy=text)

    assert [(one.severity, one.code, one.file) for one in found] == [
        (severity, code, str(tmp_path / "envoy.yaml"))
    ]
    assert found[0].line == line_of(text, at or new)
    assert found[0].fix


@pytest.mark.parametrize(
    ("trust", "codes"),
    [
        ("trust_chain_verification: ACCEPT_UNTRUSTED", ["peers-untrusted"]),
        ("trustChainVerification: ACCEPT_UNTRUSTED", ["peers-untrusted"]),
        ("trust_chain_verification: 1", ["peers-untrusted"]),
        ("trust_chain_verification: VERIFY_TRUST_CHAIN", []),
        ("only_verify_leaf_cert_crl: true", []),
    ],
)
def test_a_listener_that_trusts_every_certificate_is_found(
    tmp_path: Path, trust: str, codes: list[str]
) -> None:
    tls = f"""
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          require_client_certificate: true
          common_tls_context:
            combined_validation_context:
              default_validation_context:
                trusted_ca: {{filename: /ca.crt}}
                {trust}
"""
    text = f"static_resources:\n  listeners:\n  - filter_chains:\n    - name: a{tls}"

    found = examine(tmp_path, envoy=text)

    assert [(one.severity, one.code, one.line) for one in found] == [
        (ERROR, code, line_of(text, trust)) for code in codes
    ]


def test_the_largest_body_and_head_that_pass_fit_into_one_message(tmp_path: Path) -> None:
    largest = f"with_request_body: {{max_request_bytes: {MOST_BODY_BYTES}}}"
    # Envoy sends path and host a second time; the rest is its own headers, a certificate and framing.
    head = 2 * 1024 * int(manager_of(yaml.safe_load(GOOD))["max_request_headers_kb"])
    rest = 256 * 1024

    assert examine(tmp_path, envoy=changed(GOOD, "failure_mode_allow: false", largest)) == []
    assert MOST_BODY_BYTES + head + rest <= MAX_MESSAGE_BYTES


def manager_of(document: Any) -> dict[str, Any]:
    manager: dict[str, Any] = document["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0][
        "typed_config"
    ]
    return manager


@pytest.mark.parametrize(
    ("order", "codes"),
    [
        (["cors", "header_mutation", "router", "ext_authz"], {"check-after-router"}),
        (["cors", "ext_authz", "header_mutation", "router"], {"identity-headers"}),
        (["cors", "ext_authz", "router"], {"identity-headers"}),
        (["header_mutation", "ext_authz", "cors", "router"], {"preflights-checked"}),
        (["header_mutation", "cors", "router"], {"check-missing"}),
        (["header_mutation", "ext_authz", "router"], set()),
    ],
)
def test_the_order_of_filters_matters(tmp_path: Path, order: list[str], codes: set[str]) -> None:
    document = yaml.safe_load(GOOD)
    manager = manager_of(document)
    filters = {one["name"].rpartition(".")[2]: one for one in manager["http_filters"]}
    manager["http_filters"] = [filters[name] for name in order]

    assert {one.code for one in examine(tmp_path, envoy=yaml.safe_dump(document))} == codes


def test_omitted_fields_have_the_defaults_of_envoy(tmp_path: Path) -> None:
    document = yaml.safe_load(GOOD)
    manager = manager_of(document)
    for name in (
        "normalize_path",
        "merge_slashes",
        "path_with_escaped_slashes_action",
        "common_http_protocol_options",
    ):
        del manager[name]
    (check,) = [one for one in manager["http_filters"] if one["name"].endswith("ext_authz")]
    del check["typed_config"]["grpc_service"]["timeout"]
    del check["typed_config"]["failure_mode_allow"]
    del document["static_resources"]["clusters"][0]["health_checks"]
    codes = sorted(one.code for one in examine(tmp_path, envoy=yaml.safe_dump(document)))

    assert codes == [
        "escaped-slashes",
        "health-checks",
        "path-normalisation",
        "path-normalisation",
        "timeout-missing",
        "underscores-allowed",
    ]


def test_checks_that_leave_the_machine_need_tls(tmp_path: Path) -> None:
    text = changed(GOOD, "address: 127.0.0.1, port_value: 9191", "address: 10.0.0.7, port_value: 9191")

    (found,) = examine(tmp_path, envoy=text)

    assert (found.code, found.line) == ("checks-in-plaintext", line_of(text, "10.0.0.7"))


def test_a_route_without_a_check_is_named(tmp_path: Path) -> None:
    off = (
        "\n                          typed_per_filter_config:\n"
        "                            envoy.filters.http.ext_authz:\n"
        '                              "@type": type.googleapis.com/'
        "envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute\n"
        "                              disabled: true"
    )
    text = changed(GOOD, "route: { cluster: upstream, timeout: 30s }", "route: { cluster: upstream }" + off)

    (found,) = examine(tmp_path, envoy=text)

    assert (found.code, found.line) == ("check-off", line_of(text, "disabled: true"))


def test_a_bootstrap_inside_of_a_config_map_keeps_its_lines(tmp_path: Path) -> None:
    bad = changed(GOOD, "failure_mode_allow: false", "failure_mode_allow: true")
    inner = "".join(f"    {line}\n" for line in bad.splitlines())
    text = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: envoy}}\ndata:\n  envoy.yaml: |\n{inner}"

    (found,) = examine(tmp_path, map=text)

    assert (found.code, found.line) == ("fail-open", line_of(text, "failure_mode_allow: true"))


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("a: [", 1, "not YAML"),
        ("a: 1\nfailure_mode_allow: false\nfailure_mode_allow: true\n", 3, "occurs twice"),
        ("a: &x [*x]", 1, "aliases"),
        ("[" * 1000, 1, "nested deeper"),
        ("{{ if .Values.x }}\na: 1\n{{ end }}\n", 1, "not YAML"),
        ("a: \x01", None, "not YAML"),
    ],
)
def test_an_ambiguous_document_is_an_error(tmp_path: Path, text: str, line: int | None, problem: str) -> None:
    found = [one for one in examine(tmp_path, bad=text) if one.code == "file-unreadable"]

    assert [one.severity for one in found] == [ERROR]
    assert problem in found[0].message
    assert line is None or found[0].line is not None


def test_aliases_cannot_grow_without_end(tmp_path: Path) -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
    )

    assert [one.code for one in examine(tmp_path, bomb=bomb)] == ["file-unreadable"]


def test_json_and_merge_keys_are_read(tmp_path: Path) -> None:
    merged = "base: &base {normalization: NONE}\npathNormalization: {<<: *base}\nextensionProviders: []\n"
    as_json = '{\n\t"pathNormalization": {\n\t\t"normalization": "NONE"\n\t}\n}\n'

    for text, line in ((merged, 1), (as_json, 3)):
        (found,) = examine(tmp_path, mesh=text)
        assert (found.code, found.line) == ("path-normalisation", line)


def test_an_unrelated_file_is_reported_only_when_named(tmp_path: Path) -> None:
    assert [one.code for one in examine(tmp_path, other="a: 1\n")] == ["file-unknown"]
    assert examine_files([tmp_path]) == []
    assert isinstance(examine_files([tmp_path / "absent"]), UnreadableFile)


def places(document: object, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    members: Iterable[tuple[Any, object]] = ()
    if isinstance(document, dict):
        members = document.items()
    elif isinstance(document, list):
        members = enumerate(document)
    for name, below in members:
        yield (*above, name)
        yield from places(below, (*above, name))


@pytest.mark.parametrize("text", [GOOD, MESH, POLICY, CONTAINER], ids=["envoy", "mesh", "policy", "pod"])
@pytest.mark.parametrize("junk", [None, {"x": "y"}, ["x"], -1.5], ids=str)
def test_no_shape_of_a_document_raises_an_error(tmp_path: Path, text: str, junk: object) -> None:
    whole = yaml.safe_load(text)
    for place in places(whole):
        document = above = copy.deepcopy(whole)
        for name in place[:-1]:
            above = above[name]
        above[place[-1]] = junk
        examine(tmp_path, odd=json.dumps(document))


def test_a_chart_is_reported_and_its_files_are_left_out(tmp_path: Path) -> None:
    templates = tmp_path / "charts" / "mine" / "templates"
    templates.mkdir(parents=True)
    (templates.parent / "Chart.yaml").write_text("apiVersion: v2\nname: mine\nversion: 0.1.0\n")
    (templates / "broken.yaml").write_text("{{- if .Values.on }}\na: [\n{{- end }}\n")
    (tmp_path / "values.yaml").write_text("a: 1\n")

    found = examine_files([tmp_path])

    assert isinstance(found, list)
    assert [(one.severity, one.code) for one in found] == [(INFO, "chart-unrendered")]
    named = examine_files([templates / "broken.yaml"])
    assert isinstance(named, list)
    assert "file-unreadable" in {one.code for one in named}
