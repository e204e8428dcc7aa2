"""The bounds of the shipped Envoy configuration on client input; every request within them is decided."""

import socket
import struct
from collections.abc import Iterator

import pytest

from tests.e2e.gate import ALLOWED, Gate, Posture, gate
from tests.e2e.raw_http import LOOPBACK, http2_frame
from tests.waiting import await_true

SHIPPED = Posture(careful=True, fail_open=False)
FAILING_OPEN = Posture(careful=True, fail_open=True)
TOO_LARGE = 431  # RFC 6585 5
MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE = 3, 4  # RFC 9113 6.5.2


@pytest.fixture(scope="module", params=["native", "grpcio"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    folder = tmp_path_factory.mktemp("limits")
    with gate(folder, GRPC_SERVER=str(request.param)) as running:
        yield running


def assert_nothing_is_asked(site: Gate, path: str, *headers: bytes) -> None:
    """Send a request that Envoy refuses, and then one that it asks about: only that one is in the log."""
    assert site.send(SHIPPED, path.encode(), *headers).status == TOO_LARGE
    site.send(SHIPPED, f"{path}/then".encode())
    await_true(lambda: f'"{path}/then"' in site.decision_log.read_text(), what="the line of the second one")
    assert f'"{path}"' not in site.decision_log.read_text()


def test_more_headers_than_the_bound_are_431_and_nothing_is_asked(site: Gate) -> None:
    headers = [b"x-%d: v" % number for number in range(150)]
    assert site.send(SHIPPED, b"/", *headers[:80]).status == ALLOWED
    assert_nothing_is_asked(site, "/more-headers", *headers)


def test_a_larger_head_than_the_bound_is_431_and_nothing_is_asked(site: Gate) -> None:
    assert_nothing_is_asked(site, "/larger-head", b"x-long: " + b"v" * 61 * 1024)


@pytest.mark.parametrize("posture", [SHIPPED, FAILING_OPEN], ids=str)
def test_the_largest_head_that_envoy_takes_is_decided(site: Gate, posture: Posture) -> None:
    """Wherever in the head the octets are: never an error, which `failure_mode_allow` turns into an allow."""
    almost = 59 * 1024
    assert site.send(posture, b"/", b"x-long: " + b"v" * almost).status == ALLOWED
    assert site.send(posture, b"/?long=" + b"v" * almost).status == ALLOWED
    for refused in (b"/" + b"p" * almost, b"/?" + b"a&" * (almost // 2)):
        reply = site.send(posture, refused)
        assert reply.status == 400
        assert reply.decision_id is not None


def test_a_connection_has_bounded_streams_and_windows(site: Gate) -> None:
    with socket.create_connection((LOOPBACK, site.ports[SHIPPED]), 10) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + http2_frame(4, 0, 0, b""))
        stream = connection.makefile("rb")
        head = stream.read(9)
        payload = stream.read(int.from_bytes(head[:3]))
    assert head[3] == 4
    settings = dict(struct.iter_unpack(">HI", payload))
    assert settings[MAX_CONCURRENT_STREAMS] == 100
    assert settings[INITIAL_WINDOW_SIZE] == 64 * 1024
