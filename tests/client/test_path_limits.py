"""Paths that the API refuses are left out: one endpoint does not keep the others from being registered."""

from typing import Any

import pytest

from extauthz.compile.documents.resource_documents import parse_resource
from extauthz_client import Resource, Route
from extauthz_client.paths import AppPath, Parameter, host_problem

CHARACTERS = [chr(each) for each in (*range(0x100), 0x2028, 0xD800, 0x1F600)]


def is_taken(path: AppPath) -> bool:
    problems: list[Any] = []
    route = Route(("GET",), path.template)
    parse_resource(Resource("bill:read", "billing", routes=(route,)).document(), "", problems)
    return problems == []


@pytest.mark.parametrize("text", ["{}", "a{}b"])
def test_the_client_refuses_the_characters_that_the_api_refuses(text: str) -> None:
    for character in CHARACTERS:
        segment = text.format(character)
        path = AppPath.of([segment])
        if isinstance(path, AppPath):
            assert is_taken(path), repr(segment)
        elif character != "\ud800":
            assert not is_taken(AppPath((segment,), rest=False)), repr(segment)
            assert "no request" in path


@pytest.mark.parametrize(
    ("segments", "problem"),
    [
        (["."], "the segment '.'"),
        (["a", "..", "b"], "the segment '..'"),
        (["a", "", "b"], "the segment ''"),
        (["%2F"], "'%2F'"),
        (["a" * 2000], "longer than 2000 characters"),
        (["a"] * 65, "more than 64 segments"),
        ([Parameter("x-y", "str")], "'x-y' is not of ASCII"),
        ([Parameter("\xe9", "str")], "is not of ASCII"),
        ([Parameter("x", "str"), "a", Parameter("x", "int")], "'x' appears twice"),
    ],
)
def test_other_paths_without_a_request_are_named(segments: list[str | Parameter], problem: str) -> None:
    found = AppPath.of(segments)
    assert isinstance(found, str)
    assert problem in found
    assert not is_taken(AppPath(tuple(segments), rest=False))


@pytest.mark.parametrize(
    "segments",
    [[""], ["a", ""], ["..."], ["100%"], ["a%b"], ["a"] * 64, [Parameter("_x1", "str")], ["a" * 1999]],
)
def test_an_unusual_path_within_the_limits_is_registered(segments: list[str | Parameter]) -> None:
    found = AppPath.of(segments)
    assert isinstance(found, AppPath), found
    assert is_taken(found)


@pytest.mark.parametrize(
    "host",
    [
        "bücher.example",
        "a..b",
        "",
        "a b",
        "a/b",
        "*.*.b",
        "a" * 64,
        "localhost",
        "a_b.example",
        "*.x",
        "[::1]",
    ],
)
def test_the_client_refuses_the_hosts_that_the_api_refuses(host: str) -> None:
    problems: list[Any] = []
    route = Route(("GET",), "/a", host)
    parse_resource(Resource("bill:read", "billing", routes=(route,)).document(), "", problems)
    assert (host_problem(host) is None) is (problems == [])
