"""CheckRequests of the second implementation, as `EnvoyRequests` reads them."""

from typing import Any

import pytest

from extauthz.check.envoy_request import EnvoyRequests
from extauthz.check.request_headers import MAX_IDENTITY_SPELLINGS
from extauthz.domain.credential import (
    BearerToken,
    Credential,
    OtherScheme,
    PresentedServiceKey,
    RepeatedHeader,
)
from extauthz.domain.reasons import Reason
from extauthz.domain.request import CheckedRequest, ContextTarget, Malformed, RequestFacts
from tests.builders import check_request, network_check

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
NONE: frozenset[str] = frozenset()


def checked(raw: bytes, **reading: Any) -> CheckedRequest:
    found = EnvoyRequests(**reading).read(raw)
    assert isinstance(found, CheckedRequest), found
    return found


def facts(raw: bytes, condition_headers: frozenset[str] = NONE) -> RequestFacts:
    return checked(raw, condition_headers=condition_headers).facts


def credentials(raw: bytes) -> list[Credential]:
    return list(checked(raw).credentials)


def malformed(raw: bytes) -> Malformed:
    found = EnvoyRequests().read(raw)
    assert isinstance(found, Malformed), found
    return found


def test_every_fact_of_an_ordinary_request_is_read() -> None:
    found, given, *_ = checked(
        check_request(
            "/v1/invoices/42?expand=lines&x=%2F",
            method="DELETE",
            host="API.Example.com.:8443",
            headers={
                "authorization": "Bearer abc.def.ghi",
                "x-service-api-key": "sak_live_x",
                "x-region": "eu",
                "x-request-id": "r-1",
                "traceparent": TRACEPARENT,
                "cookie": "session=secret",
                "user-agent": "curl/8",
            },
            context_extensions={"tenant": "acme", "resource": "invoice:read", "action": "read", "other": "x"},
            source_principal="spiffe://cluster.local/ns/web/sa/shop",
            source_service="payments",
        ),
        condition_headers=frozenset({"x-region", "x-absent"}),
    )
    assert (found.method, found.host) == ("DELETE", "api.example.com")
    assert (found.path.text, found.query) == ("/v1/invoices/42", "expand=lines&x=%2F")
    assert given == [BearerToken("abc.def.ghi"), PresentedServiceKey("sak_live_x")]
    assert found.headers == {"x-region": "eu"}
    assert found.unknown_headers == frozenset()
    assert found.context == ContextTarget("acme", "invoice:read", "read")
    assert found.source_address == "10.1.2.3"
    assert found.source_principal == "spiffe://cluster.local/ns/web/sa/shop"
    assert (found.request_id, found.trace_id) == ("r-1", "4bf92f3577b34da6a3ce929d0e0e4736")
    assert found.is_grpc is False
    assert found.strip_headers == ()


def test_a_request_with_hardly_any_fields_is_read() -> None:
    found = facts(check_request("/", source_address=None))
    assert (found.path.text, found.path.segments, found.query) == ("/", ("",), None)
    assert found.headers == {}
    assert found.context == ContextTarget()
    assert (found.source_address, found.source_principal) == (None, None)
    assert (found.request_id, found.trace_id) == (None, None)


def test_both_header_forms_read_the_same() -> None:
    headers = {
        "authorization": "Bearer t",
        "x-region": "eu",
        "x_auth_role": "root",
        "traceparent": TRACEPARENT,
    }
    wanted = frozenset({"x-region"})
    listed = [(name, value.encode()) for name, value in headers.items()]
    assert facts(check_request(headers=headers), wanted) == facts(check_request(raw_headers=listed), wanted)


def test_both_header_forms_at_once_are_refused() -> None:
    # Messages merge when they are concatenated.
    both = check_request(headers={"a": "b"}) + check_request(raw_headers=[("a", b"b")])
    assert malformed(both).reason is Reason.REQUEST_MALFORMED


