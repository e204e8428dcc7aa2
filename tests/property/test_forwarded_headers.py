"""Headers from claims of every JSON type: what reaches the workload is one harmless value, or nothing."""

from dataclasses import replace
from urllib.parse import unquote

from hypothesis import given
from hypothesis import strategies as st

from extauthz.check import envoy_response, http_response
from extauthz.check.forwarded_headers import MAX_VALUE_BYTES, Forwarder, as_text
from extauthz.check.http_response import HEADERS_TO_REMOVE
from extauthz.decide.tokens.claims import freeze_claims
from extauthz.domain.forwarding import Forwarding
from extauthz.domain.verdict import Allowed, PolicyVersion, Rule, RuleKind
from tests.builders import ALICE, READ_INVOICE, read_answer, request_facts

NAMES = ("x-user-a", "x-user-b", "x-user-c")
texts = st.text() | st.text("ab,% \r\n\0\x7fé\ud800")
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(10**4200, 10**4400) | st.decimals() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
forwardings = st.none() | st.builds(
    Forwarding,
    st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(["user.a", "user.b", "user.roles"])))
    .map(dict)
    .map(lambda headers: tuple(sorted(headers.items()))),
    st.booleans(),
)


@given(texts)
def test_a_string_is_told_from_every_other_after_decoding(text: str) -> None:
    encoded = as_text(text)
    if encoded:
        assert unquote(encoded, errors="surrogatepass") == text


@given(st.lists(texts, min_size=1))
def test_a_list_is_told_from_every_other_after_decoding(entries: list[str]) -> None:
    encoded = as_text(tuple(entries))
    if encoded:
        assert [unquote(each, errors="surrogatepass") for each in encoded.split(",")] == entries


@given(values, values, forwardings, forwardings)
def test_a_claim_of_any_kind_is_one_printable_value_or_none(
    first: object, second: object, of_provider: Forwarding | None, of_resource: Forwarding | None
) -> None:
    claims = freeze_claims({"a": first, "b": second})
    verdict = Allowed(
        "id",
        Rule("r", RuleKind.ROLE),
        replace(ALICE, claims=claims, forwarding=of_provider),
        ("finance", "é,"),
        READ_INVOICE._replace(forwarding=of_resource),
        PolicyVersion(),
        request_facts(),
    )
    forwarder = Forwarder(NAMES)
    answer = read_answer(envoy_response.write(verdict, forwarder, 0.0))
    again = read_answer(envoy_response.write(verdict, forwarder, 0.0))
    assert (answer.headers, answer.removed) == (again.headers, again.removed)
    assert answer.allowed
    # Each name is either set or removed, whatever is asked for.
    assert set(answer.headers).isdisjoint(answer.removed)
    assert {*NAMES, "x-auth-assertion"} <= {*answer.headers, *answer.removed}
    for name in NAMES:
        value = answer.headers.get(name, "x")
        assert value
        assert value.isascii()
        assert value.isprintable()
        assert value == value.strip()
        assert len(value) <= MAX_VALUE_BYTES
    removes = any(each is not None and each.removes_authorization for each in (of_provider, of_resource))
    assert ("authorization" in answer.removed) is removes

    over_http = http_response.write(verdict, Forwarder(NAMES), 0.0)
    headers = dict(over_http.headers)
    assert set(headers.pop(HEADERS_TO_REMOVE).split(",")) == set(answer.removed)
    assert {name: headers.get(name) for name in NAMES} == {name: answer.headers.get(name) for name in NAMES}
