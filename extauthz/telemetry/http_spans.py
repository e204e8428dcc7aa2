"""Spans of the HTTP requests that this process makes: of identity providers, and of its control plane.

Input: `Tracing`. Output: hooks for an aiohttp session. A span has no header, no query and no body.
"""

from types import SimpleNamespace

import aiohttp
from yarl import URL

from extauthz.telemetry.spans import OpenSpan, SpanAttribute, SpanKind, Tracing


def trace_configs(tracing: Tracing | None, *, propagates: bool = False) -> list[aiohttp.TraceConfig]:
    """Return the hooks of a session; none without tracing.

    `propagates`: the server gets `traceparent`. An identity provider, which is another party's, does not.
    """
    if tracing is None:
        return []

    async def started(
        _: aiohttp.ClientSession, context: SimpleNamespace, request: aiohttp.TraceRequestStartParams
    ) -> None:
        context.span = tracing.begin(
            request.method, SpanKind.CLIENT, _attributes(request.method, request.url)
        )
        if context.span is not None and propagates:
            request.headers["traceparent"] = context.span.traceparent

    async def ended(
        _: aiohttp.ClientSession, context: SimpleNamespace, request: aiohttp.TraceRequestEndParams
    ) -> None:
        span: OpenSpan | None = context.span
        if span is not None:
            status = request.response.status
            span.attributes["http.response.status_code"] = status
            span.error = str(status) if status >= 400 else None
            span.end()

    async def failed(
        _: aiohttp.ClientSession, context: SimpleNamespace, request: aiohttp.TraceRequestExceptionParams
    ) -> None:
        span: OpenSpan | None = context.span
        if span is not None:
            span.error = span.attributes["error.type"] = type(request.exception).__name__
            span.end()

    config = aiohttp.TraceConfig()
    config.on_request_start.append(started)
    config.on_request_end.append(ended)
    config.on_request_exception.append(failed)
    return [config]


def _attributes(method: str, url: URL) -> dict[str, SpanAttribute]:
    return {
        "http.request.method": method,
        "url.full": str(url.with_user(None).with_query(None).with_fragment(None)),
        "server.address": url.host or "",
        "server.port": url.port or 0,
    }
