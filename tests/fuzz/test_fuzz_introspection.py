"""Fuzzes answers of introspection and discovery documents: nothing raises, only `active: true` is active."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from extauthz.decide.bearer_token import TokenPolicy
from extauthz.decide.introspected_token import judge_bearer, read_answer
from extauthz.decide.tokens.cache import VerifiedTokens
from extauthz.decide.tokens.introspection import Introspected, IntrospectedTokens
from extauthz.decide.tokens.keyring import IntrospectionRule, IssuerConfig, IssuerKeys, KeyRing
from extauthz.decide.tokens.reader import Rejected
from extauthz.domain.claim_readings import RoleClaim, RoleShape
from extauthz.domain.principal import Principal
from extauthz.domain.strict_json import JsonRejected
from extauthz.keys.introspection_request import read_members
from extauthz.keys.source import AddressRejected, FetchUrl, discovered_endpoint
from tests.fuzz.rounds import corpus, fuzzing, keep_fuzzing, mutated
from tests.tokens import AUDIENCE, ISSUER, NOW

CONFIG = IssuerConfig(
    issuer=ISSUER,
    tenant="default",
    audiences=(AUDIENCE,),
    roles=(RoleClaim("scope", RoleShape.SPACE), RoleClaim("groups")),
    domain_claims=(),
    admin_domain_claim="adm",
    excluded_roles=frozenset(),
    introspection=IntrospectionRule(60.0),
)
RING = KeyRing.of([IssuerKeys(CONFIG)])
REMEMBERED = IntrospectedTokens(b"secret")
TOKEN = "opaque"
KEY = REMEMBERED.key_of(ISSUER, TOKEN)
USUAL: dict[str, Any] = {
    "active": True,
    "sub": "alice",
    "aud": AUDIENCE,
    "exp": int(NOW) + 600,
    "iat": int(NOW) - 60,
    "scope": "read write",
    "token_type": "Bearer",
    "iss": ISSUER,
}
ANSWERS = [
    *(text.encode() for text in corpus("introspection")["answers"]),
    json.dumps(USUAL).encode(),
    json.dumps(USUAL | {"active": False}).encode(),
    json.dumps(USUAL | {"cnf": {"x5t#S256": "A" * 43}}).encode(),
]
FRAGMENTS = [
    b'"', b"{", b"}", b"[", b"]", b",", b":", b"null", b"true", b"false", b'"true"', b"1e999", b"NaN",
    b'"active":true', b'"active":false', b'"\\u0061ctive":true', b'"iss":"x"', b'"exp":1', b"[" * 40,
    b'"token_type":"refresh_token"', b'"cnf":{}', b'"aud":[]', b"\xff", b"\xef\xbb\xbf", b"\\ud800", b"-",
]  # fmt: skip


def judge(octets: bytes) -> None:
    members = read_members(octets)
    if isinstance(members, JsonRejected):
        assert members.problem
        return
    answer = read_answer(KEY, members, CONFIG, NOW)
    found = judge_bearer(
        TOKEN,
        RING,
        VerifiedTokens(),
        NOW,
        TokenPolicy(),
        owner="default",
        introspected=REMEMBERED,
        answer=answer,
    )
    assert isinstance(found, Principal | Rejected)
    if isinstance(found, Rejected):
        return
    # Python's own reader, which takes the last of two members, agrees: the strict one refuses what differs.
    said = json.loads(octets)
    assert said["active"] is True
    assert said.get("iss") in (None, ISSUER)
    assert found.id == said["sub"]
    assert AUDIENCE in said["aud"]
    assert said.get("exp") is None or said["exp"] > NOW - 5.0
    assert str(said.get("token_type") or "bearer").lower() in {"bearer", "access_token"}
    assert (found.confirmation is None) == (said.get("cnf") is None)
    groups = said.get("groups") or []
    held = {*(said.get("scope") or "").split(" "), *([groups] if isinstance(groups, str) else groups)} - {""}
    assert set(found.roles) == held
    assert isinstance(answer, Introspected)
    assert answer.usable_until <= NOW + 60.0
    assert said.get("exp") is None or answer.usable_until <= said["exp"]


@fuzzing
@given(mutated(ANSWERS, FRAGMENTS))
def changed_answers(octets: bytes) -> None:
    judge(octets)


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=8,
)
NAMES = st.sampled_from(
    [
        "active",
        "iss",
        "sub",
        "aud",
        "exp",
        "nbf",
        "iat",
        "scope",
        "groups",
        "token_type",
        "token_use",
        "typ",
        "cnf",
    ]
)


@fuzzing
@given(st.dictionaries(NAMES, JSON, max_size=4))
def any_value_in_any_member(changes: dict[str, Any]) -> None:
    judge(json.dumps(USUAL | changes).encode())


@fuzzing
@given(st.binary(max_size=200))
def anything(octets: bytes) -> None:
    judge(octets)


DOCUMENTS = [
    *(text.encode() for text in corpus("introspection")["documents"]),
    json.dumps(
        {"issuer": ISSUER, "jwks_uri": f"{ISSUER}/keys", "introspection_endpoint": f"{ISSUER}/x"}
    ).encode(),
]


def discover(octets: bytes) -> None:
    for name in ("jwks_uri", "introspection_endpoint"):
        found = discovered_endpoint(octets, ISSUER, name)
        if isinstance(found, AddressRejected):
            assert found.problem
            continue
        said = json.loads(octets)
        assert said["issuer"] == ISSUER
        assert said[name] == found
        url = FetchUrl.parse(found, operator_configured=False, allow_hosts=frozenset())
        if isinstance(url, FetchUrl):
            assert not url.private_allowed
            assert url.url.scheme == "https" or url.url.host in {"localhost", "127.0.0.1", "::1"}


@fuzzing
@given(mutated(DOCUMENTS, [*FRAGMENTS, b"http://", b"file:", b"//127.0.0.1", b"@", b"#", b"\\\\", b"[::1]"]))
def changed_documents(octets: bytes) -> None:
    discover(octets)


@fuzzing
@given(st.dictionaries(st.sampled_from(["issuer", "jwks_uri", "introspection_endpoint"]), JSON))
def any_value_in_a_document(document: dict[str, Any]) -> None:
    discover(json.dumps({"issuer": ISSUER} | document).encode())


def test_only_an_answer_that_is_exactly_active_proves_a_principal() -> None:
    keep_fuzzing(changed_answers, any_value_in_any_member, anything)


def test_a_discovery_document_of_another_issuer_leads_nowhere() -> None:
    keep_fuzzing(changed_documents, any_value_in_a_document)


def test_inputs_of_the_corpus_raise_nothing() -> None:
    for octets in ANSWERS:
        judge(octets)
    for octets in DOCUMENTS:
        discover(octets)
