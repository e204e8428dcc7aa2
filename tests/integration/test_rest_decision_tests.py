"""`POST /api/v1/decisions/{id}/test`: policy tests of recorded decisions."""

import json
from typing import TYPE_CHECKING, Any

import pytest

from extauthz.domain.principal import PrincipalKind
from extauthz.domain.reasons import Effect, Reason
from extauthz.recording.shape import ABSENT, FOLDED, PATH, UNKNOWN, CredentialState, Shape, literal
from tests.integration.draft_requests import NO_ID, RULES
from tests.integration.rest_harness import rest, rule
from tests.integration.test_rest_decisions import DECISIONS, ON_ORDERS, ORDERS, recorded, with_slots
from tests.recording_parts import shape

if TYPE_CHECKING:
    from tests.integration.conftest import Database

pytestmark = pytest.mark.anyio
TESTS = "/api/v1/policy-tests"
DENIED: dict[str, Any] = {"effect": Effect.DENY, "reason": Reason.NO_MATCHING_RULE, "rule": None}
NO_CREDENTIAL: dict[str, Any] = {
    "subject": None, "kind": None, "authentication": None, "token_tenant": None, "domain": None,
    "own_roles": (),
}  # fmt: skip


async def test_a_recorded_decision_becomes_a_test_that_passes(database: "Database") -> None:
    async with rest(database) as api:
        (await api.post("/api/v1/resources", ORDERS)).succeeded(201)
        allows = rule(sub="reader", **ON_ORDERS)
        made = (await api.post(RULES, allows)).succeeded(201)
        plain = shape()
        shapes = [
            plain,
            shape(subject="bob", own_roles=(), **DENIED),
            with_slots(plain, user__level="3", request__query__page='"a b"')._replace(domain=None),
            with_slots(
                plain, **{"request.headers.x-channel": '"web"', "request.source.address": '"10.0.0.7"'}
            ),
            shape(
                **NO_CREDENTIAL | {"credential": CredentialState.NONE, "reason": Reason.TOKEN_MISSING},
                effect=Effect.DENY,
                rule=None,
            ),
            shape(kind=PrincipalKind.SERVICE, subject=f"sak_{NO_ID}"),
        ]
        names = await recorded(api, *shapes, revision=made.revision)
        for name in names:
            answer = (await api.post(f"{DECISIONS}/{name}/test", {}, Idempotency_Key=f'"{name}"')).succeeded(
                201
            )
            again = await api.post(f"{DECISIONS}/{name}/test", {}, Idempotency_Key=f'"{name}"')
            assert again.raw == answer.raw
            assert answer.headers["Location"] == f"{TESTS}/{answer.body['id']}"
        tests = (await api.get(TESTS)).body["items"]
        assert [each["expect"]["decision"] for each in tests] == [
            "allow", "deny", "allow", "allow", "deny", "allow",
        ]  # fmt: skip
        assert tests[0]["principal"] == {
            "id": "alice",
            "kind": "user",
            "roles": ["reader"],
            "domain": "sales",
        }
        assert tests[0]["request"] == {"method": "GET", "host": "api.example.com", "path": "/orders/7"}
        assert tests[2]["request"]["path"] == "/orders/7?page=a%20b"
        assert tests[2]["principal"]["claims"] == {"level": 3}
        assert tests[3]["request"]["headers"] == {"x-channel": "web"}
        results = (await api.get(f"{TESTS}/results")).succeeded(200).body
        assert [each["differences"] for each in results["tests"]] == [[]] * 6

        (await api.delete(f"{RULES}/{made.body['id']}")).succeeded(204)
        results = (await api.get(f"{TESTS}/results")).succeeded(200).body
        assert [each["passed"] for each in results["tests"]] == [False, True, False, False, True, False]
        named = {"name": "closed", "expect": {"decision": "deny"}}
        other = (await api.post(f"{DECISIONS}/{names[0]}/test", named)).succeeded(201).body
        assert (other["name"], other["expect"]) == ("closed", {"decision": "deny"})
        (await api.post(f"{DECISIONS}/{names[0]}/test", named)).problem(409)
        (await api.post(f"{DECISIONS}/{names[0]}/test", {"expect": {}})).problem(422)


