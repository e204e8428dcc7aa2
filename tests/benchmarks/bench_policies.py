"""The cost of policies: of decisions, of loading, and of memory.

- A decision with 1,000 attribute policies on one resource, 5 of which can match, against 10 of which 5 can.
- A decision with 1,000,000 role rules against 10: the same request again and again, and 1,000 users in turn.
- Loading 1,000,000 role rules from a JSON text until they decide, and the memory that stays of each.

Costs of decisions are of this process's CPU, the quietest windows of it (`measuring.quiet_us`), and both
sides take turns. Loads are processes of their own, by the clock and by their CPU.
"""

import argparse
import gc
import json
import multiprocessing
import os
import random
import statistics
import time
import tracemalloc
from collections.abc import Callable
from itertools import cycle
from types import MappingProxyType
from typing import Final

from extauthz.compile.documents.policy_documents import Reading, parse_policy_set
from extauthz.compile.documents.policy_files import read_document
from extauthz.compile.snapshot import Snapshot
from extauthz.decide.authorize import decide
from extauthz.domain.policy import AuthenticationRequirement
from extauthz.domain.principal import Authentication, Principal, PrincipalKind
from extauthz.domain.verdict import Target
from extauthz.publish.loading import short_steps
from tests.benchmarks.bench_reload import policy_text
from tests.benchmarks.measuring import MachineLoad, keep, pin, quiet_us
from tests.benchmarks.workers import prefer
from tests.builders import request_facts
from tests.compiled_policies import compiled

ROUNDS: Final = 5
CALLS: Final = 300
LOADS: Final = 3
NOW: Final = 1_767_607_200.0
REQUEST: Final = request_facts()
NO_PARAMETERS: Final = MappingProxyType[str, object]({})


def snapshot_of(document: object) -> Snapshot:
    policies = parse_policy_set(document, Reading())
    assert not isinstance(policies, list), policies
    return compiled(policies)


def user(number: int, *roles: str, **claims: object) -> Principal:
    return Principal(
        PrincipalKind.USER, f"user-{number}", "default", None, roles, Authentication.JWT,
        claims=MappingProxyType(claims),
    )  # fmt: skip


def attribute_policies(count: int, matching: int = 5) -> dict[str, object]:
    """Return policies on one resource, `matching` of which are for each department."""
    return {
        "attribute_policies": [
            {
                "id": f"policy-{number}",
                "name": "of a department",
                "resource": "doc",
                "effect": "allow",
                "rule_data": {
                    "type": "AND",
                    "conditions": [
                        condition("user.department", "eq", f"d{number // matching}"),
                        condition("user.clearance", "gte", 3),
                    ],
                },
            }
            for number in range(count)
        ]
    }


def condition(attribute: str, operator: str, value: object) -> dict[str, object]:
    return {"type": "CONDITION", "attribute": attribute, "operator": operator, "value": value}


def deciding(snapshot: Snapshot, principals: list[Principal], target: Target) -> Callable[[], int]:
    """Return the work of some decisions; the principals ask in turn."""
    turns = cycle(principals)

    def work() -> int:
        for _ in range(CALLS):
            decide(snapshot, next(turns), target, REQUEST, "GET", NOW)
        return CALLS

    return work


def compared(many: Callable[[], int], few: Callable[[], int]) -> dict[str, float]:
    """Return the cost of both in microseconds, the medians of rounds in turn, and their ratio."""
    costs: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for own, work in zip(costs, (many, few), strict=True):
            own.append(quiet_us(work, groups=3))
    many_us, few_us = map(statistics.median, costs)
    return {"many_us": many_us, "few_us": few_us, "ratio": round(many_us / few_us, 2)}


def with_attribute_policies() -> dict[str, float]:
    target = Target("default", "doc", "read", "svc", NO_PARAMETERS, AuthenticationRequirement.REQUIRED)
    principal = user(1, department="d1", clearance=2)
    many, few = (
        deciding(snapshot_of(attribute_policies(count)), [principal], target) for count in (1_000, 10)
    )
    return compared(many, few) | {"goal": 2.0}


def with_role_rules(rules: int) -> dict[str, object]:
    rng = random.Random(3)
    many, few = (snapshot_of(json.loads(policy_text("a", count))) for count in (rules, 10))
    gc.collect()
    gc.freeze()
    target = Target("default", "thing-4:a", "read", "svc", NO_PARAMETERS, AuthenticationRequirement.REQUIRED)
    # Of the ten rules role-4 has one, too.
    users = [user(number, "role-4", f"role-{rng.randrange(5_000)}") for number in range(1_000)]
    repeated = compared(*(deciding(each, users[:1], target) for each in (many, few)))
    in_turn = compared(*(deciding(each, users, target) for each in (many, few)))
    one_again = compared(deciding(many, users, target), deciding(few, users[:1], target))
    return {
        "rules": rules,
        "repeated": repeated | {"goal": 1.2},
        "thousand_users": in_turn | {"goal": 2.0},
        "thousand_users_against_one": one_again,
    }


def loaded(rules: int, *, weigh: bool) -> dict[str, float]:
    """Load a JSON text; a process of its own."""
    text = policy_text("a", rules).encode()
    gc.collect()
    gc.freeze()
    if weigh:
        tracemalloc.start()
    began, cpu = time.perf_counter(), time.process_time()
    with short_steps():
        document = read_document(text, is_json=True, max_bytes=None)
        snapshot = snapshot_of(document)
    taken = {"seconds": time.perf_counter() - began, "cpu_s": time.process_time() - cpu}
    if weigh:
        peak = tracemalloc.get_traced_memory()[1]
        del document
        held = tracemalloc.get_traced_memory()[0]
        count = len(snapshot.role_rules_by_id)
        taken = {"held": held / count, "peak": peak / count, "text": len(text) / count}
    return {name: round(value, 3) for name, value in taken.items()}


def _weighed(rules: int) -> dict[str, float]:
    return loaded(rules, weigh=True)


def _timed(rules: int) -> dict[str, float]:
    return loaded(rules, weigh=False)


def load_of_json(rules: int) -> dict[str, object]:
    # Here and not in the processes of the pool: they are ended before they could undo it.
    prefer(os.getpid())
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as one_at_a_time:
        loads = [one_at_a_time.apply(_timed, (rules,)) for _ in range(LOADS)]
        weights = one_at_a_time.apply(_weighed, (rules,))
    return {
        "rules": rules,
        "seconds": statistics.median(each["seconds"] for each in loads),
        "cpu_s": statistics.median(each["cpu_s"] for each in loads),
        "goal_s": 8.0,
        "bytes_per_rule": weights,
        "goal_bytes": 350,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rules", type=int, default=1_000_000, help="role rules that are many")
    rules: int = parser.parse_args().rules
    machine = MachineLoad()
    numbers: dict[str, object] = {"load_of_json": load_of_json(rules)}
    pin(0)
    numbers["attribute_policies"] = with_attribute_policies()
    numbers["role_rules"] = with_role_rules(rules)
    keep("policies", numbers, machine.document())


if __name__ == "__main__":
    main()
