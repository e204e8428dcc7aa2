"""Credentials in other places than `Authorization`: off unless configured, one at a time, judged alike."""

import math
import time
from dataclasses import replace

import pytest

from extauthz.check.credentials import CredentialSources
from extauthz.decide.identity import TokenPolicy
from extauthz.decide.judge import CheckPolicy
from extauthz.settings import Settings, load_settings
from tests.builders import check_request
from tests.real_service import TOKEN_LIFETIME_S, token
from tests.wire.credential_places import (
    EVERYTHING,
    JWT_AUTHN,
    SPIFFE,
    Ask,
    headers_of,
    verified,
    with_metadata,
)


def credential(where: str) -> bytes:
    match where:
        case "header":
            return check_request("/page", headers={"x-token": token()})
        case "cookie":
            return check_request("/page", headers={"cookie": f"a=b; session={token()}; Session=x"})
        case "metadata":
            return verified()
        case "peer":
            return check_request("/page", source_principal=SPIFFE)
    raise ValueError(where)


WHERE = ["header", "cookie", "metadata", "peer"]
ONE = {
    "header": CredentialSources(token_header="x-token"),
    "cookie": CredentialSources(token_cookie="session"),
    "metadata": CredentialSources(jwt_metadata="idp"),
    "peer": CredentialSources(workloads=True),
}


EVERYTHING_BUT = {
    "header": replace(EVERYTHING, token_header=None),
    "cookie": replace(EVERYTHING, token_cookie=None),
    "metadata": replace(EVERYTHING, jwt_metadata=None),
    "peer": replace(EVERYTHING, workloads=False),
}


@pytest.mark.parametrize("where", WHERE)
def test_each_place_counts_only_when_it_is_configured(ask: Ask, where: str) -> None:
    raw = credential(where)
    others = EVERYTHING_BUT[where]
    for configured in (None, others):
        answer, line = ask(raw, configured)
        assert (answer.status, line["reason"]) == (401, "token_missing")
    for configured in (ONE[where], EVERYTHING):
        assert ask(raw, configured)[0].allowed


@pytest.mark.parametrize(
    ("where", "kind", "subject", "authentication"),
    [
        ("header", "user", "alice", "jwt"),
        ("cookie", "user", "alice", "jwt"),
        ("metadata", "user", "alice", "metadata"),
        ("peer", "workload", SPIFFE, "mtls"),
    ],
)
def test_a_principal_of_another_source_is_logged_and_sent_upstream(
    ask: Ask, where: str, kind: str, subject: str, authentication: str
) -> None:
    answer, line = ask(credential(where))
    assert (answer.headers["x-auth-kind"], answer.headers["x-auth-subject"]) == (kind, subject)
    assert (line["principal_kind"], line["subject"], line["authentication"]) == (
        kind,
        subject,
        authentication,
    )


@pytest.mark.parametrize(
    "raw",
    [
        check_request("/open", headers=headers_of(x_token=token(), cookie=f"session={token()}")),
        check_request("/open", headers=headers_of(cookie=f"session={token()}; session={token()}")),
        check_request(
            "/open", headers=headers_of(cookie=f"session={token()}", x_service_api_key="sak_live_x")
        ),
        check_request("/open", headers=headers_of(x_token="", x_service_api_key="")),
        verified("/open", headers=headers_of(x_service_api_key="sak_live_x")),
        verified("/open", headers=headers_of(x_token=token(), cookie=f"session={token()}")),
        check_request(
            "/open",
            raw_headers=[
                ("cookie", f"session={token()}".encode()),
                ("cookie", f"session={token()}".encode()),
            ],
        ),
    ],
)
def test_two_credentials_are_a_conflict_even_if_they_are_the_same(ask: Ask, raw: bytes) -> None:
    answer, line = ask(raw)
    assert (answer.status, line["reason"], line["authentication"]) == (401, "credentials_conflict", None)


