"""Policies that are found by the values they require decide as if every policy were evaluated.

Compared are the implementation with the index, the same without it, and the plain reading of the policy
language (`tests/reference.py`), which has no index at all.
"""

import os
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import pytest
from immutables import Map

from extauthz.cases.decision_cases import CaseRunner
from extauthz.compile.conditions.compiled_policy import CompiledPolicy
from extauthz.compile.conditions.condition_input import ConditionInput
from extauthz.compile.conditions.values import Kleene
from extauthz.compile.directory import Directory
from extauthz.compile.documents.policy_documents import Reading, parse_policy_set
from extauthz.compile.policy_index import PolicyCell, PolicyIndex
from extauthz.compile.snapshot import Snapshot
from extauthz.compile.snapshot_building import derive
from extauthz.domain.policy import PolicySet
from extauthz.domain.tenancy import TenancyMode
from tests.compiled_policies import compiled
from tests.property.generators import random_policy_set, random_request
from tests.property.random_conditions import random_node
from tests.property.vocabulary import (
    ACTIONS,
    CLAIM_NAMES,
    CLAIMS,
    DENY_PRIORITIES,
    DOMAINS,
    HEADERS,
    INSTANTS,
    LISTS,
    NUMBERS,
    PRIORITIES,
    ROLES,
    STRINGS,
    USERS,
)
from tests.reference import reference_decide

VERIFY = os.environ.get("EXTAUTHZ_VERIFY") == "1"
SETS = 4_000 if VERIFY else 100
SHARDS: Final = 4
REQUESTS: Final = 60
FIRST_SEED = random.SystemRandom().randrange(2**32) if VERIFY else 0

Document = dict[str, Any]

LOOKED_UP: Final = [
    *("user.id", "user.c", "user.n", "user.l", "user.roles", "user.o.deep", "user.none", "user.domain"),
    *("resource.x", "resource.owner", "resource.name", "request.query.q", "request.headers.x-a"),
    *("request.path", "request.source.address", "env.hour", "env.time", "action"),
]
TYPED: Final = {"request.source.address": "10.0.0.1", "env.time": "2026-01-05T10:00:00Z"}


def equality(rng: random.Random, attribute: str) -> Document:
    """Draw one comparison for equality or membership with a literal, of any kind."""
    word = rng.choice(["eq", "eq", "eq", "in", "has", "hasAny", "hasAll"])
    value: Any
    if word in {"eq", "has"}:
        value = rng.choice([rng.choice(STRINGS)] * 3 + [rng.choice(NUMBERS), True])
    else:
        value = rng.choice([rng.sample(STRINGS, 3), rng.choice(LISTS)])
    if attribute in TYPED and word in {"eq", "in"}:
        value = TYPED[attribute] if word == "eq" else [TYPED[attribute]]
    return {"type": "CONDITION", "attribute": attribute, "operator": word, "value": value}


def crowded_node(rng: random.Random, attributes: list[str]) -> Document:
    attribute, drawn = rng.choice(attributes), rng.random()
    if drawn < 0.4:
        return equality(rng, attribute)
    if drawn < 0.65:
        parts = [equality(rng, attribute), random_node(rng, 1), equality(rng, rng.choice(attributes))]
        rng.shuffle(parts)
        return {"type": "AND", "conditions": parts}
    if drawn < 0.85:
        parts = [equality(rng, attribute) for _ in range(rng.randint(1, 3))]
        return {"type": "OR", "conditions": parts}
    if drawn < 0.92:
        return {"type": "NOT", "condition": equality(rng, attribute)}
    return random_node(rng, 2)


def crowded_policy(rng: random.Random, number: int, attributes: list[str]) -> Document:
    effect = rng.choice(["allow"] * 4 + ["deny"])
    return {
        "id": f"{rng.choice('abc')}{number}-attribute",
        "name": f"policy {number}",
        "resource": rng.choice(["doc"] * 6 + ["*", "*", "file:read", "/a@b"]),
        "actions": rng.choice([["*"]] * 8 + [["read"], ACTIONS]),
        "domain": rng.choice(["*"] * 5 + ["d1"]),
        "effect": effect,
        "priority": rng.choice(PRIORITIES if effect == "allow" else DENY_PRIORITIES),
        "mode": rng.choice(["enforce"] * 4 + ["shadow"]),
        "rule_data": crowded_node(rng, attributes),
    }


