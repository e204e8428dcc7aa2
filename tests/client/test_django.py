"""URL patterns of Django projects, and what is registered of them."""

import sys
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import django
import pytest
from django.conf import settings
from django.conf.urls.i18n import i18n_patterns
from django.test import Client
from django.urls import clear_url_caches, include, path, re_path, register_converter
from django.utils.decorators import method_decorator
from django.views.decorators.http import require_http_methods
from django.views.generic import View

from extauthz.compile.documents.resource_documents import parse_resource
from extauthz_client import ServiceKey, SyncExtauthzClient, resource
from extauthz_client.django import declared_resources, protect
from tests.client.blocking_server import Refuses, serving
from tests.client.views import view

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["*"], ROOT_URLCONF="none", SECRET_KEY="tests", USE_I18N=True, MIDDLEWARE=[]
    )
    django.setup()


class Pair:
    regex = "[a-z]+/[a-z]+"

    def to_python(self, value: str) -> str:
        return value

    def to_url(self, value: str) -> str:
        return value


class Year:
    regex = "[0-9]{4}"

    def to_python(self, value: str) -> int:
        return int(value)

    def to_url(self, value: int) -> str:
        return str(value)


register_converter(Pair, "pair")
register_converter(Year, "yyyy")


@pytest.fixture
def urlconf() -> Iterator[Callable[..., str]]:
    """Return a function that makes a URLconf of patterns, and its name."""
    made: list[str] = []

    def make(*patterns: Any) -> str:
        module = ModuleType(f"urlconf_{len(made)}")
        module.urlpatterns = list(patterns)  # type: ignore[attr-defined]
        sys.modules[module.__name__] = module
        made.append(module.__name__)
        return module.__name__

    yield make
    for name in made:
        del sys.modules[name]
    clear_url_caches()


def mesh_routes(urlconf: str, **options: Any) -> set[tuple[str, str, str]]:
    """Return what is registered as (resource, methods, path), having checked that the API would take it."""
    found = declared_resources("billing", urlconf=urlconf, **options)
    problems: list[Any] = []
    for each in found:
        parse_resource(each.document(), "", problems)
    assert problems == []
    return {
        (each.name, " ".join(route.methods), (route.host or "") + route.path)
        for each in found
        for route in each.routes
    }


@pytest.mark.parametrize(
    ("pattern", "template"),
    [
        (path("", view("bill:read")), "/"),
        (path("bills", view("bill:read")), "/bills"),
        (path("bills/", view("bill:read")), "/bills/"),
        (path("bills/<number>/", view("bill:read")), "/bills/{number}/"),
        (path("bills/<int:number>/lines/<uuid:line>", view("bill:read")), "/bills/{number}/lines/{line}"),
        (path("bills/<yyyy:year>", view("bill:read")), "/bills/{year}"),
        (path("files/<path:name>", view("bill:read")), "/files/**"),
        (path("é/{c}", view("bill:read")), "/%C3%A9/%7Bc%7D"),
        (re_path(r"^$", view("bill:read")), "/"),
        (re_path(r"^bills/$", view("bill:read")), "/bills/"),
        (re_path(r"^bills\.json$", view("bill:read")), "/bills.json"),
        (re_path(r"^bills/(?P<number>\d+)/$", view("bill:read")), "/bills/{number}/"),
        (re_path(r"^bills/(?P<year>[0-9]{4})/(?P<slug>[\w-]+)\Z", view("bill:read")), "/bills/{year}/{slug}"),
        (re_path(r"^bills/([^/]+)/lines/([0-9]+)$", view("bill:read")), "/bills/{p1}/lines/{p2}"),
        (re_path(r"^files/(?P<name>.+)$", view("bill:read")), "/files/**"),
    ],
)
def test_patterns_become_templates(urlconf: Callable[..., str], pattern: Any, template: str) -> None:
    assert mesh_routes(urlconf(pattern)) == {("bill:read", "*", template)}


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        (path("files/<name>.json", view("file:read")), "only a part of a segment"),
        (path("v<int:major>", view("file:read")), "only a part of a segment"),
        (path("<path:name>/edit", view("file:read")), "not at its end"),
        (path("p/<pair:both>", view("file:read")), "its converter 'pair' may match '/'"),
        (re_path(r"bills/$", view("file:read")), "begin it with '^'"),
        (re_path(r"^bills/", view("file:read")), "end it with '$'"),
        (re_path(r"^bills/(?:page-(?P<page>\d+)/)?$", view("file:read")), "no template expresses"),
        (re_path(r"^(a|b)/$", view("file:read")), "no template expresses '(a|b)/'"),
        (re_path(r"^a.b$", view("file:read")), "no template expresses '.b'"),
        (re_path(r"^a/?$", view("file:read")), "no template expresses '?'"),
        (re_path(r"^\d+$", view("file:read")), "no template expresses"),
        (re_path(r"^(?P<name>[^.]+)$", view("file:read")), "no template expresses"),
        (re_path(r"^(?i:bills)$", view("file:read")), "no template expresses"),
        (re_path(r"^(?P<a>\d+)-(?P<b>\d+)$", view("file:read")), "only a part of a segment"),
    ],
)
def test_patterns_without_a_template_are_left_out_with_the_views_name(
    warnings: Callable[[], str], urlconf: Callable[..., str], pattern: Any, problem: str
) -> None:
    assert mesh_routes(urlconf(pattern)) == set()
    assert "is not registered for 'file:read': " in warnings()
    assert problem in warnings()
    assert "declared by tests.client.views.view.<locals>.answer" in warnings()


