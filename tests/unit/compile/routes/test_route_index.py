"""The route index: the best template, conflicts, and look-ups in time that grows with the path."""

import json
from typing import TYPE_CHECKING

import pytest

from extauthz.compile.documents.resource_documents import parse_resource
from extauthz.compile.routes.route_index import MAX_SEGMENTS, RouteIndex, Template, index_of
from extauthz.compile.routes.route_tree import Match
from extauthz.compile.snapshot_building import conflict_message
from extauthz.domain.path import CanonicalPath
from extauthz.domain.policy import AuthenticationRequirement, Resource, Route

if TYPE_CHECKING:
    from extauthz.domain.problem import Problem


def route(path: str, *methods: str, host: str | None = None) -> Route:
    template = Template.parse(path)
    assert isinstance(template, Template)
    return Route(host, methods or ("*",), template.text, "access", AuthenticationRequirement.REQUIRED)


def resource(name: str, *routes: Route) -> Resource:
    return Resource(name, "service", routes)


def match(index: RouteIndex, path: str, host: str = "app.example") -> Match | None:
    canonical = CanonicalPath.parse(path)
    assert isinstance(canonical, CanonicalPath)
    return index.best(host, canonical)


def best(index: RouteIndex, path: str, host: str = "app.example") -> str | None:
    found = match(index, path, host)
    return None if found is None else found.leaf.entries[0].route.path


def index(*paths: str) -> RouteIndex:
    return index_of([resource("r", *(route(path) for path in paths))])


@pytest.mark.parametrize(
    ("templates", "path", "expected"),
    [
        (["/a", "/{x}", "/**"], "/a", "/a"),
        (["/a", "/{x}", "/**"], "/b", "/{x}"),
        (["/a", "/{x}", "/**"], "/a/b", "/**"),
        (["/a", "/{x}", "/**"], "/", "/**"),
        (["/"], "/", "/"),
        (["/"], "/a", None),
        (["/a"], "/a/", None),
        (["/a/"], "/a", None),
        (["/a/**"], "/a", "/a/**"),
        (["/a/**"], "/a/", "/a/**"),
        (["/a/**"], "/ab", None),
        (["/a/**", "/a"], "/a", "/a"),
        (["/a/{x}"], "/a/", None),
        (["/{x}/b", "/a/**"], "/a/b", "/a/**"),
        (["/a/{x}/c", "/{y}/b/d"], "/a/b/d", "/{y}/b/d"),
        (["/a/{x}/c", "/{y}/b/d", "/a/**"], "/a/b/d", "/a/**"),
        (["/{x}/**"], "/", None),
        (["/{x}/**"], "/a", "/{x}/**"),
        (["/a/{x}/**"], "/a/b/", "/a/{x}/**"),
        (["/A"], "/a", None),
        (["/a/**x"], "/a/b", None),
        (["/*"], "/a", None),
        (["/*"], "/*", "/*"),
        (["/caf%c3%a9"], "/caf%C3%A9", "/caf%C3%A9"),
        (["/%7Bx%7D"], "/y", None),
    ],
)
def test_the_most_specific_template_is_found(templates: list[str], path: str, expected: str | None) -> None:
    for order in (templates, templates[::-1]):
        assert best(index(*order), path) == expected


def test_parameters_have_the_names_of_the_route_and_are_decoded_once() -> None:
    found = match(index("/u/{id}/f/{name}/**"), "/u/a%40b/f/x%2525y/z".replace("%2525", "%25"))
    assert found is not None
    assert found.parameters(found.leaf.entries[0]) == {"id": "a@b", "name": "x%y"}


@pytest.mark.parametrize(
    ("templates", "path", "respelt"),
    [
        (["/a@b", "/{x}"], "/a@b", False),
        (["/a@b", "/{x}"], "/a%40b", True),
        (["/a%40b", "/{x}"], "/a@b", True),
        (["/a%40b", "/{x}"], "/a%40b", False),
        (["/a%40b", "/a@b"], "/a%40b", False),
        (["/a%40b:c", "/**"], "/a@b%3Ac", True),
        (["/a@b:c", "/a%40b%3Ac", "/**"], "/a%40b:c", True),
        (["/{x}"], "/a%40b", False),
        (["/a@b/x", "/{x}"], "/a%40b", False),
        (["/a@b/x", "/{x}/**"], "/a%40b/x", True),
        (["/a@b/x", "/{x}/**"], "/a%40b/y", False),
        (["/a%40b/x", "/a@b/y", "/**"], "/a%40b/y", True),
        (["/a%40b/**", "/a@b/y"], "/a%40b/y", False),
        (["/{x}/a@b", "/{x}/**"], "/z/a%40b", True),
        (["/caf%C3%A9", "/**"], "/caf%C3%A9", False),
        (["/a%20b", "/**"], "/a%20b", False),
        (["/a@b/**", "/**"], "/a%40b", True),
    ],
)
def test_a_path_that_another_spelling_leads_to_its_template_is_marked(
    templates: list[str], path: str, *, respelt: bool
) -> None:
    for order in (templates, templates[::-1]):
        found = match(index(*order), path)
        assert found is not None
        assert found.respelt is respelt


def test_removing_the_escaped_literal_ends_the_ambiguity() -> None:
    other = resource("other", route("/{x}"))
    escaped = resource("escaped", route("/a%40b"), route("/a%40%62/c"))
    both = index_of([other, escaped])
    assert (found := match(both, "/a@b")) is not None
    assert found.respelt
    left = both.without_resource(escaped)
    assert left == index_of([other])
    assert (found := match(left, "/a@b")) is not None
    assert not found.respelt
    assert (found := match(both, "/a@b")) is not None
    assert found.respelt


