"""What `authentication: none` can change: exactly the requests whose route has it, to what anonymous gets."""

import copy
import random
from typing import Any

import pytest

from extauthz.cases.decision_cases import CaseRunner
from tests.property.generators import random_policy_set, random_request
from tests.shipped_model import MODEL

Document = dict[str, Any]
SETS, REQUESTS, SHARDS = 120, 60, 4


def routes_of(policy_set: Document) -> list[Document]:
    policies = policy_set.get("policies", {})
    every = policies.values() if policy_set.get("settings", {}).get("mode") == "saas" else [policies]
    return [route for each in every for one in each.get("resources", []) for route in one.get("routes", [])]


def with_authentication(policy_set: Document, old: str, new: str) -> Document:
    changed = copy.deepcopy(policy_set)
    for route in routes_of(changed):
        if route.get("authentication") == old:
            route["authentication"] = new
    return changed


@pytest.mark.parametrize("shard", range(SHARDS))
def test_only_what_an_anonymous_request_gets_is_allowed_in_addition(shard: int) -> None:
    changed = 0
    for seed in range(shard, SETS, SHARDS):
        rng = random.Random(seed)
        policy_set = random_policy_set(rng)
        opened = CaseRunner.of(policy_set, MODEL)
        without = CaseRunner.of(with_authentication(policy_set, "none", "optional"), MODEL)
        for position in range(REQUESTS):
            request = random_request(rng, policy_set)
            if "path" not in request["request"]:
                continue
            anonymous = {name: value for name, value in request.items() if name not in {"token", "principal"}}
            anonymous["principal"] = "anonymous"
            answer = opened.answer(request)
            if answer != without.answer(request):
                changed += 1
                assert answer == without.answer(anonymous), f"seed {seed}, request {position}: {request}"
    assert changed
