"""The attributes of a client's octets in each form in which Envoy sends them to a check."""

from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from extauthz.check.credentials import CredentialSources
from extauthz.check.envoy_request import EnvoyRequests
from extauthz.check.extauthz_check_pb2 import CheckRequest, HeaderValue
from extauthz.compile.conditions.query import read_query
from extauthz.compile.conditions.values import ABSENT, UNKNOWN
from extauthz.domain.credential import BearerToken
from extauthz.domain.envoy_text import replaced
from extauthz.domain.reasons import Reason
from extauthz.domain.request import CheckedRequest, Malformed, RequestFacts
from tests.builders import check_request

WANTED = frozenset({"x-mode"})
NONE: frozenset[str] = frozenset()
HOST = b"api.example.com"


def raw_form(
    path: bytes = b"/x",
    headers: Sequence[tuple[bytes, bytes]] = (),
    *,
    method: bytes = b"GET",
    host: bytes = HOST,
    pseudo: Sequence[tuple[bytes, bytes]] | None = None,
) -> bytes:
    """Return what Envoy sends with `encode_raw_headers`; `pseudo` instead of the request's own."""
    request = CheckRequest()
    http = request.attributes.request.http
    http.method, http.host, http.path = method, host, replaced(path)
    if pseudo is None:
        pseudo = [(b":authority", host), (b":path", path), (b":method", method)]
    for name, value in (*pseudo, *headers):
        entry = HeaderValue(key=name.decode(), raw_value=value).SerializeToString()
        http.header_map.headers.append(entry)
    return request.SerializeToString()


def joined_form(path: bytes = b"/x", headers: Sequence[tuple[bytes, bytes]] = ()) -> bytes:
    """Return what Envoy sends without it."""
    request = CheckRequest()
    http = request.attributes.request.http
    http.method, http.host, http.path = b"GET", HOST, replaced(path)
    for name in {name for name, _ in headers}:
        joined = b",".join(value for each, value in headers if each == name)
        http.headers[name.decode()] = replaced(joined)
    http.headers[":path"] = replaced(path)
    return request.SerializeToString()


def http_form(path: bytes, headers: Sequence[tuple[bytes, bytes]]) -> RequestFacts | Malformed:
    """Read a check over HTTP, where the two forms are the same."""
    request = CheckRequest.FromString(joined_form(path, headers))
    http = request.attributes.request.http
    for name, value in http.headers.items():
        if not name.startswith(":"):
            http.header_map.headers.append(HeaderValue(key=name, raw_value=value).SerializeToString())
    http.ClearField("headers")
    reader = EnvoyRequests(condition_headers=WANTED, raw_entries=False)
    return only_facts(reader.read_attributes(request.attributes))


def only_facts(found: CheckedRequest | Malformed) -> RequestFacts | Malformed:
    return found.facts if isinstance(found, CheckedRequest) else found


def read(raw: bytes) -> RequestFacts | Malformed:
    return only_facts(EnvoyRequests(condition_headers=WANTED).read(raw))


def tokens_of(raw: bytes, sources: CredentialSources) -> list[str]:
    found = EnvoyRequests(sources=sources).read(raw)
    assert isinstance(found, CheckedRequest)
    tokens = [each for each in found.credentials if isinstance(each, BearerToken)]
    assert len(tokens) == len(found.credentials)
    return [token.text for token in tokens]


def facts(raw: bytes) -> RequestFacts:
    found = read(raw)
    assert isinstance(found, RequestFacts), found
    return found


def mode(*values: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"x-mode", value) for value in values]


LONG = b"a" * 200


@pytest.mark.parametrize(
    "value", [b"admin", b"a,b", b"hello!", b"!", b",", b"", "café".encode(), LONG, LONG * 100]
)
def test_one_raw_entry_of_text_is_known(value: bytes) -> None:
    found = facts(raw_form(headers=mode(value)))
    assert found.headers["x-mode"] == value.decode()
    assert found.unknown_headers == set()


@pytest.mark.parametrize(
    "values", [(b"x", b"admin"), (b"admin", b""), (b"", b""), (b"admin\xff",), (b"\xc3",), (LONG + b"\xff",)]
)
def test_several_raw_entries_and_octets_that_are_not_utf8_are_unknown(values: tuple[bytes, ...]) -> None:
    assert facts(raw_form(headers=mode(*values))).unknown_headers == {"x-mode"}


@pytest.mark.parametrize("value", [b"a,b", b"admin,", b",admin", b",", b"admin!", b"!", b"a!b,c"])
def test_a_joined_value_that_may_hide_something_is_unknown(value: bytes) -> None:
    for found in (facts(joined_form(headers=mode(value))), http_form(b"/x", mode(value))):
        assert isinstance(found, RequestFacts)
        assert found.unknown_headers == {"x-mode"}
        assert "x-mode" in found.headers


