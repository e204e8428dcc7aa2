"""Where a token is changes nothing of what it is, and the claims of the proxy never help it."""

import json
import time
from base64 import urlsafe_b64decode
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from extauthz.check.credentials import CredentialSources
from extauthz.check.envoy_request import EnvoyRequests
from extauthz.decide.identity import Keys, Rejected, TokenPolicy, identify
from extauthz.decide.tokens.cache import VerifiedTokens
from extauthz.decide.tokens.claims import freeze_claims, same_claims
from extauthz.decide.tokens.jwks import KeySet, parse_jwks
from extauthz.decide.tokens.keyring import IssuerKeys, KeyRing
from extauthz.domain.credential import BearerToken, VerifiedClaims
from extauthz.domain.principal import Principal
from extauthz.domain.request import CheckedRequest
from tests.builders import check_request
from tests.real_service import CONFIG, KEY_SET, token

HEADERS = ["authorization", "x-token", "x-service-api-key", "cookie"]
values = st.sampled_from(["", "a.b.c", "Basic eDp5", "Bearer a.b.c", "a,b", "é", "x.y.z"])
lines = st.lists(st.tuples(st.sampled_from(HEADERS), values), max_size=5)


def credentials(reader: EnvoyRequests, sent: list[tuple[str, str]]) -> Any:
    found = reader.read(check_request(raw_headers=[(name, value.encode()) for name, value in sent]))
    assert isinstance(found, CheckedRequest)
    return found.credentials


@given(lines)
def test_a_token_header_is_what_authorization_with_a_bearer_token_is(sent: list[tuple[str, str]]) -> None:
    elsewhere = EnvoyRequests(sources=CredentialSources("x-token"))
    plain = EnvoyRequests()
    moved = [
        ("authorization", f"Bearer {value}") if name == "x-token" else (name, value)
        for name, value in sent
        if name != "authorization"
    ]
    got, expected = credentials(elsewhere, sent), credentials(plain, moved)
    renamed = [getattr(each, "name", None) for each in got]
    assert [type(each) for each in got] == [type(each) for each in expected]
    for mine, other, name in zip(got, expected, renamed, strict=True):
        assert mine == other or name == "x-token"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)


@given(json_values, json_values)
def test_claims_are_the_same_exactly_when_their_json_is(first: object, second: object) -> None:
    same = json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)
    assert same_claims(first, second) is same
    one, other = freeze_claims({"a": first}), {"a": second}
    assert same_claims(one, other) is same
    assert same_claims(other, one) is same


NOW = time.time()
KNOWN = parse_jwks(KEY_SET)
assert isinstance(KNOWN, KeySet)
RING = KeyRing.of([IssuerKeys(CONFIG, KNOWN, fetched_at=NOW)])
SIGNED = [token(), token(exp=1), token(aud="other"), token()[:-4] + "AAAA", token(level=1, more=[True])]


def payload_of(signed: str) -> dict[str, object]:
    return dict(json.loads(urlsafe_b64decode(signed.split(".")[1] + "==")))


@settings(deadline=None)
@given(st.sampled_from(SIGNED), st.sampled_from(["sub", "iat", "more", "level", None]), json_values)
def test_the_proxys_claims_never_help_a_token(signed: str, changed: str | None, value: object) -> None:
    claims = payload_of(signed) | ({} if changed is None else {changed: value})
    keys = Keys(RING, {}, VerifiedTokens())

    alone = identify([BearerToken(signed)], None, keys, NOW, TokenPolicy())
    pair = identify([BearerToken(signed), VerifiedClaims(claims)], None, keys, NOW, TokenPolicy())

    if isinstance(alone, Principal) and not same_claims(payload_of(signed), claims):
        assert isinstance(pair, Rejected)
    else:
        assert pair == alone
