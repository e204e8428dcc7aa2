"""Requests through real Envoy are decided by the policies, and the log names the rule."""

import json
import urllib.request
from collections.abc import Callable, Iterator, Mapping

import pytest

from extauthz.demo import changes, example_calls
from extauthz.demo.calls import DecisionLogReader, send
from extauthz.demo.report import ReportLine, awaited
from extauthz.demo.stack import PUBLIC_PATH, Stack
from tests.command_line import run_extauthz
from tests.e2e.patient_stack import PatientStack
from tests.light_processes import LIGHT


@pytest.fixture(scope="module", params=["auto", "grpcio"])
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """The stack of all tests, which listens on loopback and is native; and one with the other gRPC server."""
    if request.param == "auto":
        yield request.getfixturevalue("shared_stack")
        return
    with PatientStack(environ={**LIGHT, "WORKERS": "2", "GRPC_SERVER": request.param}) as running:
        running.start()
        yield running


@pytest.fixture
def tokens(stack: Stack) -> Mapping[str, str]:
    """Return tokens of the current keys: other tests rotate them, and two rotations retire a key."""
    return stack.people.named()


@pytest.mark.parametrize("call", example_calls.CALLS, ids=lambda call: call.name)
def test_an_example_call_gets_the_stated_answer(
    stack: Stack, tokens: Mapping[str, str], call: example_calls.Example
) -> None:
    line = example_calls.outcome(stack, call, tokens, DecisionLogReader(stack.decision_log))

    assert line.got == line.expected


@pytest.mark.parametrize("change", [changes.rules_changed, changes.deny_lifted])
def test_changes_through_rest_take_effect(
    stack: Stack, change: Callable[[Stack], Iterator[ReportLine]]
) -> None:
    for line in change(stack):
        assert line.got == line.expected


def test_a_key_rotation_fails_no_request(stack: Stack) -> None:
    line = changes.keys_rotated(stack)

    assert line.got == line.expected


def test_keys_that_are_rotated_again_at_once_fail_no_request(stack: Stack) -> None:
    """Fetches that tokens cause are two seconds apart, so that requests meanwhile are told to come again."""
    lines = [changes.keys_rotated(stack) for _ in range(2)]

    assert [line.got for line in lines] == [line.expected for line in lines]


def test_decisions_never_notice_that_the_database_is_away(stack: Stack) -> None:
    assert stack.postgres is not None
    for line in changes.database_away(stack, stack.postgres):
        assert line.got == line.expected


def test_the_upstream_receives_the_judged_request(stack: Stack, tokens: Mapping[str, str]) -> None:
    log = DecisionLogReader(stack.decision_log)
    answer = send(stack.envoy_port, "//demo/./people//bob/records?x=%2e", token=tokens["bob"])

    assert answer.status == 200
    assert answer.decision_id is not None
    line = log.line(answer.decision_id)
    assert line is not None
    assert line["path"] == "/demo/people/bob/records"


def test_the_decision_log_has_subject_target_and_reason(stack: Stack, tokens: Mapping[str, str]) -> None:
    log = DecisionLogReader(stack.decision_log)
    answer = send(stack.envoy_port, "/demo/invoices/17?secret=1", token=tokens["alice"])

    assert answer.decision_id is not None
    line = log.line(answer.decision_id)
    assert line is not None
    ids = {name: rule_id for rule_id, name in stack.rule_names.items()}
    expected = {
        "decision": "allow",
        "reason": "rule_matched",
        "matched_rule_id": ids["finance-reads-invoices"],
        "matched_rule_kind": "role",
        "shadow": [{"rule_id": ids["invoices-may-need-clearance-soon"], "would": "deny"}],
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
    ids = {name: rule_id for rule_id, name in stack.rule_names.items()}
    assert f'"matched_rule_id":"{ids["sealed-invoices-stay-shut"]}"' in line
    assert '"path":"/demo/invoices/sealed-1"' in line
    assert "secret" not in line


def test_the_decision_log_has_no_gap(stack: Stack) -> None:
    send(stack.envoy_port, "/demo/notices")
    finished = run_extauthz("logs", "verify", stack.decision_log)

    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_the_rest_port_counts_for_every_worker(stack: Stack) -> None:
    def decisions() -> float:
        with urllib.request.urlopen(f"{stack.rest_url}/metrics") as response:
            lines = response.read().decode().splitlines()
        counts = (line.rpartition(" ")[2] for line in lines if line.startswith("extauthz_decisions_total"))
        return sum(map(float, counts))

    def workers() -> set[int]:
        return {
            entry["worker"]
            for entry in map(json.loads, stack.decision_log.read_text().splitlines())
            if entry["event"] == "decision" and entry["entrance"] == "grpc"
        }

    def sent() -> str:
        for _ in range(20):
            send(stack.envoy_port, PUBLIC_PATH)
        return str(sorted(workers()))

    # Envoy spreads its connections over both workers as soon as it has found both of them healthy.
    spread = awaited("spread", "[0, 1]", sent, within_s=10)
    assert spread.agrees, spread
    before = decisions()
    for _ in range(40):
        send(stack.envoy_port, PUBLIC_PATH)
    # The counts of both are here within a second.
    line = awaited("counted", "True", lambda: str(decisions() >= before + 40))
    assert line.agrees
