"""`extauthz health`: ask a running process whether it lives, or is ready.

A container's health check runs this every few seconds, so it imports the standard library and nothing of the
service, and reads no settings but the addresses.
"""

import http.client
import ssl
from collections.abc import Mapping
from typing import Final
from urllib.parse import SplitResult, urlsplit

from extauthz.commands.status import OK, fail, print_json
from extauthz.folders.http_deadline import answered_within
from extauthz.keys.client_tls import client_context

_TIMEOUT_S: Final = 2.0
_PORTS: Final = (("SIDECAR_PORT", "9190"), ("PORT", "8080"))
"""A sidecar and `serve` answer on the first, a control plane on the second."""

_EVERY_INTERFACE: Final = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - compared with, never bound


def run(environ: Mapping[str, str], *, url: str | None, ready: bool, as_json: bool = False) -> int:
    """Print `ok` and return OK for a healthy process; else print the problem and return FAILED."""
    problem = health_problem(environ, url=url, ready=ready)
    if as_json:
        return print_json(problem is None, problem=problem)
    if problem is not None:
        return fail(problem)
    print("ok")
    return OK


def health_problem(environ: Mapping[str, str], *, url: str | None, ready: bool) -> str | None:
    """Return why the process is not healthy, or None when it is.

    `url` is what to ask; left out, this machine's health endpoints, where one good answer is enough.
    """
    path = "/healthz/ready" if ready else "/healthz/live"
    problems = []
    for address in [url] if url is not None else _addresses(environ, path):
        problem = _ask(address, verified=url is not None)
        if problem is None:
            return None
        problems.append(problem)
    return "; ".join(problems)


def is_http_url(text: str) -> bool:
    """Tell whether a text names a server that can be asked."""
    try:
        return _connection(urlsplit(text)) is not None
    except (http.client.HTTPException, ValueError):
        return False


def _addresses(environ: Mapping[str, str], path: str) -> list[str]:
    host = environ.get("HOST", "")
    if host in _EVERY_INTERFACE:
        host = "127.0.0.1" if host != "::" else "::1"
    shown = f"[{host}]" if ":" in host else host
    # PORT speaks TLS with REST_TLS_CERT; the sidecar's health never does.
    schemes = {"PORT": "https" if environ.get("REST_TLS_CERT") else "http"}
    return [
        f"{schemes.get(name, 'http')}://{shown}:{environ.get(name) or default}{path}"
        for name, default in _PORTS
    ]


def _ask(url: str, *, verified: bool) -> str | None:
    connection = None
    try:
        address = urlsplit(url)
        connection = _connection(address, verified=verified)
        if connection is None:
            return f"{url!r} is not an http or https URL"
        with answered_within(connection, _TIMEOUT_S):
            connection.request("GET", address.path or "/", headers={"accept": "application/json"})
            response = connection.getresponse()
            # The body explains the status to a reader: its beginning is enough.
            body = response.read(500).decode("utf-8", "replace").strip()
        return None if response.status == http.client.OK else f"{url} answered {response.status} {body}"
    except (OSError, http.client.HTTPException, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return f"{url} does not answer: {(why or type(error).__name__).lower()}"
    finally:
        if connection is not None:
            connection.close()


def _connection(address: SplitResult, *, verified: bool = True) -> http.client.HTTPConnection | None:
    """Return a connection; one to this machine's own listener is not verified, and sends no credential."""
    if not address.hostname:
        return None
    match address.scheme:
        case "http":
            return http.client.HTTPConnection(address.hostname, address.port, timeout=_TIMEOUT_S)
        case "https":
            context = client_context() if verified else _any_certificate()
            return http.client.HTTPSConnection(
                address.hostname, address.port, timeout=_TIMEOUT_S, context=context
            )
    return None


def _any_certificate() -> ssl.SSLContext:
    # The certificate has the name under which clients know this process, not that of loopback.
    context = client_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
