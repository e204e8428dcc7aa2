"""Conditions that no request makes true, and literals that look like wildcards: accepted, with a warning."""

import random
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from extauthz.compile.conditions.compiled_conditions import compile_condition
from extauthz.compile.conditions.condition_input import ConditionInput
from extauthz.compile.conditions.never_true import never_true
from extauthz.compile.documents.policy_documents import Format, Reading, parse_attribute_policy
from extauthz.compile.documents.resource_documents import parse_resource
from extauthz.compile.documents.warnings import WarningCode, policy_warnings, resource_warnings
from extauthz.decide.tokens.claims import freeze_claims
from extauthz.domain.path import CanonicalPath
from extauthz.domain.policy import AttributePolicy, AuthenticationRequirement, Condition
from extauthz.domain.principal import Authentication, Principal, PrincipalKind
from extauthz.domain.reasons import Effect
from extauthz.domain.request import ContextTarget, RequestFacts
from extauthz.domain.verdict import Target
from tests.property.random_conditions import random_node
from tests.property.vocabulary import ACTIONS, ADDRESSES, CLAIMS, DOMAINS, HEADERS, RESOURCES, ROLES, USERS

if TYPE_CHECKING:
    from extauthz.domain.problem import Problem

READING = Reading(condition_headers=frozenset({"x-channel"}))
Document = dict[str, object]


def condition(attribute: str, operator: str, value: object) -> Document:
    return {"type": "CONDITION", "attribute": attribute, "operator": operator, "value": value}


def policy(rule_data: object, notation: str = "json") -> AttributePolicy:
    problems: list[Problem] = []
    document = {
        "id": "p", "name": "p", "resource": "r", "effect": "allow",
        "format": notation, "rule_data": rule_data,
    }  # fmt: skip
    read = parse_attribute_policy(document, "", problems, READING)
    assert read is not None, problems
    return read


CLAIM_NAMES = ("until", "ip", "ips", "a", "b", "c", "l", "n", "deep", "team", "level", "clearance", "x")


def random_question(rng: random.Random) -> ConditionInput:
    path = CanonicalPath.parse(rng.choice(["/demo/1", "/", "/caf%C3%A9", "/a/b/"]))
    assert isinstance(path, CanonicalPath)
    value = rng.choice([*CLAIMS, "2027-06-01T00:00:00Z", "10.0.0.1", 1800000000])
    claims = {name: rng.choice([*CLAIMS, value]) for name in CLAIM_NAMES if rng.random() < 0.8}
    method = rng.choice(["GET", "POST", "PURGE"])
    facts = RequestFacts(
        method=method,
        host=rng.choice(["example.com", "a.example.com", "h.example"]),
        path=path,
        query=rng.choice([None, "until=2027-06-01T00:00:00Z", "level=3&q=a", "q=a&q=b"]),
        headers={name: rng.choice(["a", "10.0.0.1", "true"]) for name in ("x-channel", "x-a", "x-b")},
        unknown_headers=frozenset(),
        context=ContextTarget(),
        source_address=rng.choice([*ADDRESSES, None]),
        source_principal=None,
        request_id=None,
        trace_id=None,
        is_grpc=False,
    )
    kind = rng.choice(list(PrincipalKind))
    roles = tuple(rng.sample([*ROLES, "admin"], 2))
    domain = rng.choice([*DOMAINS, None])
    return ConditionInput(
        Principal(
            kind, rng.choice(USERS), "default", domain, roles, Authentication.JWT,
            claims=freeze_claims(claims),
        ),
        roles=roles,
        target=Target(
            "default",
            rng.choice(RESOURCES),
            rng.choice(ACTIONS),
            "s",
            freeze_claims(claims),
            AuthenticationRequirement.REQUIRED,
        ),
        request=facts,
        method=method,
        now=rng.uniform(1_700_000_000, 1_900_000_000),
    )  # fmt: skip


