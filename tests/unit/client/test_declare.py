"""Declarations of applications become the routes that the mesh needs, or a warning."""

import functools
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Host, Mount, Router, WebSocketRoute
from starlette.routing import Route as StarletteRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket

from extauthz.client import Resource, resource
from extauthz.client.declare import declared_resources
from extauthz.client.paths import AppPath, host_pattern
from extauthz.compile.documents import parse_resource
from extauthz.compile.routes import Template

if TYPE_CHECKING:
    from extauthz.domain.problem import Problem

Endpoint = Callable[[Request], Any]


def endpoint(name: str | None, **declared: Any) -> Endpoint:
    """Return a new endpoint that is declared to lead to a resource (None: undeclared)."""

    async def answer(_: Request) -> Response:
        return PlainTextResponse("ok")

    return answer if name is None else resource(name, **declared)(answer)


def declared(*routes: BaseRoute, **options: Any) -> list[Resource]:
    """Return what is registered, having checked that the API would take it."""
    found = declared_resources(routes, "billing", **options)
    problems: list[Problem] = []
    for each in found:
        parse_resource(each.document(), "", problems)
    assert problems == []
    return found


def mesh_routes(*routes: BaseRoute, **options: Any) -> set[tuple[str, str, str]]:
    """Return what is registered as (resource, methods, path)."""
    return {
        (each.name, " ".join(route.methods), (route.host or "") + route.path)
        for each in declared(*routes, **options)
        for route in each.routes
    }


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    caplog.set_level(logging.WARNING, "extauthz.client")
    return lambda: "\n".join(record.getMessage() for record in caplog.records)


# The decorator


def test_an_endpoint_stays_what_it_is() -> None:
    def plain() -> None: ...

    assert resource("invoice:read")(plain) is plain


def test_a_second_declaration_is_an_error() -> None:
    with pytest.raises(ValueError, match="leads to 'invoice:read' already"):
        resource("invoice:list")(endpoint("invoice:read"))


def test_a_string_in_place_of_a_list_of_roles_is_refused() -> None:
    with pytest.raises(TypeError, match=r"\['finance'\]"):
        resource("invoice:read", default_roles="finance")


def test_a_subclass_may_lead_elsewhere() -> None:
    @resource("invoice:read")
    class Base(HTTPEndpoint):
        async def get(self, _: Request) -> Response:
            return PlainTextResponse("ok")

    @resource("receipt:read")
    class Derived(Base):
        pass

    assert mesh_routes(StarletteRoute("/a", Base), StarletteRoute("/b", Derived)) == {
        ("invoice:read", "GET", "/a"),
        ("receipt:read", "GET", "/b"),
    }


def test_a_method_of_a_class_may_lead_elsewhere() -> None:
    @resource("invoice:admin")
    class Mixed(HTTPEndpoint):
        @resource("invoice:read", default_roles=["finance"])
        async def head(self, _: Request) -> Response:
            return PlainTextResponse("ok")

        async def put(self, _: Request) -> Response:
            return PlainTextResponse("ok")

        async def delete(self, _: Request) -> Response:
            return PlainTextResponse("ok")

    class Apart(HTTPEndpoint):
        @resource("receipt:read")
        async def get(self, _: Request) -> Response:
            return PlainTextResponse("ok")

        @resource("receipt:write")
        async def post(self, _: Request) -> Response:
            return PlainTextResponse("ok")

        async def delete(self, _: Request) -> Response:
            return PlainTextResponse("ok")

    assert mesh_routes(StarletteRoute("/a/{id}", Mixed), StarletteRoute("/b/{id:int}", Apart)) == {
        ("invoice:read", "GET", "/a/{id}"),
        ("invoice:admin", "DELETE PUT", "/a/{id}"),
        ("receipt:read", "GET", "/b/{id}"),
        ("receipt:write", "POST", "/b/{id}"),
    }


# Routes


