"""Credentials in other places than `Authorization`: off unless configured, one at a time, judged alike."""

import json
import math
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from envoy_data_plane.envoy.config.core.v3 import Metadata
from envoy_data_plane.envoy.service.auth.v3 import CheckRequest
from envoy_data_plane.google.protobuf import ListValue, NullValue, Struct, Value

from extauthz.check.credentials import CredentialSources
from extauthz.decide.identity import TokenPolicy
from extauthz.decide.judge import CheckPolicy
from extauthz.settings import Settings, load_settings
from tests.builders import Answer, check_request, read_answer
from tests.real_service import TOKEN_LIFETIME_S, real_service, token
from tests.tokens import AUDIENCE, ISSUER

JWT_AUTHN = "envoy.filters.http.jwt_authn"
SPIFFE = "spiffe://cluster.local/ns/shop/sa/cart"
EVERYTHING = CredentialSources("x-token", "session", "idp", workloads=True)
RULE = {"dom": "*", "obj": "page:read", "act": "read", "effect": "allow"}
POLICIES = {
    "resources": [
        {
            "name": "page:read",
            "serviceName": "web",
            "routes": [
                {"methods": ["GET"], "path": "/page"},
                {"methods": ["GET"], "path": "/open", "authentication": "optional"},
            ],
        }
    ],
    "role_rules": [
        {"id": "all", "sub": "*", **RULE},
        {"id": "nobody", "sub": "anonymous", **RULE},
    ],
    "attribute_policies": [
        {
            "id": "no-interns",
            "name": "no interns",
            "resource": "page:read",
            "effect": "deny",
            "priority": 5,
            "rule_data": {
                "type": "AND",
                "conditions": [
                    {"type": "CONDITION", "attribute": "user.level", "operator": "exists", "value": True},
                    {"type": "CONDITION", "attribute": "user.level", "operator": "lt", "value": 2},
                ],
            },
        }
    ],
}


def value(plain: object) -> Value:
    match plain:
        case None:
            return Value(null_value=NullValue.NULL_VALUE)
        case bool():
            return Value(bool_value=plain)
        case int() | float():
            return Value(number_value=float(plain))
        case str():
            return Value(string_value=plain)
        case list():
            return Value(list_value=ListValue(values=[value(each) for each in plain]))
        case dict():
            return Value(struct_value=struct(plain))
    raise TypeError(plain)


def struct(plain: Mapping[str, object]) -> Struct:
    return Struct(fields={name: value(member) for name, member in plain.items()})


def with_metadata(raw: bytes, namespaces: Mapping[str, Mapping[str, object]]) -> bytes:
    request = CheckRequest.parse(raw)
    assert request.attributes is not None
    filters = {name: struct(content) for name, content in namespaces.items()}
    request.attributes.metadata_context = Metadata(filter_metadata=filters)
    return bytes(request)


def payload(**changes: object) -> dict[str, object]:
    now = int(time.time())
    usual = {"iss": ISSUER, "sub": "alice", "aud": AUDIENCE, "iat": now - 60, "exp": now + TOKEN_LIFETIME_S}
    return {name: member for name, member in (usual | changes).items() if member is not None}


def verified(path: str = "/page", *, headers: Mapping[str, str] | None = None, **changes: object) -> bytes:
    return with_metadata(check_request(path, headers=headers or {}), {JWT_AUTHN: {"idp": payload(**changes)}})


Ask = Callable[..., tuple[Answer, dict[str, Any]]]


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    count = 0

    def asked(
        raw: bytes, sources: CredentialSources | None = EVERYTHING, policy: CheckPolicy | None = None
    ) -> tuple[Answer, dict[str, Any]]:
        nonlocal count
        count += 1
        folder = tmp_path / str(count)
        folder.mkdir()
        with real_service(folder, POLICIES, sources=sources, policy=policy) as running:
            answer = read_answer(running.service.answer(raw, None))
            (line,) = running.decisions()
        assert answer.allowed is (line["decision"] == "allow")
        return answer, line

    return asked


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


def headers_of(**headers: str) -> dict[str, str]:
    return {name.replace("_", "-"): found for name, found in headers.items()}


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


PLACES: dict[str, Callable[[str], dict[str, str]]] = {
    "header": lambda signed: {"x-token": signed},
    "cookie": lambda signed: {"cookie": f"session={signed}"},
    "authorization": lambda signed: {"authorization": f"Bearer {signed}"},
}


