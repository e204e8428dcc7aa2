"""A REST listener over TLS with the files of its certificate, and clients that connect to it."""

import asyncio
import http.client
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from extauthz.runtime.http_server import serve
from extauthz.runtime.listener import listen
from extauthz.runtime.rest_tls import RestTls
from tests.certificates import Authority, Certificate
from tests.tls_clients import trusting


async def _page(request: Request) -> Response:
    return PlainTextResponse(f"{request.url.scheme} {request.url.path}")


@dataclass
class Listening:
    """A listener with its files, and clients that ask it."""

    folder: Path
    authority: Authority = field(default_factory=lambda: Authority("ours"))
    listener: socket.socket = field(default_factory=lambda: listen("127.0.0.1", 0))

    def write(self, issued: Certificate) -> None:
        """Write a certificate and its key to the files of the listener."""
        (self.folder / "tls.crt").write_bytes(issued.chain)
        (self.folder / "tls.key").write_bytes(issued.key)

    def tls(self, *, client_ca: bool = False, sans: frozenset[str] = frozenset()) -> RestTls:
        """Return the TLS settings of the listener, with the clients' CA where `client_ca`."""
        ca = self.folder / "ca.crt"
        ca.write_bytes(self.authority.pem)
        return RestTls(
            self.folder / "tls.crt", self.folder / "tls.key", ca if client_ca else None, sans, listener="rest"
        )

    @asynccontextmanager
    async def running(self, tls: RestTls, **options: Any) -> AsyncIterator[None]:
        """Serve while the context is open."""
        app = Starlette(routes=[Route(path, _page) for path in ("/", "/healthz/live", "/metrics")])
        task = asyncio.create_task(serve(app, self.listener, tls=tls, **options))
        try:
            async with asyncio.timeout(20):
                yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def context(self, client: Certificate | None = None) -> ssl.SSLContext:
        """Return the TLS context of a client, with a certificate of its own where there is one."""
        context = trusting(self.authority.pem.decode())
        if client is not None:
            (self.folder / "client.crt").write_bytes(client.chain)
            (self.folder / "client.key").write_bytes(client.key)
            context.load_cert_chain(self.folder / "client.crt", self.folder / "client.key")
        return context

    @property
    def port(self) -> int:
        """The port of the listener."""
        return int(self.listener.getsockname()[1])

    def get(self, path: str = "/", client: Certificate | None = None) -> tuple[int, str]:
        """Return the status and the body of the answer to a GET over a new connection."""
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=10, context=self.context(client)
        )
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def serial(self) -> int:
        """Return the serial number of the certificate that a new connection gets."""
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=10) as plain,
            self.context().wrap_socket(plain, server_hostname="127.0.0.1") as encrypted,
        ):
            certificate = encrypted.getpeercert(binary_form=True)
        assert certificate is not None
        return x509.load_der_x509_certificate(certificate).serial_number


def serial_of(issued: Certificate) -> int:
    """Return the serial number of a certificate."""
    return x509.load_pem_x509_certificate(issued.chain).serial_number


def ask(listening: Listening, work: Callable[[], Any], tls: RestTls | None = None, **options: Any) -> Any:
    """Return what `work` returns, in a thread while the listener runs."""

    async def run() -> Any:
        async with listening.running(tls or listening.tls(), **options):
            return await asyncio.to_thread(work)

    return asyncio.run(run())
