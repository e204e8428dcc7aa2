"""What `public: true` can change: it is two allow rules and a default, and no deny gives way to it."""

import copy
import random
from typing import Any

import pytest

from extauthz.cases.decision_cases import CaseRunner
from tests.property.generators import random_policy_set, random_request
from tests.shipped_model import MODEL

Document = dict[str, Any]
SETS, REQUESTS, SHARDS = 120, 60, 4
NOT_BY_RULES = {"no_matching_rule", "token_missing"}


def tenants_of(policy_set: Document) -> list[Document]:
    policies: Document = policy_set.get("policies", {})
    saas = policy_set.get("settings", {}).get("mode") == "saas"
    return list(policies.values()) if saas else [policies]


def opened(policy_set: Document, *, written_out: bool) -> Document:
    """Return the set with every second resource public, or with what that stands for."""
    changed = copy.deepcopy(policy_set)
    for policies in tenants_of(changed):
        for resource in policies.get("resources", [])[::2]:
            if not written_out:
                resource["public"] = True
                continue
            name = resource["name"]
            action = name.rpartition(":")[2] or "access" if ":" in name else "access"
            for route in resource.get("routes", []):
                route.setdefault("authentication", "optional")
            policies.setdefault("role_rules", []).extend(
                {
                    "id": f"public:{name}:{sub}",
                    "sub": sub,
                    "dom": "*",
                    "obj": name,
                    "act": action,
                    "effect": "allow",
                }
                for sub in ("*", "anonymous")
            )
    return changed


@pytest.mark.parametrize("shard", range(SHARDS))
def test_it_is_what_its_two_rules_and_optional_routes_are(shard: int) -> None:
    granted = 0
    for seed in range(shard, SETS, SHARDS):
        rng = random.Random(seed)
        policy_set = random_policy_set(rng)
        before = CaseRunner.of(policy_set, MODEL)
        outbid = {
            policy["id"]
            for policies in tenants_of(policy_set)
            for policy in policies.get("attribute_policies", [])
            if policy.get("priority", 0) < 0
        }
        public = CaseRunner.of(opened(policy_set, written_out=False), MODEL)
        written = CaseRunner.of(opened(policy_set, written_out=True), MODEL)
        for position in range(REQUESTS):
            request = random_request(rng, policy_set)
            answer, without = public.answer(request), before.answer(request)
            where = f"seed {seed}, request {position}: {request}"
            assert answer == written.answer(request), where
            if (without["decision"], answer["decision"]) == ("deny", "allow"):
                granted += 1
                # Another rule allows only where the request was not judged by rules before.
                by_it = str(answer["rule"]).startswith("public:")
                assert by_it or without["reason"] == "token_missing", where
                # What gave way is the lack of a rule or a credential, or a deny below the priority of roles.
                assert without["rule"] in outbid or without["reason"] in NOT_BY_RULES, where
    assert granted
