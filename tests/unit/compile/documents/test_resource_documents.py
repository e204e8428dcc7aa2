"""Resources and their routes as documents: what is read, and what is refused with its pointer."""

from typing import TYPE_CHECKING

import pytest

from extauthz.compile.documents.policy_documents import parse_policy_set
from extauthz.compile.documents.resource_documents import parse_resource
from extauthz.compile.fields import Fields
from extauthz.domain.policy import (
    AuthenticationRequirement,
    PolicySet,
    RoleRule,
    Route,
    SubjectKind,
)
from extauthz.domain.reasons import Effect
from tests.policy_documents import READING, RESOURCE, pointers, read_route

if TYPE_CHECKING:
    from extauthz.domain.problem import Problem


def test_a_route_as_it_is_stored() -> None:
    route = read_route(
        host="*.Shop.Example.", methods=["GET", "PUT", "GET"], path="/%61/{id}/caf%c3%a9/**", action="look"
    )
    assert route == Route(
        "*.shop.example", ("GET", "PUT"), "/a/{id}/caf%C3%A9/**", "look", AuthenticationRequirement.REQUIRED
    )


@pytest.mark.parametrize(
    ("name", "action"),
    [("invoice:read", "read"), ("a:b:c", "c"), ("invoice", "access"), ("odd:", "access"), (":x", "x")],
)
def test_the_name_of_a_resource_determines_the_default_action(name: str, action: str) -> None:
    problems: list[Problem] = []
    resource = parse_resource({**RESOURCE, "name": name}, "", problems)
    assert resource is not None
    assert resource.routes[0].action == action


@pytest.mark.parametrize(
    ("methods", "pointer"),
    [
        (["HEAD"], "/methods/0"),
        (["get"], "/methods/0"),
        (["GET", "*"], "/methods/1"),
        (["GE T"], "/methods/0"),
        ([""], "/methods/0"),
        ([7], "/methods/0"),
        ([], "/methods"),
        ("GET", "/methods"),
        (None, "/methods"),
        (["A" * 5] * 41, "/methods"),
        (["GET", "A" * 65], "/methods/1"),
    ],
)
def test_a_route_with_invalid_methods_is_refused(methods: object, pointer: str) -> None:
    assert pointers(read_route(methods=methods)) == [f"/routes/0{pointer}"]


@pytest.mark.parametrize(
    "host",
    ["", "a..b", "shop.*.example", "*", "*.", "**.example", "a/b", "bücher.example", "*.[::1]", "a:b", 7, []],
)
def test_a_route_with_an_invalid_host_is_refused(host: object) -> None:
    assert pointers(read_route(host=host)) == ["/routes/0/host"]


@pytest.mark.parametrize(
    "path",
    [
        "",
        "x",
        "*",
        "/a//b",
        "/a/../b",
        "/a/%2e%2e/b",
        "/a%2Fb",
        "/a;b",
        "/a?b",
        "/a#b",
        "/a b",
        "/x{id}",
        "/{id}x",
        "/{}",
        "/{1a}",
        "/{a-b}",
        "/{a}/{a}",
        "/a//**",
        "/a/**/b",
        "/%zz",
        "/é",
        "/a" * 65,
        "/" + "a" * 2000,
        "/{id}/" + "a" * 1994 + "/**",
        7,
        None,
        ["/a"],
    ],
)
def test_a_route_with_an_invalid_path_is_refused(path: object) -> None:
    assert pointers(read_route(path=path)) == ["/routes/0/path"]


@pytest.mark.parametrize("entry", [None, True, "/invoices", []])
def test_a_route_that_is_not_an_object_is_one_problem(entry: object) -> None:
    problems: list[Problem] = []
    assert parse_resource({**RESOURCE, "routes": [entry]}, "", problems) is None
    assert pointers(problems) == ["/routes/0"]


def test_no_route_has_a_wildcard_action_or_an_unknown_authentication() -> None:
    assert pointers(read_route(action="*", authentication="maybe")) == [
        "/routes/0/action",
        "/routes/0/authentication",
    ]


def test_a_resource_is_one_name_with_bounded_routes() -> None:
    problems: list[Problem] = []
    assert parse_resource({"name": "*", "serviceName": "*"}, "", problems) is None
    routes = [{"methods": ["GET"], "path": f"/{number}"} for number in range(201)]
    assert parse_resource({**RESOURCE, "routes": routes}, "", problems) is None
    assert pointers(problems) == ["/name", "/serviceName", "/routes"]


@pytest.mark.parametrize("name", ["invoice:*", "invoice: read", "invoice:\u2003read"])
def test_a_name_with_an_invalid_default_action_is_refused(name: str) -> None:
    problems: list[Problem] = []
    document = {**RESOURCE, "name": name, "routes": [], "defaultRoles": ["viewer"]}
    assert parse_resource(document, "", problems) is None
    assert pointers(problems) == ["/name"]


def test_default_roles_become_rules_on_the_default_action() -> None:
    found = parse_policy_set({"resources": [{**RESOURCE, "defaultRoles": ["viewer", "viewer"]}]}, READING)
    assert isinstance(found, PolicySet)
    assert found.role_rules == (
        RoleRule(
            "default:invoice:read:viewer",
            "viewer",
            SubjectKind.ROLE,
            "*",
            "invoice:read",
            "read",
            Effect.ALLOW,
        ),
    )


@pytest.mark.parametrize("roles", ["viewer", ["*"], [""], [7]])
def test_invalid_default_roles_are_refused(roles: object) -> None:
    found = pointers(parse_policy_set({"resources": [{**RESOURCE, "defaultRoles": roles}]}, READING))
    assert all(pointer.startswith("/resources/0/defaultRoles") for pointer in found)
    assert found


class CountingName(str):
    """A name that counts how often one is compared with another."""

    compared = 0
    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        CountingName.compared += 1
        return str.__eq__(self, other)


def test_the_work_for_a_list_of_names_grows_with_its_length_not_with_its_square() -> None:
    names = [CountingName(f"action-{number}") for number in range(2_000)]
    problems: list[Problem] = []
    CountingName.compared = 0

    found = Fields({"actions": [*names, names[0]]}, "", problems).names("actions", default=None)

    assert not problems
    assert list(found) == names
    assert CountingName.compared < 20 * len(names)
