"""Recorded requests explained: the recorded verdict where all is known, and never a guess elsewhere."""

import random
from collections import Counter

import pytest

from extauthz.cases.decision_cases import CaseRunner
from extauthz.decide.explained_conditions import ConditionOutcome
from extauthz.decide.line_question import BY_RULES
from extauthz.domain.verdict import Grant
from extauthz.recording.explain_shape import ExplainedShape, explain_shape
from extauthz.recording.not_known import NotKnown
from extauthz.recording.shape import BODY, FOLDED, HOST, METHOD, Shape
from tests.property.generators import random_policy_set
from tests.property.test_replay import Stage, named_by
from tests.recorded_requests import CLERKS, HOUR, ORDERS, condition, order, policy, snapshot_of
from tests.shipped_model import MODEL

SETS = 60


def agrees(found: ExplainedShape, shape: Shape) -> bool:
    """Tell whether the explanation reaches the verdict of the shape."""
    assert found.explanation is not None
    decision = found.explanation.decision
    reason = "rule_matched" if isinstance(decision, Grant) else decision.reason
    return (isinstance(decision, Grant), reason, decision.rule) == (
        shape.effect == "allow",
        shape.reason,
        shape.rule,
    )


@pytest.mark.timeout(300)
@pytest.mark.parametrize("shard", range(4))
def test_a_recorded_request_is_explained_as_it_was_decided(shard: int) -> None:
    met: Counter[str] = Counter()
    for seed in range(shard, SETS, 4):
        rng = random.Random(seed)
        policy_set = random_policy_set(rng)
        stage = Stage(CaseRunner.of(policy_set, MODEL))
        for asked in stage.requests(rng, policy_set):
            shape = stage.shape(asked, named_by(asked.snapshot))
            whole = explain_shape(shape, asked.snapshot, asked.now)
            if isinstance(whole.answer, NotKnown):
                # Bodies are never recorded.
                assert whole.answer.slot.startswith(BODY)
                assert whole.explanation is not None
                assert not whole.explanation.certain
                continue
            assert whole.answer.verdict == (shape.effect, shape.reason, shape.rule)
            assert (whole.explanation is not None) is (shape.reason in BY_RULES)
            if whole.explanation is not None:
                assert whole.explanation.certain
                assert agrees(whole, shape)
                met["explained"] += 1
            name = rng.choice([name for name, _ in shape.slots if name not in {HOST, METHOD}])
            slots = tuple((each, FOLDED if each == name else text) for each, text in shape.slots)
            folded = explain_shape(shape._replace(slots=slots), asked.snapshot, asked.now)
            if folded.explanation is not None and folded.explanation.certain:
                assert agrees(folded, shape)
            met["not known"] += isinstance(folded.answer, NotKnown)
    assert met["explained"] >= 50
    assert met["not known"] >= 10


ALICE = {**CLERKS, "id": "alice", "sub": "alice", "sub_kind": "user"}
LEVELS = policy("levels", "allow", condition("user.level", "gte", 3), condition("resource.id", "eq", "17"))


@pytest.mark.parametrize(
    ("shape", "outcome", "certain"),
    [
        (order(), ConditionOutcome.NOT_RECORDED, False),
        (order(user__level=FOLDED), ConditionOutcome.NOT_RECORDED, False),
        (order(user__level="2"), ConditionOutcome.FALSE, True),
        (order(user__level="3"), ConditionOutcome.TRUE, True),
        (order('"18"'), ConditionOutcome.FALSE, True),
        (order(user__level="unknown"), ConditionOutcome.UNKNOWN, True),
    ],
)
def test_what_was_not_recorded_is_named(shape: Shape, outcome: ConditionOutcome, *, certain: bool) -> None:
    found = explain_shape(shape, snapshot_of(resources=[ORDERS], attribute_policies=[LEVELS]), HOUR)
    assert found.explanation is not None
    (candidate,) = found.explanation.policies
    assert (candidate.tree.outcome, found.explanation.certain) == (outcome, certain)


def test_a_subject_that_was_folded_leaves_the_candidates_unknown() -> None:
    shape = order(subject=FOLDED)
    found = explain_shape(shape, snapshot_of(resources=[ORDERS], role_rules=[CLERKS, ALICE]), HOUR)
    assert isinstance(found.answer, NotKnown)
    assert (found.answer.slot, found.explanation) == ("user.id", None)
