"""Paths of declared endpoints: which become templates, and which are left out with a warning."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.routing import Host, Mount, Router
from starlette.routing import Route as StarletteRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket

from extauthz.compile.routes.route_index import Template
from extauthz_client import resource
from extauthz_client.paths import AppPath, host_pattern
from tests.declared_applications import declared, endpoint, mesh_routes


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/", "/"),
        ("/invoices", "/invoices"),
        ("/invoices/", "/invoices/"),
        ("/invoices/{number}", "/invoices/{number}"),
        ("/invoices/{number:int}/lines/{line:uuid}", "/invoices/{number}/lines/{line}"),
        ("/files/{name:path}", "/files/**"),
        ("/{name:path}", "/**"),
        ("/bücher und mehr", "/b%C3%BCcher%20und%20mehr"),
        ("/a@b/(c)", "/a@b/(c)"),
        ("/*", "/*"),
    ],
)
def test_paths_become_templates(path: str, template: str) -> None:
    parsed = AppPath.parse(path)

    assert isinstance(parsed, AppPath)
    assert parsed.template == template
    compiled = Template.parse(template)
    assert isinstance(compiled, Template)
    assert compiled.text == template


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("/files/{name}.json", "only a part of a segment"),
        ("/files/v{version}", "only a part of a segment"),
        ("/{a}-{b}", "only a part of a segment"),
        ("/files-{name:path}", "only a part of a segment"),
        ("/files/{name:path}/edit", "not at its end"),
        ("/files/**", "any path"),
    ],
)
def test_paths_without_a_template_are_left_out_with_a_warning(
    warnings: Callable[[], str], path: str, problem: str
) -> None:
    kept = StarletteRoute("/invoices", endpoint("invoice:list"))

    found = mesh_routes(StarletteRoute(path, endpoint("file:read")), kept)

    assert found == {("invoice:list", "GET", "/invoices")}
    assert f"{path} is not registered for 'file:read'" in warnings()
    assert problem in warnings()


def test_paths_taken_by_an_earlier_route_are_left_out(warnings: Callable[[], str]) -> None:
    found = mesh_routes(
        StarletteRoute("/users/{name}", endpoint("user:read")),
        StarletteRoute("/users/me", endpoint("self:read")),
        StarletteRoute("/users/{name}", endpoint("user:write"), methods=["GET", "PUT"]),
    )

    assert found == {("user:read", "GET", "/users/{name}"), ("user:write", "PUT", "/users/{name}")}
    assert "/users/me is not registered for 'self:read': an earlier route takes its requests" in warnings()


def test_paths_taken_by_an_earlier_undeclared_route_are_left_out() -> None:
    found = mesh_routes(
        StarletteRoute("/users/{name}", endpoint(None)),
        Mount("/static", StaticFiles(directory=".")),
        StarletteRoute("/users/me", endpoint("self:read")),
        StarletteRoute("/static/help", endpoint("help:read")),
    )

    assert found == set()


@pytest.mark.parametrize(
    ("earlier", "later", "covers"),
    [
        ("/a", "/a", True),
        ("/a", "/b", False),
        ("/a", "/a/", False),
        ("/{x}", "/a", True),
        ("/{x:int}", "/7", True),
        ("/{x:int}", "/a", False),
        ("/{x:int}", "/{y}", False),
        ("/{x}", "/{y:int}", True),
        ("/{x:int}", "/{y:int}", True),
        ("/{x}", "/", False),
        ("/{x}", "/a/b", False),
        ("/a/{x:path}", "/a", False),
        ("/a/{x:path}", "/a/", True),
        ("/a/{x:path}", "/a/b/{c}", True),
        ("/a/{x:path}", "/a/{y:path}", True),
        ("/a/{x}", "/a/{y:path}", False),
        ("/{x:path}", "/", True),
        ("/a/{x:path}", "/b/c", False),
    ],
)
def test_an_earlier_path_covers_a_later_one(earlier: str, later: str, covers: bool) -> None:
    first, second = AppPath.parse(earlier), AppPath.parse(later)

    assert isinstance(first, AppPath)
    assert isinstance(second, AppPath)
    assert first.covers(second) is covers


def test_two_resources_on_what_is_one_template_are_both_left_out(warnings: Callable[[], str]) -> None:
    found = mesh_routes(
        StarletteRoute("/items/{number:int}", endpoint("item:read"), methods=["GET", "PUT"]),
        StarletteRoute("/items/{slug}", endpoint("item:find")),
    )

    assert found == {("item:read", "PUT", "/items/{number}")}
    assert "one path to the mesh; neither is registered" in warnings()


def test_one_resource_on_what_is_one_template_is_registered_once() -> None:
    found = mesh_routes(
        StarletteRoute("/items/{number:int}", endpoint("item:read")),
        StarletteRoute("/items/{slug}", endpoint("item:read")),
    )

    assert found == {("item:read", "GET", "/items/{number}")}


def test_mounted_applications_have_the_mounts_path() -> None:
    inner = Starlette(routes=[StarletteRoute("/", endpoint("root")), StarletteRoute("/{x}", endpoint("one"))])
    deeper = Mount("/v1", routes=[Mount("/{tenant}", app=inner)])

    assert mesh_routes(Mount("/api", routes=[deeper])) == {
        ("root", "GET", "/api/v1/{tenant}/"),
        ("one", "GET", "/api/v1/{tenant}/{x}"),
    }


def test_a_host_of_the_application_is_kept_in_its_routes(warnings: Callable[[], str]) -> None:
    def on(host: str) -> Host:
        return Host(host, app=Router([StarletteRoute("/a", endpoint("a"))]))

    assert mesh_routes(on("api.example.com:8080")) == {("a", "GET", "api.example.com/a")}
    assert mesh_routes(on("{sub}.example.com")) == {("a", "GET", "*.example.com/a")}
    assert mesh_routes(on("api-{n}.example.com")) == set()
    assert "its host 'api-{n}.example.com'" in warnings()
    assert mesh_routes(StarletteRoute("/a", endpoint("a")), host="x.example.com") == {
        ("a", "GET", "x.example.com/a")
    }


@pytest.mark.parametrize(
    ("host", "pattern"),
    [("{a}.{b}.com", None), ("{a:int}.example.com", None), ("{a}", None), ("[::1]", "[::1]")],
)
def test_hosts_without_a_name_have_no_pattern(host: str, pattern: str | None) -> None:
    assert host_pattern(host) == pattern


def test_the_mesh_sees_a_prefix_that_the_application_does_not() -> None:
    route = StarletteRoute("/invoices", endpoint("invoice:list"))

    assert mesh_routes(route, prefix="/billing/") == {("invoice:list", "GET", "/billing/invoices")}


def test_fastapi_routers_have_their_prefixes() -> None:
    invoices = APIRouter(prefix="/invoices")
    lines = APIRouter(prefix="/{number}/lines")
    app = FastAPI()
    inner = FastAPI()

    @lines.get("/{line}")
    @resource("line:read")
    async def read_line(number: int, line: int) -> None: ...

    @resource("invoice:list")
    @invoices.get("")
    async def list_invoices() -> None: ...

    @invoices.post("", status_code=201)
    @resource("invoice:create")
    async def create_invoice() -> None: ...

    @app.put("/direct")
    @resource("direct:write")
    async def direct() -> None: ...

    @invoices.websocket("/feed")
    async def feed(_: WebSocket) -> None: ...

    invoices.include_router(lines)
    inner.include_router(invoices, prefix="/v1")
    app.include_router(invoices, prefix="/api")
    app.mount("/sub", inner)

    assert mesh_routes(*app.routes) == {
        ("direct:write", "PUT", "/direct"),
        ("invoice:list", "GET", "/api/invoices"),
        ("invoice:create", "POST", "/api/invoices"),
        ("line:read", "GET", "/api/invoices/{number}/lines/{line}"),
        ("invoice:list", "GET", "/sub/v1/invoices"),
        ("invoice:create", "POST", "/sub/v1/invoices"),
        ("line:read", "GET", "/sub/v1/invoices/{number}/lines/{line}"),
    }


def test_mounts_and_hosts_inside_of_fastapi_routers_have_their_prefixes() -> None:
    router = APIRouter()
    router.mount("/mounted", Starlette(routes=[StarletteRoute("/{x}", endpoint("a"))]))
    router.host("api.example.com", Router([StarletteRoute("/b", endpoint("b"))]))
    router.add_route("/plain", endpoint("c"))
    app = FastAPI()
    app.include_router(router, prefix="/api")

    assert mesh_routes(*app.routes) == {
        ("a", "GET", "/api/mounted/{x}"),
        ("b", "GET", "api.example.com/api/b"),
        ("c", "GET", "/api/plain"),
    }


def test_routes_of_fastapi_itself_are_not_registered() -> None:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield

    assert declared(*FastAPI(lifespan=lifespan).routes) == []
