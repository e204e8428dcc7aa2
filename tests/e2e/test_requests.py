"""Requests through real Envoy come out as the policies say, and the log names the rule."""

import subprocess
import sys
from collections.abc import Mapping

import pytest

from extauthz.demo import table
from extauthz.demo.calls import DecisionLogReader, send
from extauthz.demo.stack import Stack


@pytest.fixture(scope="module")
def tokens(stack: Stack) -> Mapping[str, str]:
    return stack.tokens()


@pytest.mark.parametrize("call", table.CALLS, ids=lambda call: call.name)
def test_example_call(stack: Stack, tokens: Mapping[str, str], call: table.Call) -> None:
    line = table.outcome(stack, call, tokens, DecisionLogReader(stack.decision_log))

    assert line.got == line.expected


def test_a_key_rotation_fails_no_request(stack: Stack) -> None:
    line = table.keys_rotated(stack)

    assert line.got == line.expected


def test_changed_policy_files_take_effect_within_a_second(stack: Stack) -> None:
    for line in table.policies_changed(stack):
        assert line.got == line.expected


def test_a_bad_policy_file_keeps_the_last_good_policies(stack: Stack, tokens: Mapping[str, str]) -> None:
    bad = stack.policies / "bad.yaml"
    draft = stack.folder / "bad.yaml"
    draft.write_text("role_rules: [{id: bad, effect: perhaps}]")
    draft.rename(bad)
    try:
        stack.child("sidecar").wait_ready(
            lambda: "bad.yaml" in stack.child("sidecar").last_lines(), timeout_s=5
        )
        assert send(stack.envoy_port, "/demo/invoices/17", token=tokens["alice"]).status == 200
        assert send(stack.envoy_port, "/demo/invoices/17", token=tokens["bob"]).status == 403
    finally:
        bad.unlink()


def test_what_the_upstream_receives_is_what_was_judged(stack: Stack, tokens: Mapping[str, str]) -> None:
    log = DecisionLogReader(stack.decision_log)
    answer = send(stack.envoy_port, "//demo/./people//bob/records?x=%2e", token=tokens["bob"])

    assert answer.status == 200
    assert answer.decision_id is not None
    line = log.line(answer.decision_id)
    assert line is not None
    assert line["path"] == "/demo/people/bob/records"


def test_the_decision_log_says_who_what_and_why(stack: Stack, tokens: Mapping[str, str]) -> None:
    log = DecisionLogReader(stack.decision_log)
    answer = send(stack.envoy_port, "/demo/invoices/17?secret=1", token=tokens["alice"])

    assert answer.decision_id is not None
    line = log.line(answer.decision_id)
    assert line is not None
    expected = {
        "decision": "allow",
        "reason": "rule_matched",
        "matched_rule_id": "finance-reads-invoices",
        "matched_rule_kind": "role",
        "shadow": [{"rule_id": "invoices-may-need-clearance-soon", "would": "deny"}],
        "subject": "alice",
        "principal_kind": "user",
        "authentication": "jwt",
        "roles": ["finance"],
        "tenant": "default",
        "resource": "invoice:read",
        "action": "read",
        "method": "GET",
        "path": "/demo/invoices/17",
        "path_raw": None,
        "entrance": "grpc",
        "status": 200,
        "source_address": "127.0.0.1",
    }
    assert {name: line[name] for name in expected} == expected
    assert "secret" not in str(line)


def test_envoys_access_log_names_the_rule_too(stack: Stack, tokens: Mapping[str, str]) -> None:
    answer = send(stack.envoy_port, "/demo/invoices/sealed-1?secret=1", token=tokens["alice"])
    assert answer.decision_id is not None
    envoy = stack.child("envoy")

    envoy.wait_ready(lambda: str(answer.decision_id) in envoy.last_lines(200), timeout_s=5)

    (line,) = [line for line in envoy.last_lines(200).splitlines() if answer.decision_id in line]
    assert '"matched_rule_id":"sealed-invoices-stay-shut"' in line
    assert '"path":"/demo/invoices/sealed-1"' in line
    assert "secret" not in line


def test_the_decision_log_has_no_gap(stack: Stack) -> None:
    send(stack.envoy_port, "/demo/notices")
    finished = subprocess.run(
        [sys.executable, "-m", "extauthz", "logs", "verify", str(stack.decision_log)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert finished.returncode == 0, finished.stdout + finished.stderr
