"""Counts, times and traces every request of the REST API: a middleware around the whole application.

A route is named by its template, never by its path: the number of series is bounded by the code, not by what
clients send. A request that no route takes has the route `none`.
"""

import time
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from extauthz.domain.trace_context import TraceParent, read_traceparent
from extauthz.telemetry.counts import Counts
from extauthz.telemetry.spans import SpanKind, Tracing, running

NO_ROUTE: Final = "none"
OTHER_METHOD: Final = "_OTHER"
"""OpenTelemetry's name of every method that is not one of HTTP's."""
_METHODS: Final = frozenset(("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"))


class Observation:
    """The middleware. Without `tracing` nothing is traced."""

    def __init__(self, app: ASGIApp, counts: Counts, tracing: Tracing | None = None) -> None:
        """Wrap an application."""
        self._app = app
        self._counts = counts
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method = scope["method"] if scope["method"] in _METHODS else OTHER_METHOD
        # Without an answer the application fails, and the server answers 500.
        status = 500

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        span = None
        if self._tracing is not None:
            attributes = {"http.request.method": method, "url.scheme": scope["scheme"]}
            span = self._tracing.begin(method, SpanKind.SERVER, attributes, _parent(scope))
        began = time.perf_counter()
        try:
            with running(span):
                try:
                    await self._app(scope, receive, observed)
                finally:
                    # The router writes what it found into the scope.
                    route: str = getattr(scope.get("route"), "path", NO_ROUTE)
                    if span is not None:
                        named = "HTTP" if method == OTHER_METHOD else method
                        span.name = named if route == NO_ROUTE else f"{named} {route}"
                        span.attributes["http.route"] = route
                        span.attributes["http.response.status_code"] = status
                        span.error = str(status) if status >= 500 else None
        finally:
            self._counts.rest_answered(method, route, status, int((time.perf_counter() - began) * 1e6))


def _parent(scope: Scope) -> TraceParent | None:
    found = [value for name, value in scope["headers"] if name == b"traceparent"]
    return read_traceparent(found[0]) if len(found) == 1 else None
