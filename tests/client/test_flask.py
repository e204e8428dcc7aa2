"""Routes of Flask applications, and what is registered of them."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Blueprint, Flask
from flask.views import MethodView
from starlette.applications import Starlette
from werkzeug.routing import BaseConverter, Rule

from extauthz.compile.documents.resource_documents import parse_resource
from extauthz_client import ExtauthzClient, ServiceKey, SyncExtauthzClient, resource
from extauthz_client import protect as protect_starlette
from extauthz_client.flask import declared_resources, protect
from tests.client.blocking_server import Refuses, serving
from tests.client.views import view


def mesh_routes(app: Flask, **options: Any) -> set[tuple[str, str, str]]:
    """Return what is registered as (resource, methods, path), having checked that the API would take it."""
    found = declared_resources(app, "billing", **options)
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
    ("rule", "template"),
    [
        ("/", "/"),
        ("/bills", "/bills"),
        ("/bills/", "/bills/"),
        ("/bills/<number>", "/bills/{number}"),
        ("/bills/<int:number>/lines/<uuid:line>", "/bills/{number}/lines/{line}"),
        ("/bills/<string(length=2):country>", "/bills/{country}"),
        ("/bills/<any(a, b):kind>", "/bills/{kind}"),
        ("/files/<path:name>", "/files/**"),
        ("/prix/élevé", "/prix/%C3%A9lev%C3%A9"),
        ("/a b/{c}", "/a%20b/%7Bc%7D"),
    ],
)
def test_rules_become_templates(rule: str, template: str) -> None:
    app = Flask(__name__)
    app.add_url_rule(rule, view_func=view("bill:read"), endpoint="one")
    assert mesh_routes(app) == {("bill:read", "GET", template)}


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ("/files/<name>.json", "only a part of a segment"),
        ("/v<int:major>", "only a part of a segment"),
        ("/<a>-<b>", "only a part of a segment"),
        ("/<path:name>/edit", "not at its end"),
        ("/x-<path:name>", "only a part of a segment"),
    ],
)
def test_rules_without_a_template_are_left_out_with_the_views_name(
    warnings: Callable[[], str], rule: str, problem: str
) -> None:
    app = Flask(__name__)
    app.add_url_rule(rule, view_func=view("file:read"), endpoint="one")
    app.add_url_rule("/bills", view_func=view("bill:list"), endpoint="two")
    assert mesh_routes(app) == {("bill:list", "GET", "/bills")}
    assert f"{rule} is not registered for 'file:read': " in warnings()
    assert problem in warnings()
    assert "declared by tests.client.views.view.<locals>.answer" in warnings()


def test_methods_are_those_of_the_rule() -> None:
    app = Flask(__name__)
    app.add_url_rule("/a", view_func=view("a:write"), endpoint="a", methods=["POST", "PUT"])
    app.add_url_rule("/b", view_func=view("b:read"), endpoint="b", methods=["HEAD"])
    app.add_url_rule(
        "/c", view_func=view("c:ask"), endpoint="c", methods=["OPTIONS"], provide_automatic_options=False
    )
    app.url_map.add(Rule("/d", endpoint="d"))
    app.view_functions["d"] = view("d:any")
    assert mesh_routes(app) == {
        ("a:write", "POST PUT", "/a"), ("b:read", "GET", "/b"),
        ("c:ask", "OPTIONS", "/c"), ("d:any", "*", "/d"),
    }  # fmt: skip


def test_blueprints_have_their_prefixes() -> None:
    inner, outer, app = Blueprint("inner", __name__), Blueprint("outer", __name__), Flask(__name__)
    inner.add_url_rule("/<number>", view_func=view("line:read"))
    outer.register_blueprint(inner, url_prefix="/lines")
    app.register_blueprint(outer, url_prefix="/bills/<bill>")
    assert mesh_routes(app, prefix="/billing/") == {
        ("line:read", "GET", "/billing/bills/{bill}/lines/{number}")
    }


def test_a_method_of_a_view_goes_before_its_class() -> None:
    @resource("bill:write")
    class Bills(MethodView):
        @resource("bill:read")
        def get(self) -> str:
            return ""

        def post(self) -> str:
            return ""

    app = Flask(__name__)
    app.add_url_rule("/bills", view_func=Bills.as_view("bills"))
    assert mesh_routes(app) == {("bill:read", "GET", "/bills"), ("bill:write", "POST", "/bills")}


def test_hosts_and_subdomains_are_hosts_of_routes(warnings: Callable[[], str]) -> None:
    app = Flask(__name__, host_matching=True, static_host="static.example")
    app.add_url_rule("/a", view_func=view("a"), endpoint="a", host="billing.example:8080")
    app.add_url_rule("/b", view_func=view("b"), endpoint="b", host="<tenant>.example")
    app.add_url_rule("/c", view_func=view("c"), endpoint="c", host="eu-<tenant>.example")
    assert mesh_routes(app) == {("a", "GET", "billing.example/a"), ("b", "GET", "*.example/b")}
    assert "neither a name nor '*.suffix'" in warnings()

    app = Flask(__name__, subdomain_matching=True)
    app.add_url_rule("/a", view_func=view("a"), endpoint="a", subdomain="api")
    assert mesh_routes(app) == set()
    assert "needs SERVER_NAME" in warnings()
    app.config["SERVER_NAME"] = "example.com:5000"
    assert mesh_routes(app, host="other.example") == {("a", "GET", "api.example.com/a")}


def test_websockets_and_rules_that_only_build_are_left_out(warnings: Callable[[], str]) -> None:
    app = Flask(__name__)
    app.view_functions |= {"one": view("feed:read"), "two": view("built")}
    app.url_map.add(Rule("/feed", endpoint="one", websocket=True))
    app.url_map.add(Rule("/built", endpoint="two", build_only=True))
    assert mesh_routes(app) == set()
    assert "'feed:read': it is a WebSocket" in warnings()


def test_the_most_specific_rule_is_taken_whatever_the_order() -> None:
    app = Flask(__name__)
    app.add_url_rule("/users/<name>", view_func=view("user:read"), endpoint="one")
    app.add_url_rule("/users/me", view_func=view("self:read"), endpoint="two")
    assert mesh_routes(app) == {("user:read", "GET", "/users/{name}"), ("self:read", "GET", "/users/me")}


@pytest.mark.parametrize("other", ["item:find", None])
def test_one_template_with_two_resources_is_registered_for_neither(
    warnings: Callable[[], str], other: str | None
) -> None:
    app = Flask(__name__)
    app.add_url_rule("/items/<int:number>", view_func=view("item:read"), endpoint="one")
    app.add_url_rule("/items/<slug>", view_func=view(other), endpoint="two")
    assert mesh_routes(app) == set()
    assert "one path to the mesh; neither is registered" in warnings()
    assert warnings().count("tests.client.views.view.<locals>.answer") == 2


class Pair(BaseConverter):
    regex = "[a-z]+/[a-z]+"


def test_a_converter_that_spans_segments_is_the_rest_at_the_end_only() -> None:
    app = Flask(__name__)
    app.url_map.converters["pair"] = Pair
    app.add_url_rule("/p/<pair:both>", view_func=view("pair:read"), endpoint="one")
    app.add_url_rule("/q/<pair:both>/x", view_func=view("pair:edit"), endpoint="two")
    assert mesh_routes(app) == {("pair:read", "GET", "/p/**")}


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert [each.name for each in threading.enumerate() if each.name == "extauthz-registration"] == []


def test_protect_registers_in_a_daemon_thread_and_the_client_stays_open() -> None:
    app = Flask(__name__)
    app.add_url_rule("/bills", view_func=view("bill:list"))
    with serving() as server:
        client = SyncExtauthzClient(server.url, ServiceKey("k"))
        registration = protect(app, client, service_name="billing")
        assert all(each.daemon for each in threading.enumerate() if each.name == "extauthz-registration")
        server.wait_for(1)
        registration.wait()
        assert registration.state.status == "registered"
        assert client.role_rules() == ()
        registration.stop()
        registration.stop()
        with pytest.raises(RuntimeError, match="not open"):
            client.role_rules()
    assert [each["name"] for each in server.bodies[0]] == ["bill:list"]


def test_a_refused_registration_is_one_message_with_the_view_and_the_fix(
    warnings: Callable[[], str],
) -> None:
    app = Flask(__name__)
    app.add_url_rule("/bills", view_func=view("bill:list"))
    taken = Refuses(409, {"title": "Conflict", "detail": "x", "errors": [
        {"pointer": "/0", "message": "the name belongs to the service 'shop'"}]})  # fmt: skip
    wrong = Refuses(401, {"title": "Unauthorized", "detail": "the key is unknown"})
    with serving(taken, wrong) as server:
        registration = protect(app, SyncExtauthzClient(server.url, ServiceKey("k")), service_name="billing")
        server.wait_for(3)
        registration.wait()
        registration.stop()
    conflict, unknown = warnings().splitlines()
    assert (
        "bill:list:  the name belongs to the service 'shop'; a name or a route is taken: rename it"
        in conflict
    )
    assert "the credential is wrong or revoked: set EXTAUTHZ_SERVICE_API_KEY" in unknown
    for line in (conflict, unknown):
        assert line.endswith("(declared by tests.client.views.view.<locals>.answer)")


def test_a_server_that_is_away_does_not_delay_the_start_and_stop_ends_the_waiting(
    warnings: Callable[[], str],
) -> None:
    app = Flask(__name__)
    app.add_url_rule("/bills", view_func=view("bill:list"))
    registration = protect(
        app, SyncExtauthzClient("http://127.0.0.1:9", ServiceKey("k"), attempts=1), service_name="b"
    )
    assert app.test_client().get("/bills").text == "ok"
    while registration.state.status != "failing":
        threading.Event().wait(0.01)
    registration.stop(10)
    assert "POST http://127.0.0.1:9/api/v1/resources/list" in warnings()
    assert "check the address and that extauthz runs there (declared by tests.client.views" in warnings()


def test_a_route_that_is_added_after_protect_is_warned_of(warnings: Callable[[], str]) -> None:
    app = Flask(__name__)
    with serving() as server:
        registration = protect(app, SyncExtauthzClient(server.url, ServiceKey("k")), service_name="billing")
        app.add_url_rule("/late", view_func=view("late:read"))
        for _ in range(2):
            assert app.test_client().get("/late").text == "ok"
        registration.stop()
    assert warnings() == (
        "/late (answer) was added after protect() and is not registered; call protect() after the last route"
    )


def test_each_framework_names_the_client_that_it_needs() -> None:
    with pytest.raises(TypeError, match="need a SyncExtauthzClient"):
        protect(Flask(__name__), ExtauthzClient("http://x", ServiceKey("k")), service_name="b")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="need an ExtauthzClient"):
        protect_starlette(Starlette(), SyncExtauthzClient("http://x", ServiceKey("k")), service_name="b")  # type: ignore[arg-type]


EXITS = """
import threading
from flask import Flask
from extauthz_client import ServiceKey, SyncExtauthzClient, resource
from extauthz_client.flask import protect
app = Flask(__name__)
app.add_url_rule("/bills", view_func=resource("bill:list")(lambda: "ok"))
registration = protect(app, SyncExtauthzClient("http://127.0.0.1:9", ServiceKey("k")), service_name="b")
print([each.name for each in threading.enumerate() if not each.daemon])
"""


def test_no_thread_keeps_a_process_from_ending() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", EXITS], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout) == (0, "['MainThread']\n"), done.stderr
    assert "Traceback" not in done.stderr