async def test_a_recorded_message_becomes_the_body_of_a_test(database: "Database") -> None:
    async with rest(database) as api:
        for name, mcp in (
            ("session:use", "session"),
            ("read:call", {"method": "tools/call", "tool": 'read-"invoice"'}),
            ("notes:read", {"method": "resources/read", "uri": "note:{name}"}),
        ):
            route = {"methods": ["POST"], "path": "/mcp", "mcp": mcp}
            document = {"name": name, "serviceName": "invoices", "routes": [route]}
            (await api.post("/api/v1/resources", document)).succeeded(201)
            (
                await api.post(RULES, rule(sub="reader", obj=name, act=name.partition(":")[2], dom="*"))
            ).succeeded(201)
        messages = {
            '"tools/call"': literal('read-"invoice"'),
            '"resources/read"': '"note:a"',
            '"ping"': ABSENT,
            '"response"': ABSENT,
        }
        shapes = [message_shape(method, name) for method, name in messages.items()]
        denied = [message_shape('"tools/call"', '"drop"'), message_shape(ABSENT, ABSENT)]
        unmapped: dict[str, Any] = {"effect": Effect.DENY, "reason": Reason.UNMAPPED_ROUTE, "rule": None}
        names = await recorded(api, *shapes, *(each._replace(**unmapped) for each in denied), revision=6)
        tests = [(await api.post(f"{DECISIONS}/{each}/test", {})).succeeded(201).body for each in names]
        assert json.loads(tests[0]["request"]["body"]) == {
            "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": 'read-"invoice"'},
        }  # fmt: skip
        assert "body" not in tests[-1]["request"]
        results = (await api.get(f"{TESTS}/results")).succeeded(200).body
        assert [each["differences"] for each in results["tests"]] == [[]] * len(names)


async def test_a_decision_for_which_policies_read_the_body_makes_no_test(database: "Database") -> None:
    async with rest(database) as api:
        (await api.post("/api/v1/resources", ORDERS)).succeeded(201)
        (await api.post(RULES, rule(sub="reader", **ON_ORDERS))).succeeded(201)
        condition = {"type": "CONDITION", "attribute": "request.body.amount", "operator": "gt", "value": 7}
        policy = {"name": "x", "resource": ORDERS["name"], "effect": "deny", "rule_data": condition}
        made = (await api.post("/api/v1/abac/policies", policy)).succeeded(201)
        assert await api.services.wait_for("default", made.revision, 5)
        (name,) = await recorded(api, shape(), revision=made.revision)
        refused = (await api.post(f"{DECISIONS}/{name}/test")).problem(422)["errors"][0]["message"]
        assert "request.body.amount" in refused
        (await api.delete(f"/api/v1/abac/policies/{made.body['id']}")).succeeded(204)
        assert await api.services.wait_for("default", made.revision + 1, 5)
        (await api.post(f"{DECISIONS}/{name}/test")).succeeded(201)


def message_shape(method: str, name: str) -> Shape:
    plain = shape(template="/mcp", slots=tuple(each for each in shape().slots if each[0] != "{id}"))
    return with_slots(plain, mcp__method=method, mcp__name=name, request__method='"POST"')


async def test_what_was_not_kept_makes_no_test(database: "Database") -> None:
    async with rest(database) as api:
        denied = shape(**DENIED)
        refused = shape(
            **NO_CREDENTIAL, credential=CredentialState.REFUSED, effect=Effect.DENY,
            reason=Reason.TOKEN_EXPIRED, rule=None,
        )  # fmt: skip
        names = await recorded(
            api,
            with_slots(denied, **{"{id}": FOLDED}),
            with_slots(denied, user__level=FOLDED),
            with_slots(denied, **{"request.headers.x-channel": UNKNOWN}),
            denied._replace(template=None, slots=tuple(sorted((*denied.slots, (PATH, FOLDED))))),
            refused,
            revision=0,
        )
        for name in names:
            assert (
                "no test" in (await api.post(f"{DECISIONS}/{name}/test")).problem(422)["errors"][0]["message"]
            )
        assert (await api.get(TESTS)).body["items"] == []
        (await api.post(f"{DECISIONS}/{NO_ID}/test")).problem(404)
        (await api.post(f"{DECISIONS}/x/test")).problem(404)
        (await api.post(f"{DECISIONS}/{names[0]}/test", caller="emea")).problem(403)
