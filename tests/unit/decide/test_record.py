"""The record of a decision: every field, always, and nothing that must stay secret."""

import json
import uuid

import orjson
import pytest

from extauthz.decide.record import decision_fields, rfc3339
from extauthz.decisionlog.schema import line_problems
from extauthz.domain.ids import uuid7
from extauthz.domain.path import CanonicalPath
from extauthz.domain.policy import AuthenticationRequirement
from extauthz.domain.policy_digest import digest_of
from extauthz.domain.principal import ANONYMOUS, Authentication, Principal, PrincipalKind
from extauthz.domain.reasons import Effect, Reason
from extauthz.domain.request import ContextTarget, Malformed, RequestFacts
from extauthz.domain.verdict import (
    Allowed,
    Denied,
    PolicyVersion,
    Rule,
    RuleKind,
    ShadowOutcome,
    Target,
    Verdict,
)
from tests.builders import McpBody, allowed
from tests.log_schema import problems_of

CONTRACT_FIELDS = [
    *("ts", "event", "instance", "worker", "seq", "sampled_out_since_last", "entrance", "decision_id"),
    *(
        "decision",
        "reason",
        "detail",
        "matched_rule_id",
        "matched_rule_kind",
        "shadow",
        "tenant",
        "domain",
        "subject",
    ),
    *(
        "principal_kind",
        "authentication",
        "roles",
        "token_roles",
        "resource",
        "action",
        "method",
        "host",
        "path",
        "path_raw",
    ),
    *("source_principal", "source_address", "request_id", "trace_id", "span_id"),
    *("policy_revision", "policy_epoch"),
    *("policy_age_ms", "policy_digest", "status", "duration_us", "attributes_used", "masked"),
]

DECISION_ID = uuid7(1_763_917_200_123, bytes(range(10)))


def request(*, query: str | None = None) -> RequestFacts:
    path = CanonicalPath.parse("/demo/invoices/17")
    assert isinstance(path, CanonicalPath)
    return RequestFacts(
        method="HEAD",
        host="shop.local",
        path=path,
        query=query,
        headers={"x-api-token": "top-secret"},
        unknown_headers=frozenset(),
        context=ContextTarget(),
        source_address="10.0.0.1",
        source_principal="spiffe://mesh/ns/shop",
        request_id="b6f2c0de",
        trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
        is_grpc=False,
    )


ALLOWED = Allowed(
    decision_id=DECISION_ID,
    rule=Rule("rule-1", RuleKind.ATTRIBUTE),
    shadow=(ShadowOutcome("rule-2", Effect.DENY),),
    attributes_used={"user.department": "never shown", "resource.owner": "alice", "action": "read"},
    request=request(query="token=top-secret"),
    principal=Principal(
        PrincipalKind.USER,
        "alice",
        "default",
        "emea",
        ("finance",),
        Authentication.JWT,
        {"claim": "top-secret"},
    ),
    roles=("finance", "staff"),
    target=Target("default", "invoice:read", "read", "billing", {}, AuthenticationRequirement.REQUIRED),
    policies=PolicyVersion(17, "e1", 120, digest_of()),
)


def record(verdict: Verdict, entrance: str = "grpc") -> dict[str, object]:
    return decision_fields(verdict, ts=1_763_917_200.25, entrance=entrance, duration_us=33)


def malformed(path_raw: str | None, **more: str) -> Denied:
    request = Malformed(Reason.PATH_AMBIGUOUS, "why", path_raw=path_raw, **more)  # type: ignore[arg-type]
    return Denied(DECISION_ID, Reason.PATH_AMBIGUOUS, request)


@pytest.mark.parametrize(
    "verdict",
    [
        ALLOWED,
        malformed("/a;b"),
        Denied(DECISION_ID, Reason.TOKEN_EXPIRED, request()),
        Denied(DECISION_ID, Reason.INTERNAL_ERROR),
    ],
)
def test_every_field_of_the_contract_is_present_in_its_order(verdict: Verdict) -> None:
    assert list(record(verdict)) == CONTRACT_FIELDS


def test_the_record_of_an_allow_names_principal_target_and_policy_version() -> None:
    assert json.loads(orjson.dumps(record(ALLOWED))) == {
        "ts": "2025-11-23T17:00:00.250000Z",
        "event": "decision",
        "instance": None,
        "worker": None,
        "seq": None,
        "sampled_out_since_last": 0,
        "entrance": "grpc",
        "decision_id": DECISION_ID,
        "decision": "allow",
        "reason": "rule_matched",
        "detail": None,
        "matched_rule_id": "rule-1",
        "matched_rule_kind": "attribute",
        "shadow": [{"rule_id": "rule-2", "would": "deny"}],
        "tenant": "default",
        "domain": "emea",
        "subject": "alice",
        "principal_kind": "user",
        "authentication": "jwt",
        "roles": ["finance", "staff"],
        "token_roles": ["finance"],
        "resource": "invoice:read",
        "action": "read",
        "method": "HEAD",
        "host": "shop.local",
        "path": "/demo/invoices/17",
        "path_raw": None,
        "source_principal": "spiffe://mesh/ns/shop",
        "source_address": "10.0.0.1",
        "request_id": "b6f2c0de",
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
        "span_id": None,
        "policy_revision": 17,
        "policy_epoch": "e1",
        "policy_age_ms": 120,
        "policy_digest": "0" * 64,
        "status": 200,
        "duration_us": 33,
        "attributes_used": {"user.department": None, "resource.owner": "alice", "action": "read"},
        "masked": [],
    }


