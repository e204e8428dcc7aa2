"""Properties of every decision that can be written and of every octet string that can arrive."""

from hypothesis import given
from hypothesis import strategies as st

from extauthz.check import envoy_response
from extauthz.check.envoy_request import EnvoyRequests
from extauthz.check.identity_headers import encode_role, encode_value
from extauthz.domain.policy import AuthenticationRequirement
from extauthz.domain.principal import Authentication, Principal, PrincipalKind
from extauthz.domain.reasons import Reason
from extauthz.domain.request import CheckedRequest, Malformed
from extauthz.domain.verdict import Allowed, Denied, PolicyVersion, Rule, RuleKind, Target, Verdict
from tests.builders import DECISION_ID, check_request, read_answer, request_facts

REQUESTS = EnvoyRequests(condition_headers=frozenset({"x-region"}))
anything = st.text(st.characters())  # lone surrogates too
maybe = st.none() | anything
principals = st.builds(
    Principal,
    kind=st.sampled_from(PrincipalKind),
    id=maybe,
    tenant=maybe,
    domain=maybe,
    roles=st.just(()),
    authentication=st.sampled_from(Authentication),
)
identity_names = st.sampled_from(
    [
        "x-auth-subject",
        "X-Auth-Roles",
        "x_auth_kind",
        "x-auth-admin",
        "x-auth-decision-id",
        "x-auth-roles-truncated",
    ]
)
requests = st.builds(
    request_facts, is_grpc=st.booleans(), strip_headers=st.lists(identity_names, unique=True).map(tuple)
)
targets = st.builds(
    Target,
    tenant=anything,
    resource=anything,
    action=anything,
    service=maybe,
    parameters=st.just({}),
    authentication=st.sampled_from(AuthenticationRequirement),
)
rules = st.builds(Rule, id=anything, kind=st.sampled_from(RuleKind))
ids = st.just(DECISION_ID) | anything.filter(bool)  # no id is empty
roles = st.lists(anything, max_size=5).map(tuple)
policies = st.builds(PolicyVersion, revision=st.none() | st.integers(0, 2**63 - 1))
allows = st.builds(
    Allowed,
    decision_id=ids,
    rule=rules,
    principal=principals,
    roles=roles,
    target=targets,
    policies=policies,
    request=requests,
)
denials = st.builds(
    Denied,
    decision_id=ids,
    reason=st.sampled_from(Reason),
    request=st.none()
    | requests
    | st.builds(Malformed, reason=st.sampled_from(Reason), detail=anything, is_grpc=st.booleans()),
    principal=st.none() | principals,
    roles=roles,
    target=st.none() | targets,
    tenant=maybe,
    policies=policies,
    rule=st.none() | rules,
)


@given(allows | denials)
def test_envoy_reads_only_the_decision(verdict: Verdict) -> None:
    answer = read_answer(envoy_response.write(verdict))
    assert answer.allowed is isinstance(verdict, Allowed)
    assert answer.metadata["decision"] == ("allow" if answer.allowed else "deny")
    assert len(answer.metadata) == 9
    if isinstance(verdict, Allowed):
        assert answer.status is None
        assert set(answer.headers).isdisjoint(answer.removed)
        assert {"x-auth-kind", "x-auth-decision-id"} <= set(answer.headers) | set(answer.removed)
        assert all(value.isascii() and value.isprintable() for value in answer.headers.values())
        assert all(value == value.strip() for value in answer.headers.values())
        assert "x-service-api-key" in answer.removed
        for name in verdict.request.strip_headers:
            assert name.lower() in {*answer.headers, *answer.removed}
    else:
        assert answer.status == verdict.reason.http_status


@given(denials)
def test_no_prefix_of_a_denial_is_an_allow_but_the_empty_one(verdict: Verdict) -> None:
    # The status comes first: a truncated message is a denial.
    assert envoy_response.write(verdict).startswith(b"\x0a\x02\x08\x07")


@given(st.text(st.characters()), st.text(st.characters()))
def test_two_names_are_never_written_alike(first: str, second: str) -> None:
    assert (encode_value(first) == encode_value(second)) is (first == second)
    assert (encode_role(first) == encode_role(second)) is (first == second)
    assert "," not in encode_role(first)


@given(st.binary(max_size=400))
def test_any_bytes_are_a_request_or_malformed(raw: bytes) -> None:
    assert isinstance(REQUESTS.read(raw), CheckedRequest | Malformed)


header_names = st.sampled_from(
    [
        "authorization",
        "Authorization",
        "x-region",
        "x-auth-subject",
        "x_auth_x",
        "traceparent",
        "x-request-id",
    ]
) | st.text(max_size=12)
valid_text = st.text(max_size=30)


@given(
    path=valid_text | valid_text.map(lambda tail: "/" + tail),
    method=st.sampled_from(["GET", "HEAD", "CONNECT", "get"]) | valid_text,
    host=st.just("api.example.com") | valid_text,
    raw_headers=st.none() | st.lists(st.tuples(header_names, st.binary(max_size=40)), max_size=8),
    headers=st.dictionaries(header_names, valid_text, max_size=8),
    extensions=st.dictionaries(
        st.sampled_from(["tenant", "resource", "action", "x"]), valid_text, max_size=4
    ),
    cut=st.integers(0, 400),
    junk=st.binary(max_size=3),
)
def test_mutated_requests_are_read(
    path: str,
    method: str,
    host: str,
    raw_headers: list[tuple[str, bytes]] | None,
    headers: dict[str, str],
    extensions: dict[str, str],
    cut: int,
    junk: bytes,
) -> None:
    raw = check_request(
        path,
        method=method,
        host=host,
        headers=headers,
        raw_headers=raw_headers,
        context_extensions=extensions,
    )
    for each in (raw, raw[:cut] + junk + raw[cut + len(junk) :]):
        found = REQUESTS.read(each)
        assert isinstance(found, CheckedRequest | Malformed)
        if isinstance(found, CheckedRequest):
            facts = found.facts
            assert set(facts.headers) <= {"x-region"}
            assert facts.unknown_headers <= set(facts.headers)
            assert facts.method != "CONNECT"
            assert all(name == name.lower() for name in facts.strip_headers)
