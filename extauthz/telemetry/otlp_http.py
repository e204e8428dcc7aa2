"""OTLP over HTTP with protobuf (opentelemetry.io/docs/specs/otlp, OTLP/HTTP): one connection per request.

A request is sent every few seconds, so a kept connection would save little, and could be closed by the server
just when it is used again. Certificates are read again for each, so that replaced ones are used.
"""

from __future__ import annotations

import asyncio
import gzip
import os
import threading
from typing import Final

import aiohttp

from extauthz.telemetry.otlp import (
    MAX_ANSWER_BYTES,
    USER_AGENT,
    NotSent,
    OtlpFileError,
    OtlpTarget,
    Sent,
    shortened,
    taken,
    tls_context,
)

_RETRYABLE: Final = frozenset({429, 502, 503, 504})
_MAX_RETRY_AFTER_S: Final = 3600
_JSON: Final = "application/json"


class HttpSender:
    """A sender; its requests run on an event loop of the thread that sends."""

    def __init__(self, target: OtlpTarget) -> None:
        """Take the target; nothing is opened yet."""
        self._target = target
        self._lock = threading.Lock()
        self._sending: tuple[asyncio.AbstractEventLoop, asyncio.Task[Sent | NotSent]] | None = None
        self._closed = False

    def send(self, request: bytes, within_s: float) -> Sent | NotSent:
        """Post the octets of a request. Never raises."""
        try:
            return asyncio.run(self._send(request, within_s))
        except asyncio.CancelledError:
            return NotSent("the process ends", again=False)
        except OtlpFileError as error:
            return NotSent(str(error), again=True)
        except Exception as error:  # noqa: BLE001  # a fault here must not end the thread that exports
            return NotSent(f"{type(error).__name__}: {shortened(str(error), self._target)}", again=True)

    def close(self) -> None:
        """End a request that is under way; thread-safe."""
        with self._lock:
            self._closed = True
            if self._sending is not None:
                loop, task = self._sending
                loop.call_soon_threadsafe(task.cancel)

    async def _send(self, request: bytes, within_s: float) -> Sent | NotSent:
        task = asyncio.current_task()
        assert task is not None
        with self._lock:
            if self._closed:
                return NotSent("the process ends", again=False)
            self._sending = asyncio.get_running_loop(), task
        try:
            async with asyncio.timeout(within_s):
                return await self._posted(request)
        except TimeoutError:
            return NotSent(f"no complete answer within {within_s:.3g} s", again=True)
        except (aiohttp.ClientError, OSError) as error:
            return NotSent(_cause(error), again=True)
        finally:
            with self._lock:
                self._sending = None

    async def _posted(self, request: bytes) -> Sent | NotSent:
        target = self._target
        headers = {"User-Agent": USER_AGENT, **dict(target.headers), "Content-Type": "application/x-protobuf"}
        if target.gzip:
            request = gzip.compress(request, compresslevel=6)
            headers["Content-Encoding"] = "gzip"
        connector = aiohttp.TCPConnector(ssl=tls_context(target) or True, force_close=True)
        async with (
            aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                auto_decompress=False,
            ) as session,
            session.post(
                target.url,
                data=request,
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=None),
            ) as response,
        ):
            status = response.status
            if not 200 <= status < 300:  # RFC 9110 15.3
                return NotSent(
                    f"the collector answered {status}",
                    again=status in _RETRYABLE,
                    after_s=_retry_after(response.headers.get("Retry-After")),
                )
            octets = bytearray()
            async for chunk in response.content.iter_any():
                octets += chunk
                if len(octets) > MAX_ANSWER_BYTES:
                    return _unconfirmed(f"of more than {MAX_ANSWER_BYTES} bytes")
            return _confirmed(target, response.content_type, bytes(octets))


def _confirmed(target: OtlpTarget, content_type: str, octets: bytes) -> Sent | NotSent:
    """Return what an answer with a status of success says.

    INVARIANT: the page of another server, such as that of a login in front of a collector, confirms nothing.
    """
    if not octets:
        return Sent()
    try:
        if content_type.startswith("text/"):
            return _unconfirmed(f"of type {shortened(content_type, target)}")
        return taken(target, octets, is_json=content_type == _JSON)
    except ValueError:
        return _unconfirmed("that is none of OTLP")


def _unconfirmed(found: str) -> NotSent:
    return NotSent(f"success was answered with a body {found}: a collector does not do that", again=True)


def _retry_after(value: str | None) -> float | None:
    if value is None or not (value.isascii() and value.isdigit() and len(value) < 6):
        return None
    return float(min(int(value), _MAX_RETRY_AFTER_S))


def _cause(error: Exception) -> str:
    # The text of an error may quote the answer or a header; its type and the system's text do not.
    cause = error.__cause__ or error
    if isinstance(error, aiohttp.ClientResponseError) and not isinstance(cause, OSError):
        return "the answer is not HTTP"
    if isinstance(cause, aiohttp.ClientConnectorError):
        cause = cause.os_error
    # asyncio's text of a refused connection is its own.
    number = cause.errno if isinstance(cause, OSError) else None
    words = os.strerror(number) if number is not None and number > 0 else None
    return f"{type(cause).__name__}: {words}" if words else type(cause).__name__