NEVER = [
    ("user.until", "gt", "2027-01-01T00:00:00Z", "a string is not a time"),
    ("resource.until", "lt", "2027-01-01T00:00:00Z", "a string is not a time"),
    ("request.query.until", "gte", "2027-01-01T00:00:00Z", "a string is not a time"),
    ("request.query.level", "gt", 3, "is compared with a number"),
    ("request.headers.x-channel", "eq", True, "is compared with a boolean"),
    ("user.ip", "cidr", "10.0.0.0/8", "only request.source.address"),
    ("request.headers.x-channel", "cidr", ["10.0.0.0/8"], "only request.source.address"),
    ("user.ip", "eq", {"attribute": "request.source.address"}, "IP address"),
    ("user.until", "gt", {"attribute": "env.time"}, "env.time a time"),
    ("env.hour", "eq", 24, "0 to 23"),
    ("env.hour", "in", [24, 25], "0 to 23"),
    ("env.hour", "gt", 23, "0 to 23"),
    ("env.hour", "lt", 0, "0 to 23"),
    ("env.hour", "eq", Decimal("9.5"), "0 to 23"),
    ("env.hour", "eq", "9", "is compared with a string"),
    ("env.hour", "neq", "9", "is compared with a string"),
    ("env.weekday", "eq", 0, "1 (Monday) to 7"),
    ("env.weekday", "in", [0, 8], "1 (Monday) to 7"),
    ("env.weekday", "gte", 8, "1 (Monday) to 7"),
    ("env.time", "gt", 1700000000, "is compared with a number"),
    ("env.time", "startsWith", "2027", "is compared with a string"),
    ("request.source.address", "startsWith", "10.", "is compared with a string"),
    ("request.source.address", "gt", 3, "is compared with a number"),
    ("request.method", "eq", "get", "write 'GET'"),
    ("request.method", "in", ["get", "HEAD"], "write 'GET'"),
    ("request.method", "eq", "HEAD", "decided as GET"),
    ("request.host", "eq", "Example.com", "write 'example.com'"),
    ("request.host", "eq", "example.com:8080", "write 'example.com'"),
    ("request.host", "endsWith", ".Example.com", "write '.example.com'"),
    ("request.path", "startsWith", "demo", "write '/demo'"),
    ("request.path", "eq", "demo", "no request has this path"),
    ("request.path", "eq", "/caf%c3%a9", "write '/caf%C3%A9'"),
    ("request.path", "contains", "?admin", "no query"),
    ("user.kind", "eq", "role", "one of user, service"),
    ("user.domain", "eq", "*", "no principal has"),
    ("user.roles", "eq", "admin", "'has'"),
    ("user.roles", "in", ["admin", "root"], "'has'"),
    ("user.roles", "contains", "admin", "'has'"),
    ("user.roles", "has", 7, "roles are strings"),
    ("user.id", "eq", 7, "is compared with a number"),
    ("user.id", "has", "x", "not a list"),
    ("resource.name", "hasAny", ["x"], "not a list"),
    ("action", "in", [1, 2], "is compared with a number"),
    ("action", "in", {"attribute": "resource.name"}, "not a list"),
    ("action", "gt", "2027-01-01T00:00:00Z", "a string is not a time"),
    ("env.time", "exists", False, "always there"),
    ("user.roles", "exists", False, "always there"),
]


@pytest.mark.parametrize(("attribute", "operator", "value", "said"), NEVER)
def test_a_comparison_that_is_never_true_is_reported(
    attribute: str, operator: str, value: object, said: str
) -> None:
    read = policy(condition(attribute, operator, value))
    ((pointer, message),) = never_true(read.condition)
    assert pointer == "/rule_data/value"
    assert message.startswith(f"{attribute} {operator} ")
    assert said in message
    assert [warning.code for warning in policy_warnings(read)] == [WarningCode.CONDITION_NEVER_TRUE]
    for effect in Effect:
        evaluate = compile_condition(read.condition, effect)
        rng = random.Random(0)
        assert all(evaluate(random_question(rng)) is not True for _ in range(300))


@pytest.mark.parametrize(
    ("attribute", "operator", "value"),
    [
        ("user.until", "gt", 1700000000),
        ("user.until", "eq", "2027-01-01T00:00:00Z"),
        ("user.ips", "has", "10.0.0.1"),
        ("user.levels", "hasAny", [1, 2]),
        ("user.clearance", "lt", {"attribute": "resource.clearance"}),
        ("resource.owner", "eq", {"attribute": "user.id"}),
        ("resource.amount", "gt", 100),  # in POST /api/v1/check
        ("request.source.address", "cidr", "10.0.0.0/8"),
        ("request.source.address", "eq", "10.0.0.1"),
        ("env.hour", "in", [23, 24]),
        ("env.hour", "gt", Decimal("22.5")),
        ("env.hour", "neq", 24),
        ("env.weekday", "lte", 5),
        ("env.time", "lt", "2027-01-01T00:00:00Z"),
        ("request.method", "in", ["GET", "get"]),
        ("request.method", "eq", "PURGE"),
        ("request.host", "endsWith", ".example.com"),
        ("request.host", "matches", "[A-Z]+"),
        ("request.path", "startsWith", "/demo"),
        ("request.path", "contains", "admin"),
        ("request.path", "eq", "/a/"),
        ("request.query.level", "neq", 3),  # without it: true
        ("request.query.role", "eq", "admin"),
        ("request.headers.x-channel", "exists", False),
        ("user.kind", "neq", "role"),
        ("user.roles", "hasAll", ["a", "b"]),
        ("user.roles", "eq", ["a", "b"]),
        ("user.id", "in", {"attribute": "user.friends"}),
        ("user.department", "exists", False),
    ],
)
def test_a_comparison_that_can_be_true_has_no_warning(attribute: str, operator: str, value: object) -> None:
    assert list(never_true(policy(condition(attribute, operator, value)).condition)) == []


