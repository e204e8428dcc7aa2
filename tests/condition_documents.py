"""Condition documents and the facts that the tests judge them by."""

from collections.abc import Mapping
from typing import Any

from extauthz.compile.conditions.compiled_conditions import compile_condition
from extauthz.compile.conditions.condition_input import ConditionInput
from extauthz.compile.conditions.condition_trees import parse_condition
from extauthz.decide.tokens.claims import freeze_claims
from extauthz.domain.path import CanonicalPath
from extauthz.domain.policy import AuthenticationRequirement
from extauthz.domain.principal import Authentication, Principal, PrincipalKind
from extauthz.domain.problem import Problem
from extauthz.domain.reasons import Effect
from extauthz.domain.request import ContextTarget, RequestFacts
from extauthz.domain.verdict import Target

ALWAYS = {"type": "ALWAYS"}
HEADERS = frozenset({"x-risk"})
NOW = 1_767_607_200.0  # 2026-01-05T10:00:00Z, a Monday


def condition(attribute: str, operator: str, value: object) -> dict[str, object]:
    return {"type": "CONDITION", "attribute": attribute, "operator": operator, "value": value}


def problems_of(document: object) -> list[Problem]:
    problems: list[Problem] = []
    assert (parse_condition(document, "", problems, condition_headers=HEADERS) is None) is bool(problems)
    return problems


def pointers(document: object) -> list[str]:
    return [problem.pointer for problem in problems_of(document)]


def asked(
    claims: Mapping[str, Any] | None = None,
    parameters: Mapping[str, object] | None = None,
    *,
    address: str | None = "10.1.2.3",
    query: str | None = None,
    headers: Mapping[str, str] | None = None,
    request: bool = True,
) -> ConditionInput:
    path = CanonicalPath.parse("/invoices/7")
    assert isinstance(path, CanonicalPath)
    facts = RequestFacts(
        method="GET",
        host="app.example",
        path=path,
        query=query,
        headers=headers or {},
        unknown_headers=frozenset(),
        context=ContextTarget(),
        source_address=address,
        source_principal=None,
        request_id=None,
        trace_id=None,
        is_grpc=False,
    )
    return ConditionInput(
        principal=Principal(
            PrincipalKind.USER,
            "alice",
            "default",
            None,
            (),
            Authentication.JWT,
            claims=freeze_claims(dict(claims or {})),
        ),
        roles=("finance", "staff"),
        target=Target(
            "default", "invoice", "read", "billing", parameters or {}, AuthenticationRequirement.REQUIRED
        ),
        request=facts if request else None,
        method="GET" if request else None,
        now=NOW,
    )


def truth(document: object, facts: ConditionInput, effect: Effect = Effect.ALLOW) -> bool | None:
    problems: list[Problem] = []
    node = parse_condition(document, "", problems, condition_headers=HEADERS)
    assert node is not None, problems
    return compile_condition(node, effect)(facts)