def test_repeated_headers_are_joined_and_named() -> None:
    raw = check_request(
        raw_headers=[
            ("authorization", b"Bearer a"),
            ("x-region", b"eu"),
            ("Authorization", b"Bearer b"),
            ("x-region", b"us"),
            ("accept", b"a"),
            ("accept", b"b"),
        ]
    )
    found, given, *_ = checked(raw, condition_headers=frozenset({"x-region"}))
    assert found.headers == {"x-region": "eu,us"}
    assert found.unknown_headers == {"x-region"}
    assert given == [RepeatedHeader("authorization")]


def test_names_in_another_case_are_the_same_header() -> None:
    raw = check_request(headers={"Authorization": "Bearer a", "authorization": "Bearer b"})
    assert credentials(raw) == [RepeatedHeader("authorization")]


def test_a_condition_header_that_is_not_text_is_unknown() -> None:
    found = facts(check_request(raw_headers=[("x-region", b"\xff\xfe")]), frozenset({"x-region"}))
    assert "x-region" in found.headers
    assert found.unknown_headers == {"x-region"}


def test_a_credential_that_is_not_text_is_malformed_and_not_absent() -> None:
    raw = check_request(raw_headers=[("authorization", b"Bearer \xff")])
    assert credentials(raw) == [BearerToken("\ufffd")]


def test_an_empty_credential_is_not_absent() -> None:
    assert credentials(check_request(headers={"authorization": ""})) == [OtherScheme()]
    assert credentials(check_request(raw_headers=[("authorization", b"")])) == [OtherScheme()]


@pytest.mark.parametrize(
    "name",
    [
        "x-auth-subject",
        "x-auth-anything",
        "x_auth_subject",
        "x-auth_subject",
        "x.auth.subject",
        "x~auth!subject",
        "x-auth-",
    ],
)
def test_identity_headers_of_the_client_are_to_be_stripped(name: str) -> None:
    assert facts(check_request(headers={name: "root", "accept": "*/*"})).strip_headers == (name,)
    assert facts(check_request(headers={name.upper(): "root"})).strip_headers == (name,)
    assert facts(check_request(raw_headers=[(name.title(), b"root"), (name, b"x")])).strip_headers == (name,)


@pytest.mark.parametrize("name", ["x_user_email", "x.user-email", "x-user_email"])
def test_other_spellings_of_claim_headers_are_to_be_stripped(name: str) -> None:
    claims = frozenset({"x-user-email", "x-user-groups"})
    known = {"x-user-email": "v", "x-auth-a": "v", "x-user-emails": "v", "user-email": "v"}
    for raw in (
        check_request(headers={name: "root"} | known),
        check_request(headers={name.upper(): "root"} | known),
        check_request(raw_headers=[(each, b"v") for each in (name.title(), *known)]),
    ):
        # The names themselves are set or removed by every allow.
        assert checked(raw, claim_headers=claims).facts.strip_headers == ("x-auth-a", name)
        assert checked(raw).facts.strip_headers == ("x-auth-a",)


def test_more_spellings_of_claim_headers_than_any_proxy_sends_are_refused() -> None:
    names = [f"x{a}user{b}email" for a in "!#$%&'*+.^_`|~" for b in "!#$%&'*+.^_`|~"]
    raw = check_request(headers=dict.fromkeys(names, "v"))
    found = EnvoyRequests(claim_headers=frozenset({"x-user-email"})).read(raw)
    assert isinstance(found, Malformed)
    assert found.reason is Reason.REQUEST_MALFORMED


def test_more_spellings_of_identity_than_any_proxy_sends_are_refused() -> None:
    spoofed = {f"X_Auth-{number}": "value" for number in range(MAX_IDENTITY_SPELLINGS)}
    assert len(facts(check_request(headers=spoofed)).strip_headers) == MAX_IDENTITY_SPELLINGS
    told = {"content-type": "application/grpc", "x-request-id": "r-1", "traceparent": TRACEPARENT}
    found = malformed(check_request(headers=spoofed | told | {"x-auth-subject": "root"}))
    assert found.reason is Reason.REQUEST_MALFORMED
    assert (found.is_grpc, found.request_id, found.trace_id) == (True, "r-1", TRACEPARENT.split("-")[1])
    assert "x-auth-" in (found.detail or "")


