"""Verdicts as the second implementation, and so Envoy, reads what `envoy_response.write` made of them."""

import json
from dataclasses import replace
from urllib.parse import unquote

import pytest

from extauthz.check import envoy_response
from extauthz.domain.principal import ANONYMOUS, Authentication, Principal, PrincipalKind
from extauthz.domain.reasons import Effect, Reason
from extauthz.domain.verdict import NO_POLICIES, Denied, Rule, RuleKind, Verdict
from tests.builders import ALICE, DECISION_ID, READ_INVOICE, Answer, allowed, denied, read_answer

IDENTITY = {
    "x-auth-subject",
    "x-auth-kind",
    "x-auth-tenant",
    "x-auth-domain",
    "x-auth-roles",
    "x-auth-roles-truncated",
    "x-auth-decision-id",
}


def written(verdict: Verdict) -> Answer:
    return read_answer(envoy_response.write(verdict))


def allowed_for(principal: Principal, roles: tuple[str, ...] = ()) -> Answer:
    answer = written(allowed(principal, roles=roles))
    assert answer.allowed
    return answer


def test_an_allow_names_the_principal() -> None:
    answer = written(allowed())
    assert answer.allowed
    assert answer.headers == {
        "x-auth-subject": "alice@example.com",
        "x-auth-kind": "user",
        "x-auth-tenant": "default",
        "x-auth-domain": "finance",
        "x-auth-roles": "finance,viewer",
        "x-auth-decision-id": DECISION_ID,
    }
    assert sorted(answer.removed) == ["x-auth-roles-truncated", "x-service-api-key"]
    assert answer.metadata == {
        "decision_id": DECISION_ID,
        "decision": "allow",
        "reason": "rule_matched",
        "matched_rule_id": "rule-1",
        "tenant": "default",
        "subject": "alice@example.com",
        "resource": "invoice:read",
        "action": "read",
        "policy_revision": 42.0,
    }


def test_headers_for_absent_parts_of_an_identity_are_removed() -> None:
    answer = allowed_for(ANONYMOUS, ("anonymous",))
    assert answer.headers == {
        "x-auth-kind": "anonymous",
        "x-auth-tenant": "default",
        "x-auth-roles": "anonymous",
        "x-auth-decision-id": DECISION_ID,
    }
    assert set(answer.removed) == IDENTITY - set(answer.headers) | {"x-service-api-key"}
    assert answer.metadata["subject"] is None


def test_client_spellings_of_identity_headers_are_removed_and_set_headers_are_not() -> None:
    sent = ("X-Auth-Roles", "x-auth-admin", "x-auth-subject", "x_auth_subject", "x-auth-decision-id")
    answer = written(allowed(strip_headers=sent))
    assert {"x-auth-admin", "x_auth_subject"} <= set(answer.removed)
    assert set(answer.removed).isdisjoint(answer.headers)
    assert len(answer.removed) == len(set(answer.removed))


def test_a_thousand_spoofed_headers_of_any_length_are_removed() -> None:
    sent = tuple(f"x-auth-{'x' * (5 * number)}" for number in range(1, 1001))
    answer = written(allowed(strip_headers=sent))
    assert answer.allowed
    assert set(sent) <= set(answer.removed)


@pytest.mark.parametrize(
    "subject",
    [
        "alice",
        "auth0|5f7c8ec7c33c6c004bbafe82",
        'CN=Jane Doe,O=Acme;x="y"',
        "spiffe://cluster.local/ns/web/sa/shop",
        "a+b@example.com",
        "~!#$&'*/:?^`{}",
    ],
)
def test_an_ordinary_subject_is_the_id_alone(subject: str) -> None:
    assert allowed_for(replace(ALICE, id=subject)).headers["x-auth-subject"] == subject


@pytest.mark.parametrize(
    ("subject", "written"),
    [
        ("zoë", "zo%C3%AB"),
        ("100%", "100%25"),
        ("a%20b", "a%2520b"),
        ("a\r\nx-auth-roles: admin", "a%0D%0Ax-auth-roles: admin"),
        ("a\x00b\x7f\t", "a%00b%7F%09"),
        (" a b ", "%20a b%20"),
        ("  ", "%20%20"),
        ("\ud800", "%ED%A0%80"),
    ],
)
def test_everything_else_is_escaped_so_that_no_two_subjects_are_written_alike(
    subject: str, written: str
) -> None:
    header = allowed_for(replace(ALICE, id=subject, domain=subject)).headers
    assert header["x-auth-subject"] == header["x-auth-domain"] == written
    assert unquote(written, errors="surrogatepass") == subject


def test_roles_are_percent_encoded_and_comma_joined() -> None:
    roles = ("a,b", "billing:read/eu@x", "grün", "per%cent", "with space", "~t-i_l.d")
    header = allowed_for(ALICE, roles).headers["x-auth-roles"]
    assert header == "a%2Cb,billing:read/eu@x,gr%C3%BCn,per%25cent,with%20space,~t-i_l.d"
    assert tuple(map(unquote, header.split(","))) == roles