@pytest.mark.parametrize(
    ("conditions", "places"),
    [
        ([("user.team", "eq", "a"), ("user.team", "eq", "b")], [1]),
        ([("user.team", "in", ["a", "b"]), ("user.team", "eq", "b")], []),
        ([("user.team", "in", ["a", "b"]), ("user.team", "in", ["c"])], [1]),
        ([("user.level", "eq", 1), ("user.level", "eq", 1)], []),
        ([("user.level", "eq", 1), ("user.level", "eq", True)], [1]),
        ([("env.hour", "gte", 18), ("env.hour", "lt", 6)], [1]),
        ([("env.hour", "gte", 6), ("env.hour", "lt", 18)], []),
        ([("env.hour", "gt", 6), ("env.hour", "lte", 6)], [1]),
        ([("env.hour", "gte", 6), ("env.hour", "lte", 6)], []),
        (
            [
                ("env.time", "gt", "2027-01-02T00:00:00Z"),
                ("env.time", "lt", "2027-01-01T00:00:00+00:00"),
            ],
            [1],
        ),
        ([("user.a", "eq", "x"), ("user.b", "eq", "y")], []),
    ],
)
def test_conditions_of_one_and_that_exclude_each_other_cause_a_warning(
    conditions: list[tuple[str, str, object]], places: list[int]
) -> None:
    tree = [condition(*each) for each in conditions]
    found = never_true(policy({"type": "AND", "conditions": tree}).condition)
    assert [pointer for pointer, _ in found] == [f"/rule_data/conditions/{at}/value" for at in places]
    either = never_true(policy({"type": "OR", "conditions": tree}).condition)
    assert list(either) == []


def test_both_notations_are_judged() -> None:
    tree = policy("user.until > 5 && request.method == 'get'", Format.CASBIN.value)
    assert [warning.code for warning in policy_warnings(tree)] == [WarningCode.CONDITION_NEVER_TRUE]


def test_random_conditions_reported_as_never_true_are_never_true() -> None:
    said = 0
    for seed in range(3_000):
        rng = random.Random(seed)
        problems: list[Problem] = []
        document = {
            "id": "p", "name": "p", "resource": "r", "effect": "deny", "rule_data": random_node(rng, 0),
        }  # fmt: skip
        read = parse_attribute_policy(document, "", problems, Reading(condition_headers=frozenset(HEADERS)))
        if read is None or not isinstance(read.condition, Condition):
            continue
        if list(never_true(read.condition)):
            said += 1
            evaluate = compile_condition(read.condition, Effect.DENY)
            assert all(evaluate(random_question(rng)) is not True for _ in range(50)), read.condition
    assert said > 10


@pytest.mark.parametrize(
    ("path", "warned"),
    [
        ("/a/*", True),
        ("/*", True),
        ("/a/:id", True),
        ("/a/:id/b", True),
        ("/a/**x", True),
        ("/files/*.png", True),
        ("/a/$id", True),
        ("/a/{id}", False),
        ("/a/**", False),
        ("/v1/things:cancel", False),
        ("/a/b:c", False),
        ("/a/:", False),
    ],
)
def test_a_literal_that_looks_like_a_wildcard_has_a_warning(path: str, *, warned: bool) -> None:
    problems: list[Problem] = []
    document = {"name": "r", "serviceName": "s", "routes": [{"methods": ["GET"], "path": path}]}
    read = parse_resource(document, "", problems)
    assert read is not None, problems
    found = resource_warnings(read)
    assert [(each.code, each.pointer) for each in found] == (
        [(WarningCode.LITERAL_LOOKS_LIKE_WILDCARD, "/routes/0/path")] if warned else []
    )
    assert all("'{name}'" in each.message and "'/**'" in each.message for each in found)
