"""The trace of a check: its phases, its parent, what it says, and what it never says."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from extauthz.check.extauthz_check_pb2 import AttributeContext, CheckRequest
from extauthz.check.service import Later
from extauthz.settings import Sampler
from extauthz.telemetry.check_trace import CheckTracing
from extauthz.telemetry.sampling import Sampling
from extauthz.telemetry.spans import EndedSpan, SpanKind, Tracing
from tests.builders import check_request, read_answer
from tests.real_service import RealService, real_service, token

POLICIES = {
    "resources": [
        {"name": "a:read", "serviceName": "a", "routes": [{"methods": ["GET"], "path": "/a/{id}"}]},
        {
            "name": "b:read",
            "serviceName": "a",
            "routes": [{"methods": ["GET"], "path": "/b", "authentication": "none"}],
        },
    ],
    "role_rules": [
        {"id": "rule-7", "sub": "viewer", "dom": "*", "obj": "a:read", "act": "read", "effect": "allow"}
    ],
}
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"
VIEWER = {"roles": ["viewer"]}
PHASES = ["extauthz.read", "extauthz.identify", "extauthz.decide", "extauthz.write"]


class Traced:
    def __init__(self, running: RealService, tracing: Tracing) -> None:
        self.running = running
        self.service = running.service
        self._tracing = tracing

    def spans(self) -> list[EndedSpan]:
        return self._tracing.take(1000)

    def ask(self, raw: bytes, metadata: tuple[tuple[str, str | bytes], ...] = ()) -> bytes:
        """Ask as the native server does."""
        answer = self.service.begin(raw, None, metadata)
        while isinstance(answer, Later):
            answer = answer.finish()
        return answer


@contextmanager
def traced(
    folder: Path, sampler: Sampler = Sampler.ALWAYS_ON, share: float | None = None
) -> Iterator[Traced]:
    tracing = Tracing(Sampling(sampler, share), capacity=100_000)
    with real_service(folder, POLICIES, tracing=CheckTracing(tracing)) as running:
        yield Traced(running, tracing)


def request(path: str = "/a/42?key=s3cret", **headers: str) -> bytes:
    return check_request(
        path, headers={"authorization": f"Bearer {token(realm_access=VIEWER, dom='finance')}", **headers}
    )


def test_the_phases_of_a_check_follow_each_other(tmp_path: Path) -> None:
    with traced(tmp_path) as found:
        first, again = found.ask(request(traceparent=PARENT)), found.service.answer(request(), None)
        assert read_answer(first).allowed
        assert read_answer(again).allowed
        spans = found.spans()
        line, other_line = found.running.decisions()

    check, *phases, other, read, identify, decide, write = spans
    # A token that is seen first waits for its turn, and is then identified.
    assert [each.name for each in phases] == [
        *("extauthz.read", "extauthz.identify", "extauthz.wait", "extauthz.identify"),
        *("extauthz.decide", "extauthz.write"),
    ]
    assert [each.name for each in (read, identify, decide, write)] == PHASES
    assert (check.trace_id, check.parent_id, check.kind) == (TRACE, SPAN, SpanKind.SERVER)
    assert {each.trace_id for each in phases} == {TRACE}
    assert {each.parent_id for each in phases} == {check.span_id}
    assert check.start_ns == phases[0].start_ns
    assert check.end_ns == phases[-1].end_ns
    assert all(one.end_ns == other.start_ns for one, other in pairwise(phases))
    assert len({each.span_id for each in spans}) == len(spans)
    assert (line["trace_id"], line["span_id"]) == (TRACE, check.span_id)
    assert (other_line["trace_id"], other_line["span_id"]) == (other.trace_id, other.span_id)
    assert other.parent_id is None


def test_a_check_says_how_it_was_decided(tmp_path: Path) -> None:
    with traced(tmp_path) as found:
        found.ask(request())
        check = found.spans()[0]
        (line,) = found.running.decisions()
    assert check.attributes == {
        "rpc.system": "grpc",
        "rpc.service": "envoy.service.auth.v3.Authorization",
        "rpc.method": "Check",
        "rpc.grpc.status_code": 0,
        "extauthz.entrance": "grpc",
        "extauthz.decision": "allow",
        "extauthz.decision_id": line["decision_id"],
        "extauthz.reason": "rule_matched",
        "extauthz.matched_rule_id": "rule-7",
        "extauthz.matched_rule_kind": "role",
        "extauthz.tenant": "default",
        "extauthz.policy_revision": 1,
        "extauthz.resource": "a:read",
        "extauthz.action": "read",
        "extauthz.authentication": "jwt",
        "extauthz.principal_kind": "user",
        "http.route": "/a/{id}",
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "server.address": "api.example.com",
    }
    assert check.error is None


@pytest.mark.parametrize(
    ("raw", "phases", "reason", "status"),
    [
        (b"\xff", ["extauthz.read", "extauthz.write"], "request_malformed", 400),
        (check_request("/a/1;x"), ["extauthz.read", "extauthz.write"], "path_ambiguous", 400),
        (check_request("/a/1"), PHASES, "token_missing", 401),
        (
            check_request("/b"),
            ["extauthz.read", "extauthz.decide", "extauthz.write"],
            "no_matching_rule",
            403,
        ),
        (check_request("/c?key=s3cret", method="S3CRET"), PHASES, "token_missing", 401),
    ],
)
def test_denials_have_the_phases_that_they_reached(
    tmp_path: Path, raw: bytes, phases: list[str], reason: str, status: int
) -> None:
    with traced(tmp_path) as found:
        assert not read_answer(found.ask(raw)).allowed
        check, *rest = found.spans()
    assert [each.name for each in rest] == phases
    assert (check.attributes["extauthz.reason"], check.attributes["http.response.status_code"]) == (
        reason,
        status,
    )
    assert check.error is None
    assert "s3cret" not in str(check).lower()


def test_no_span_has_a_credential_a_query_a_path_or_a_subject(tmp_path: Path) -> None:
    with traced(tmp_path) as found:
        bearer = token()
        found.ask(
            check_request(
                "/a/id-of-a-person?key=s3cret",
                headers={
                    "authorization": f"Bearer {bearer}",
                    "cookie": "session=s3cret",
                    "traceparent": PARENT,
                    "tracestate": "vendor=s3cret",
                    "baggage": "user=s3cret",
                },
            )
        )
        text = str(found.spans())
    for each in (bearer, bearer.rpartition(".")[2], "s3cret", "id-of-a-person", "alice"):
        assert each not in text


def test_the_span_of_the_proxy_is_the_parent_before_that_of_the_client(tmp_path: Path) -> None:
    proxy = ("traceparent", f"00-{'a' * 32}-{'b' * 16}-01")
    with traced(tmp_path) as found:
        found.ask(request(traceparent=PARENT), (("user-agent", "envoy"), proxy))
        found.service.answer(request(traceparent=PARENT), None, (proxy,))
        checks = [each for each in found.spans() if each.name == "extauthz.check"]
        lines = found.running.decisions()
    assert [(each.trace_id, each.parent_id) for each in checks] == [("a" * 32, "b" * 16)] * 2
    assert [line["trace_id"] for line in lines] == ["a" * 32] * 2


def test_a_malformed_parent_starts_a_new_trace(tmp_path: Path) -> None:
    with traced(tmp_path) as found:
        found.ask(request(traceparent=PARENT.upper()), (("traceparent", b"\xff\x00"), ("x", b"\xff")))
        found.ask(request(), (("traceparent", PARENT), ("traceparent", PARENT)))
        found.ask(request(traceparent=f"{PARENT},{PARENT}"))
        found.ask(check_request("/a/1;x", headers={"traceparent": PARENT.replace("-", "_")}))
        checks = [each for each in found.spans() if each.name == "extauthz.check"]
    assert [each.parent_id for each in checks] == [None] * 4
    assert TRACE not in {each.trace_id for each in checks}


def test_checks_that_are_not_sampled_leave_no_span_and_their_line_keeps_the_callers_trace(
    tmp_path: Path,
) -> None:
    with traced(tmp_path, Sampler.PARENT_RATIO, 0.0) as found:
        found.ask(request())
        found.ask(request(traceparent=PARENT[:-1] + "0"))
        found.ask(request(traceparent=PARENT))
        checks = [each for each in found.spans() if each.name == "extauthz.check"]
        lines = found.running.decisions()
    assert len(checks) == 1
    assert [(line["trace_id"], line["span_id"] is None) for line in lines] == [
        (None, True),
        (TRACE, True),
        (TRACE, False),
    ]


@pytest.mark.parametrize(("sampler", "traced_checks"), [(Sampler.PARENT_ALWAYS_ON, 0), (Sampler.RATIO, 2)])
def test_a_parent_that_is_not_sampled_decides_where_the_sampler_asks_it(
    tmp_path: Path, sampler: Sampler, traced_checks: int
) -> None:
    not_sampled = PARENT[:-1] + "0"
    with traced(tmp_path, sampler) as found:
        found.ask(request(), (("traceparent", not_sampled),))
        found.ask(request(traceparent=not_sampled))
        checks = [each for each in found.spans() if each.name == "extauthz.check"]
    assert [(each.trace_id, each.parent_id) for each in checks] == [(TRACE, SPAN)] * traced_checks


def test_a_check_over_http_has_the_same_trace(tmp_path: Path) -> None:
    attributes: AttributeContext = CheckRequest.FromString(request(traceparent=PARENT)).attributes
    with traced(tmp_path) as found:
        assert found.service.answer_http(attributes).status == 200
        check, *phases = found.spans()
    assert (check.trace_id, check.parent_id) == (TRACE, SPAN)
    assert [each.name for each in phases] == PHASES
    assert check.attributes["extauthz.entrance"] == "http"
    assert "rpc.system" not in check.attributes


def test_an_error_of_the_check_itself_is_the_error_of_its_span(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with traced(tmp_path) as found:

        def broken(*_: Any, **__: Any) -> None:
            raise RuntimeError("s3cret")

        monkeypatch.setattr("extauthz.check.service.judge", broken)
        assert read_answer(found.ask(request())).status == 503
        check = found.spans()[0]
    assert check.error == "internal_error"
    assert "s3cret" not in str(check)
