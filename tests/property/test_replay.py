"""Recorded requests, judged again: the recorded answer on the same policies, and never a guess on others.

Policies and requests are those of the comparison with the plain reading: every operator, attribute, kind of
route and state of a credential.
"""

import copy
import json
import os
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extauthz.cases.case_requests import asked_by_preflight, read_case_request
from extauthz.cases.case_values import CaseInvalidError
from extauthz.cases.decision_cases import CaseRunner
from extauthz.compile.conditions.attributes import ATTRIBUTES
from extauthz.compile.conditions.compiled_policy import attribute_names
from extauthz.compile.conditions.operators import OPERATORS
from extauthz.compile.directory import Directory
from extauthz.compile.snapshot import Snapshot
from extauthz.decide.identity import Rejected
from extauthz.decide.judge import judge_identified
from extauthz.decide.record import decision_fields
from extauthz.domain.principal import Authentication, Principal
from extauthz.domain.reasons import Effect
from extauthz.domain.request import Malformed, RequestFacts
from extauthz.domain.tenancy import TenancyMode
from extauthz.domain.time_text import parse_time
from extauthz.domain.verdict import Verdict
from extauthz.recording.compare import HOUR_S, Comparison, DecisionChange, Period
from extauthz.recording.log_lines import LineReader, as_recorded
from extauthz.recording.not_known import NotKnown
from extauthz.recording.question import POLICIES, Question, question_of
from extauthz.recording.rejudge import Judge, Outcome
from extauthz.recording.replay_policies import ReplayPolicies
from extauthz.recording.shape import BODY, FOLDED, Shape
from tests.property.generators import random_policy_set, random_request
from tests.recorded_shapes import shape_of
from tests.shipped_model import MODEL

pytestmark = pytest.mark.timeout(3600 if os.environ.get("EXTAUTHZ_VERIFY") == "1" else 300)

Document = dict[str, Any]
EXAMPLES = 3_000 if os.environ.get("EXTAUTHZ_VERIFY") == "1" else 60
REQUESTS = 40
MET: Counter[object] = Counter()
"""What the requests of a run met, for the test that the comparison is not empty."""


@dataclass(frozen=True)
class Asked:
    """A request as it was judged."""

    facts: RequestFacts
    identity: Principal | Rejected | None
    now: float
    verdict: Verdict
    snapshot: Snapshot


@dataclass(frozen=True)
class Stage:
    """Live policies, and the requests that they answered."""

    runner: CaseRunner

    @property
    def directory(self) -> Directory:
        return self.runner._directory

    def verdict(self, asked: Asked, directory: Directory) -> Verdict:
        return judge_identified(asked.facts, asked.identity, directory, self.runner._policy, "", asked.now)

    def requests(self, rng: random.Random, policy_set: Document) -> Iterator[Asked]:
        for _ in range(REQUESTS):
            case = random_request(rng, policy_set)
            if "path" in case["request"] and (asked := self._asked(case)) is not None:
                yield asked

    def _asked(self, case: Document) -> Asked | None:
        facts = read_case_request(case["request"], raw_headers=self.runner._raw_headers)
        if isinstance(facts, Malformed):
            return None
        identity = self.runner._callers.read(case, "case")
        if identity is None and case["request"].get("method") == "OPTIONS":
            asked = asked_by_preflight(case["request"], raw_headers=self.runner._raw_headers)
            facts = facts._replace(preflight=asked)
        if isinstance(identity, Principal) and identity.authentication is Authentication.API_KEY:
            # A service key has no claims; the cases give it some.
            identity = replace(identity, claims={})
        moment = parse_time(case["now"])
        assert moment is not None
        now = moment.timestamp()
        verdict = judge_identified(facts, identity, self.directory, self.runner._policy, "", now)
        snapshot = None if verdict.tenant is None else self.directory.snapshots.get(verdict.tenant)
        return None if snapshot is None else Asked(facts, identity, now, verdict, snapshot)

    def shape(self, asked: Asked, attributes: set[str]) -> Shape:
        directory, facts = self.directory, asked.facts
        return shape_of(
            facts,
            asked.identity,
            asked.verdict,
            asked.snapshot,
            self.runner._policy.unmapped,
            attributes,
            by_token=(
                directory.mode is TenancyMode.SAAS
                and facts.context.tenant is None
                and facts.host not in directory.hosts
            ),
        )


