"""A closed loop of calls on several connections, in one thread, that judges every answer.

An answer that is not right, a connection that ends and a server that stays silent end the run.
"""

import gc
import select
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, cycle, islice
from typing import Final, NamedTuple, Protocol

from tests.benchmarks.measuring import percentile

SILENCE_S: Final = 10.0
"""A server that answers nothing for so long has failed."""

_OVERLOADED: Final = b"overloaded"


class LoadError(Exception):
    """The server closed a connection, reset a call, stayed silent, or answered wrongly."""


class StarvedError(LoadError):
    """The server denied a check because it had waited for a second: other processes have its core."""


class Answer(NamedTuple):
    """What a call was answered: `grpc-status` and the message, or the HTTP status and the body."""

    status: str | None
    message: bytes


class Client(Protocol):
    """One connection; `finished` has microseconds and answer of calls that ended, until they are taken."""

    finished: list[tuple[float, Answer]]

    def fileno(self) -> int:
        """Return the descriptor to wait for."""

    def send(self, messages: Sequence[bytes]) -> None:
        """Begin a call for each message."""

    def receive(self) -> None:
        """Read what has arrived."""

    def close(self) -> None:
        """Close the connection."""


@dataclass
class Measured:
    """One round of load on one server."""

    answers: int
    seconds: float
    cpu_us: float
    """CPU of the server for each answer."""
    client_us: float
    """CPU of this client for each answer; what takes the server less is bounded by it."""
    taken_us: list[float] = field(repr=False)

    def figures(self) -> dict[str, float]:
        """Return the numbers of the round."""
        return {
            "cpu_us": self.cpu_us,
            "requests_per_s": self.answers / self.seconds,
            "p50_us": percentile(self.taken_us, 0.5),
            "p99_us": percentile(self.taken_us, 0.99),
            "client_us": self.client_us,
        }


def answers_to(connect: Callable[[], Client], messages: Sequence[bytes]) -> list[Answer]:
    """Return the answers to some messages, sent one after the other on one connection."""
    found: list[Answer] = []
    client = connect()
    try:
        for message in messages:
            client.send([message])
            while not client.finished:
                client.receive()
            found.append(client.finished.pop()[1])
    finally:
        client.close()
    return found


def load(
    connect: Callable[[], Client],
    messages: Sequence[bytes],
    *,
    connections: int,
    calls: int,
    right: Callable[[Answer], bool],
    cpu_us: Callable[[], float],
    seconds: float,
    warm: Sequence[bytes],
    once: bool = False,
) -> Measured:
    """Keep a number of calls open on each connection for a time; `once`: until each message was sent once.

    The answers to `warm` are judged and not counted.

    Raises:
        StarvedError: a check was denied because it had waited too long.
        LoadError: an answer is not `right`, or the server failed.
    """
    coming: Iterator[bytes] = chain(warm, messages if once else cycle(messages))
    clients = [connect() for _ in range(connections)]
    by_descriptor = {client.fileno(): client for client in clients}
    taken: list[float] = []
    warming, under_way = len(warm), 0
    began = cpu_before = client_before = 0.0
    until = float("inf")
    gc.collect()
    gc.disable()
    try:
        with select.epoll() as poll:
            for descriptor, client in by_descriptor.items():
                poll.register(descriptor, select.EPOLLIN)
                under_way += _begin(client, coming, calls)
            while under_way:
                ready = poll.poll(SILENCE_S)
                if not ready:
                    raise LoadError(f"no answer within {SILENCE_S:.0f} s")
                for descriptor, _ in ready:
                    client = by_descriptor[descriptor]
                    client.receive()
                    finished, client.finished = client.finished, []
                    for micros, answer in finished:
                        if not right(answer):
                            if _OVERLOADED in answer.message:
                                raise StarvedError(f"an answer is {_OVERLOADED.decode()}")
                            raise LoadError(f"a wrong answer: {answer}")
                        taken.append(micros)
                    under_way -= len(finished)
                    now = time.perf_counter()
                    if not began and len(taken) >= warming:
                        taken.clear()
                        began, until = now, now + seconds
                        cpu_before, client_before = cpu_us(), _own_cpu_us()
                    if now < until:
                        under_way += _begin(client, coming, len(finished))
        ended = time.perf_counter()
        cpu, client_cpu = cpu_us() - cpu_before, _own_cpu_us() - client_before
    finally:
        gc.enable()
        for client in clients:
            client.close()
    if not taken:
        raise LoadError("no answer was counted")
    return Measured(len(taken), ended - began, cpu / len(taken), client_cpu / len(taken), taken)


def _begin(client: Client, coming: Iterator[bytes], calls: int) -> int:
    messages = list(islice(coming, calls))
    if messages:
        client.send(messages)
    return len(messages)


def _own_cpu_us() -> float:
    return time.process_time_ns() / 1000
