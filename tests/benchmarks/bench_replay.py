"""The cost of a replay: recorded shapes that one core judges in a second, on live and on draft policies.

Shapes are those of a tenant with 200 resources, 2,000 role rules, 1,000 bindings and 300 attribute policies:
10,000 subjects, half of the path parameters folded, one request in ten without a credential. The draft
changes a role rule in ten and an attribute policy in ten. A shape is judged and counted in groups. Where only
rules changed, a request whose candidate rules are the same on both sides is judged once; where routes
changed, every request is judged twice. Costs are of this process's CPU, the quietest windows of it
(`measuring.quiet_us`).

Decisions that arrive each millisecond are timed from when they are due, alone on a core, and with a replay
on the same core, at the priority that the control plane gives it.
"""

import argparse
import multiprocessing
import os
import random
import time
from collections.abc import Callable
from itertools import cycle, islice
from typing import Any, Final

from extauthz.compile.documents.policy_documents import Reading, parse_policy_set
from extauthz.compile.snapshot import Snapshot
from extauthz.compile.snapshot_building import build
from extauthz.recording.compare import HOUR_S, Comparison, Period
from extauthz.recording.question import question_of
from extauthz.recording.rejudge import Judge
from extauthz.recording.replay_policies import ReplayPolicies
from extauthz.recording.report import Report
from extauthz.recording.shape import FOLDED, CredentialState, Shape, literal
from extauthz.runtime.replay_process import NICENESS
from tests.benchmarks.measuring import MachineLoad, cpu_us, keep, pin, quiet_us, spread
from tests.shipped_model import MODEL
from tests.user_shapes import user_shape

SHAPES: Final = 50_000
SHAPES_A_WINDOW: Final = 200
WINDOWS: Final = 60
ARRIVALS: Final = 3_000
ARRIVAL_S: Final = 0.001
TURNS: Final = 3
WARM_US: Final = 1e6
"""CPU of the child before decisions are measured: it has compiled its policies."""
GOAL: Final = 20_000
NOW: Final = 1_767_607_200.0
RESOURCES: Final = 200
SUBJECTS: Final = 10_000
ROLES: Final = [f"role-{number}" for number in range(100)]
DEPARTMENTS: Final = [f"d{number}" for number in range(20)]


def policies(rng: random.Random) -> dict[str, Any]:
    """Return the live documents."""
    names = [f"service-{number % 20}:thing-{number}" for number in range(RESOURCES)]
    return {
        "resources": [
            {
                "name": name,
                "serviceName": name.partition(":")[0],
                "routes": [
                    {"methods": ["GET"], "path": f"/v1/things-{number}/{{id}}"},
                    {"methods": ["POST"], "path": f"/v1/things-{number}", "authentication": "optional"},
                ],
            }
            for number, name in enumerate(names)
        ],
        "role_rules": [
            {
                "id": f"rule-{number}",
                "sub": rng.choice(ROLES),
                "sub_kind": "role",
                "dom": "*",
                "obj": names[number % RESOURCES],
                "act": "*",
                "effect": "allow" if rng.random() < 0.95 else "deny",
            }
            for number in range(2_000)
        ],
        "role_bindings": [
            {
                "id": f"binding-{number}",
                "user": f"user-{rng.randrange(SUBJECTS)}",
                "user_kind": "user",
                "role": rng.choice(ROLES),
                "dom": "*",
            }
            for number in range(1_000)
        ],
        "attribute_policies": [
            {
                "id": f"policy-{number}",
                "name": f"policy-{number}",
                "resource": names[number % RESOURCES],
                "effect": "allow",
                "rule_data": {
                    "type": "AND",
                    "conditions": [
                        _condition("user.department", "eq", rng.choice(DEPARTMENTS)),
                        _condition("user.level", "gte", rng.randrange(5)),
                    ],
                },
            }
            for number in range(300)
        ],
    }


def _condition(attribute: str, operator: str, value: object) -> dict[str, object]:
    return {"type": "CONDITION", "attribute": attribute, "operator": operator, "value": value}


def draft_of(live: dict[str, Any]) -> dict[str, Any]:
    """Return the draft's documents."""
    rules, conditional = live["role_rules"], live["attribute_policies"]
    changed = [rule | {"sub": ROLES[0]} if number % 10 == 0 else rule for number, rule in enumerate(rules)]
    return live | {
        "role_rules": changed,
        "attribute_policies": [
            policy | {"effect": "deny"} if number % 10 == 0 else policy
            for number, policy in enumerate(conditional)
        ],
    }


def with_a_route(document: dict[str, Any]) -> dict[str, Any]:
    """Return documents with one more resource: any request may then lead elsewhere."""
    more = {"name": "new:thing", "serviceName": "new", "routes": [{"methods": ["GET"], "path": "/v2/{id}"}]}
    return document | {"resources": [*document["resources"], more]}


