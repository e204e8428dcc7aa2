"""What `CORS_PREFLIGHT=policy` can change: preflights of a method that has a route, and nothing else."""

import random
from typing import Any

import pytest

from extauthz.cases.decision_cases import CaseRunner
from tests.property.generators import random_policy_set, random_request
from tests.reference import reference_decide
from tests.shipped_model import MODEL

Document = dict[str, Any]
SETS, REQUESTS, SHARDS = 200, 60, 4
ORIGINS = [
    "https://a.example",
    "null",
    "http://a:80",
    "https://a.example/",
    "",
    "a.example",
    "https://a,https://b",
]
METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "get", "GET,PUT", "*", "", " GET"]
OTHERS = [
    {"cookie": "a=b"}, {"authorization": "Basic eA=="}, {"content-length": "1"}, {"content-length": "0"},
    {"transfer-encoding": "chunked"}, {"x-service-api-key": "x"}, {"proxy-authorization": "x"}, {"x-a": "b"},
]  # fmt: skip


def as_options(rng: random.Random, case: Document) -> Document:
    """Return the case as an OPTIONS request with headers that are those of a preflight, or nearly."""
    headers: Document = {}
    if rng.random() < 0.9:
        headers["Origin"] = rng.choice(ORIGINS[:3] * 3 + ORIGINS)
    if rng.random() < 0.9:
        headers["access-control-request-method"] = rng.choice(METHODS[:6] * 3 + METHODS)
    if rng.random() < 0.1:
        repeated = rng.choice(["Origin", "access-control-request-method"])
        headers[repeated] = [headers.get(repeated, "x"), "https://b.example"]
    if rng.random() < 0.3:
        headers |= rng.choice(OTHERS)
    method = "OPTIONS" if rng.random() < 0.95 else "options"
    changed = case | {"request": {**case["request"], "method": method, "headers": headers}}
    if rng.random() < 0.7:
        changed.pop("token", None)
        changed["principal"] = "anonymous"
    return changed


@pytest.mark.parametrize("shard", range(SHARDS))
def test_only_preflights_are_allowed_in_addition(shard: int) -> None:
    passed = 0
    for seed in range(shard, SETS, SHARDS):
        rng = random.Random(seed)
        policy_set = random_policy_set(rng)
        settings = policy_set.get("settings", {})
        off = CaseRunner.of(policy_set, MODEL)
        policy_set = policy_set | {"settings": settings | {"cors_preflight": "policy"}}
        on = CaseRunner.of(policy_set, MODEL)
        for position in range(REQUESTS):
            case = random_request(rng, policy_set)
            if "path" not in case["request"]:
                continue
            case = as_options(rng, case)
            answer, before = on.answer(case), off.answer(case)
            where = f"seed {seed}, request {position}: {case}"
            if answer["reason"] != "preflight":
                assert answer == before, where
                continue
            passed += 1
            # The plain reading finds the same route, and without the setting it was a denial.
            assert answer == reference_decide(policy_set, case), where
            assert before["decision"] == "deny", where
            assert before["reason"] in {"token_missing", "unmapped_route"}, where
            assert case["principal"] == "anonymous", where
    assert passed
