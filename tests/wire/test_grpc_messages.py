"""Messages that are too large, compressed, unfinished or none, and a table of the servers' differences.

Most go through a client that writes its own HTTP/2, so that what is broken arrives as it was sent.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from extauthz.check.bounds import MAX_MESSAGE_BYTES
from tests.builders import check_request, read_answer
from tests.real_service import real_service
from tests.wire.grpc_servers import (
    BOUND,
    CANCELLED,
    EXHAUSTED,
    INTERNAL,
    OK,
    UNIMPLEMENTED,
    call,
    serving,
)
from tests.wire.raw_grpc import CHECK_PATH, RawConnection, message

pytestmark = pytest.mark.timeout(90)


class Accepted(NamedTuple):
    """What each server answers to input that Envoy never sends, and why it may."""

    grpcio: int | None
    native: int | None
    why: str
    reaches: tuple[str, ...] = ("grpcio",)
    """The servers that pass the call to the service: as an empty message, denied and logged."""


NO_SUCH_MESSAGE: Final = (
    "the front finds the message broken and answers by itself; Envoy sends exactly one message a call, "
    "and only processes of the same host reach the front"
)
NO_COMPRESSION: Final = (
    "grpcio expands all of a message before it looks at the size, so its server reads no compressed one "
    "(UNIMPLEMENTED, by compression.md of gRPC); Envoy compresses no check"
)
DIFFERENCES: Final[dict[str, tuple[Accepted, Callable[[RawConnection], int]]]] = {}


def difference(accepted: Accepted) -> Callable[[Callable[[RawConnection], int]], None]:
    def add(send: Callable[[RawConnection], int]) -> None:
        DIFFERENCES[send.__name__] = accepted, send

    return add


@difference(Accepted(OK, INTERNAL, NO_SUCH_MESSAGE))
def without_a_message(client: RawConnection) -> int:
    return client.open(end=True)


@difference(Accepted(OK, INTERNAL, NO_SUCH_MESSAGE))
def ended_within_a_message(client: RawConnection) -> int:
    stream = client.open()
    client.send(stream, message(b"x" * 50)[:20])
    return stream


@difference(
    Accepted(CANCELLED, None, "the front waits as long as the connection lives; it holds no thread for that")
)
def never_finished(client: RawConnection) -> int:
    stream = client.open()
    client.send(stream, message(b"x" * 50)[:20], end=False)
    return stream


@difference(
    Accepted(
        EXHAUSTED,
        OK,
        "gRPC refuses before it has all of it; the front has no bound, so the server denies: a CheckResponse "
        "is the better answer, which Envoy's failure_mode_allow does not turn around",
        ("grpcio", "native"),
    )
)
def too_large(client: RawConnection) -> int:
    stream = client.open()
    client.send(stream, message(b"x" * (2 * BOUND)))
    return stream


@difference(
    Accepted(
        UNIMPLEMENTED,
        OK,
        f"{NO_COMPRESSION}; the front has no bound, and expands it: only processes of this host call it",
        ("grpcio", "native"),
    )
)
def compressed_and_too_large(client: RawConnection) -> int:
    stream = client.open(CHECK_PATH, ("grpc-encoding", "gzip"))
    client.send(stream, message(b"x" * 20_000_000, compressed=True))
    return stream


@difference(Accepted(UNIMPLEMENTED, OK, NO_COMPRESSION, ("grpcio", "native")))
def compressed(client: RawConnection) -> int:
    stream = client.open(CHECK_PATH, ("grpc-encoding", "gzip"))
    client.send(stream, message(check_request(), compressed=True))
    return stream


@difference(Accepted(UNIMPLEMENTED, INTERNAL, NO_COMPRESSION))
def compressed_badly(client: RawConnection) -> int:
    stream = client.open(CHECK_PATH, ("grpc-encoding", "gzip"))
    client.send(stream, b"\x01\x00\x00\x00\x05hello")
    return stream


@difference(Accepted(INTERNAL, INTERNAL, NO_SUCH_MESSAGE))
def compressed_by_nothing(client: RawConnection) -> int:
    stream = client.open()
    client.send(stream, message(b"x" * 100, compressed=True))
    return stream


@difference(Accepted(OK, INTERNAL, NO_SUCH_MESSAGE))
def with_an_unknown_flag(client: RawConnection) -> int:
    stream = client.open()
    client.send(stream, b"\x07\x00\x00\x00\x01x")
    return stream


@pytest.mark.parametrize("name", DIFFERENCES)
def test_a_message_that_the_two_servers_read_differently_has_its_known_answer(
    kind: str, name: str, tmp_path: Path
) -> None:
    accepted, send = DIFFERENCES[name]
    expected = accepted.grpcio if kind == "grpcio" else accepted.native
    with real_service(tmp_path, {}) as running:
        answer = running.service.answer
        with serving(kind, answer, max_receive_bytes=BOUND) as (_, address):
            with RawConnection(address) as client:
                stream = send(client)
                if expected is None:
                    with pytest.raises(TimeoutError):
                        client.until(lambda: client.answers[stream].over, 1.0)
                else:
                    found = client.answer(stream)
                    assert found.status == expected
                    if expected == OK:
                        assert not read_answer(found.payload).allowed
                # Neither this connection nor the server has suffered.
                assert not read_answer(client.ask(b"").payload).allowed
            assert call(address, b"") != b""
        reached = kind in accepted.reaches
        decisions = running.decisions()
    assert len(decisions) == 2 + reached
    assert {line["decision"] for line in decisions} == {"deny"}


def test_every_accepted_difference_has_its_reason() -> None:
    assert all(len(accepted.why) > 40 for accepted, _ in DIFFERENCES.values())


def test_the_first_of_two_messages_counts(kind: str) -> None:
    with serving(kind) as (_, address), RawConnection(address) as client:
        stream = client.open()
        client.send(stream, message(b"x") + message(b"y"))
        assert client.answer(stream).payload == b"x"


def test_messages_up_to_the_bound_are_answered(kind: str) -> None:
    with serving(kind, lambda raw, _left: str(len(raw)).encode()) as (_, address):
        for size in (0, 100_000, MAX_MESSAGE_BYTES):
            assert call(address, b"m" * size) == str(size).encode()


def test_a_message_above_the_bound_is_a_denial_and_is_logged(kind: str, tmp_path: Path) -> None:
    """In a CheckResponse, where gRPC itself would answer an error: failure_mode_allow does not apply."""
    padding = {"x-long": "v" * MAX_MESSAGE_BYTES}
    with real_service(tmp_path, {}) as running:
        with serving(kind, running.service.answer) as (_, address):
            answer = read_answer(call(address, check_request(headers=padding)))
        (line,) = running.decisions()
    assert not answer.allowed
    assert (line["decision"], line["reason"]) == ("deny", "request_malformed")


def test_unfinished_calls_do_not_slow_others(kind: str) -> None:
    with serving(kind) as (_, address), RawConnection(address) as slow:
        for _ in range(60):
            stream = slow.open()
            slow.send(stream, message(b"x" * 50)[:20], end=False)
        assert [call(address, b"y") for _ in range(3)] == [b"y"] * 3