def test_a_credential_that_is_too_long_is_cut() -> None:
    raw = check_request(headers={"authorization": "Bearer " + "A" * 100, "x-service-api-key": "sak_x"})
    found = checked(raw, longest_credential=10)
    assert found.credentials == [BearerToken("AAA"), PresentedServiceKey("sak_x")]


@pytest.mark.parametrize(
    "name", ["x-author-id", "x-authorization", "my-x-auth-subject", "xauth-id", "x--auth-id"]
)
def test_headers_that_only_look_alike_stay(name: str) -> None:
    assert facts(check_request(headers={name: "v"})).strip_headers == ()


def test_an_identity_spelling_that_cannot_be_removed_is_refused() -> None:
    for name in ("x-auth-a\r\nb", "x auth id", "x-auth-\u00e9", "a\nx-auth-subject"):
        assert malformed(check_request(headers={name: "v"})).reason is Reason.REQUEST_MALFORMED


def test_forwarding_headers_and_pseudo_headers_never_count() -> None:
    headers = {
        "x-forwarded-host": "evil.example",
        "x-forwarded-for": "127.0.0.1",
        "x-forwarded-client-cert": "By=spiffe://x",
        "x-envoy-original-path": "/admin",
        "x-original-url": "/admin",
        "x-http-method-override": "GET",
        "host": "evil.example",
        ":path": "/admin",
        ":authority": "evil.example",
        ":method": "GET",
    }
    assert facts(check_request(method="POST", headers=headers)) == facts(check_request(method="POST"))


def test_the_path_is_judged_without_its_query() -> None:
    found = malformed(check_request("/a/../b?token=secret", headers={"x-request-id": "r-2"}))
    assert (found.reason, found.detail) == (Reason.PATH_AMBIGUOUS, "path: dot_segment")
    assert (found.path_raw, found.method, found.host) == ("/a/../b", "GET", "api.example.com")
    assert (found.request_id, found.source_address) == ("r-2", "10.1.2.3")


@pytest.mark.parametrize(
    "path", ["", "*", "//a", "/a;b", "/%252e", "/a%00", "/a\\b", "http://h/", "h:443", "/é"]
)
def test_an_ambiguous_path_is_refused(path: str) -> None:
    assert malformed(check_request(path, method="OPTIONS")).reason is Reason.PATH_AMBIGUOUS


@pytest.mark.parametrize("host", ["", "a..b", "user@host", "bücher.example", "host:99999", "a b"])
def test_a_malformed_host_is_refused(host: str) -> None:
    assert malformed(check_request(host=host)).reason is Reason.REQUEST_MALFORMED


@pytest.mark.parametrize("method", ["", "GET ", "G\u00cbT", "GET\n", "A(B", "M" * 65, "CONNECT"])
def test_a_method_that_is_not_a_token_makes_the_request_malformed(method: str) -> None:
    assert malformed(check_request(method=method)).reason is Reason.REQUEST_MALFORMED


@pytest.mark.parametrize("method", ["GET", "HEAD", "get", "PROPFIND", "M-SEARCH", "connect"])
def test_methods_are_kept_as_received(method: str) -> None:
    assert facts(check_request(method=method)).method == method


def test_text_that_is_not_utf8_is_judged_and_quoted() -> None:
    raw = check_request("/a/PLACE").replace(b"/a/PLACE", b"/a/\xff\xff\xff\xff\xff")
    found = malformed(raw)
    assert (found.reason, found.detail) == (Reason.PATH_AMBIGUOUS, "path: raw_non_ascii")
    assert found.path_raw == "/a/" + "\ufffd" * 5


def test_a_query_that_is_not_utf8_arrives_as_escapes() -> None:
    raw = check_request("/a?x=PLACE&y=1").replace(b"PLACE", b"\xff\xc3\xa9?+")
    assert facts(raw).query == "x=%FF\u00e9?+&y=1"
    assert facts(check_request("/a?x=\u00e9")).query == "x=\u00e9"
    assert facts(check_request("/a?")).query == ""


def test_a_network_filter_is_malformed_with_its_peer() -> None:
    found = malformed(network_check(source_principal="spiffe://a/b"))
    assert found.reason is Reason.REQUEST_MALFORMED
    assert (found.source_address, found.source_principal) == ("10.1.2.3", "spiffe://a/b")
    assert (found.method, found.host, found.path_raw) == (None, None, None)


