"""Performs the steps of `exchange.py` with httpcore2, in tasks (`AsyncDriver`) or threads (`BlockingDriver`).

Both keep connections to be used again, bound each request in time as a whole, follow no redirect and take no
proxy from the environment.
"""

import asyncio
import functools
import os
import ssl
import threading
from pathlib import Path
from typing import Any, Final, TypeVar, assert_never
from urllib.parse import quote, urlsplit

import httpcore2

from extauthz_client import timing
from extauthz_client.deadlines import Deadline, DeadlineBackend
from extauthz_client.exchange import ConnectionFailed, Exclusive, HttpReply, HttpRequest, Pause, Step, Steps

_Result = TypeVar("_Result")

# Less than uvicorn's 5 s: a connection that the server is about to close is never taken for a write.
_KEEP_ALIVE_S: Final = 4.0
_MOST_CONNECTIONS: Final = 100
_TIMED_OUT: Final = "TimeoutError: no answer in {} s"
_FAILURES: Final = (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.UnsupportedProtocol)


class AsyncDriver:
    """Performs steps for the tasks of one event loop."""

    def __init__(self, *, timeout_s: float, ca_file: str | Path | None) -> None:
        """Take the seconds of one request, and a file of CAs that are trusted in addition to the system's.

        Raises:
            ValueError: the file holds no certificate that can be read.
        """
        self._timeout_s = timeout_s
        self._trusted = _Trusted(ca_file)
        self._pools: dict[bytes, httpcore2.AsyncConnectionPool] | None = None
        self._users = 0
        self._lock = asyncio.Lock()

    @property
    def is_open(self) -> bool:
        """Whether connections are kept."""
        return self._pools is not None

    def open(self) -> None:
        """Keep connections from now on, or count one more user of them."""
        self._users += 1
        if self._pools is None:
            self._pools, self._lock = {}, asyncio.Lock()

    async def close(self) -> None:
        """Close the connections when the last of their users does."""
        self._users -= 1
        if self._users == 0 and self._pools is not None:
            pools, self._pools = self._pools, None
            for pool in pools.values():
                await pool.aclose()

    async def run(self, steps: Steps[_Result]) -> _Result:
        """Perform steps until their end, and return what they come to."""
        try:
            step = next(steps)
            while True:
                try:
                    found = await self._performed(step)
                except Exception as error:  # noqa: BLE001  # the steps are told, and raise it or go on
                    step = steps.throw(error)
                else:
                    step = steps.send(found)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # of Steps[_Result]

    async def _performed(self, step: Step) -> Any:
        match step:
            case HttpRequest():
                return await self._sent(step)
            case Pause(seconds):
                return await timing.pause(seconds)
            case Exclusive(steps):
                async with self._lock:
                    return await self.run(steps)
        assert_never(step)

    async def _sent(self, request: HttpRequest) -> HttpReply:
        made = _prepared(request)
        kept = self._pools
        pool = None if kept is None else kept.get(made.url.scheme)
        if pool is None:
            pool = httpcore2.AsyncConnectionPool(
                ssl_context=self._trusted.context(made.url.scheme),
                max_connections=_MOST_CONNECTIONS,
                keepalive_expiry=_KEEP_ALIVE_S,
            )
            if kept is not None:
                kept[made.url.scheme] = pool
        try:
            async with asyncio.timeout(self._timeout_s):
                return await _exchanged(pool, made, request.limit)
        except (TimeoutError, httpcore2.TimeoutException) as error:
            raise ConnectionFailed(_TIMED_OUT.format(self._timeout_s)) from error
        except (*_FAILURES, OSError) as error:
            raise _failed(error) from error
        finally:
            if kept is None:
                await pool.aclose()


class BlockingDriver:
    """Performs steps for any number of threads; also after a fork, with connections of its own."""

    def __init__(self, *, timeout_s: float, ca_file: str | Path | None) -> None:
        """As `AsyncDriver`."""
        self._timeout_s = timeout_s
        self._trusted = _Trusted(ca_file)
        self._deadline = Deadline()
        self._pools: dict[bytes, httpcore2.ConnectionPool] | None = None
        self._users = 0
        self._process = 0
        self._counting = threading.Lock()
        self._lock = threading.Lock()

    @property
    def is_open(self) -> bool:
        """Whether connections are kept."""
        return self._pools is not None

    def open(self) -> None:
        """Keep connections from now on, or count one more user of them."""
        with self._counting:
            self._users += 1
            if self._pools is None:
                self._pools, self._process = {}, os.getpid()

    def close(self) -> None:
        """Close the connections when the last of their users does."""
        with self._counting:
            self._users -= 1
            if self._users or self._pools is None:
                return
            pools, self._pools = self._pools, None
            ours = self._process == os.getpid()
        for pool in pools.values() if ours else ():
            pool.close()

    def run(self, steps: Steps[_Result]) -> _Result:
        """Perform steps until their end, and return what they come to."""
        try:
            step = next(steps)
            while True:
                try:
                    found = self._performed(step)
                except Exception as error:  # noqa: BLE001  # the steps are told, and raise it or go on
                    step = steps.throw(error)
                else:
                    step = steps.send(found)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # of Steps[_Result]

    def _performed(self, step: Step) -> Any:
        match step:
            case HttpRequest():
                return self._sent(step)
            case Pause(seconds):
                return timing.pause_blocking(seconds)
            case Exclusive(steps):
                self._leave_parents_connections()
                with self._lock:
                    return self.run(steps)
        assert_never(step)

    def _sent(self, request: HttpRequest) -> HttpReply:
        made = _prepared(request)
        self._leave_parents_connections()
        kept = self._pools
        pool = self._new_pool(made.url.scheme) if kept is None else self._kept_pool(kept, made.url.scheme)
        self._deadline.set(self._timeout_s)
        try:
            return _exchanged_blocking(pool, made, request.limit)
        except httpcore2.TimeoutException as error:
            raise ConnectionFailed(_TIMED_OUT.format(self._timeout_s)) from error
        except (*_FAILURES, OSError) as error:
            raise _failed(error) from error
        finally:
            if kept is None:
                pool.close()

    def _kept_pool(
        self, kept: dict[bytes, httpcore2.ConnectionPool], scheme: bytes
    ) -> httpcore2.ConnectionPool:
        pool = kept.get(scheme)
        if pool is None:
            with self._counting:
                pool = kept.get(scheme) or self._new_pool(scheme)
                kept[scheme] = pool
        return pool

    def _new_pool(self, scheme: bytes) -> httpcore2.ConnectionPool:
        return httpcore2.ConnectionPool(
            ssl_context=self._trusted.context(scheme),
            max_connections=_MOST_CONNECTIONS,
            keepalive_expiry=_KEEP_ALIVE_S,
            network_backend=DeadlineBackend(self._deadline),
        )

    def _leave_parents_connections(self) -> None:
        """After a fork: the connections and the locks belong to the parent process."""
        if self._pools is not None and self._process != os.getpid():
            self._counting, self._lock = threading.Lock(), threading.Lock()
            self._pools, self._process = {}, os.getpid()


