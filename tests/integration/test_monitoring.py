"""Alert rules and dashboard over the series of a real sidecar: alerts fire exactly during failures."""

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from extauthz.demo.processes import ReservedPorts, http_answers, spawn
from extauthz.domain.reasons import Reason
from extauthz.telemetry.counts import Counts, HeadRejection
from extauthz.telemetry.exposition import render
from tests.key_server_thread import identity_provider
from tests.light_processes import LIGHT
from tests.promql import Vector, read, selected, selectors
from tests.promtool import assert_values, has_nan, is_not_empty, promtool
from tests.tokens import SigningKey

ROOT = Path(__file__).resolve().parents[2]
MONITORING = ROOT / "deploy" / "monitoring"
RULES = [
    rule
    for group in yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
]
ALERTS = {rule["alert"]: rule for rule in RULES}
DASHBOARD = json.loads((MONITORING / "dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
TARGET = {"job": "extauthz", "namespace": "shop", "pod": "orders-0", "instance": "10.0.0.7:9190"}


def queries() -> list[Any]:
    """Return every expression, with Grafana's variables filled in as Grafana would."""
    found = [pytest.param(rule["expr"], id=rule["alert"]) for rule in RULES]
    for panel in PANELS:
        for target in panel["targets"]:
            expression = re.sub(r"\$__(rate_interval|range)", "5m", target["expr"])
            found.append(
                pytest.param(expression.replace("$namespace", ".*"), id=f"{panel['title']}-{target['refId']}")
            )
    return found


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The metrics of a running sidecar."""
    folder = tmp_path_factory.mktemp("monitoring")
    ports = ReservedPorts()
    grpc, health = ports.take(2)
    with identity_provider(SigningKey.rs256()) as provider:
        environment = {
            **LIGHT,
            "PATH": os.defpath,
            "POLICY_SOURCE": f"files:{ROOT / 'policies' / 'demo'}",
            "AUTH_SERVER_URL": provider.issuer,
            "OIDC_AUDIENCE": "demo",
            "GRPC_PORT": str(grpc),
            "SIDECAR_PORT": str(health),
        }
        command = [sys.executable, "-m", "extauthz", "sidecar"]
        sidecar = spawn("sidecar", command, output=folder / "output", environment=environment)
        try:
            sidecar.wait_ready(lambda: http_answers(health, "/healthz/ready"), timeout_s=30)
            with urllib.request.urlopen(f"http://127.0.0.1:{health}/metrics", timeout=5) as answer:
                yield answer.read().decode()
        finally:
            sidecar.stop()
            ports.release()


@pytest.fixture(scope="module")
def series(scraped: str) -> dict[str, Vector]:
    """The endpoint's series as Prometheus keeps them, with the one that it adds for every target."""
    return read(scraped, TARGET) | rest_series() | {"up": {frozenset(TARGET.items()): 1.0}}


def rest_series() -> dict[str, Vector]:
    """Return the series of a control plane that has answered: a sidecar has none of them."""
    counts = Counts("control-plane")
    for status in (200, 500, 503):
        counts.rest_answered("GET", "/api/v1/resources/{id}", status, 900)
    target = TARGET | {"job": "extauthz-control-plane", "pod": "control-plane-0"}
    found = read(render(counts.snapshot()).decode(), target)
    return {name: vector for name, vector in found.items() if name.startswith("extauthz_rest_")}


def advanced(
    series: dict[str, Vector], name: str, by: float, **labels: str
) -> dict[str, Vector]:  # fmt: skip
    """Return the series with some counters advanced; there must be such counters."""
    wanted = labels.items()
    chosen = {key for key in series[name] if wanted <= dict(key).items()}
    assert chosen, f"{name}{labels} is not a series of the endpoint"
    moved = {key: value + (by if key in chosen else 0) for key, value in series[name].items()}
    return series | {name: moved}


def with_traffic(series: dict[str, Vector], *, allows: float = 600, took: str = "5e-05") -> dict[str, Vector]:
    found = advanced(series, "extauthz_decisions_total", allows, decision="allow", entrance="grpc")
    buckets = found["extauthz_decision_duration_seconds_bucket"]
    moved = {
        key: value + (allows if float(dict(key)["le"]) >= float(took) else 0)
        for key, value in buckets.items()
    }
    found |= {"extauthz_decision_duration_seconds_bucket": moved}
    return with_reads(found)


def with_reads(series: dict[str, Vector], *, took: str = "0.001", reads: float = 600) -> dict[str, Vector]:
    """Return the series with reads of the REST API that each took as long."""
    found = advanced(series, "extauthz_rest_requests_total", reads, status="200")
    name = "extauthz_rest_request_duration_seconds_bucket"
    bounds = {
        key: value + (reads if float(dict(key)["le"]) >= float(took) else 0)
        for key, value in found[name].items()
    }
    return found | {name: bounds}


# Every expression ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("expression", queries())
def test_expressions_parse_and_select_series_that_exist(expression: str, series: dict[str, Vector]) -> None:
    found = list(selectors(expression))

    assert found
    for selector in found:
        assert selector.name in series, selector.name
        known = {name for labels in series[selector.name] for name, _ in labels}
        for matcher in selector.matchers.matchers:
            assert matcher.name in known, f"{selector.name} has no label {matcher.name}"
        assert selected(selector, series), f"nothing is {selector.prettify()}"


@pytest.mark.parametrize("panel", [pytest.param(panel, id=panel["title"]) for panel in PANELS])
def test_legends_name_labels_that_results_have(panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        legend = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        grouped = re.findall(r"by \(([^)]*)\)", target["expr"])
        labels = {label.strip() for group in grouped for label in group.split(",")}
        assert legend <= (labels if grouped else TARGET.keys())


@pytest.mark.parametrize("panel", [pytest.param(panel, id=panel["title"]) for panel in PANELS])
def test_each_panel_shows_the_expected_number(
    panel: dict[str, Any], series: dict[str, Vector], tmp_path: Path
) -> None:
    busy = with_traffic(series)
    busy = advanced(busy, "extauthz_decisions_total", 5, decision="deny", reason="no_matching_rule")
    busy = advanced(
        advanced(busy, "extauthz_token_cache_hits_total", 9), "extauthz_token_cache_misses_total", 1
    )
    expected: dict[str, float] = {}
    for target in panel["targets"]:
        expression = re.sub(r"\$__(rate_interval|range)", "5m", target["expr"]).replace("$namespace", ".*")
        expected |= {is_not_empty(expression): 1, has_nan(expression): 0}
    assert_values(tmp_path, series, busy, expected)


def test_reasons_in_expressions_are_reasons_that_there_are() -> None:
    for case in queries():
        for selector in selectors(case.values[0]):
            for matcher in selector.matchers.matchers:
                if matcher.name == "reason":
                    named = (
                        HeadRejection if selector.name == "extauthz_policy_heads_refused_total" else Reason
                    )
                    assert set(matcher.value.split("|")) <= {reason.value for reason in named}


# Alerts -------------------------------------------------------------------------------------------------


def assert_firing(
    folder: Path, before: dict[str, Vector], after: dict[str, Vector], names: Collection[str]
) -> None:
    expected = {is_not_empty(rule["expr"]): float(name in names) for name, rule in ALERTS.items()}
    assert_values(folder, before, after, expected)


def test_no_alert_fires_in_normal_operation(series: dict[str, Vector], tmp_path: Path) -> None:
    assert_firing(tmp_path, series, series, ())
    assert_firing(tmp_path, series, with_traffic(series), ())


def denials(reason: str) -> Callable[[dict[str, Vector]], dict[str, Vector]]:
    return lambda series: advanced(series, "extauthz_decisions_total", 700, decision="deny", reason=reason)


def gauge(name: str, value: float) -> Callable[[dict[str, Vector]], dict[str, Vector]]:
    return lambda series: series | {name: {frozenset(TARGET.items()): value}}


def counter(name: str, by: float, **labels: str) -> Callable[[dict[str, Vector]], dict[str, Vector]]:
    return lambda series: advanced(series, name, by, **labels)


def another_revision(series: dict[str, Vector]) -> dict[str, Vector]:
    other = frozenset((TARGET | {"pod": "orders-1"}).items())
    return series | {"extauthz_policy_revision": series["extauthz_policy_revision"] | {other: 0.0}}


FAULTS = {
    "ExtauthzCannotDecide": denials("keys_unavailable"),
    "ExtauthzInternalError": denials("internal_error"),
    "ExtauthzMissesDeadlines": counter("extauthz_deadline_exceeded_total", 60),
    "ExtauthzSlow": lambda series: with_traffic(series, allows=60_000, took="0.1"),
    "ExtauthzNotReady": gauge("extauthz_ready", 0),
    "ExtauthzWorkersRestart": counter("extauthz_worker_restarts_total", 3, reason="hung"),
    "ExtauthzDown": gauge("up", 0),
    "ExtauthzKeyFetchesFail": counter("extauthz_jwks_fetch_total", 3, outcome="refused"),
    "ExtauthzIntrospectionFails": counter("extauthz_introspections_total", 3, outcome="client_refused"),
    "ExtauthzKeysOld": gauge("extauthz_jwks_age_seconds", 7201),
    "ExtauthzKeysExpireSoon": gauge("extauthz_jwks_age_seconds", 43201),
    "ExtauthzPoliciesOld": gauge("extauthz_policy_age_seconds", 301),
    "ExtauthzPoliciesExpireSoon": gauge("extauthz_policy_age_seconds", 721),
    "ExtauthzPolicyRefreshFails": counter("extauthz_policy_refresh_failures_total", 1),
    "ExtauthzRevisionsDiffer": another_revision,
    "ExtauthzSignedPoliciesRefused": counter("extauthz_policy_heads_refused_total", 1, reason="signature"),
    "ExtauthzChangeGuardOverridden": counter("extauthz_change_guard_overrides_total", 1),
    "ExtauthzReportsFail": counter("extauthz_control_plane_reports_total", 3, outcome="failed"),
    "ExtauthzRestFails": counter("extauthz_rest_requests_total", 60, status="503"),
    "ExtauthzRestSlow": lambda series: with_reads(series, took="5.0", reads=60_000),
    "ExtauthzLosesRecordings": counter("extauthz_recordings_lost_total", 3),
    "ExtauthzLosesKeyUses": counter("extauthz_key_uses_lost_total", 3),
    "ExtauthzLosesSpans": counter("extauthz_spans_lost_total", 512),
    "ExtauthzLosesDecisions": counter("extauthz_decisions_lost_total", 1),
}
ALSO = {
    "ExtauthzInternalError": {"ExtauthzCannotDecide"},
    "ExtauthzKeysExpireSoon": {"ExtauthzKeysOld"},
    "ExtauthzPoliciesExpireSoon": {"ExtauthzPoliciesOld"},
}


# Over time, in deploy/monitoring/tests: what is compared there is the past of a day.
RISES = {"ExtauthzDenialsRise"}


def test_every_alert_has_its_fault() -> None:
    assert FAULTS.keys() | RISES == ALERTS.keys()


@pytest.mark.parametrize("file", sorted((MONITORING / "tests").glob("*.yaml")), ids=lambda file: file.stem)
def test_promtool_passes_the_tests_of_rules_over_time(file: Path, tmp_path: Path) -> None:
    document = yaml.safe_load(file.read_text())
    asked = {each["alertname"] for test in document["tests"] for each in test["alert_rule_test"]}
    # promtool evaluates each rule for each minute of the day: those that no test asks for are left out.
    rules = [rule for rule in RULES if rule["alert"] in asked]
    assert {rule["alert"] for rule in rules} == asked
    assert document["rule_files"] == ["../alerts.yaml"]
    (tmp_path / "alerts.yaml").write_text(yaml.safe_dump({"groups": [{"name": "asked", "rules": rules}]}))
    (tmp_path / "tests").mkdir()
    tests = shutil.copy(file, tmp_path / "tests")
    done = subprocess.run(
        [promtool(), "test", "rules", tests], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_rise_has_tests_over_time() -> None:
    tested = "".join(file.read_text() for file in (MONITORING / "tests").glob("*.yaml"))
    assert {name for name in RISES if f"alertname: {name}" not in tested} == set()


@pytest.mark.parametrize("name", FAULTS)
def test_its_fault_and_no_other_fires_an_alert(name: str, series: dict[str, Vector], tmp_path: Path) -> None:
    assert_firing(tmp_path, series, FAULTS[name](with_traffic(series)), {name} | ALSO.get(name, set()))


def test_alerts_have_instructions_for_the_operator() -> None:
    for rule in RULES:
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}


def test_every_alert_has_its_section_of_the_runbook_and_every_section_its_alert() -> None:
    sections = re.findall(r"^## (.+)$", (ROOT / "docs" / "runbook.md").read_text(), re.MULTILINE)
    assert sorted(sections) == sorted(ALERTS)
    for name, rule in ALERTS.items():
        assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{name.lower()}"


def test_promtool_accepts_the_rules() -> None:
    done = subprocess.run(
        [promtool(), "check", "rules", MONITORING / "alerts.yaml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
