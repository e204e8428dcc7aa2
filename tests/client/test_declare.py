"""Declarations of applications become the routes that the mesh needs, or a warning."""

import functools
from collections.abc import Callable
from typing import Any

import pytest
from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, WebSocketRoute
from starlette.routing import Route as StarletteRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket

from extauthz_client import resource
from tests.declared_applications import declared, endpoint, mesh_routes


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


def test_endpoints_of_one_resource_keep_the_roles_that_all_name(caplog: pytest.LogCaptureFixture) -> None:
    found, _ = declared(
        StarletteRoute("/a", endpoint("invoice:read", default_roles=["finance", "audit"])),
        StarletteRoute("/b", endpoint("invoice:read", default_roles=["audit", "sales"], display_name="Read")),
        StarletteRoute("/c", endpoint("invoice:read", display_name="Other")),
        StarletteRoute("/d", endpoint("bill:read", default_roles=["audit"])),
    )

    assert found.default_roles == ("audit",)
    assert found.display_name == "Read"
    assert [route.path for route in found.routes] == ["/a", "/b", "/c"]
    assert "default_roles=['audit', 'finance']" in caplog.text
    assert "display_name='Read'" in caplog.text


def test_roles_that_contradict_stay_none() -> None:
    (found,) = declared(
        StarletteRoute("/a", endpoint("invoice:read", default_roles=["finance"])),
        StarletteRoute("/b", endpoint("invoice:read", default_roles=["audit"])),
        StarletteRoute("/c", endpoint("invoice:read", default_roles=["sales"])),
        StarletteRoute("/d", endpoint("invoice:read")),
    )

    assert found.default_roles == ()


def test_a_head_route_is_declared_as_get() -> None:
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