def test_an_exact_host_precedes_a_wildcard_and_a_wildcard_precedes_none() -> None:
    hosts = ["shop.example.com", "*.shop.example.com", "*.example.com", None]
    routes = index_of([resource(str(host), route("/a", host=host)) for host in hosts])

    def owner(host: str) -> str | None:
        found = match(routes, "/a", host)
        return None if found is None else found.leaf.entries[0].resource

    assert [
        owner(host)
        for host in ("shop.example.com", "a.b.shop.example.com", "x.example.com", "example.com", "[::1]")
    ] == ["shop.example.com", "*.shop.example.com", "*.example.com", "None", "None"]


def test_an_explicit_method_beats_the_star_and_one_that_is_missing_stays_so() -> None:
    routes = index_of([resource("a", route("/x/{i}", "GET")), resource("b", route("/x/{j}"))])
    found = match(routes, "/x/1")
    assert found is not None
    assert (entry := found.leaf.for_method("GET")) is not None
    assert entry.resource == "a"
    assert (entry := found.leaf.for_method("get")) is not None
    assert entry.resource == "b"
    only = match(index_of([resource("a", route("/x", "GET")), resource("b", route("/**"))]), "/x")
    assert only is not None
    assert only.leaf.for_method("POST") is None


@pytest.mark.parametrize(
    ("mine", "theirs", "conflicts"),
    [
        (route("/x/{a}", "GET", "PUT"), route("/x/{b}", "PUT", "POST"), ["PUT"]),
        (route("/x/**"), route("/x/**"), ["*"]),
        (route("/x", "GET"), route("/x"), []),
        (route("/x", "GET"), route("/x", "GET", host="a.example"), []),
        (route("/x", "GET", host="a.example"), route("/x", "GET", host="*.a.example"), []),
        (route("/x"), route("/x/"), []),
        (route("/x/{a}"), route("/x/**"), []),
        (route("/a@b", "GET"), route("/a%40b", "GET"), []),
        (route("/%61", "GET"), route("/a", "GET"), ["GET"]),
    ],
)
def test_routes_of_one_shape_share_no_method(mine: Route, theirs: Route, conflicts: list[str]) -> None:
    found = index_of([resource("theirs", theirs)]).conflicts(resource("mine", mine))
    assert [conflict.method for _, conflict in found] == conflicts
    within = RouteIndex().conflicts(resource("mine", theirs, mine))
    assert [(position, conflict.method) for position, conflict in within] == [
        (1, method) for method in conflicts
    ]


def test_a_conflict_names_both() -> None:
    theirs = resource("theirs", route("/x/{b}", "GET", host="a.example"))
    mine = resource("mine", route("/ok"), route("/x/{a}", "GET", host="a.example"))
    ((position, conflict),) = index_of([theirs]).conflicts(mine)
    assert position == 1
    assert conflict_message(conflict) == (
        "GET /x/{a} on a.example of resource 'mine' is already /x/{b} of resource 'theirs'"
    )


def test_a_template_is_stored_as_requests_are_read_and_reads_again_as_itself() -> None:
    for text in ("/%61/{id}/%c3%a9/**", "/%7bid%7d", "/%2A%2A", "/**", "/", "/a/"):
        template = Template.parse(text)
        assert isinstance(template, Template)
        assert Template.parse(template.text) == template
    assert isinstance(Template.parse("/a" * MAX_SEGMENTS), Template)
    assert isinstance(Template.parse("/a" * (MAX_SEGMENTS + 1)), str)


def test_a_long_path_is_looked_up_in_its_own_length() -> None:
    # Every prefix branches into a literal and a parameter; visiting both everywhere would be 2**64 nodes.
    routes = index(
        "/a" * MAX_SEGMENTS, "/{p}" + "/a" * (MAX_SEGMENTS - 1), "/a/{p}" + "/a" * (MAX_SEGMENTS - 2)
    )
    assert best(routes, "/a" * (MAX_SEGMENTS - 1) + "/b") is None
    assert best(routes, "/a" * 4000) is None
    assert best(routes, "/b" + "/a" * (MAX_SEGMENTS - 1)) == "/{p}" + "/a" * (MAX_SEGMENTS - 1)


def test_tenants_of_one_service_share_the_words_of_their_routes() -> None:
    text = json.dumps(
        {
            "name": "order:cancel",
            "serviceName": "order desk",
            "routes": [{"methods": ["PURGE"], "path": "/orders-of-today/{number}", "action": "cancel it"}],
        }
    )

    def words() -> list[str]:
        problems: list[Problem] = []
        # Read anew, as each tenant's rows are: no word is the same object by itself.
        read = parse_resource(json.loads(text), "", problems)
        assert read is not None, problems
        template = Template.parse(read.routes[0].path)
        assert isinstance(template, Template)
        literal, parameter = template.segments
        assert literal is not None
        assert parameter is None
        names = (read.name, read.service, *read.routes[0].methods, read.routes[0].action)
        return [*names, literal, *template.names]

    mine, theirs = words(), words()
    assert mine == ["order:cancel", "order desk", "PURGE", "cancel it", "orders-of-today", "number"]
    assert [word for word, other in zip(mine, theirs, strict=True) if word is not other] == []