@pytest.mark.parametrize("value", [b"admin", b"", "café".encode(), b"a;b", b"a b"])
def test_a_joined_value_without_ambiguity_is_known(value: bytes) -> None:
    for found in (facts(joined_form(headers=mode(value))), http_form(b"/x", mode(value))):
        assert isinstance(found, RequestFacts)
        assert (found.headers["x-mode"], found.unknown_headers) == (value.decode(), NONE)


def test_a_text_value_in_the_list_may_be_replaced() -> None:
    """`value` is the string that Envoy fills without `encode_raw_headers`."""
    for value, known in (("admin", True), ("admin!", False), ("a,b", False)):
        request = CheckRequest.FromString(raw_form())
        entry = HeaderValue(key="x-mode", value=value.encode()).SerializeToString()
        request.attributes.request.http.header_map.headers.append(entry)
        assert (facts(request.SerializeToString()).unknown_headers == set()) is known


def test_the_raw_path_is_read_where_it_is() -> None:
    assert facts(raw_form(b"/hello!?role=a!")).path.text == "/hello!"
    assert facts(raw_form(b"/hello!?role=a!")).query == "role=a!"
    found = read(raw_form(b"/adm\xffin"))
    assert isinstance(found, Malformed)
    assert (found.reason, found.path_raw) == (Reason.PATH_AMBIGUOUS, "/adm\ufffdin")
    assert read_query(facts(raw_form(b"/x?role=admin\xff")).query or "") is None


@pytest.mark.parametrize("pseudo", [[], [(b":authority", HOST)], [(b":method", b"GET")]])
def test_without_the_raw_path_an_exclamation_mark_may_be_a_replaced_byte(
    pseudo: list[tuple[bytes, bytes]],
) -> None:
    for form in (lambda path: raw_form(path, pseudo=pseudo), joined_form):
        found = read(form(b"/adm!in"))
        assert isinstance(found, Malformed)
        assert (found.reason, found.detail) == (Reason.PATH_AMBIGUOUS, "path: replaced_byte")
        assert found.path_raw == "/adm!in"
        assert read_query(facts(form(b"/x?role=admin!")).query or "") is None
        assert facts(form(b"/x?role=%21")).query == "role=%21"
        assert facts(form(b"/x%21")).path.text == "/x%21"


DIFFERENT = [
    [(b":path", b"/admin")],
    [(b":path", b"/x?")],
    [(b":path", b"/x"), (b":path", b"/x")],
    [(b":path", b"/x"), (b":PATH", b"/x")],
    [(b":path", b"/\xff")],
    [(b":path", b"")],
    [(b":path", b"/x"), (b":authority", b"other.example")],
    [(b":path", b"/x"), (b":authority", HOST), (b":authority", HOST)],
    [(b":path", b"/x"), (b":authority", HOST + b":80")],
    [(b":path", b"/x"), (b":method", b"POST")],
    [(b":path", b"/x"), (b":method", b"GET"), (b":method", b"GET")],
]


@pytest.mark.parametrize("pseudo", DIFFERENT, ids=str)
def test_fields_and_raw_pseudo_headers_that_differ_are_refused(pseudo: list[tuple[bytes, bytes]]) -> None:
    found = read(raw_form(b"/x", pseudo=pseudo))
    assert isinstance(found, Malformed)
    assert found.reason is Reason.REQUEST_MALFORMED


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b"/a\xffb", b"/a!b"),
        (b"/\xed\xa0\x80", b"/!!!"),
        (b"/\xe2\x82A", b"/!!A"),
        (b"/\xf4\x90\x80\x80", b"/!!!!"),
        (b"/\xc0\xaf!", b"/!!!"),
        ("/é".encode(), "/é".encode()),
        (b"/\xc3\xa9\xc3", b"/\xc3\xa9!"),
    ],
)
def test_bytes_are_replaced_as_envoy_does(raw: bytes, path: bytes) -> None:
    assert replaced(raw) == path
    assert isinstance(read(raw_form(raw)), Malformed)


@pytest.mark.parametrize("seen", [b"/a?b", b"/a!!", b"/a", b"/A!b", b"/a!b!"])
def test_a_path_that_is_not_the_raw_one_replaced_is_refused(seen: bytes) -> None:
    request = CheckRequest.FromString(raw_form(b"/a\xffb"))
    request.attributes.request.http.path = seen
    found = read(request.SerializeToString())
    assert isinstance(found, Malformed)
    assert found.reason is Reason.REQUEST_MALFORMED


def test_a_method_with_an_exclamation_mark_is_read_from_raw_headers_only() -> None:
    assert facts(raw_form(method=b"GE!T")).method == "GE!T"
    request = CheckRequest.FromString(joined_form())
    request.attributes.request.http.method = b"GE!T"
    found = read(request.SerializeToString())
    assert isinstance(found, Malformed)
    assert found.reason is Reason.REQUEST_MALFORMED


