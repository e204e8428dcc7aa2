"""Fuzzes CheckRequest bytes through the whole service: no message raises, and none of them is allowed.

The policies allow one user, on one route, with a token of a key that the fuzzer does not have; every other
principal that a message can make up is denied.
"""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.check.credentials import CredentialSources
from extauthz.check.envoy_request import EnvoyRequests
from extauthz.check.extauthz_check_pb2 import AttributeContext, CheckRequest, HeaderValue
from extauthz.domain.request import CheckedRequest, Malformed
from tests.builders import check_request, network_check, read_answer
from tests.fuzz.rounds import corpus, fuzzing, keep_fuzzing, mutated
from tests.real_service import RealService, real_service, token
from tests.tokens import SigningKey, claims

SOURCES = CredentialSources("x-token", "session", "idp", workloads=True)
OTHER_KEY = SigningKey.es256("service", serial=5)
FORGED = OTHER_KEY.sign(claims())
POLICIES = {
    "resources": [
        {
            "name": "vault:open",
            "serviceName": "bank",
            "routes": [{"methods": ["*"], "path": "/vault/**", "authentication": "optional"}],
        }
    ],
    "role_rules": [
        {
            "id": "the-owner",
            "sub": "owner-6f1c2a8e",
            "sub_kind": "user",
            "dom": "*",
            "obj": "vault:open",
            "act": "open",
            "effect": "allow",
        }
    ],
}
REQUESTS = EnvoyRequests(condition_headers=frozenset({"x-region"}), sources=SOURCES, preflights=True)
MESSAGES = [
    *(base64.b64decode(message) for family in corpus("check_request").values() for message in family),
    network_check(),
    check_request("/vault/1", headers={"authorization": f"Bearer {FORGED}", "x-request-id": "r"}),
    check_request("/vault/1", headers={"x-token": FORGED, "cookie": f"session={FORGED}"}),
    check_request("/vault/1", raw_headers=[("authorization", b"Bearer x"), ("x-auth-subject", b"root")]),
    check_request(
        "/vault/1", context_extensions={"tenant": "default", "resource": "vault:open", "action": "open"}
    ),
    check_request("/vault/1", source_principal="spiffe://mesh/owner", source_service="owner"),
    check_request("/vault/../vault/1?x=%zz", method="CONNECT", host="a:1"),
]
FRAGMENTS = [
    b"\x00", b"\xff", b"\x0a\x00", b"\x12\x00", b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", b"\x0b", b"\x0c",
    b"authorization", b"Bearer ", b"x-service-api-key", b"x-auth-subject", b"/vault/1", b"..", b"%2f",
    b"\xc0\xae",
    b"default", b"\r\n", b"\x0a\x04\x08\x00\x12\x00", b"\x7f" * 20,
]  # fmt: skip


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealService]:
    with real_service(Path(tmp_path_factory.mktemp("fuzz")), POLICIES, sources=SOURCES) as running:
        yield running


def judge(service: RealService, message: bytes) -> None:
    assert isinstance(REQUESTS.read(message), CheckedRequest | Malformed)
    answer = service.service.answer(message, None)
    # Envoy's own rule: an explicit status that is not OK.
    assert answer.startswith(b"\x0a\x02\x08\x07")


NAMES = st.sampled_from(
    ["authorization", "x-service-api-key", "x-token", "cookie", "x-auth-subject", "X_Auth_Role",
     "x-request-id",
     "traceparent", "content-type", ":path", ":method", ":authority", "host", "x-region",
     "x-forwarded-for", ""]
)  # fmt: skip
VALUES = st.one_of(
    st.binary(max_size=12),
    st.sampled_from([b"Bearer " + FORGED.encode(), b"Bearer", b"session=a", b"\r\n", b"a,b"]),
)
TEXTS = st.one_of(
    st.binary(max_size=16), st.sampled_from([b"/vault/1", b"/vault/1?q=1", b"api.example", b"GET", b"*"])
)


@st.composite
def attributes(draw: st.DrawFn) -> AttributeContext:
    """Draw well-formed messages whose every field is anything."""
    context = AttributeContext()
    http = context.request.http
    http.method, http.path, http.host = draw(TEXTS), draw(TEXTS), draw(TEXTS)
    entries = draw(st.lists(st.tuples(NAMES, VALUES), max_size=5))
    if draw(st.booleans()):
        for name, value in entries:
            http.headers[name] = value
    else:
        for name, value in entries:
            http.header_map.headers.append(HeaderValue(key=name, raw_value=value).SerializeToString())
    context.source.principal = draw(st.sampled_from(["", "spiffe://mesh/x", "owner-6f1c2a8e", "\u200b"]))
    for name in draw(st.lists(st.sampled_from(["tenant", "resource", "action", "x"]), max_size=3)):
        context.context_extensions[name] = draw(st.sampled_from(["default", "vault:open", "open", "", "*"]))
    context.metadata_context = draw(st.binary(max_size=20))
    return context


def test_no_mutated_message_of_another_subject_is_allowed(service: RealService) -> None:
    @fuzzing
    @given(mutated(MESSAGES, FRAGMENTS))
    def changed_messages(message: bytes) -> None:
        judge(service, message)

    @fuzzing
    @given(st.binary(max_size=400))
    def anything(message: bytes) -> None:
        judge(service, message)

    @fuzzing
    @given(attributes())
    def any_fields(context: AttributeContext) -> None:
        judge(service, CheckRequest(attributes=context).SerializeToString())
        assert service.service.answer_http(context).status in range(400, 500)

    keep_fuzzing(changed_messages, anything, any_fields)


def test_every_message_of_the_corpus_is_denied(service: RealService) -> None:
    for message in MESSAGES:
        judge(service, message)


def test_the_request_of_the_owner_is_allowed(service: RealService) -> None:
    headers = {"x-token": token("owner-6f1c2a8e")}
    assert read_answer(service.service.answer(check_request("/vault/1", headers=headers), None)).allowed
