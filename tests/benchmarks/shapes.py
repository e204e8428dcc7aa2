"""The ways to ask a measured server, and the messages of a run."""

from typing import Final, NamedTuple

from tests.benchmarks.check_requests import HOST, Caller, headers, message, path
from tests.benchmarks.http1_client import request

DIFFERENT: Final = 1_000
FIRST_SEEN: Final = 800
"""Tokens a round that the server has not seen."""

OURS: Final = ("native", "grpcio")
WHOLE: Final = (*OURS, "go_peer")
"""Servers that check; the others are empty."""


class Shape(NamedTuple):
    """One way to ask: connections, calls at once on each, which servers, and which requests."""

    name: str
    connections: int
    calls: int
    servers: tuple[str, ...] | None = None
    """None: all."""
    requests: str = "plain"


SHAPES: Final = (
    Shape("4x1", 4, 1),
    Shape("8x16", 8, 16),
    Shape("alone", 1, 1),
    Shape("4x1_raw_headers", 4, 1, WHOLE, "raw"),
    Shape("4x1_first_seen_tokens", 4, 1, WHOLE, "first_seen"),
)


class Requests:
    """The messages of the run, made before it."""

    def __init__(self, caller: Caller, rounds: int) -> None:
        """Sign all tokens."""
        self.token = caller.token()
        self.plain = [message(self.token, number) for number in range(DIFFERENT)]
        self.raw = [message(self.token, number, raw=True) for number in range(DIFFERENT)]
        self.first_seen = [
            [message(caller.token(number=1 + turn * FIRST_SEEN + each), each) for each in range(FIRST_SEEN)]
            for turn in range(rounds)
        ]
        self.forged = message(_forged(self.token), 0)
        self.without_rule = message(caller.token("guest"), 0)
        self.http = [request(path(each), HOST, headers(self.token, each)) for each in range(DIFFERENT)]
        self.http_without_token = request(path(0), HOST, {"accept": "*/*"})

    def of(self, shape: Shape, turn: int) -> list[bytes]:
        """Return the messages of a shape in a round."""
        if shape.requests == "first_seen":
            return self.first_seen[turn]
        return self.raw if shape.requests == "raw" else self.plain


def _forged(token: str) -> str:
    """Return the token with another signature."""
    signed, _, signature = token.rpartition(".")
    return f"{signed}.{signature[::-1]}"
