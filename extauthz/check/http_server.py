"""The HTTP transport: every request that arrives here is a check, whatever its method and path.

Nothing else may ever be answered on this listener: Envoy takes any 200 for an allow. INVARIANT: no answer is
5xx, not even for what the HTTP library refuses or for a bug, because Envoy would apply `failure_mode_allow`.
"""

import asyncio
import math
import socket
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from extauthz.check.bounds import OVERLOADED, is_overloaded
from extauthz.check.check_threads import CheckThreads
from extauthz.check.extauthz_check_pb2 import AttributeContext, HeaderMap, HeaderValue, HttpRequest, Request
from extauthz.check.http_response import HttpAnswer
from extauthz.domain.reasons import Reason
from extauthz.domain.request import Malformed

if TYPE_CHECKING:
    from concurrent.futures import Future

MAX_HEADER_BYTES: Final = 64 * 1024
"""Of the request line and of each header; Envoy itself takes 60 KiB of headers in all by default."""

_MAX_HEADERS: Final = 2000
THREADS: Final = 4
_STOP_S: Final = 1.0
_LISTEN_BACKLOG: Final = 1024

_log = structlog.get_logger("extauthz.check")

_WITHOUT_PREFIX: Final = Malformed(
    Reason.REQUEST_MALFORMED, "the path of the check does not begin with HTTP_AUTHZ_PATH_PREFIX"
)
_BROKEN: Final = Malformed(Reason.INTERNAL_ERROR, "something broke on the way to an answer")

AnswerHttp = Callable[[AttributeContext], HttpAnswer]
RefuseHttp = Callable[[Malformed], HttpAnswer]


class HttpAuthzServer:
    """The HTTP server of one worker; it is started and stopped on an event loop, and answers in threads."""

    def __init__(self, answer: AnswerHttp, refuse: RefuseHttp, *, path_prefix: str = "") -> None:
        """Host the given functions: `answer` may block, `refuse` may not.

        `path_prefix` precedes the path of each request that a check is about (Envoy's `path_prefix`).
        """
        self._prefix = path_prefix.encode("ascii")
        self._answer = answer
        self._refuse = refuse
        # No message is waited for here: the body of a request is not read.
        self._threads = CheckThreads(THREADS, receive_s=math.inf)
        self._lock = threading.Lock()
        self._unanswered = 0
        self._moved_at = time.monotonic()
        self._runner: web.ServerRunner | None = None

    async def start(self, listener: socket.socket) -> None:
        """Answer on a listening socket, which the server then owns."""
        server = _Server(
            self._handle,
            self._refuse,
            access_log=None,
            max_line_size=MAX_HEADER_BYTES,
            max_field_size=MAX_HEADER_BYTES,
            max_headers=_MAX_HEADERS,
            lingering_time=0.0,
            # A body is not read, so that no coding of it is unknown to us or unpacks to gigabytes.
            auto_decompress=False,
        )
        self._runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=_STOP_S)
        await self._runner.setup()
        await web.SockSite(self._runner, listener, backlog=_LISTEN_BACKLOG).start()

    def while_waiting(self) -> AbstractContextManager[None]:
        """Return what a check enters while it waits for another server; see `CheckThreads`."""
        return self._threads.waiting_elsewhere()

    def stalled_s(self) -> float:
        """Return for how many seconds requests have waited while none was answered."""
        with self._lock:
            return time.monotonic() - self._moved_at if self._unanswered else 0.0

    async def stop(self) -> None:
        """Stop listening, give requests under way a moment, and end."""
        if self._runner is not None:
            await self._runner.cleanup()
        self._threads.shutdown(wait=False)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            attributes = attributes_of(request, self._prefix)
            if isinstance(attributes, Malformed):
                answer = self._refuse(attributes)
            else:
                answer = await asyncio.wrap_future(self._answered(attributes))
        except Exception:  # noqa: BLE001  # INVARIANT: never a 5xx
            _log.exception("check_failed")
            answer = self._refuse(_BROKEN)
        response = _response(answer)
        # Nothing behind this message is read: a body decides nothing, and is not waited for.
        if request.body_exists:
            response.force_close()
        return response

    def _answered(self, attributes: AttributeContext) -> "Future[HttpAnswer]":
        """Answer in a thread; the call counts until it ends, also after its client has gone."""
        with self._lock:
            if not self._unanswered:
                self._moved_at = time.monotonic()
            self._unanswered += 1
        answer = self._threads.submit(self._answer_in_time, time.monotonic(), attributes)
        answer.add_done_callback(self._finished)
        return answer

    def _answer_in_time(self, arrived_at: float, attributes: AttributeContext) -> HttpAnswer:
        if is_overloaded(time.monotonic() - arrived_at, None):
            return self._refuse(OVERLOADED)
        return self._answer(attributes)

    def _finished(self, _: "Future[HttpAnswer]") -> None:
        with self._lock:
            self._unanswered -= 1
            self._moved_at = time.monotonic()


def attributes_of(request: web.BaseRequest, prefix: bytes = b"") -> AttributeContext | Malformed:
    """Return what Envoy asks about, unchanged: the request line and the headers as they stand on the wire.

    Envoy puts its `path_prefix` before the path, octet by octet. What follows `prefix` here is the path; a
    check without it, or with a rest that is not a path, comes from another configuration and is refused.
    Whether Envoy joined or replaced any of it before (`encode_raw_headers`) cannot be seen here.
    The peer and the context stay empty: HTTP ext_authz does not send them, and headers cannot replace them.
    """
    path = request.raw_path.encode("utf-8", "surrogateescape")
    if prefix:
        if not path.startswith(prefix + b"/"):
            return _WITHOUT_PREFIX
        path = path[len(prefix) :]
    names_and_values = request.raw_headers
    hosts = [value for name, value in names_and_values if name.lower() == b"host"]
    return AttributeContext(
        request=Request(
            http=HttpRequest(
                method=request.method.encode("utf-8", "surrogateescape"),
                path=path,
                host=b",".join(hosts),
                header_map=HeaderMap(
                    headers=[
                        HeaderValue(key=name.decode("latin-1"), raw_value=value).SerializeToString()
                        for name, value in names_and_values
                    ]
                ),
            )
        )
    )


def _response(answer: HttpAnswer) -> web.Response:
    return web.Response(status=answer.status, headers=dict(answer.headers), body=answer.body)


class _Protocol(RequestHandler):
    """aiohttp's protocol, with what it refuses by itself turned into denials that are logged."""

    __slots__ = ("_refuse",)

    def __init__(self, manager: "_Server", refuse: RefuseHttp, **options: Any) -> None:
        super().__init__(manager, **options)
        self._refuse = refuse

    def handle_error(
        self,
        request: web.BaseRequest,  # noqa: ARG002
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002
    ) -> web.StreamResponse:
        """Deny what cannot be answered, and close the connection as aiohttp does."""
        if status < 500:
            refused = Malformed(Reason.REQUEST_MALFORMED, "what arrived is not an HTTP request")
        else:
            refused = _BROKEN
            _log.error("check_failed", exc_info=exc)
        response = _response(self._refuse(refused))
        response.force_close()
        return response


class _Server(web.Server):
    def __init__(self, handler: Callable[[web.BaseRequest], Any], refuse: RefuseHttp, **options: Any) -> None:
        super().__init__(handler, **options)
        self._refuse = refuse
        self._options = options

    def __call__(self) -> RequestHandler:
        return _Protocol(self, self._refuse, loop=asyncio.get_running_loop(), **self._options)