def test_everything_declared_is_in_the_registration() -> None:
    read = endpoint(
        "invoice:read",
        default_roles=["finance"],
        display_name="Read",
        action="view",
        authentication="optional",
        public=True,
    )

    (found,) = declared(StarletteRoute("/invoices/{number:int}", read, methods=["GET", "POST"]))

    assert found.document() == {
        "name": "invoice:read",
        "serviceName": "billing",
        "displayName": "Read",
        "defaultRoles": ["finance"],
        "routes": [
            {
                "methods": ["GET", "POST"],
                "path": "/invoices/{number}",
                "action": "view",
                "authentication": "optional",
            }
        ],
        "public": True,
    }


@pytest.mark.parametrize(
    ("first", "second", "together"),
    [
        (None, None, None),
        (True, None, True),
        (None, True, True),
        (False, True, False),
        (True, False, False),
        (None, False, False),
    ],
)
def test_a_resource_is_public_where_an_endpoint_says_so_and_none_denies_it(
    first: bool | None,
    second: bool | None,
    together: bool | None,
) -> None:
    (found,) = declared(
        StarletteRoute("/a", endpoint("invoice:read", public=first)),
        StarletteRoute("/b", endpoint("invoice:read", public=second)),
    )

    assert found.public is together
    assert ("public" in found.document()) is (together is not None)


def test_endpoints_of_one_resource_add_up() -> None:
    (found,) = declared(
        StarletteRoute("/a", endpoint("invoice:read", default_roles=["finance", "audit"])),
        StarletteRoute("/b", endpoint("invoice:read", default_roles=["audit", "sales"], display_name="Read")),
    )

    assert found.default_roles == ("finance", "audit", "sales")
    assert found.display_name == "Read"
    assert [route.path for route in found.routes] == ["/a", "/b"]


def test_head_is_get() -> None:
    head = StarletteRoute("/a", endpoint("a"), methods=["HEAD"])
    both = StarletteRoute("/b", endpoint("b"), methods=["GET"])

    assert mesh_routes(head, both) == {("a", "GET", "/a"), ("b", "GET", "/b")}


def test_a_class_of_handlers_serves_its_methods() -> None:
    @resource("invoice")
    class Invoices(HTTPEndpoint):
        async def head(self, _: Request) -> Response:
            return PlainTextResponse("")

        async def post(self, _: Request) -> Response:
            return PlainTextResponse("ok")

    assert mesh_routes(StarletteRoute("/a", Invoices)) == {("invoice", "GET POST", "/a")}


def test_an_application_as_an_endpoint_serves_every_method() -> None:
    @resource("legacy")
    class Application:
        async def __call__(self, *_: Any) -> None: ...

    assert mesh_routes(StarletteRoute("/a", Application())) == {("legacy", "*", "/a")}


def test_a_partial_of_a_declared_endpoint_is_declared() -> None:
    partial = functools.partial(endpoint("invoice:read"))

    assert mesh_routes(StarletteRoute("/a", partial)) == {("invoice:read", "GET", "/a")}


def test_undeclared_routes_are_not_registered() -> None:
    assert declared(StarletteRoute("/a", endpoint(None)), Mount("/static", StaticFiles(directory="."))) == []


def test_a_websocket_is_left_out_with_a_warning(warnings: Callable[[], str]) -> None:
    @resource("feed:read")
    async def feed(_: WebSocket) -> None: ...

    assert declared(WebSocketRoute("/feed", feed)) == []
    assert "'feed:read': it is a WebSocket" in warnings()


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


# What the application dispatches is what the mesh decides on


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


# Applications inside of applications


def test_mounted_applications_have_the_mounts_path() -> None:
    inner = Starlette(routes=[StarletteRoute("/", endpoint("root")), StarletteRoute("/{x}", endpoint("one"))])
    deeper = Mount("/v1", routes=[Mount("/{tenant}", app=inner)])

    assert mesh_routes(Mount("/api", routes=[deeper])) == {
        ("root", "GET", "/api/v1/{tenant}/"),
        ("one", "GET", "/api/v1/{tenant}/{x}"),
    }


def test_hosts_stay_hosts(warnings: Callable[[], str]) -> None:
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
