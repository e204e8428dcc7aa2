"""The implementation answers the decision cases, and an invalid case file is refused."""

import pytest

from extauthz.cases.case_values import CaseInvalidError
from extauthz.cases.decision_cases import CaseResult, run_case_text
from tests.case_files import CASES
from tests.shipped_model import MODEL

RESULTS = [
    pytest.param(result, id=f"{file.name}: {result.name}")
    for file in sorted(CASES.glob("*.yaml"))
    for result in run_case_text(file.read_bytes(), MODEL)
]


@pytest.mark.parametrize("result", RESULTS)
def test_the_case_is_decided_as_it_expects(result: CaseResult) -> None:
    assert result.differences == ()


def test_a_wrong_expectation_is_a_difference_that_shows_both_values() -> None:
    text = """
        policies: {role_rules: [{id: r, sub: "*", dom: "*", obj: doc, act: read, effect: allow}]}
        cases:
          - name: the reader
            principal: {id: alice}
            request: {resource: doc, action: read}
            expect: {decision: deny, reason: rule_matched, rule: q}
    """
    assert list(run_case_text(text.encode(), MODEL)) == [
        CaseResult("the reader", ("decision: expected 'deny', got 'allow'", "rule: expected 'q', got 'r'"))
    ]


def test_a_missing_refusal_and_an_unexpected_refusal_are_differences() -> None:
    text = """
        description: two rules
        policies:
          role_rules:
            - {id: a, sub: x, dom: "*", obj: doc, act: read, effect: allow}
            - {id: b, sub: x, dom: "*", obj: doc, act: read, effect: permit}
        refused: [{pointer: /role_rules/0}]
    """
    (result,) = run_case_text(text.encode(), MODEL)
    assert len(result.differences) == 2
    assert "expected a problem at /role_rules/0" in result.differences[0]
    assert "unexpected problem at /role_rules/1/effect" in result.differences[1]


CASE = "cases: [{principal: {id: a}, request: {path: /}, expect: {decision: deny}}]"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[", "line 2, column 1"),
        ("just text", "section 0: an object is needed"),
        ("policies: {}", "section 0, cases: a list is needed"),
        ("settings: [a]\n" + CASE, "settings: an object is needed"),
        ("settings: {mode: both}\n" + CASE, "mode: 'both' is not one of selfhost, saas"),
        ("settings: {unmapped: allow}\n" + CASE, "unmapped: 'allow' is not one of deny, path"),
        ("settings: {tenant_binding: any}\n" + CASE, "tenant_binding: 'any' is not one of host, token"),
        (
            "settings: {excluded_roles: ['*']}\n" + CASE,
            "excluded_roles: found '*', it must be the name of a role",
        ),
        ("settings: {excluded_roles: ['']}\n" + CASE, "excluded_roles: found '', it is empty"),
        ("settings: {excluded_roles: ['\"a\"']}\n" + CASE, "without quotes; write a"),
        ("settings: {excluded_roles: a}\n" + CASE, "excluded_roles: a list is needed"),
        ("policies: {role_rules: [{}]}\n" + CASE, "section 0, policies: /role_rules/0/id: is missing"),
        ("cases: [{request: {path: /}, expect: {}}]", "case 0, principal: an object is needed"),
        ("cases: [{principal: {}, request: {path: /}, expect: {}}]", "id is not a string"),
        (
            "cases: [{principal: {id: a, kind: robot}, request: {path: /}, expect: {}}]",
            "kind: 'robot' is not one of user, service",
        ),
        ("cases: [{principal: {id: a}, expect: {}}]", "request: an object is needed"),
        ("cases: [{principal: {id: a}, request: {}, expect: {}}]", "resource is not a string"),
        ("cases: [{principal: {id: a}, request: {path: /}}]", "expect: an object is needed"),
        (
            "cases: [{principal: {id: a}, request: {path: /}, expect: {result: allow}}]",
            "'result' is not part of an answer",
        ),
        ("cases: [{now: noon, principal: {id: a}, request: {path: /}, expect: {}}]", "RFC 3339"),
    ],
)
def test_an_invalid_case_file_is_refused_with_the_place(text: str, place: str) -> None:
    with pytest.raises(CaseInvalidError) as refusal:
        list(run_case_text(text.encode(), MODEL))
    assert place in str(refusal.value)


BOUND = b"""
policies:
  resources:
    - name: order:read
      serviceName: shop
      require_bound: true
      headers: {x-user-email: user.email}
      routes: [{methods: [GET], path: /orders}]
  role_rules:
    - {id: all, sub: "*", dom: "*", obj: "order:read", act: read, effect: allow}
settings: {claim_headers: [x-user-email]}
cases:
  - name: a bearer token
    principal: {id: alice}
    request: {method: GET, path: /orders}
    expect: {decision: deny, reason: token_claims_invalid}
  - name: a bound principal
    principal: {id: alice, claims: {cnf: {"x5t#S256": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}}}
    request: {method: GET, path: /orders}
    expect: {decision: allow}
  - name: a bound token
    token: {sub: alice, cnf: {"x5t#S256": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}}
    request: {method: GET, path: /orders}
    expect: {decision: allow}
  - name: another method
    token: {sub: alice, cnf: {jkt: x}}
    request: {method: GET, path: /orders}
    expect: {decision: deny, reason: token_claims_invalid}
  - name: a key
    principal: {id: k, kind: service}
    request: {method: GET, path: /orders}
    expect: {decision: allow}
"""


def test_a_claim_that_binds_a_token_counts_as_proven() -> None:
    results = list(run_case_text(BOUND, MODEL))
    assert [(result.name, result.differences) for result in results] == [
        ("a bearer token", ()),
        ("a bound principal", ()),
        ("a bound token", ()),
        ("another method", ()),
        ("a key", ()),
    ]