@pytest.mark.parametrize(
    "other", ["Basic eDp5", "Bearer opaque", "Negotiate YII=", "Bearer a.b.c", "", f"Bearer {token()}"]
)
def test_with_another_token_header_authorization_is_the_applications_own(ask: Ask, other: str) -> None:
    headers = headers_of(x_token=token(), authorization=other)
    for raw in (
        check_request("/page", headers=headers),
        check_request("/page", headers=headers_of(cookie=f"session={token()}", authorization=other)),
        check_request(
            "/page",
            raw_headers=[
                ("authorization", other.encode()),
                ("x-token", token().encode()),
                ("authorization", b"Basic x"),
            ],
        ),
    ):
        answer, line = ask(raw)
        assert (answer.allowed, line["subject"], line["authentication"]) == (True, "alice", "jwt")
    answer, line = ask(check_request("/page", headers={"authorization": other}))
    assert (answer.status, line["reason"]) == (401, "token_missing")
    answer, line = ask(check_request("/open", headers={"authorization": other}))
    assert (answer.allowed, line["authentication"]) == (True, "none")


def test_a_token_header_that_is_repeated_is_refused(ask: Ask) -> None:
    repeated = [("x-token", token().encode()), ("x-token", token().encode())]
    answer, line = ask(check_request("/open", raw_headers=repeated))
    assert (answer.status, line["reason"]) == (401, "token_malformed")


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (check_request("/open", headers={"x-token": ""}), "token_malformed"),
        (check_request("/open", headers={"x-token": f"Bearer {token()}"}), "token_malformed"),
        (check_request("/open", headers={"x-token": f"{token()},{token()}"}), "token_malformed"),
        (check_request("/open", headers={"x-token": token(exp=1)}), "token_expired"),
        (check_request("/open", headers={"x-token": token(aud="other")}), "token_wrong_audience"),
        (check_request("/open", headers={"cookie": "session="}), "token_malformed"),
        (check_request("/open", headers={"cookie": f'session="{token()}"'}), "token_malformed"),
        (check_request("/open", headers={"cookie": "session=\ufffd"}), "token_malformed"),
        (check_request("/open", headers={"cookie": "session=" + "a" * 100_000}), "token_malformed"),
        (verified("/open", sub=None), "token_claims_invalid"),
        (verified("/open", sub=7), "token_claims_invalid"),
        (verified("/open", iss=None), "token_claims_invalid"),
        (verified("/open", iss=["x"]), "token_claims_invalid"),
        (verified("/open", iss="https://unknown"), "token_unknown_issuer"),
        (verified("/open", aud="other"), "token_wrong_audience"),
        (verified("/open", aud=None), "token_wrong_audience"),
        (verified("/open", exp=None), "token_claims_invalid"),
        (verified("/open", exp=1), "token_expired"),
        (verified("/open", exp=math.inf), "token_claims_invalid"),
        (verified("/open", exp=math.nan), "token_claims_invalid"),
        (verified("/open", level=1e300), "token_claims_invalid"),
        (verified("/open", nbf=time.time() + TOKEN_LIFETIME_S), "token_not_yet_valid"),
        (verified("/open", dom="*"), "token_claims_invalid"),
        (verified("/open", realm_access={"roles": {"a": 1}}), "token_claims_invalid"),
        (with_metadata(check_request("/open"), {JWT_AUTHN: {"idp": None}}), "token_claims_invalid"),
        (with_metadata(check_request("/open"), {JWT_AUTHN: {"idp": "text"}}), "token_claims_invalid"),
        (with_metadata(check_request("/open"), {JWT_AUTHN: {"idp": {}}}), "token_claims_invalid"),
        (check_request("/open", source_principal="a\u200bb"), "token_claims_invalid"),
        (check_request("/open", source_principal="x" * 2049), "token_claims_invalid"),
    ],
)
def test_an_invalid_credential_is_401_even_where_none_is_needed(ask: Ask, raw: bytes, reason: str) -> None:
    answer, line = ask(raw)
    assert (answer.status, line["reason"]) == (401, reason)