def test_empty_truncated_and_foreign_messages_are_malformed() -> None:
    whole = check_request(headers={"authorization": "Bearer t"})
    assert malformed(b"").reason is Reason.REQUEST_MALFORMED
    assert malformed(b"\x00").reason is Reason.REQUEST_MALFORMED
    assert malformed(b"GET / HTTP/1.1\r\n\r\n").reason is Reason.REQUEST_MALFORMED
    assert malformed(b"\x0a\x04" * 200).reason is Reason.REQUEST_MALFORMED
    for length in range(1, len(whole)):
        EnvoyRequests().read(whole[:length])
    assert malformed(whole[:-1]).reason is Reason.REQUEST_MALFORMED


def test_unknown_fields_and_bodies_are_skipped() -> None:
    plain = check_request(headers={"a": "b"})
    assert facts(plain + b"\xfa\x3e\x03abc" + b"\x9a\x01\x02\x08\x01") == facts(plain)
    assert facts(check_request(headers={"a": "b"}, body="x" * 1_000_000)) == facts(plain)


def test_a_unix_socket_peer_has_no_address() -> None:
    assert facts(check_request(source_pipe="/run/app.sock")).source_address is None


def test_the_service_of_the_peer_is_not_its_principal() -> None:
    assert facts(check_request(source_service="admin")).source_principal is None


def test_an_empty_context_extension_is_kept() -> None:
    assert facts(check_request(context_extensions={"tenant": ""})).context == ContextTarget(tenant="")
    assert facts(check_request(context_extensions={"resource": "a"})).context == ContextTarget(resource="a")


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ("abc-123", "abc-123"),
        ("with space", "with space"),
        ("x" * 200, "x" * 128),
        ("", None),
        ("a\tb", None),
        ("a\r\nb", None),
        ("id-\u00e9", None),
    ],
)
def test_request_ids_are_bounded_printable_ascii(sent: str, read: str | None) -> None:
    assert facts(check_request(headers={"x-request-id": sent})).request_id == read


@pytest.mark.parametrize(
    ("sent", "valid"),
    [
        (TRACEPARENT, True),
        ("cc" + TRACEPARENT[2:] + "-what-the-future-brings", True),
        ("cc" + TRACEPARENT[2:], True),
        ("cc" + TRACEPARENT[2:] + ".no", False),
        (TRACEPARENT + "-more", False),
        ("ff" + TRACEPARENT[2:], False),
        (TRACEPARENT.upper(), False),
        (TRACEPARENT + "\n", False),
        (" " + TRACEPARENT, False),
        ("00-" + "0" * 32 + "-00f067aa0ba902b7-01", False),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-" + "0" * 16 + "-01", False),
        (TRACEPARENT + "," + TRACEPARENT, False),
        ("", False),
    ],
)
def test_trace_ids_follow_the_w3c_grammar(sent: str, valid: bool) -> None:
    found = facts(check_request(headers={"traceparent": sent})).trace_id
    assert found == ("4bf92f3577b34da6a3ce929d0e0e4736" if valid else None)


@pytest.mark.parametrize(("octets", "kept"), [(55, True), (512, True), (513, False)])
def test_a_refused_request_keeps_no_long_traceparent(octets: int, kept: bool) -> None:
    found = malformed(check_request("/a;x", headers={"traceparent": "0" * octets}))
    assert (found.traceparent is not None) is kept


@pytest.mark.parametrize(
    ("content_type", "is_grpc"),
    [
        ("application/grpc", True),
        ("application/grpc+proto", True),
        ("Application/GRPC", True),
        ("application/grpc-web", True),
        ("application/json", False),
        ("text/plain; x=application/grpc", False),
    ],
)
def test_grpc_callers_are_recognised(content_type: str, is_grpc: bool) -> None:
    headers = {"content-type": content_type}
    assert facts(check_request(headers=headers)).is_grpc is is_grpc
    assert malformed(check_request("//", headers=headers)).is_grpc is is_grpc
