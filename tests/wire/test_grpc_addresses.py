"""Addresses that a gRPC server listens on: the same tests for both servers."""

import socket
from pathlib import Path

import pytest

from extauthz.check.listen_address import GrpcListenError
from tests.wire.grpc_servers import (
    call,
    echo,
    server_of,
    serving,
)
from tests.wire.raw_grpc import RawConnection

pytestmark = pytest.mark.timeout(90)


def test_one_error_names_the_busy_address(kind: str) -> None:
    with serving(kind) as (_, address):
        for _ in range(2):
            with pytest.raises(GrpcListenError) as refused:
                server_of(kind, echo, [address]).start()
            assert str(refused.value) == f"cannot listen on {address!r}: address already in use"
        assert call(address) == b"x"


def test_a_native_server_with_a_busy_address_listens_on_none() -> None:
    """Accepted of grpcio: it lets go of the first address when the process ends, which it does."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = f"127.0.0.1:{probe.getsockname()[1]}"
    with serving("native") as (_, busy):
        with pytest.raises(GrpcListenError):
            server_of("native", echo, [free, busy]).start()
        server = server_of("native", echo, [free])
        server.start()
        server.drain(0.0)


def test_no_port_is_shared(kind: str) -> None:
    with serving(kind) as (_, address), socket.socket() as second:
        second.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        with pytest.raises(OSError, match="in use"):
            second.bind(("127.0.0.1", int(address.rpartition(":")[2])))


def test_a_port_can_be_listened_on_again_at_once(kind: str) -> None:
    server = server_of(kind, echo, ["127.0.0.1:0"])
    address = f"127.0.0.1:{server.start()}"
    for _ in range(5):
        with RawConnection(address) as client:
            # Connections that the server closes wait in TIME_WAIT on its side.
            assert client.ask(b"x").payload == b"x"
            server.drain(0.0, quiet_s=0.0)
            server = server_of(kind, echo, [address])
            server.start()
    assert call(address) == b"x"
    server.drain(0.0)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.2", "[::1]"])
def test_a_server_listens_on_loopback_by_each_of_its_names(kind: str, host: str) -> None:
    try:
        family = socket.AF_INET6 if "[" in host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.bind((host.strip("[]"), 0))
    except OSError:
        pytest.skip(f"this machine has no {host}")
    server = server_of(kind, echo, [f"{host}:0"])
    port = server.start()
    for _, _, _, _, where in socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM):
        found = f"[{where[0]}]" if ":" in str(where[0]) else where[0]
        assert call(f"{found}:{port}") == b"x"
    server.drain(0.0)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "127.0.0.1:http", "127.0.0.1:70000", "no-such-host.invalid:0", ":80", "192.0.2.1:0", ""],
)
def test_an_address_that_cannot_be_listened_on_is_quoted_in_one_line(kind: str, address: str) -> None:
    with pytest.raises(GrpcListenError) as refused:
        server_of(kind, echo, [address]).start()
    assert repr(address) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_server_answers_on_a_unix_socket(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "check.sock"
    # A killed process leaves its socket file behind.
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    server = server_of(kind, echo, [f"unix:{path}", "127.0.0.1:0"])
    assert server.start() > 0
    assert call(f"unix:{path}") == b"x"
    with RawConnection(f"unix:{path}") as client:
        assert client.ask(b"y").payload == b"y"
    with pytest.raises(GrpcListenError, match="another process listens there"):
        server_of(kind, echo, [f"unix:{path}"]).start()
    assert call(f"unix:{path}") == b"x"
    assert server.drain(0.0, quiet_s=0.0)
    assert not path.exists()

    path.write_text("a file")
    with pytest.raises(GrpcListenError, match="not a socket"):
        server_of(kind, echo, [f"unix:{path}"]).start()
    assert path.read_text() == "a file"
    with pytest.raises(GrpcListenError, match="directory does not exist"):
        server_of(kind, echo, [f"unix:{tmp_path}/none/x.sock"]).start()
    with pytest.raises(GrpcListenError, match="too long"):
        server_of(kind, echo, [f"unix:{tmp_path}/{'x' * 150}"]).start()


def test_only_unix_sockets_have_no_port(kind: str, tmp_path: Path) -> None:
    server = server_of(kind, echo, [f"unix:{tmp_path}/check.sock"])
    assert server.start() == 0
    server.drain(0.0)
