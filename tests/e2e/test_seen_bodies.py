"""What real Envoy sends of bodies is in the report of a sidecar, and in the warning of a write."""

import http.client
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from extauthz.demo.processes import LOOPBACK
from extauthz.demo.rest import RestApi
from tests.e2e.patient_stack import PatientStack
from tests.light_processes import LIGHT
from tests.waiting import await_true

WITHIN_S = 30
BYTES = {"max_request_bytes": 65536, "allow_partial_message": True, "pack_as_bytes": True}


class BodyStack(PatientStack):
    """The stack of the demo, whose Envoy sends what `with_request_body` says."""

    with_request_body: dict[str, Any] | None = None

    def bootstrap(self) -> str:
        """Return the configuration; the shipped one sends no body."""
        document = yaml.safe_load(super().bootstrap())
        if self.with_request_body is not None:
            for check in checks_of(document):
                check["with_request_body"] = self.with_request_body
        return yaml.safe_dump(document, sort_keys=False)


def checks_of(node: Any) -> Iterator[dict[str, Any]]:
    """Yield the settings of each check in a configuration."""
    if isinstance(node, dict):
        if str(node.get("@type", "")).endswith("ext_authz.v3.ExtAuthz"):
            yield node
        node = list(node.values())
    if isinstance(node, list):
        for each in node:
            yield from checks_of(each)


@pytest.fixture
def stack() -> Iterator[BodyStack]:
    with BodyStack(environ={**LIGHT, "WORKERS": "1"}) as running:
        running.start()
        yield running


def posted(stack: BodyStack, *, chunked: bool = False) -> int | None:
    connection = http.client.HTTPConnection(LOOPBACK, stack.envoy_port, timeout=5)
    try:
        body = iter([b'{"amount": 1}']) if chunked else b'{"amount": 1}'
        connection.request("POST", "/demo/invoices/17", body, {"Content-Type": "application/json"})
        return connection.getresponse().status
    except OSError:
        return None
    finally:
        connection.close()


def until_seen(stack: BodyStack, rest: RestApi, state: str, *, chunked: bool = False) -> None:
    def seen() -> bool:
        posted(stack, chunked=chunked)
        shown = rest.ask("GET", "/api/v1/sidecars").document["items"]
        return [each["request_bodies"] for each in shown if each["live"]] == [state]

    await_true(seen, within=WITHIN_S, what=f"a report that bodies are {state}")


def warned(rest: RestApi) -> list[str]:
    policy = {"name": "a", "resource": "a:use", "effect": "allow", "format": "casbin"}
    made = rest.create("/api/v1/abac/policies", policy | {"rule_data": "request.body.amount <= 10"})
    return [each["message"] for each in made.document.get("warnings", ()) if each["code"] == "body_not_sent"]


@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_that_envoy_does_not_send_are_known_until_it_sends_them(
    stack: BodyStack, *, chunked: bool
) -> None:
    rest = stack.rest
    # Of a chunked body Envoy shows nothing.
    until_seen(stack, rest, "none" if chunked else "unreadable", chunked=chunked)
    (message,) = warned(rest)
    known = "requests with a JSON or form body came to 1 of the sidecars that report (1), none with bytes"
    unknown = "no sidecar that reports (1) has seen a request with a body yet"
    assert (unknown if chunked else known) in message

    stack.with_request_body = {**BYTES, "pack_as_bytes": False}
    stack.child("envoy").stop()
    stack.start_envoy()
    until_seen(stack, rest, "unreadable", chunked=chunked)

    stack.with_request_body = BYTES
    stack.child("envoy").stop()
    stack.start_envoy()
    until_seen(stack, rest, "arrived", chunked=chunked)
    assert warned(rest) == []