def test_the_peer_counts_only_where_there_is_no_credential(ask: Ask) -> None:
    bearer, sources = {"authorization": f"Bearer {token()}"}, replace(EVERYTHING, token_header=None)
    answer, line = ask(check_request("/page", headers=bearer, source_principal=SPIFFE), sources)
    assert (line["principal_kind"], line["source_principal"]) == ("user", SPIFFE)
    bad = {"authorization": "Bearer x.y.z"}
    answer, line = ask(check_request("/page", headers=bad, source_principal=SPIFFE), sources)
    assert (answer.status, line["reason"]) == (401, "token_malformed")
    answer, line = ask(check_request("/page", headers={"x-token": "x"}, source_principal=SPIFFE))
    assert answer.status == 401
    assert ask(check_request("/page", source_principal=""))[1]["reason"] == "token_missing"


def test_without_oidc_no_token_is_read_anywhere(ask: Ask) -> None:
    policy = CheckPolicy(token=TokenPolicy(oidc_enabled=False))
    for where in ("header", "cookie", "metadata"):
        answer, line = ask(credential(where), EVERYTHING, policy)
        assert (answer.status, line["reason"]) == (401, "token_missing")
    answer, line = ask(credential("peer"), EVERYTHING, policy)
    assert (answer.allowed, line["authentication"]) == (True, "mtls")


def test_the_settings_are_off_and_refuse_what_would_be_forged() -> None:
    bare = {"OIDC_ENABLED": "false"}
    settings = load_settings(bare)
    assert isinstance(settings, Settings)
    assert (settings.token_header, settings.token_cookie, settings.trust_jwt_authn_metadata) == (None,) * 3
    assert settings.mtls_principals is False
    for name, bad in [
        ("TOKEN_HEADER", "authorization"),
        ("TOKEN_HEADER", "x-auth-token"),
        ("TOKEN_HEADER", "x_auth_token"),
        ("TOKEN_HEADER", "x-forwarded-for"),
        ("TOKEN_HEADER", "x-envoy-original-path"),
        ("TOKEN_HEADER", "x-service-api-key"),
        ("TOKEN_HEADER", "x-request-id"),
        ("TOKEN_HEADER", "content-type"),
        ("TOKEN_HEADER", "Host"),
        ("TOKEN_HEADER", ":path"),
        ("TOKEN_HEADER", "x-tökén"),
        ("TOKEN_HEADER", "cookie"),
        ("TOKEN_HEADER", "x token"),
        ("TOKEN_COOKIE", "a b"),
        ("TOKEN_COOKIE", "a;b"),
        ("TRUST_JWT_AUTHN_METADATA", " "),
        ("MTLS_PRINCIPALS", "maybe"),
    ]:
        problems = load_settings(bare | {name: bad})
        assert isinstance(problems, list)
        assert name in problems[0]
    for good in (
        "X-My-Token",
        "x-forwarded-access-token",
        "Proxy-Authorization",
        "cf-access-jwt-assertion",
        "t",
    ):
        found = load_settings(bare | {"TOKEN_HEADER": good})
        assert isinstance(found, Settings), found
        assert found.token_header == good.lower()
    both = load_settings(bare | {"TOKEN_HEADER": "X-Token", "CONDITION_HEADERS": "x-token"})
    assert isinstance(both, list)


def test_the_longest_token_is_read_whole_and_a_longer_one_is_malformed(ask: Ask) -> None:
    good = token()
    page = check_request("/page", headers={"authorization": f"Bearer {good}"})

    def reason(longest: int) -> object:
        return ask(page, None, CheckPolicy(token=TokenPolicy(max_bytes=longest)))[1]["reason"]

    assert reason(len(good)) == "rule_matched"
    assert reason(len(good) - 1) == reason(1) == "token_malformed"