def test_included_patterns_have_their_prefixes(urlconf: Callable[..., str]) -> None:
    inner = urlconf(path("", view("line:list")), path("/<int:line>", view("line:read")))
    outer = urlconf(
        path("bills/<int:bill>/lines", include(inner)),
        re_path(r"^old/(?P<bill>[0-9]+)/", include([path("x", view("old:read"))])),
        path("api/", include([path("", include([re_path(r"^v1/$", view("v1:read"))]))])),
    )
    assert mesh_routes(outer, prefix="/billing/", host="b.example") == {
        ("line:list", "*", "b.example/billing/bills/{bill}/lines"),
        ("line:read", "*", "b.example/billing/bills/{bill}/lines/{line}"),
        ("old:read", "*", "b.example/billing/old/{bill}/x"),
        ("v1:read", "*", "b.example/billing/api/v1/"),
    }


def test_an_included_prefix_without_a_template_leaves_out_what_is_below(
    warnings: Callable[[], str], urlconf: Callable[..., str]
) -> None:
    name = urlconf(
        re_path(r"^(a|b)/", include([path("x", view("x:read"))])),
        *i18n_patterns(path("y", view("y:read"))),
        path("z<int:n>", include([path("y/", view("z:read"))])),
    )
    assert mesh_routes(name) == set()
    assert [name in warnings() for name in ("'x:read'", "'y:read'", "'z:read'")] == [True] * 3
    assert "without i18n_patterns" in warnings()


def test_a_method_of_a_view_goes_before_its_class(urlconf: Callable[..., str]) -> None:
    @resource("bill:write")
    class Bills(View):  # type: ignore[misc]  # Django has no types
        @resource("bill:read")
        def get(self, _: Any) -> Any: ...

        def post(self, _: Any) -> Any: ...

    @method_decorator(require_http_methods(["DELETE"]), name="dispatch")
    @resource("note:write")
    class Notes(View):  # type: ignore[misc]  # Django has no types
        def delete(self, _: Any) -> Any: ...

        def options(self, _: Any) -> Any: ...

    assert mesh_routes(urlconf(path("bills", Bills.as_view()), path("notes", Notes.as_view()))) == {
        ("bill:read", "GET", "/bills"), ("bill:write", "POST", "/bills"),
        ("note:write", "DELETE OPTIONS", "/notes"),
    }  # fmt: skip


def test_the_actions_of_a_view_set_are_its_methods(urlconf: Callable[..., str]) -> None:
    class Bills:
        @resource("bill:list")
        def listed(self) -> Any: ...

        @resource("bill:create")
        def created(self) -> Any: ...

    callback = view(None)
    # What Django REST framework leaves on the callback of a view set.
    callback.cls, callback.actions = Bills, {"get": "listed", "post": "created"}  # type: ignore[attr-defined]
    assert mesh_routes(urlconf(path("bills", callback))) == {
        ("bill:list", "GET", "/bills"), ("bill:create", "POST", "/bills"),
    }  # fmt: skip


