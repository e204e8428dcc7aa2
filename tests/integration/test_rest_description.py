"""The description of the API: complete, consistent with what is served, readable without a network."""

import json
import re
from functools import cache
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest
from starlette.routing import Route

from extauthz.admin.app import build_app
from extauthz.admin.app import served as routes_of
from extauthz.domain.tenancy import TenancyMode
from extauthz.rest.openapi import document
from extauthz.rest.reference import render_reference
from tests.integration.rest_harness import rest, validator

if TYPE_CHECKING:
    from tests.integration.conftest import Database

pytestmark = pytest.mark.anyio


@cache
def read_document() -> dict[str, Any]:
    """Return the description, as a client reads it."""
    found: dict[str, Any] = json.loads(json.dumps(document(routes_of(TenancyMode.SAAS))))
    return found


METHODS = ("get", "post", "put", "patch", "delete")


def examples() -> list[tuple[str, dict[str, Any], Any]]:
    found: list[tuple[str, dict[str, Any], Any]] = []

    def walk(node: Any, where: str) -> None:
        if isinstance(node, dict):
            if "schema" in node and "example" in node:
                found.append((where, node["schema"], node["example"]))
            for name, member in node.items():
                walk(member, f"{where}/{name}")
        elif isinstance(node, list):
            for index, member in enumerate(node):
                walk(member, f"{where}/{index}")

    walk(read_document()["paths"], "")
    walk(read_document()["components"]["responses"], "")
    return found


def test_every_example_fits_its_schema() -> None:
    found = examples()
    assert len(found) > 60
    for where, schema, example in found:
        judge = validator(schema, read_document()["components"])
        assert not list(judge.iter_errors(example)), where


def test_every_body_has_an_example_and_every_operation_its_problems() -> None:
    for path, operations in read_document()["paths"].items():
        for method, operation in operations.items():
            assert method in METHODS
            assert operation["summary"]
            assert all(parameter["description"] for parameter in operation.get("parameters", ())), path
            if operation.get("security") == []:
                continue
            # AuthZEN has 400 for what is 422 elsewhere.
            of_input = {"400"} if "/access/v1/" in path else {"400", "422"}
            assert of_input | {"401", "403", "503"} <= set(operation["responses"]), path
            for answer in operation["responses"].values():
                for body in answer.get("content", {}).values():
                    assert "example" in body, path


@pytest.mark.parametrize("mode", TenancyMode)
def test_every_parameter_of_a_path_is_described(mode: TenancyMode) -> None:
    for path, operations in document(routes_of(mode))["paths"].items():
        for operation in operations.values():
            described = [each["name"] for each in operation.get("parameters", ()) if each["in"] == "path"]
            assert described == re.findall(r"{(\w+)}", path), path


def test_every_reference_resolves_and_every_schema_is_used() -> None:
    text = json.dumps(read_document())
    references = set(re.findall(r'"#/components/([^"]+)"', text))
    for reference in references:
        kind, _, name = reference.partition("/")
        assert name in read_document()["components"][kind], reference
    used = {reference.partition("/")[2] for reference in references}
    assert set(read_document()["components"]["schemas"]) <= used


def test_operations_have_names_of_their_own() -> None:
    names = [
        operation["operationId"]
        for operations in read_document()["paths"].values()
        for operation in operations.values()
    ]
    assert len(names) == len(set(names))


class Loads(HTMLParser):
    """Collects the resources and scripts that a browser would load or run."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in {"script", "link", "img", "iframe", "object", "embed", "base"}:
            self.found.append(tag)
        self.found += [name for name, _ in attrs if name == "src" or name.startswith("on")]
        for name, value in attrs:
            if name == "href" and value is not None and not value.startswith(("#", "/")):
                self.found.append(value)


def test_the_reference_page_loads_no_resources_and_runs_no_scripts() -> None:
    parser = Loads()
    page = render_reference(read_document())
    parser.feed(page)
    assert parser.found == []
    for path in read_document()["paths"]:
        assert f"<code>{path}</code>" in page


async def test_the_openapi_document_describes_the_served_routes(database: "Database") -> None:
    async with rest(database) as api:
        served = (await api.get("/openapi.json", caller="nobody")).succeeded(200).body
        assert served == json.loads(json.dumps(document(routes_of(TenancyMode.SELFHOST))))
        assert served["openapi"].startswith("3.1")
        page = (await api.get("/docs", caller="nobody")).succeeded(200)
        assert page.headers["Content-Type"] == "text/html; charset=utf-8"
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
        routes = {
            (method.lower(), route.path)
            for route in build_app(api.services).router.routes
            if isinstance(route, Route) and route.name != "_not_for_this_path"
            for method in (route.methods or set()) - {"HEAD"}
        } - {
            ("get", "/docs"),
            ("get", "/openapi.json"),
            ("post", "/sidecar-reports"),
            ("post", "/sidecar-recordings"),
        }
        described = {(method, path) for path, methods in served["paths"].items() for method in methods}
        assert routes == described


async def test_health_endpoints_need_no_credential(database: "Database") -> None:
    async with rest(database, metrics=lambda: b"up 1\n") as api:
        assert (await api.get("/healthz/live", caller="nobody")).succeeded(200).body == {"status": "ok"}
        ready = (await api.get("/healthz/ready", caller="nobody")).succeeded(200)
        assert ready.body == {"status": "ok", "checks": {"database": "ok"}}
        assert (await api.get("/metrics", caller="nobody")).succeeded(200).raw == b"up 1\n"


def test_creating_operations_take_an_idempotency_key() -> None:
    creating = {route.path for route in routes_of(TenancyMode.SAAS) if route.requires.creating}
    described = {
        path
        for path, operations in read_document()["paths"].items()
        for operation in operations.values()
        if any(parameter["name"] == "Idempotency-Key" for parameter in operation.get("parameters", ()))
    }
    v1 = "/api/v1"
    assert creating == described == {
        f"{v1}/resources/policies", f"{v1}/service-api-keys", f"{v1}/role-bindings", f"{v1}/abac/policies",
        f"{v1}/resources", f"{v1}/resources/list", "/resources/list", f"{v1}/casbin/policy", "/admin/session",
        f"{v1}/drafts", f"{v1}/drafts/{{id}}/changes", f"{v1}/drafts/{{id}}/publish",
        f"{v1}/policy-tests", f"{v1}/decisions/{{id}}/test",
        "/admin/tenants", "/admin/tenants/{id}/bootstrap-key", "/admin/tenants/{id}/identity-providers",
        "/admin/sidecar-keys",
    }  # fmt: skip