def crowded_set(rng: random.Random) -> Document:
    """Draw a policy set with many attribute policies on few resources."""
    drawn = random_policy_set(rng)
    while drawn["settings"]["mode"] == "saas":
        drawn = random_policy_set(rng)
    attributes = rng.sample(LOOKED_UP, 2)
    drawn["policies"]["attribute_policies"] = [
        crowded_policy(rng, number, attributes) for number in range(rng.choice([10, 60, 150]))
    ]
    return drawn


def crowded_request(rng: random.Random, policy_set: Document) -> Document:
    """Draw a request that mostly reaches the policies, with values that they mostly compare with."""
    if rng.random() < 0.4:
        return random_request(rng, policy_set)
    values = [*STRINGS, *STRINGS, *LISTS, *NUMBERS, True] if rng.random() < 0.6 else CLAIMS
    return {
        "now": rng.choice(INSTANTS),
        "principal": {
            "id": rng.choice(USERS),
            "tenant": "default",
            "domain": rng.choice(DOMAINS),
            "roles": rng.sample(ROLES, rng.randint(0, 4)),
            "claims": {name: rng.choice(values) for name in rng.sample(CLAIM_NAMES, 5)},
        },
        "request": {
            "resource": rng.choice(["doc", "doc", "file:read", "/a%40b"]),
            "action": rng.choice(ACTIONS),
            "parameters": {name: rng.choice(values) for name in rng.sample(["x", "owner", "name"], 2)},
        },
    }


def snapshot_of(policy_set: Document) -> Snapshot:
    policies = parse_policy_set(policy_set["policies"], Reading(condition_headers=frozenset(HEADERS)))
    assert isinstance(policies, PolicySet), policies
    return compiled(policies)


def changed(snapshot: Snapshot, change: Callable[[CompiledPolicy], CompiledPolicy]) -> Snapshot:
    """Return the snapshot with each compiled policy replaced."""
    cells = {
        key: PolicyCell(Map({name: change(policy) for name, policy in cell.policies.items()}))
        for key, cell in snapshot.policies.cells.items()
    }
    # Derived, as a plain copy would share what the snapshot remembers of earlier requests.
    fresh = derive(snapshot, snapshot.revision, ())
    assert isinstance(fresh, Snapshot)
    return replace(fresh, policies=PolicyIndex(Map(cells)))


def counted(evaluated: list[str]) -> Callable[[CompiledPolicy], CompiledPolicy]:
    """Return the change that makes a policy note its id whenever it is evaluated."""

    def change(policy: CompiledPolicy) -> CompiledPolicy:
        def evaluate(facts: ConditionInput) -> Kleene:
            evaluated.append(policy.id)
            return policy.evaluate(facts)

        return replace(policy, evaluate=evaluate)

    return change


def runner_of(policy_set: Document, snapshot: Snapshot) -> CaseRunner:
    return CaseRunner(policy_set["settings"], Directory(TenancyMode.SELFHOST, {"default": snapshot}))


@pytest.mark.timeout(3600 if VERIFY else 300)
@pytest.mark.parametrize("shard", range(SHARDS))
def test_policies_that_are_left_out_would_not_have_matched(shard: int) -> None:
    with_index, without_index = list[str](), list[str]()
    left_out = 0
    for seed in range(FIRST_SEED + shard, FIRST_SEED + SETS, SHARDS):
        rng = random.Random(seed)
        policy_set = crowded_set(rng)
        snapshot = snapshot_of(policy_set)
        indexed = runner_of(policy_set, changed(snapshot, counted(with_index)))
        plain = changed(snapshot, lambda policy: replace(policy, required=()))
        evaluating_all = runner_of(policy_set, changed(plain, counted(without_index)))
        for position in range(REQUESTS):
            request = crowded_request(rng, policy_set)
            with_index.clear()
            without_index.clear()
            found = indexed.answer(request)
            where = f"seed {seed}, request {position}: {request}"
            assert found == evaluating_all.answer(request), where
            left_out += len(set(without_index) - set(with_index))
            if found["rule"] is None and found["reason"] != "no_matching_rule":
                continue
            assert found == reference_decide(policy_set, request), where
        for name in ("doc", "file:read", "/a%40b"):
            ours, theirs = (each.candidates(name, "read", "d1", ("/a@b",)) for each in (snapshot, plain))
            assert list(ours.attributes) == list(theirs.attributes)
            assert [name for name, _ in ours.shown] == [name for name, _ in theirs.shown]
    assert left_out > SETS
