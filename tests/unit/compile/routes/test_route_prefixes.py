"""Prefixes of registrars: compared as whole literal segments, each with one spelling."""

import pytest

from extauthz.compile.routes.route_prefixes import RoutePrefix
from extauthz.domain.policy import AuthenticationRequirement, Route


def route(path: str, host: str | None = None) -> Route:
    return Route(host, ("GET",), path, "read", AuthenticationRequirement.REQUIRED)


@pytest.mark.parametrize(
    ("prefix", "host", "path", "covered"),
    [
        ("/invoices", None, "/invoices", True),
        ("/invoices", None, "/invoices/", True),
        ("/invoices", None, "/invoices/{id}", True),
        ("/invoices", None, "/invoices/**", True),
        ("/invoices/", "a.example", "/invoices/x", True),
        ("/invoices", None, "/invoices-old", False),
        ("/invoices", None, "/{any}", False),
        ("/invoices", None, "/**", False),
        ("/invoices", None, "/Invoices", False),
        ("/", None, "/**", True),
        ("/", None, "/", True),
        ("a.example/x", "a.example", "/x/y", True),
        ("a.example/x", None, "/x/y", False),
        ("a.example/x", "b.example", "/x/y", False),
        ("a.example/x", "*.a.example", "/x/y", False),
        ("a.example/x", "*.example", "/x/y", False),
        ("*.example/x", "a.example", "/x", True),
        ("*.example/x", "*.a.example", "/x", True),
        ("*.example/x", "*.example", "/x", True),
        ("*.example/x", "example", "/x", False),
        ("*.example/x", "notexample", "/x", False),
        ("*.example/x", "*.com", "/x", False),
        ("*.example/x", None, "/x", False),
        ("/a%20b", None, "/a%20b/c", True),
    ],
)
def test_prefixes_are_compared_as_whole_literal_segments(
    prefix: str, host: str | None, path: str, covered: bool
) -> None:
    found = RoutePrefix.parse(prefix)
    assert isinstance(found, RoutePrefix)
    assert found.covers_route(route(path, host)) is covered


@pytest.mark.parametrize(
    "text",
    ["", "a.example", "a b/x", "/a//b", "/a/./b", "/a;b", "/a/*", "/**", "/{id}", "*./x", "a/b?c", "/%2f"],
)
def test_malformed_prefixes_are_refused(text: str) -> None:
    assert isinstance(RoutePrefix.parse(text), str)


def test_a_prefix_has_one_spelling() -> None:
    for spelled in ("API.example:443/%41/", "api.example/A", "api.example./A"):
        found = RoutePrefix.parse(spelled)
        assert isinstance(found, RoutePrefix)
        assert found.text == "api.example/A"
