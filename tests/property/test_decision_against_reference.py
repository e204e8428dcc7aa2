"""The implementation decides as the plain reading of the policy language does: effect, reason, rule, shadow.

Sets of a hundred requests each: 400 by default, 10,000 under `EXTAUTHZ_VERIFY=1`,
there with new seeds in each run.
"""

import os
import random
from collections import Counter
from typing import Any

import pytest

from extauthz.cases.decision_cases import CaseRunner
from tests.property.generators import random_policy_set, random_request
from tests.reference import reference_decide
from tests.shipped_model import MODEL

VERIFY = os.environ.get("EXTAUTHZ_VERIFY") == "1"
SETS = 10_000 if VERIFY else 400
REQUESTS = 100
SHARDS = 20
FIRST_SEED = random.SystemRandom().randrange(2**32) if VERIFY else 0

Document = dict[str, Any]


def decided_by(runner: CaseRunner, request: Document) -> Document:
    answer = runner.answer(request)
    # A refusal before the rules does not tell the target of the request.
    return {**answer, "resource": None, "action": None} if refused(answer) else answer


def refused(answer: Document) -> bool:
    return answer["rule"] is None and answer["reason"] != "no_matching_rule"


@pytest.mark.timeout(3600 if VERIFY else 300)
@pytest.mark.parametrize("shard", range(SHARDS))
def test_every_decision_is_the_one_that_a_plain_reading_gives(shard: int) -> None:
    for seed in range(FIRST_SEED + shard, FIRST_SEED + SETS, SHARDS):
        rng = random.Random(seed)
        policy_set = random_policy_set(rng)
        runner = CaseRunner.of(policy_set, MODEL)
        for position in range(REQUESTS):
            request = random_request(rng, policy_set)
            expected = reference_decide(policy_set, request)
            assert decided_by(runner, request) == expected, f"seed {seed}, request {position}: {request}"


def test_the_comparison_meets_every_way_a_decision_can_come_out() -> None:
    met: Counter[str] = Counter()
    for seed in range(150):
        rng = random.Random(seed)
        policy_set = random_policy_set(rng)
        runner = CaseRunner.of(policy_set, MODEL)
        for _ in range(40):
            answer: Document = runner.answer(random_request(rng, policy_set))
            met[f"{answer['decision']} {answer['reason']}"] += 1
            met["shadow disagrees"] += any(each["would"] != answer["decision"] for each in answer["shadow"])
    assert {name for name, times in met.items() if times >= 10} == {
        "allow rule_matched",
        "deny rule_matched",
        "deny condition_unknown",
        "deny no_matching_rule",
        "deny unmapped_route",
        "deny path_ambiguous",
        "deny tenant_mismatch",
        "deny tenant_suspended",
        "deny token_missing",
        "deny token_claims_invalid",
        "shadow disagrees",
    }
