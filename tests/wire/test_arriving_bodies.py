"""A worker notes what it sees of bodies: by bytes that only Envoy sends, and by what requests announce."""

import pytest

from extauthz.check.envoy_request import EnvoyRequests
from extauthz.check.extauthz_check_pb2 import CheckRequest
from extauthz.check.seen_bodies import SeenBodies
from extauthz.domain.sidecar_report import RequestBodies
from tests.builders import check_request

JSON = {"content-type": "application/json", "x-envoy-auth-partial-body": "false"}
PLAIN = {"content-type": "application/json"}
ARRIVED, UNREADABLE, NONE = RequestBodies.ARRIVED, RequestBodies.UNREADABLE, RequestBodies.NONE


def seen(*checks: bytes, longest: int = 65536) -> RequestBodies | None:
    requests = EnvoyRequests(longest_body=longest, bodies=SeenBodies(longest))
    for check in checks:
        requests.read(check)
    return requests.bodies.state()


def posted(headers: dict[str, str], body: bytes = b"", *, raw_form: bool = False, text: str = "") -> bytes:
    if raw_form:
        pseudo = {":method": "POST", ":authority": "api.example.com", ":path": "/a"}
        raw = [(name, value.encode()) for name, value in (pseudo | headers).items()]
        return check_request("/a", method="POST", raw_headers=raw, raw_body=body, body=text)
    return check_request("/a", method="POST", headers=headers, raw_body=body, body=text)


@pytest.mark.parametrize("raw_form", [False, True])
@pytest.mark.parametrize(
    ("headers", "body", "longest", "found"),
    [
        (JSON, b"{}", 65536, ARRIVED),
        (JSON | {"content-type": "application/x-www-form-urlencoded"}, b"a=1", 65536, ARRIVED),
        (JSON | {"x-envoy-auth-partial-body": "true"}, b"{}", 65536, UNREADABLE),
        (JSON | {"content-encoding": "gzip"}, b"{}", 65536, UNREADABLE),
        (JSON, b"{ }", 2, UNREADABLE),
        (PLAIN, b"{}", 65536, UNREADABLE),
        (PLAIN | {"content-length": "2"}, b"", 65536, UNREADABLE),
        # No request with a JSON or form body.
        (PLAIN, b"", 65536, NONE),
        (PLAIN | {"content-length": "0"}, b"", 65536, NONE),
        (PLAIN | {"content-length": "-1"}, b"", 65536, NONE),
        (JSON | {"content-type": "text/plain", "content-length": "2"}, b"{}", 65536, NONE),
        ({"content-length": "2"}, b"", 65536, NONE),
        # It reads none.
        (JSON, b"{}", 0, None),
    ],
)
def test_each_form_of_a_body_is_noted_as_arrived_or_unreadable(
    headers: dict[str, str], body: bytes, longest: int, found: RequestBodies | None, *, raw_form: bool
) -> None:
    assert seen(posted(headers, body, raw_form=raw_form), longest=longest) is found


def test_a_body_as_text_is_one_that_cannot_be_read() -> None:
    assert seen(posted(JSON, text="{}")) is UNREADABLE


def test_one_body_that_can_be_read_is_enough() -> None:
    assert seen() is None
    unreadable, arrived = posted(PLAIN | {"content-length": "2"}), posted(JSON, b"{}")
    assert seen(check_request(), unreadable) is UNREADABLE
    assert seen(unreadable, arrived, unreadable, check_request()) is ARRIVED


def test_over_http_no_body_is_seen() -> None:
    check = CheckRequest.FromString(posted(JSON, b"{}"))
    requests = EnvoyRequests(longest_body=0, bodies=SeenBodies(65536))
    requests.read_attributes(check.attributes)
    assert requests.bodies.state() is NONE