COOKIES = CredentialSources(token_cookie="token")


@pytest.mark.parametrize(
    ("headers", "tokens"),
    [
        ([b"token=a"], ["a"]),
        ([b"x=1", b"token=a"], ["a"]),
        ([b"token=a", b"token=b"], ["a", "b"]),
        ([b"token=a", b"x=1", b"token=b; y=2"], ["a", "b"]),
        ([b"x=1; token=a", b""], ["a"]),
    ],
)
def test_no_joined_cookie_hides_a_token(headers: list[bytes], tokens: list[str]) -> None:
    sent = [(b"cookie", value) for value in headers]
    for raw in (raw_form(headers=sent), joined_form(headers=sent)):
        assert tokens_of(raw, COOKIES) == tokens


def test_a_comma_in_a_raw_cookie_separates_nothing() -> None:
    assert tokens_of(raw_form(headers=[(b"cookie", b"x=1,token=a")]), COOKIES) == []


@pytest.mark.parametrize(
    "entry",
    [
        b"",
        b"\x0a",
        b"\x0a\x05x-m",
        b"\x0a\x02\xff\xfe\x1a\x01a",
        b"\x0a\x06x-mode\x1a\x05a",
        b"\x0a\x06x-mode\x1a",
    ],
)
def test_an_invalid_header_entry_hides_no_other_entry(entry: bytes) -> None:
    request = CheckRequest.FromString(raw_form(headers=mode(b"admin")))
    request.attributes.request.http.header_map.headers.append(entry)
    found = read(request.SerializeToString())
    assert isinstance(found, Malformed) or entry == b""
    if isinstance(found, RequestFacts):
        assert found.headers["x-mode"] == "admin"


@pytest.mark.parametrize(
    "entry",
    [
        b"\x1a\x05admin\x0a\x06x-mode",
        b"\x0a\x06x-mode\x12\x01x\x1a\x05admin",
        b"\x0a\x86\x00x-mode\x1a\x05admin",
        b"\x0a\x06x-mode\x1a\x85\x00admin",
    ],
)
def test_an_entry_written_in_an_unusual_way_is_read_as_protobuf_does(entry: bytes) -> None:
    request = CheckRequest.FromString(raw_form())
    request.attributes.request.http.header_map.headers.append(entry)
    found = facts(request.SerializeToString())
    assert (found.headers.get("x-mode"), found.unknown_headers) == ("admin", NONE)


def test_many_headers_are_read_the_same() -> None:
    many = [(b"x-%d" % number, b"v") for number in range(90)]
    found = facts(raw_form(headers=[*many, *mode(b"admin"), (b"x_auth_role", b"root")]))
    assert (found.headers["x-mode"], found.strip_headers) == ("admin", ("x_auth_role",))


octets = st.lists(
    st.sampled_from([b"admin", b"!", b",", b"\xff", b"\xc3\xa9", b"\xc3", b"a", b"\xed\xa0\x80", b" "]),
    max_size=4,
).map(b"".join)  # fmt: skip
target_octets = st.lists(
    st.sampled_from([b"admin", b"!", b"\xff", b"\xc3\xa9", b"\xc3", b"%21", b"=", b"&", b"role", b"?", b"/"]),
    max_size=6,
).map(b"".join)  # fmt: skip


@given(values=st.lists(octets, max_size=3), tail=target_octets)
@example(values=[b"x", b"admin"], tail=b"")
@example(values=[b"admin\xff"], tail=b"?role=admin\xff")
def test_no_form_of_the_attributes_has_more_than_the_client_sent(values: list[bytes], tail: bytes) -> None:
    path = b"/" + tail
    sent = mode(*values)
    text = values[0] if len(values) == 1 and _is_text(values[0]) else None
    for found in (read(raw_form(path, sent)), read(joined_form(path, sent)), http_form(path, sent)):
        if isinstance(found, Malformed):
            continue
        if not values:
            assert "x-mode" not in found.headers
        elif "x-mode" not in found.unknown_headers:
            assert text is not None
            assert found.headers["x-mode"] == text.decode()
        assert found.path.text.encode() == path.partition(b"?")[0]
        query = read_query(found.query or "")
        if query is not None:
            raw_query = path.partition(b"?")[2]
            assert _is_text(raw_query)
            assert (found.query or "").encode() == raw_query
            value = query.value("role")
            assert value in {ABSENT, UNKNOWN} or isinstance(value, str)
    raw = read(raw_form(path, sent))
    if isinstance(raw, RequestFacts) and text is not None and text.strip(b" \t") == text:
        assert raw.unknown_headers == set()


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def test_the_builders_forms_agree() -> None:
    assert facts(raw_form(b"/v1/invoices/42")).path == facts(check_request()).path
