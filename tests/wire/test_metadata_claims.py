"""Claims in Envoy's metadata, from a token that its jwt_authn filter has verified."""

import json
from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from tests.builders import Answer, check_request
from tests.real_service import token
from tests.wire.credential_places import EVERYTHING, JWT_AUTHN, Ask, payload, verified, with_metadata

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