def compiled(document: dict[str, Any]) -> ReplayPolicies:
    """Return compiled policies."""
    parsed = parse_policy_set(document, Reading())
    assert not isinstance(parsed, list), parsed
    snapshot = build("default", 1, parsed, MODEL)
    assert isinstance(snapshot, Snapshot), snapshot
    return ReplayPolicies.of(snapshot)


def _shape(rng: random.Random) -> Shape:
    number = rng.randrange(RESOURCES)
    anonymous = rng.random() < 0.1
    slots = {
        "request.host": '"shop.example"',
        "request.source.principal": "absent",
        "user.id": "absent" if anonymous else literal(f"user-{rng.randrange(SUBJECTS)}"),
        "user.department": literal(rng.choice(DEPARTMENTS)),
        "user.level": literal(rng.randrange(5)),
    }
    if rng.random() < 0.8:
        template = f"/v1/things-{number}/{{id}}"
        slots |= {"request.method": '"GET"', "{id}": FOLDED if rng.random() < 0.5 else literal("4711")}
    else:
        template = f"/v1/things-{number}"
        slots["request.method"] = '"POST"'
    if anonymous:
        absent: dict[str, object] = dict.fromkeys(("kind", "authentication", "token_tenant"))
        return user_shape(slots, credential=CredentialState.NONE, template=template, **absent)
    return user_shape(slots, own_roles=tuple(sorted(rng.sample(ROLES, 2))), template=template)


def replaying(comparison: Comparison, report: Report, recorded: list[Shape]) -> Callable[[], int]:
    """Return the work of judging some shapes, the next ones each time."""
    turns = cycle(recorded)

    def work() -> int:
        for shape in islice(turns, SHAPES_A_WINDOW):
            question = question_of(shape)
            report.begin()
            difference = comparison.difference(question, Period(NOW, NOW + HOUR_S))
            report.add(question, difference, 1, NOW)
        return SHAPES_A_WINDOW

    return work


def replay_forever(niceness: int) -> None:
    """Judge shapes on this core until it is ended; a process of its own, as the control plane starts it."""
    pin(0)
    os.nice(niceness)
    rng = random.Random(3)
    documents = policies(rng)
    live, draft = compiled(documents), compiled(with_a_route(draft_of(documents)))
    work = replaying(Comparison(live, draft), Report(live, draft), [_shape(rng) for _ in range(5_000)])
    while True:
        work()


def latencies_us(live: ReplayPolicies, shape: Shape) -> list[float]:
    """Return how long decisions take that arrive each millisecond, from when each was due."""
    judge, question = Judge(live), question_of(shape)
    found = []
    due = time.perf_counter()
    for _ in range(ARRIVALS):
        due += ARRIVAL_S
        time.sleep(max(0.0, due - time.perf_counter()))
        judge.answer(question, NOW)
        found.append((time.perf_counter() - due) * 1e6)
    return found


def decisions_with_a_replay(live: ReplayPolicies, shape: Shape) -> dict[str, object]:
    """Return the latencies of decisions on a core, alone and while a replay runs on the same core."""
    alone: list[float] = []
    together: list[float] = []
    for _ in range(TURNS):
        alone += latencies_us(live, shape)
        child = multiprocessing.get_context("spawn").Process(target=replay_forever, args=(NICENESS,))
        child.start()
        try:
            while cpu_us([child.pid or 0]) < WARM_US:
                time.sleep(0.1)
            together += latencies_us(live, shape)
        finally:
            child.kill()
            child.join()
    return {"alone_us": spread(alone), "while_a_replay_runs_us": spread(together)}


def main() -> None:
    """Measure, and keep the numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dry", action="store_true", help="keep no numbers")
    given = parser.parse_args()
    pin(0)
    load = MachineLoad()
    rng = random.Random(3)
    documents = policies(rng)
    live = compiled(documents)
    recorded = [_shape(rng) for _ in range(SHAPES)]
    numbers: dict[str, object] = {"shapes": SHAPES, "goal": GOAL}
    for name, document in (
        ("few_rules_changed", draft_of(documents)),
        ("routes_changed", with_a_route(draft_of(documents))),
    ):
        draft = compiled(document)
        report = Report(live, draft)
        spent_us = quiet_us(replaying(Comparison(live, draft), report, recorded), windows=WINDOWS, groups=3)
        found = report.result()
        numbers[name] = {
            "shapes_a_second_and_core": round(1e6 / spent_us),
            "us_a_shape": spent_us,
            "judged": found["shapes"],
            "found": {
                change: found[change]["requests"]
                for change in ("newly_allowed", "newly_denied", "rule_changed", "unchanged", "cannot_say")
            },
        }
    numbers["decisions_on_the_same_core"] = decisions_with_a_replay(live, recorded[0])
    if given.dry:
        print(numbers)
    else:
        keep("replay", numbers, load.document())


if __name__ == "__main__":
    main()
