"""Limits of the gRPC servers: the size of a message, and how long a check may wait for its turn."""

from typing import Final

from extauthz.domain.reasons import Reason
from extauthz.domain.request import Malformed

MAX_MESSAGE_BYTES: Final = 1024 * 1024
"""Of one CheckRequest; a larger one is denied as one without content.

Envoy as shipped takes request heads of 60 KiB, and sends path and host a second time. The rest is room for
proxies that take heads of up to 480 KiB, or send some of the body (`with_request_body`); doctor says where
more is sent. Receiving such a message costs less than ten usual checks do.
"""

MAX_METADATA_BYTES: Final = 1024 * 1024
"""Of a call's metadata. A tracing proxy copies `tracestate` and `baggage` into it as the client wrote them:
gRPC's own 8 and 16 KiB would let a client turn its check into an RPC error."""

MAX_WAIT_S: Final = 1.0
"""How long a check may wait for its turn, whatever its caller's deadline."""

EXPIRED: Final = Malformed(Reason.DEADLINE, "the deadline of the check passed before its turn")
OVERLOADED: Final = Malformed(Reason.OVERLOADED, "the check has waited too long for its turn")


def is_overloaded(waited_s: float, time_left: float | None) -> bool:
    """Tell whether a check that has waited `waited_s` for its turn is denied as `overloaded`.

    It is after two thirds of the time that its caller set, and after a second in any case: the answers to
    the checks behind it would come too late. Without any time left it is denied for its deadline.
    """
    if time_left is None:
        return waited_s > MAX_WAIT_S
    return time_left > 0 and waited_s > min(MAX_WAIT_S, 2 * time_left)