class _Trusted:
    """The TLS settings: the system's CAs, and those of a file."""

    def __init__(self, ca_file: str | Path | None) -> None:
        self._ca_file = ca_file
        self._context: ssl.SSLContext | None = None
        if ca_file is not None:
            self._context = self._built()

    def context(self, scheme: bytes) -> ssl.SSLContext | None:
        """Return the settings, which a connection without TLS does not need."""
        if self._context is None and scheme == b"https":
            self._context = self._built()
        return self._context

    def _built(self) -> ssl.SSLContext:
        try:
            context = httpcore2.default_ssl_context()
        except OSError:
            # SSL_CERT_FILE or SSL_CERT_DIR names nothing that can be read: no CA of the system is trusted.
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self._ca_file is not None:
            try:
                context.load_verify_locations(cafile=str(self._ca_file))
            except (OSError, ValueError) as error:
                raise ValueError(
                    f"the CA file {str(self._ca_file)!r} holds no certificate that can be read: {error}"
                ) from error
        return context


def _prepared(request: HttpRequest) -> httpcore2.Request:
    headers = [(name.encode("ascii"), value.encode("latin-1")) for name, value in request.headers.items()]
    url, host = _address(request.url)
    headers.append((b"host", host))
    if request.body is not None:
        headers.append((b"content-length", str(len(request.body)).encode("ascii")))
    return httpcore2.Request(request.method, url, headers=headers, content=request.body)


@functools.lru_cache(256)
def _address(url: str) -> tuple[httpcore2.URL, bytes]:
    """Return an address and its Host header (RFC 9110 7.2)."""
    read = httpcore2.URL(url if url.isascii() else _ascii(url))
    host = b"[%b]" % read.host if b":" in read.host else read.host
    return read, host if read.port is None else b"%b:%d" % (host, read.port)


def _ascii(url: str) -> str:
    """Return an address as it is sent: the host by IDNA, the rest percent-encoded."""
    parts = urlsplit(url)
    host = (parts.hostname or "").encode("idna").decode("ascii")
    netloc = host if parts.port is None else f"{host}:{parts.port}"
    kept = "%/:?#[]@!$&'()*+,;=~-._"
    return parts._replace(
        netloc=netloc, path=quote(parts.path, safe=kept), query=quote(parts.query, safe=kept)
    ).geturl()


async def _exchanged(
    pool: httpcore2.AsyncConnectionPool, request: httpcore2.Request, limit: int | None
) -> HttpReply:
    response = await pool.handle_async_request(request)
    try:
        if limit is None:
            return _reply(response, await response.aread())
        body = b""
        async for part in response.aiter_stream():
            body += part
            if len(body) > limit:
                break
        return _reply(response, body)
    finally:
        await response.aclose()


def _exchanged_blocking(
    pool: httpcore2.ConnectionPool, request: httpcore2.Request, limit: int | None
) -> HttpReply:
    response = pool.handle_request(request)
    try:
        if limit is None:
            return _reply(response, response.read())
        body = b""
        for part in response.iter_stream():
            body += part
            if len(body) > limit:
                break
        return _reply(response, body)
    finally:
        response.close()


def _reply(response: httpcore2.Response, body: bytes) -> HttpReply:
    headers = {name.lower().decode("latin-1"): value.decode("latin-1") for name, value in response.headers}
    phrase = response.extensions.get("reason_phrase", b"")
    return HttpReply(response.status, phrase.decode("latin-1"), headers, body)


def _failed(error: Exception) -> ConnectionFailed:
    never_made = isinstance(error, httpcore2.ConnectError | httpcore2.UnsupportedProtocol)
    return ConnectionFailed(str(error) or type(error).__name__, never_made=never_made)