def test_no_query_header_or_claim_reaches_the_line() -> None:
    assert b"top-secret" not in orjson.dumps(record(ALLOWED))


def test_a_refused_credential_leaves_the_principal_unknown() -> None:
    fields = record(Denied(DECISION_ID, Reason.TOKEN_EXPIRED, request()))
    assert fields["status"] == 401
    assert [fields[name] for name in ("subject", "principal_kind", "authentication", "domain")] == [None] * 4
    assert fields["token_roles"] == ()
    assert fields["path"] == "/demo/invoices/17"
    assert fields["path_raw"] is None


def test_a_request_without_credential_is_logged_as_anonymous() -> None:
    fields = record(Denied(DECISION_ID, Reason.NO_MATCHING_RULE, request(), ANONYMOUS, ("anonymous",)))
    assert fields["subject"] is None
    assert fields["principal_kind"] == "anonymous"
    assert fields["authentication"] == "none"


@pytest.mark.parametrize("reason", list(Reason))
def test_the_status_is_the_one_sent_to_the_caller(reason: Reason) -> None:
    verdict = Denied(DECISION_ID, reason, request())
    expected = reason.http_status
    assert record(verdict)["status"] == expected
    assert record(verdict, "http")["status"] == (403 if expected == 503 else expected)


@pytest.mark.parametrize(
    ("raw", "logged"),
    [
        ("/a;b", "/a;b"),
        ("/a;b?access_token=x", "/a;b"),
        ("/a;b#access_token=x", "/a;b"),
        ("/\x00\n\x1b[31m", "/\\x00\\n\\x1b[31m"),
        ("/é€\U0001f600", "/\\xe9\\u20ac\\U0001f600"),
        ("/\udcff", "/\\udcff"),
        ("/a\\b", "/a\\\\b"),
        ("/" + "a" * 5000, "/" + "a" * 255),
        ("", ""),
        (None, None),
    ],
)
def test_a_rejected_path_is_quoted_as_short_printable_ascii(raw: str | None, logged: str | None) -> None:
    fields = record(malformed(raw))
    assert fields["path_raw"] == logged
    assert fields["path"] is None


def test_a_rejected_path_is_cut_after_escaping() -> None:
    quoted = record(malformed("\x01" * 300))["path_raw"]
    assert isinstance(quoted, str)
    assert len(quoted) == 256
    assert quoted.isascii()
    assert quoted.isprintable()


def test_unchecked_client_text_is_shortened() -> None:
    fields = record(
        malformed("/;", method="M" * 9000, host="h" * 9000, request_id="i" * 9000, trace_id="t" * 9000)
    )
    assert [len(str(fields[name])) for name in ("method", "host", "request_id", "trace_id")] == [256] * 4


@pytest.mark.parametrize(
    ("ts", "text"),
    [
        (0.0, "1970-01-01T00:00:00.000000Z"),
        (1_763_917_200.000001, "2025-11-23T17:00:00.000001Z"),
        (1_763_917_199.9999999, "2025-11-23T17:00:00.000000Z"),
    ],
)
def test_instants_are_rfc_3339_in_utc_with_microseconds(ts: float, text: str) -> None:
    assert rfc3339(ts) == text


def test_decision_ids_are_version_7_and_sort_by_time() -> None:
    for entropy in (bytes(10), b"\xff" * 10, bytes(range(10))):
        made = uuid.UUID(uuid7(1_763_917_200_123, entropy))
        assert made.version == 7
        assert made.variant == uuid.RFC_4122
        assert made.int >> 80 == 1_763_917_200_123
    assert uuid7(1, b"\xff" * 10) < uuid7(2, bytes(10))


def test_every_used_random_bit_makes_another_id() -> None:
    base = bytes(10)
    made = {uuid7(1, (1 << bit).to_bytes(10, "big")) for bit in range(80)} - {uuid7(1, base)}
    assert len(made) == 74


@pytest.mark.parametrize(
    ("method", "name", "shown"),
    [
        ("tools/call", "read-invoice", ("tools/call", "read-invoice")),
        ("ping", None, ("ping", None)),
        ("resources/read", "https://x.example/a?token=s3cr3t#f", ("resources/read", "https://x.example/a?")),
        ("resources/read", "file:///a#s3cr3t", ("resources/read", "file:///a?")),
        ("m" * 300, "n" * 300, ("m" * 256, "n" * 256)),
    ],
)
def test_a_message_of_mcp_is_shown_without_a_query_and_cut(
    method: str, name: str | None, shown: tuple[str, str | None]
) -> None:
    verdict = allowed()
    verdict = verdict._replace(request=verdict.request._replace(body=McpBody(method, name)))
    fields = decision_fields(verdict, ts=0.0, entrance="grpc", duration_us=1)
    assert (fields["mcp_method"], fields["mcp_name"]) == shown
    line = json.loads(orjson.dumps(fields)) | {"instance": str(uuid.UUID(int=1)), "worker": 0, "seq": 1}
    assert line_problems(line) == []
    assert problems_of(line) == []
    bare = decision_fields(allowed(), ts=0.0, entrance="grpc", duration_us=1)
    assert "mcp_method" not in bare
