"""How long a connection may take to say what it wants, how many there may be, and what is said to gibberish.

uvicorn closes what is idle after an answer, but waits for ever for the first request and for the end of a
request's head: whoever opens connections and says nothing would hold every descriptor of the process, and
the probes that ask whether it lives would find it dead.
"""

import asyncio
from typing import Any, Final

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from extauthz.admin.problems import MEDIA_TYPE, malformed
from extauthz.storage.encoding import encode_json

HEAD_WAIT_S: Final = 10.0
"""From the connection, or from the answer before, to the end of a request's head."""

MAX_CONNECTIONS: Final = 512
"""Of one listener; half of the 1,024 descriptors that a process has where nobody raised that."""

_NOT_HTTP: Final = encode_json(malformed("this is not HTTP/1.1").document()).encode()
_NOT_HTTP_ANSWER: Final = (
    b"HTTP/1.1 400 Bad Request\r\n"
    b"content-type: %b\r\ncontent-length: %d\r\ncache-control: no-store\r\nconnection: close\r\n\r\n%b"
) % (MEDIA_TYPE.encode(), len(_NOT_HTTP), _NOT_HTTP)


class PatientProtocol(H11Protocol):
    """HTTP/1.1 that hangs up on who asks nothing, and on who would be one too many."""

    head_wait_s = HEAD_WAIT_S
    max_connections = MAX_CONNECTIONS

    def __init__(self, *args: Any, **options: Any) -> None:
        """Take what uvicorn gives to its protocols."""
        super().__init__(*args, **options)
        self.app = _of_one_length(self.app)
        self._hang_up: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Wait for the first request, if there is room for one more."""
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            transport.abort()
            return
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Wait for the next request, of which not one more byte need be said."""
        self._await_head()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # uvicorn's text says no more
        """Answer what is no HTTP as everything else that is refused; but not into another answer."""
        if not self._is_answering():
            self.transport.write(_NOT_HTTP_ANSWER)
        self.transport.close()

    def _is_answering(self) -> bool:
        asked = self.cycle is not None  # uvicorn's annotation leaves out that there is none at first
        return asked and self.cycle.response_started and not self.cycle.response_complete

    def _await_head(self) -> None:
        self._cancel()
        self._hang_up = self.loop.call_later(self.head_wait_s, self._close_unless_asked)

    def _cancel(self) -> None:
        if self._hang_up is not None:
            self._hang_up.cancel()
            self._hang_up = None

    def _close_unless_asked(self) -> None:
        self._hang_up = None
        # A request that is being answered has its own limits, and comes back here when it is.
        asked = self.cycle is not None  # uvicorn's annotation leaves out that there is none at first
        if not asked or self.cycle.response_complete:
            self.transport.abort()


def _of_one_length(app: ASGIApp) -> ASGIApp:
    """Refuse requests that say in two ways where they end (RFC 9112 6.1), and what comes behind them.

    A proxy may have taken the other way, and what it passed on as this one's body were the next request.
    """
    refusal = Response(
        _NOT_HTTP, 400, {"content-type": MEDIA_TYPE, "cache-control": "no-store", "connection": "close"}
    )

    async def judged(scope: Scope, receive: Receive, send: Send) -> None:
        names = {name for name, _ in scope["headers"]} if scope["type"] == "http" else set()
        ambiguous = {b"content-length", b"transfer-encoding"} <= names
        await (refusal if ambiguous else app)(scope, receive, send)

    return judged