def named_by(*snapshots: Snapshot) -> set[str]:
    """Return the attributes that policies read."""
    return {
        name
        for snapshot in snapshots
        for policy in snapshot.policies_by_id.values()
        for name in attribute_names(policy.condition)
    }


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_recorded_request_judged_on_its_policies_gives_the_recorded_answer(seed: int) -> None:
    rng = random.Random(seed)
    policy_set = random_policy_set(rng)
    stage = Stage(CaseRunner.of(policy_set, MODEL))
    judges: dict[str, Judge] = {}
    for asked in stage.requests(rng, policy_set):
        snapshot = asked.snapshot
        shape = stage.shape(asked, named_by(snapshot))
        judge = judges.setdefault(snapshot.tenant, Judge(ReplayPolicies.of(snapshot)))
        answer = judge.answer(question_of(shape), asked.now)
        if isinstance(answer, NotKnown):
            # Bodies are never recorded.
            assert answer.slot.startswith(BODY), (answer, asked)
        else:
            assert answer.verdict == (shape.effect, shape.reason, shape.rule), (shape, asked)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_what_was_not_recorded_never_becomes_an_answer(seed: int) -> None:
    rng = random.Random(seed)
    policy_set = random_policy_set(rng)
    stage = Stage(CaseRunner.of(policy_set, MODEL))
    try:
        draft = CaseRunner.of(edited(rng, policy_set), MODEL)._directory
    except CaseInvalidError:
        return
    comparisons: dict[str, Comparison] = {}
    for asked in stage.requests(rng, policy_set):
        tenant, live_policies = asked.snapshot.tenant, asked.snapshot
        draft_policies = draft.snapshots[tenant]
        if tenant in stage.directory.suspended:
            continue
        names = {name for name in named_by(live_policies, draft_policies) if rng.random() < 0.85}
        shape = forgetful(rng, stage.shape(asked, names))
        comparison = comparisons.get(tenant)
        if comparison is None:
            comparison = comparisons[tenant] = Comparison(
                ReplayPolicies.of(live_policies), ReplayPolicies.of(draft_policies, live_policies)
            )
        snapshots = {**stage.directory.snapshots, tenant: draft_policies}
        with_draft = stage.verdict(asked, replace(stage.directory, snapshots=snapshots))
        expected = changed(asked.verdict, with_draft)
        hour = asked.now // HOUR_S * HOUR_S
        question = question_of(shape, routes_since=rng.random() < 0.5)
        for period in (Period(asked.now, asked.now), Period(hour, hour + HOUR_S)):
            found = comparison.difference(question, period)
            MET[found.change] += 1
            assert found.change in (expected, DecisionChange.CANNOT_SAY), (found, shape, asked, period)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_line_of_the_decision_log_gives_the_logged_answer_or_names_what_it_lacks(seed: int) -> None:
    rng = random.Random(seed)
    policy_set = random_policy_set(rng)
    stage = Stage(CaseRunner.of(policy_set, MODEL))
    judges: dict[str, Judge] = {}
    unmapped = POLICIES[stage.runner._policy.unmapped]
    for asked in stage.requests(rng, policy_set):
        verdict, tenant = asked.verdict, asked.snapshot.tenant
        if asked.facts.context.action is not None and verdict.target is None:
            # A line does not say that the proxy named a target that is not there.
            continue
        line = json.loads(
            json.dumps(decision_fields(verdict, ts=asked.now, entrance="grpc", duration_us=1), default=list)
        )
        judge = judges.setdefault(tenant, Judge(ReplayPolicies.of(asked.snapshot)))
        question = LineReader(tenant, unmapped, preflights=True).question(line)
        assert isinstance(question, Question), (question, line)
        answer = judge.answer(as_recorded(question, line, judge, asked.now), asked.now)
        MET[isinstance(answer, Outcome)] += 1
        if isinstance(answer, Outcome):
            assert answer.verdict == (verdict.effect, verdict.reason, verdict.rule), (line, asked)


def test_the_comparison_meets_every_kind_of_change() -> None:
    test_what_was_not_recorded_never_becomes_an_answer()
    test_a_line_of_the_decision_log_gives_the_logged_answer_or_names_what_it_lacks()
    assert set(MET) == {*DecisionChange, True, False}


def test_the_policies_have_every_operator_and_attribute() -> None:
    names: set[str] = set()
    operators: set[str] = set()
    for seed in range(150):
        policies = random_policy_set(random.Random(seed))["policies"]
        text = repr(policies)
        operators |= {word for word in OPERATORS if f"'{word}'" in text}
        names |= {row for row in ATTRIBUTES if f"'{row}" in text}
    assert operators == set(OPERATORS)
    assert names == set(ATTRIBUTES)


def edited(rng: random.Random, policy_set: Document) -> Document:
    """Return the set with some lists of another one, and with entries less."""
    draft = copy.deepcopy(policy_set)
    other = random_policy_set(rng)["policies"]
    other = other if "resources" in other else other["acme"]
    by_tenant = draft["policies"] if draft["settings"]["mode"] == "saas" else {"": draft["policies"]}
    for own in by_tenant.values():
        for kind in ("resources", "role_rules", "role_bindings", "attribute_policies"):
            drawn = rng.random()
            if drawn < 0.25:
                own[kind] = copy.deepcopy(other[kind])
            elif drawn < 0.6 and own[kind]:
                own[kind].pop(rng.randrange(len(own[kind])))
    return draft


def forgetful(rng: random.Random, shape: Shape) -> Shape:
    """Return the shape with some of its slots folded."""
    share = rng.choice([0.0, 0.25, 0.6])
    kept = ("request.host", "request.method")
    return shape._replace(
        slots=tuple(
            (name, FOLDED if name not in kept and rng.random() < share else text)
            for name, text in shape.slots
        )
    )


def changed(live: Verdict, draft: Verdict) -> DecisionChange:
    if (live.effect, live.reason, live.rule) == (draft.effect, draft.reason, draft.rule):
        return DecisionChange.UNCHANGED
    if live.effect is draft.effect:
        return DecisionChange.RULE_CHANGED
    return DecisionChange.NEWLY_ALLOWED if draft.effect is Effect.ALLOW else DecisionChange.NEWLY_DENIED


@pytest.fixture(autouse=True)
def _met() -> None:
    MET.clear()