def test_decorators_around_a_view_keep_its_declaration(urlconf: Callable[..., str]) -> None:
    around = require_http_methods(["GET"])(view("bill:read"))
    assert mesh_routes(urlconf(path("bills", around))) == {("bill:read", "*", "/bills")}


def test_the_first_pattern_takes_every_method(
    warnings: Callable[[], str], urlconf: Callable[..., str]
) -> None:
    class Read(View):  # type: ignore[misc]  # Django has no types
        def get(self, _: Any) -> Any: ...

    name = urlconf(
        path("users/<name>", resource("user:read")(Read.as_view())),
        path("users/me", view("self:read")),
        path("items/<int:number>", view("item:read")),
        path("items/new", view("item:new")),
    )
    assert mesh_routes(name) == {
        ("user:read", "GET", "/users/{name}"),
        ("item:read", "*", "/items/{number}"),
        ("item:new", "*", "/items/new"),
    }
    assert "/users/me is not registered for 'self:read': an earlier route takes its requests" in warnings()


@pytest.mark.parametrize("other", ["item:find", None])
def test_one_template_with_two_resources_is_registered_for_neither(
    warnings: Callable[[], str], urlconf: Callable[..., str], other: str | None
) -> None:
    first, second = path("items/<int:number>", view(other)), path("items/<slug:slug>", view("item:read"))
    assert mesh_routes(urlconf(first, second)) == set()
    assert "one path to the mesh; neither is registered" in warnings()


def test_protect_registers_in_a_daemon_thread(urlconf: Callable[..., str]) -> None:
    name = urlconf(path("bills", view("bill:list")))
    with serving() as server:
        client = SyncExtauthzClient(server.url, ServiceKey("k"))
        registration = protect(client, service_name="billing", urlconf=name)
        assert all(each.daemon for each in threading.enumerate() if each.name == "extauthz-registration")
        assert registration.wait(20)
        assert registration.state.status == "registered"
        registration.stop()
    assert [each["name"] for each in server.bodies[0]] == ["bill:list"]


def test_a_urlconf_that_cannot_be_read_does_not_end_the_application(caplog: pytest.LogCaptureFixture) -> None:
    with serving() as server:
        registration = protect(
            SyncExtauthzClient(server.url, ServiceKey("k")), service_name="b", urlconf="nowhere.urls"
        )
        while registration.state.status != "failing":
            threading.Event().wait(0.01)
        registration.stop()
    assert "No module named 'nowhere'" in (registration.state.message or "")
    assert server.requests == []
    assert "the registration at extauthz failed, it is tried again" in caplog.text


def test_a_refused_registration_is_one_message_with_the_view_and_the_fix(
    warnings: Callable[[], str], urlconf: Callable[..., str]
) -> None:
    name = urlconf(path("bills", view("bill:list")))
    refused = Refuses(403, {"title": "Forbidden", "detail": "the key lacks the scope", "errors": []})
    with serving(refused) as server:
        registration = protect(
            SyncExtauthzClient(server.url, ServiceKey("k")), service_name="billing", urlconf=name
        )
        assert registration.wait(20)
        registration.stop()
    (line,) = warnings().splitlines()
    assert "needs the scope resources:write" in line
    assert line.endswith("(declared by tests.client.views.view.<locals>.answer)")


def test_the_project_serves_on(urlconf: Callable[..., str]) -> None:
    from django.http import HttpResponse
    from django.test import override_settings

    @resource("bill:list")
    def bills(_: Any) -> HttpResponse:
        return HttpResponse("ok")

    with override_settings(ROOT_URLCONF=urlconf(path("bills", bills))):
        registration = protect(
            SyncExtauthzClient("http://127.0.0.1:9", ServiceKey("k"), attempts=1), service_name="billing"
        )
        assert Client().get("/bills").content == b"ok"
        registration.stop()