@pytest.mark.parametrize("where", PLACES)
def test_a_token_and_the_proxys_claims_of_the_same_token_are_one_credential(ask: Ask, where: str) -> None:
    sources = EVERYTHING if where != "authorization" else replace(EVERYTHING, token_header=None)
    signed = token(level=7, score=1.5, nested={"a": [1, None, True, "x"]})
    headers = PLACES[where](signed)
    same = json.loads(urlsafe_b64decode(signed.split(".")[1] + "=="))

    def with_claims(path: str, headers: Mapping[str, str], claims: Mapping[str, object]) -> bytes:
        return with_metadata(check_request(path, headers=headers), {JWT_AUTHN: {"idp": claims}})

    answer, line = ask(with_claims("/page", headers, same), sources)
    assert (answer.allowed, line["subject"], line["authentication"]) == (True, "alice", "jwt")

    for different in (
        same | {"sub": "bob"},
        same | {"iat": same["iat"] + 1},
        same | {"level": True},
        same | {"level": "7"},
        same | {"level": 7.25},
        same | {"more": None},
        same | {"nested": {"a": [1, None, 1, "x"]}},
        same | {"nested": {"a": [1, None, True]}},
        {member: value for member, value in same.items() if member != "score"},
        {},
    ):
        answer, line = ask(with_claims("/page", headers, different), sources)
        assert (answer.status, line["reason"]) == (401, "credentials_conflict"), different
    # The token is judged in full: what is wrong with it is the answer, whatever the claims say.
    for bad, reason in ((token(exp=1), "token_expired"), (signed[:-4] + "AAAA", "token_bad_signature")):
        answer, line = ask(with_claims("/page", PLACES[where](bad), same), sources)
        assert (answer.status, line["reason"]) == (401, reason)


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


def nested(depth: int) -> dict[str, object]:
    document: dict[str, object] = {}
    for _ in range(depth):
        document = {"a": document}
    return document


@pytest.mark.parametrize("depth", [40, 90, 3000])
def test_deep_metadata_is_refused_and_raises_nothing(ask: Ask, depth: int) -> None:
    fields = b""
    for _ in range(depth):
        fields = _field(1, _field(1, b"a") + _field(2, _field(5, fields)))
    claims = _field(1, _field(1, b"idp") + _field(2, _field(5, fields)))
    metadata = _field(1, _field(1, JWT_AUTHN.encode()) + _field(2, claims))
    raw = check_request("/open") + _field(1, _field(11, metadata))
    answer, line = ask(raw)
    assert (answer.status, line["reason"]) == (401, "token_claims_invalid")


def _field(number: int, content: bytes) -> bytes:
    size, length = len(content), b""
    while size >= 0x80:
        length += bytes((size & 0x7F | 0x80,))
        size >>= 7
    return bytes((number << 3 | 2,)) + length + bytes((size,)) + content


def test_metadata_that_is_not_trusted_cannot_make_the_message_unreadable(ask: Ask) -> None:
    garbage = _field(1, _field(11, b"\xff\xff\xff"))
    assert ask(check_request("/open") + garbage, None)[0].allowed
    assert ask(check_request("/open") + garbage)[1]["reason"] == "token_claims_invalid"
    not_text = _field(1, _field(1, b"other.filter") + _field(2, _field(1, _field(1, b"\xff"))))
    assert ask(check_request("/open") + _field(1, _field(11, not_text)), None)[0].allowed
    assert ask(check_request("/open") + _field(1, _field(11, not_text)))[0].allowed


def test_metadata_of_other_filters_and_providers_proves_nothing(ask: Ask) -> None:
    for namespaces in (
        {"envoy.filters.http.ext_authz": {"idp": payload()}},
        {JWT_AUTHN: {"other": payload()}},
        {JWT_AUTHN: payload()},
        {},
    ):
        answer, line = ask(with_metadata(check_request("/page"), namespaces))
        assert (answer.status, line["reason"]) == (401, "token_missing")


def test_claims_from_metadata_keep_their_types(ask: Ask) -> None:
    answer, line = ask(verified(level=3, realm_access={"roles": ["finance"]}, dom="emea"))
    assert answer.allowed
    assert (line["roles"], line["domain"], line["tenant"]) == (["finance"], "emea", "default")
    for level, reason in ((1, "rule_matched"), (1.5, "rule_matched"), ("3", "condition_unknown")):
        assert ask(verified(level=level))[1]["reason"] == reason


def test_claims_from_metadata_that_are_null_are_absent(ask: Ask) -> None:
    def asked(**changes: object) -> tuple[Answer, dict[str, Any]]:
        claims = payload() | {"level": 3, "realm_access": {"roles": ["finance"]}} | changes
        return ask(with_metadata(check_request("/page"), {JWT_AUTHN: {"idp": claims}}))

    for name in ("nbf", "iat", "dom", "adm"):
        assert asked(**{name: None})[0].allowed
    for nothing in ({"realm_access": None}, {"realm_access": {"roles": None}}):
        assert asked(**nothing)[1]["roles"] == []
    for name, detail in (("exp", "exp is missing"), ("sub", "sub is missing"), ("iss", "iss is missing")):
        line = asked(**{name: None})[1]
        assert (line["reason"], line["detail"]) == ("token_claims_invalid", detail)
    line = asked(realm_access={"roles": ["finance", None]})[1]
    assert line["detail"] == "claim 'realm_access.roles' holds a role that is null, not a string"


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
