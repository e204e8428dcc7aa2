"""The members of resources about the workload: `headers`, `authorization`, `assertion`, `require_bound`."""

from typing import Any

import pytest

from extauthz.compile.documents.resource_documents import parse_resource
from extauthz.domain.forwarding import Forwarding, combined
from extauthz.domain.policy import Resource
from extauthz.domain.problem import Problem

CLAIM_HEADERS = frozenset({"x-user-email", "x-user-groups"})


def read(**members: object) -> Resource | list[Problem]:
    problems: list[Problem] = []
    found = parse_resource({"name": "a:read", "serviceName": "s", **members}, "/r", problems, CLAIM_HEADERS)
    return problems if found is None else found


def test_the_members_are_read_in_the_order_of_names() -> None:
    headers = {"x-user-groups": "user.groups", "x-user-email": "user.https://example.com/email"}
    found = read(headers=headers, authorization="remove", assertion=False, require_bound=True)
    assert isinstance(found, Resource)
    assert found.require_bound
    assert found.forwarding == Forwarding(
        (("x-user-email", "user.https://example.com/email"), ("x-user-groups", "user.groups")), True, False
    )


@pytest.mark.parametrize(
    "members", [{}, {"headers": {}}, {"authorization": "keep", "assertion": True, "require_bound": False}]
)
def test_the_defaults_are_the_same_as_leaving_the_members_out(members: dict[str, Any]) -> None:
    found = read(**members)
    assert isinstance(found, Resource)
    assert (found.forwarding, found.require_bound) == (None, False)


@pytest.mark.parametrize(
    ("members", "pointer", "part"),
    [
        ({"headers": []}, "/r/headers", "an object"),
        ({"headers": None}, "/r/headers", "an object"),
        ({"headers": {"x-other": "user.email"}}, "/r/headers/x-other", "CLAIM_HEADERS"),
        ({"headers": {"x-auth-subject": "user.email"}}, "/r/headers/x-auth-subject", "cannot be set"),
        ({"headers": {"X-User-Email": "user.email"}}, "/r/headers/X-User-Email", "lower case"),
        ({"headers": {"host": "user.email"}}, "/r/headers/host", "cannot be set"),
        ({"headers": {"a/b": "user.email"}}, "/r/headers/a~1b", "cannot be set"),
        ({"headers": {"x-user-email": "email"}}, "/r/headers/x-user-email", "user.*"),
        ({"headers": {"x-user-email": 7}}, "/r/headers/x-user-email", "user.*"),
        ({"headers": {"x-user-email": "user."}}, "/r/headers/x-user-email", "user."),
        ({"headers": {"x-user-email": "user.a..b"}}, "/r/headers/x-user-email", "empty part"),
        ({"headers": {"x-user-email": "request.headers.x-a"}}, "/r/headers/x-user-email", "user.*"),
        ({"headers": {f"x-{n}": "user.a" for n in range(17)}}, "/r/headers", "at most 16"),
        ({"authorization": "drop"}, "/r/authorization", "'keep', 'remove'"),
        ({"authorization": True}, "/r/authorization", "'keep', 'remove'"),
        ({"assertion": "no"}, "/r/assertion", "true or false"),
        ({"require_bound": 1}, "/r/require_bound", "true or false"),
    ],
)
def test_a_wrong_member_is_named_with_its_place(members: dict[str, Any], pointer: str, part: str) -> None:
    found = read(**members)
    assert isinstance(found, list)
    assert [problem.pointer for problem in found] == [pointer]
    assert part in found[0].message


def test_a_resource_adds_to_its_provider_and_takes_nothing_back() -> None:
    provider = Forwarding((("x-a", "user.a"), ("x-b", "user.b")), removes_authorization=True, assertion=False)
    resource = Forwarding((("x-b", "user.c"), ("x-d", "user.d")))
    assert combined(provider, resource) == Forwarding(
        (("x-a", "user.a"), ("x-b", "user.c"), ("x-d", "user.d")), True, False
    )
    assert combined(None, resource) == resource
    assert combined(provider, None) == provider
    assert combined(None, None) == Forwarding()
