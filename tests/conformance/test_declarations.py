"""The cases of `sdk/conformance/declarations`: endpoints, and the resources that are registered for them."""

import logging
import re
from collections.abc import Mapping
from typing import Any

import pytest
from starlette.responses import Response
from starlette.routing import Route

from extauthz_client import Resource, resource
from extauthz_client.declarations import collected
from extauthz_client.route_discovery import walk
from tests.conformance.cases import FOLDER, load

SERVICE = "conformance"
CASES = load((FOLDER / "declarations/declarations.yaml").read_text("utf-8"))["cases"]


def test_each_case_has_its_own_name() -> None:
    assert len({case["name"] for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_declared_endpoints_become_the_resources_of_the_case(
    case: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    routes = [
        Route(_starlette(each["path"]), _endpoint(number, each), methods=each["methods"])
        for number, each in enumerate(case["endpoints"])
    ]
    found = walk(routes, host=case.get("host"), prefix=case.get("prefix", ""))
    resources = {each.name: _shown(each) for each in collected(found, SERVICE, ordered=False)}

    assert resources == {each["name"]: _expected(each) for each in case["resources"]}
    named = {int(number) for number in re.findall(r"endpoint([0-9]+)", caplog.text)}
    assert sorted(named) == case.get("problems", [])


def _starlette(path: str) -> str:
    parts = (f"{{rest{at}:path}}" if part == "**" else part for at, part in enumerate(path.split("/")))
    return "/".join(parts)


def _endpoint(number: int, members: Mapping[str, Any]) -> Any:
    async def endpoint(_: object) -> Response:
        return Response()

    endpoint.__qualname__ = f"endpoint{number}"
    declares = members.get("declares")
    return endpoint if declares is None else resource(**declares)(endpoint)


def _shown(found: Resource) -> dict[str, Any]:
    return {
        "service": found.service_name,
        "display_name": found.display_name,
        "default_roles": set(found.default_roles),
        "public": found.public,
        "routes": {
            (method, each.host, _template(each.path), each.action, each.authentication)
            for each in found.routes
            for method in each.methods
        },
    }


def _expected(members: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "service": SERVICE,
        "display_name": members.get("display_name"),
        "default_roles": set(members["default_roles"]),
        "public": members.get("public"),
        "routes": {
            (
                method,
                each.get("host"),
                _template(each["path"]),
                each.get("action"),
                each.get("authentication"),
            )
            for each in members["routes"]
            for method in each["methods"]
        },
    }


def _template(path: str) -> str:
    return re.sub(r"\{[^}]*\}", "{}", path)
