"""Replay of questions by name from lines: what a line does not keep is never taken for absent."""

import json
from typing import Any

import pytest

from extauthz.compile.directory import Directory
from extauthz.compile.snapshot import Snapshot
from extauthz.decide.by_name import NamedQuestion, judge_by_name
from extauthz.decide.record import decision_fields
from extauthz.decide.tokens.claims import freeze_claims
from extauthz.domain.policy import AttributePolicy, PolicySet
from extauthz.domain.principal import Authentication, Principal, PrincipalKind
from extauthz.domain.tenancy import TenancyMode
from extauthz.recording.log_lines import LineReader
from extauthz.recording.not_known import NotKnown
from extauthz.recording.question import Question
from extauthz.recording.rejudge import Judge, Outcome
from extauthz.recording.replay_policies import ReplayPolicies
from tests.compiled_policies import compiled
from tests.policy_documents import read_policy

ALICE = Principal(PrincipalKind.USER, "alice", "default", None, (), Authentication.API_KEY)


def snapshot_of(attribute: str, *, resource: str = "invoice") -> Snapshot:
    condition = {"type": "CONDITION", "attribute": attribute, "operator": "eq", "value": "low"}
    policy = read_policy(effect="allow", rule_data=condition, resource=resource)
    assert isinstance(policy, AttributePolicy)
    return compiled(PolicySet(attribute_policies=(policy,)))


def line_of(snapshot: Snapshot, entrance: str, **members: Any) -> dict[str, Any]:
    verdict = judge_by_name(
        Directory(TenancyMode.SELFHOST, {"default": snapshot}),
        "default",
        ALICE,
        NamedQuestion("invoice", "read", **members),
        max_staleness=None,
        decision_id="01900000-0000-7000-8000-000000000000",
        now=1e9,
    )
    fields = decision_fields(verdict, ts=1e9, entrance=entrance, duration_us=1)
    line: dict[str, Any] = json.loads(json.dumps(fields, default=list))
    return line


def replayed(line: dict[str, Any], snapshot: Snapshot) -> Outcome | NotKnown:
    question = LineReader("default").question(line)
    assert isinstance(question, Question), question
    return Judge(ReplayPolicies.of(snapshot)).answer(question, 1e9)


@pytest.mark.parametrize(
    ("attribute", "missing"),
    [("context.risk", "context.*"), ("action.properties.risk.level", "action.properties.*")],
)
def test_a_line_of_authzen_keeps_neither_context_nor_properties(attribute: str, missing: str) -> None:
    snapshot = snapshot_of(attribute)
    members = {"context": {"risk": "low"}, "action_properties": {"risk": {"level": "low"}}}
    line = line_of(snapshot, "authzen", **members)
    assert line["decision"] == "allow"
    answer = replayed(line, snapshot)
    assert isinstance(answer, NotKnown)
    assert answer.slot == missing
    other = replayed(line, snapshot_of("resource.owner", resource="another"))
    assert isinstance(other, Outcome)
    assert other.verdict[0] == "deny"


def test_a_property_of_the_resource_is_in_the_line_by_its_path() -> None:
    snapshot = snapshot_of("resource.risk.level")
    line = line_of(snapshot, "authzen", parameters=freeze_claims({"risk": {"level": "low"}}))
    assert (line["decision"], line["attributes_used"]) == ("allow", {"resource.risk.level": "low"})
    answer = replayed(line, snapshot)
    assert isinstance(answer, Outcome)
    assert answer.verdict[0] == "allow"
