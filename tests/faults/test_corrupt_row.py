"""A stored row is damaged by hand under load: nothing else changes, and access is removed within seconds."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.faults.load import Load
from tests.faults.oracle import Verdict, standing_load
from tests.faults.postgres_faults import ask
from tests.faults.report import Row
from tests.faults.worker_processes import readiness
from tests.waiting import await_true

if TYPE_CHECKING:
    from tests.faults.mesh import FaultyStack
    from tests.faults.oracle import Question

PHASE_S = 60.0
IN_EFFECT_S = 5.0
POLICIES = "/api/v1/abac/policies"
RULES = "/api/v1/resources/policies"
COUNT_UP = "UPDATE tenants SET revision = revision + 1"
DAMAGES = {
    # the kind of row, its table, the condition that picks one of the demo's, and what is set
    "a deny with an unknown operator": (
        "attribute_policy",
        "attribute_policies",
        "priority = 100",
        "rule_data = jsonb_set(rule_data, '{operator}', '\"resembles\"')",
    ),
    "an allow without a condition": (
        "attribute_policy",
        "attribute_policies",
        "effect = 'allow'",
        "rule_data = '{}'",
    ),
    "a resource with a broken template": (
        "resource",
        "resources",
        "name = 'report:read'",
        'routes = \'[{"path": "no-slash", "methods": ["GET"]}]\'',
    ),
    "a rule with an invisible character": (
        "role_rule",
        "role_rules",
        "obj = 'report:read'",
        "sub = U&'fin\\034Fance'",
    ),
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_row_changes_no_answer_and_delays_no_revocation(
    damage: str,
    stack: FaultyStack,
    questions: tuple[Question, ...],
    requests_per_phase: int,
    pause_s: float,
    fault_rows: list[Row],
) -> None:
    kind, table, chosen, damaged = DAMAGES[damage]
    assert stack.postgres is not None
    with Load(stack.envoy_port, questions, pause_s=pause_s) as load:
        load.await_right_answers(within_s=20)
        ((row, before),) = ask(
            stack.postgres, f"SELECT id::text, to_jsonb(t) FROM {table} AS t WHERE {chosen} LIMIT 1"
        )
        load.take()
        ask(stack.postgres, f"UPDATE {table} SET {damaged} WHERE id = '{row}'")
        ask(stack.postgres, COUNT_UP)
        await_true(lambda: row in str(readiness(stack.rest_port)[1]), within=10, what="the row in readiness")
        status, body = readiness(stack.rest_port)
        assert (status, body["status"]) == (200, "degraded")
        assert f"/{kind}/{row}" in str(body["problems"])
        during = load.phase(requests_per_phase, within_s=PHASE_S)

        # Everything of the load is decided as before the damage.
        assert during.verdicts[Verdict.RIGHT] == during.total, during.others
        revoked_s = _revoked_in(stack, kind, row)
        after = load.take()
        ask(
            stack.postgres,
            _restored(table),
            before,
            row,
        )
        recovered_s = load.await_right_answers(within_s=20)
        await_true(lambda: readiness(stack.rest_port)[1]["status"] == "ok", within=20, what="the repair")
        recovering = load.take()
    fault_rows.append(Row.counted(damage, [during, after, recovering], recovered_s))
    assert revoked_s < IN_EFFECT_S
    wrong = {
        each for tally in (during, after, recovering) for each in tally.others if each[2] not in {0, 503}
    }
    assert wrong == set()


def _restored(table: str) -> str:
    column = {"attribute_policies": "rule_data", "resources": "routes", "role_rules": "sub"}[table]
    value = f"($1::text::jsonb ->> '{column}')" if column == "sub" else f"($1::text::jsonb -> '{column}')"
    return f"UPDATE {table} SET {column} = {value} WHERE id = $2::text::uuid"


def _revoked_in(stack: FaultyStack, kind: str, row: str) -> float:
    """Grant access, remove it again, each by REST; return the seconds until the removal is in effect."""
    allow = {"sub": "finance", "dom": "*", "obj": "notice:read", "act": "probe", "effect": "allow"}
    asked = {"resource": "notice:read", "action": "probe"}
    token = stack.tokens()["alice"]
    granted = stack.rest.create(RULES, allow)
    (warning,) = [each for each in granted.document["warnings"] if each["code"] == "unreadable_row"]
    assert (warning["kind"], warning["id"]) == (kind, row)

    def allowed() -> bool:
        return stack.rest.ask("POST", "/api/v1/check", asked, token=token).status == 200

    await_true(allowed, within=IN_EFFECT_S, what="the grant")
    began = time.monotonic()
    assert stack.rest.ask("DELETE", f"{RULES}/{granted.id}").status == 204
    await_true(lambda: not allowed(), within=IN_EFFECT_S, what="the revocation")
    return time.monotonic() - began


@pytest.mark.timeout(300)
def test_a_revocation_takes_effect_at_the_proxy_while_a_row_is_damaged(
    stack: FaultyStack, pause_s: float
) -> None:
    assert stack.postgres is not None
    tokens = stack.tokens()
    questions = standing_load(tokens)
    reads = next(each for each in questions if each.name == "finance reads an invoice")
    (rule,) = [
        each
        for each in stack.rest.ask("GET", f"{RULES}?obj=invoice:read").document["items"]
        if each["sub"] == "finance"
    ]
    ((row,),) = ask(stack.postgres, "SELECT id::text FROM attribute_policies WHERE priority = 50 LIMIT 1")
    with Load(stack.envoy_port, [reads], pause_s=pause_s) as load:
        load.await_right_answers(within_s=20)
        ask(stack.postgres, f"UPDATE attribute_policies SET rule_data = '{{}}' WHERE id = '{row}'")
        ask(stack.postgres, COUNT_UP)
        await_true(lambda: row in str(readiness(stack.rest_port)[1]), within=10, what="the row in readiness")

        began = time.monotonic()
        assert stack.rest.ask("DELETE", f"{RULES}/{rule['id']}").status == 204
        await_true(
            lambda: (
                load.take().others.total() > 0 and not load.phase(20, within_s=10).verdicts[Verdict.RIGHT]
            ),
            within=IN_EFFECT_S,
            what="403 for every request",
        )
        assert time.monotonic() - began < IN_EFFECT_S

        # The damaged row is repaired by REST, and the rule written again.
        assert stack.rest.ask("DELETE", f"{POLICIES}/{row}").status == 204
        written = {name: rule[name] for name in ("sub", "dom", "obj", "act", "effect")}
        stack.rest.create(RULES, written)
        load.await_right_answers(within_s=20)
    await_true(lambda: readiness(stack.rest_port)[1]["status"] == "ok", within=20, what="readiness")