def test_roles_over_four_kibibytes_are_left_out_with_a_mark() -> None:
    at_the_bound = ("r" * 2048, "s" * 2047)
    assert len(allowed_for(ALICE, at_the_bound).headers["x-auth-roles"]) == 4096
    answer = allowed_for(ALICE, ("r" * 2048, "s" * 2048))
    assert "x-auth-roles" in answer.removed
    assert answer.headers["x-auth-roles-truncated"] == "true"
    assert "x-auth-roles-truncated" not in answer.removed


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_denies_with_its_status(reason: Reason) -> None:
    answer = written(denied(reason, target=None, principal=None))
    assert not answer.allowed
    assert answer.status in {400, 401, 403, 503}
    assert answer.headers["content-type"] == "application/json"
    assert ("www-authenticate" in answer.headers) is (answer.status == 401)
    assert ("retry-after" in answer.headers) is (answer.status == 503)
    assert "content-length" not in answer.headers
    body = json.loads(answer.body)
    assert set(body) == {"error", "reason", "decision_id"}
    assert (body["reason"], body["decision_id"]) == (reason.value, DECISION_ID)
    assert (answer.metadata["decision"], answer.metadata["reason"]) == ("deny", reason.value)


def test_the_challenge_follows_rfc_6750() -> None:
    def challenge(reason: Reason) -> str:
        return written(denied(reason)).headers["www-authenticate"]

    assert challenge(Reason.TOKEN_MISSING) == 'Bearer realm="extauthz"'
    assert challenge(Reason.TOKEN_EXPIRED).startswith('Bearer realm="extauthz", error="invalid_token", ')
    assert 'error="invalid_request"' in challenge(Reason.CREDENTIALS_CONFLICT)


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        (Reason.NO_MATCHING_RULE, "7"),
        (Reason.TOKEN_MISSING, "16"),
        (Reason.PATH_AMBIGUOUS, "3"),
        (Reason.KEYS_UNAVAILABLE, "14"),
    ],
)
def test_grpc_callers_read_a_status_and_a_line_of_text(reason: Reason, status: str) -> None:
    answer = written(denied(reason, is_grpc=True))
    assert not answer.allowed
    assert answer.headers["grpc-status"] == status
    assert "content-type" not in answer.headers
    assert answer.body == f"{reason.value} (decision_id {DECISION_ID})"
    assert "grpc-status" not in written(denied(reason)).headers


def test_a_denied_rule_is_named_for_access_logs() -> None:
    metadata = written(denied(Reason.RULE_MATCHED, rule=Rule("rule-9", RuleKind.ROLE))).metadata
    assert metadata["matched_rule_id"] == "rule-9"
    assert (metadata["subject"], metadata["resource"], metadata["tenant"]) == (
        "alice@example.com",
        "invoice:read",
        "default",
    )


def test_unknown_metadata_is_null() -> None:
    metadata = written(Denied(DECISION_ID, Reason.NOT_READY, policies=NO_POLICIES)).metadata
    nulls = {name for name, value in metadata.items() if value is None}
    assert nulls == {"matched_rule_id", "tenant", "subject", "resource", "action", "policy_revision"}


def test_the_last_resort_denies_every_kind_of_caller() -> None:
    for decision_id in (None, DECISION_ID, "no uuid", '"\n', "\ud800"):
        answer = read_answer(envoy_response.internal_error(decision_id))
        assert (answer.allowed, answer.status) == (False, 503)
        assert answer.headers["grpc-status"] == "14"
        assert answer.headers["content-type"] == "application/json"
        assert answer.metadata.keys() == written(allowed()).metadata.keys()
        assert json.loads(answer.body)["reason"] == "internal_error"
        assert (answer.metadata["decision"], answer.metadata["reason"]) == ("deny", "internal_error")
    assert envoy_response.internal_error() is envoy_response.internal_error()
    named = read_answer(envoy_response.internal_error(DECISION_ID))
    assert json.loads(named.body)["decision_id"] == named.metadata["decision_id"] == DECISION_ID


def test_any_decision_id_can_be_written() -> None:
    for decision_id in ("1", "x" * 300, "a\r\nb", "\ud800", "zoë", "G" * 36):
        for verdict in (allowed(), denied()):
            answer = written(verdict._replace(decision_id=decision_id))
            assert answer.allowed is (verdict.effect is Effect.ALLOW)
            assert answer.metadata["decision_id"] == decision_id.encode("utf-8", "replace").decode()


def test_identities_that_differ_never_share_an_answer() -> None:
    # The fragments of an identity are cached; every part of it must be part of the key.
    whole = allowed()
    others = [
        whole,
        whole._replace(principal=replace(ALICE, id="bob")),
        whole._replace(principal=replace(ALICE, domain=None)),
        whole._replace(principal=replace(ALICE, kind=PrincipalKind.SERVICE)),
        whole._replace(target=READ_INVOICE._replace(tenant="acme")),
        whole._replace(roles=("finance",)),
    ]
    seen = {tuple(written(other).headers.items()) for other in others}
    assert len(seen) == len(others)


def test_the_tenant_is_the_owner_of_the_target() -> None:
    # It comes from trusted configuration, so it is set for principals without a tenant, too.
    workload = Principal(PrincipalKind.WORKLOAD, "spiffe://a/b", None, None, (), Authentication.MTLS)
    for principal in (ALICE, ANONYMOUS, workload):
        answer = written(allowed(principal, target=READ_INVOICE._replace(tenant="acme")))
        assert answer.headers["x-auth-tenant"] == answer.metadata["tenant"] == "acme"


def test_long_texts_are_written_whole() -> None:
    path = "/" + "a" * 8000
    target = READ_INVOICE._replace(resource=path, action="get")
    for verdict in (allowed(target=target), denied(target=target)):
        answer = written(verdict)
        assert answer.allowed is (verdict.effect is Effect.ALLOW)
        assert answer.metadata["resource"] == path
