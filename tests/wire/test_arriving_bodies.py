"""A worker notes that bodies arrive: by the bytes that only Envoy can send."""

import pytest

from extauthz.check.envoy_request import EnvoyRequests
from tests.builders import check_request

JSON = {"content-type": "application/json", "x-envoy-auth-partial-body": "false"}


@pytest.mark.parametrize(
    ("headers", "body", "longest", "arrives"),
    [
        (JSON, b"{}", 65536, True),
        (JSON | {"content-type": "application/x-www-form-urlencoded"}, b"a=1", 65536, True),
        (JSON, b"", 65536, False),
        (JSON, b"{}", 0, False),
        (JSON | {"x-envoy-auth-partial-body": "true"}, b"{}", 65536, False),
        (JSON | {"content-type": "text/plain"}, b"{}", 65536, False),
        ({"content-type": "application/json"}, b"{}", 65536, False),
    ],
)
def test_only_what_conditions_can_read_arrives(
    headers: dict[str, str], body: bytes, longest: int, arrives: bool
) -> None:
    check = check_request("/a", method="POST", headers=headers, raw_body=body)
    requests = EnvoyRequests(longest_body=longest)
    assert requests.bodies.seen is False
    requests.read(check)
    assert requests.bodies.seen is arrives
