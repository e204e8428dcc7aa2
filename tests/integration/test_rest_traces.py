"""REST requests: counts and durations by template and status, and spans with the SQL that they ran."""

import aiohttp
import pytest

from extauthz.settings import Sampler
from extauthz.telemetry.exposition import render
from extauthz.telemetry.sampling import Sampling
from extauthz.telemetry.spans import EndedSpan, SpanKind, Tracing
from tests.integration.conftest import Database
from tests.integration.rest_harness import Api, rest, rule
from tests.promql import read

pytestmark = [pytest.mark.anyio, pytest.mark.both_servers]
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
RULES = "/api/v1/resources/policies"


async def raw(api: Api, method: str, path: str) -> int:
    async with aiohttp.ClientSession() as session, session.request(method, api.url + path) as answer:
        return answer.status


def requests(api: Api) -> dict[tuple[str, str, str], float]:
    series = read(render(api.services.recorder.counts.snapshot()).decode(), {})
    return {
        (labels["method"], labels["route"], labels["status"]): value
        for key, value in series["extauthz_rest_requests_total"].items()
        for labels in [dict(key)]
    }


async def test_requests_are_counted_by_the_template_of_their_route(database: Database) -> None:
    async with rest(database) as api:
        for number in range(20):
            await api.get(f"{RULES}/01931f3c-8d5a-7c3e-9a51-0f6f2f5b7c{number:02}?limit=s3cret")
            assert await raw(api, "GET", f"/no/such/path/{number}") == 404
        assert await raw(api, "BREW", RULES) == 405
        assert await raw(api, "GET", RULES) == 401
        (await api.post(RULES, rule())).succeeded(201)
        found = requests(api)
        text = render(api.services.recorder.counts.snapshot()).decode()
    assert found == {
        ("GET", f"{RULES}/{{id}}", "422"): 20,
        ("GET", "none", "404"): 20,
        ("_OTHER", "none", "405"): 1,
        ("GET", RULES, "401"): 1,
        ("POST", RULES, "201"): 1,
    }
    assert "s3cret" not in text
    durations = read(text, {})["extauthz_rest_request_duration_seconds_count"]
    assert {
        dict(key)["route"]: value for key, value in durations.items() if dict(key)["method"] == "GET"
    } == {
        f"{RULES}/{{id}}": 20,
        "none": 20,
        RULES: 1,
    }


async def test_a_request_has_a_span_and_each_statement_one_below_it(database: Database) -> None:
    tracing = Tracing(Sampling(Sampler.PARENT_ALWAYS_OFF), capacity=100_000)
    async with rest(database, tracing=tracing) as api:
        await api.get(RULES)
        assert tracing.take(1000) == []
        (await api.post(RULES, rule(), traceparent=f"00-{TRACE}-{SPAN}-01")).succeeded(201)
        spans = tracing.take(1000)
        await api.get(RULES, traceparent=f"00-{TRACE}-{SPAN}-01, 00-{TRACE}-{SPAN}-01")
        assert tracing.take(1000) == []

    (server,) = [span for span in spans if span.kind is SpanKind.SERVER]
    assert (server.trace_id, server.parent_id, server.error) == (TRACE, SPAN, None)
    assert server.name == f"POST {RULES}"
    assert server.attributes == {
        "http.request.method": "POST",
        "http.route": RULES,
        "http.response.status_code": 201,
        "url.scheme": "http",
        "extauthz.tenant": "default",
        "extauthz.operation": "createRoleRule",
    }
    statements = [span for span in spans if span.kind is SpanKind.CLIENT]
    assert {span.attributes["db.system.name"] for span in statements} == {"postgresql"}
    assert {"BEGIN", "INSERT", "SELECT", "COMMIT"} <= {span.name for span in statements}
    assert {span.trace_id for span in spans} == {TRACE}
    assert all(span.parent_id == server.span_id for span in statements)
    assert no_value(spans, "finance")


async def test_a_decision_over_rest_is_a_span_with_its_id_and_reason(database: Database) -> None:
    tracing = Tracing(Sampling(Sampler.PARENT_ALWAYS_OFF), capacity=100_000)
    async with rest(database, tracing=tracing) as api:
        question = {"subject": "alice", "resource": "invoice:read", "action": "read"}
        asked = await api.post("/api/v1/check", question, traceparent=f"00-{TRACE}-{SPAN}-01")
        assert asked.status == 403
        spans = {span.name: span for span in tracing.take(1000)}
    decide, server = spans["extauthz.decide"], spans["POST /api/v1/check"]
    assert decide.parent_id == server.span_id
    assert decide.attributes["extauthz.decision_id"] == asked.body["decision_id"]
    assert decide.attributes["extauthz.reason"] == asked.body["reason"] == "no_matching_rule"
    assert decide.attributes["extauthz.tenant"] == "default"


def no_value(spans: list[EndedSpan], value: str) -> bool:
    return value not in str(spans)
