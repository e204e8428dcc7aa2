"""Sends recorded requests over plain sockets, and states of each answer what must not change."""

import asyncio
import json
import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from tests.integration.recorded.sent import ACCESS, CHECK, SESSION, Sent
from tests.integration.recorded.stage import Stage
from tests.integration.rest_harness import ADMIN_KEY

ANSWER_WAIT_S = 60.0
_RETRIES = 5
_MOST_ERRORS = 30
_LONGEST_BODY = 600
_LONGEST_SHOWN = 1200
_PLACE = re.compile(rb"@@([a-z ]+)@@")
_IGNORED = {"date", "server", "content-length", "content-type", "cache-control"}
_TITLES = {413: "Content Too Large", 422: "Unprocessable Content"}
_NORMAL = (
    (re.compile(r"sak_live_[0-9a-f]{32}_[0-9a-f]{64}"), "<key>"),
    (re.compile(r"eas_[0-9a-f]{32}_[0-9]+_[0-9a-f]{64}"), "<session>"),
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"), "<id>"),
    (re.compile(r"20[23][0-9]-[0-9]{2}-[0-9]{2}T[0-9:.]+Z"), "<time>"),
    (re.compile(r"127\.0\.0\.1:[0-9]+"), "<address>"),
    (re.compile(r"spare-[0-9]+"), "<spare>"),
)
_ANY_VALUE = {"last_used_at", "revision", "policy_revision", "next_cursor", "message"}


@dataclass(frozen=True, slots=True)
class Received:
    """A response as it came; status 0 is a connection that was closed without one."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


async def send(stage: Stage, request: Sent, number: int) -> tuple[bytes, Received]:
    """Send a request, from an address of its own unless it names one, and return its octets and the answer."""
    octets = await _octets(stage, request)
    if request.path.partition("?")[0] in {CHECK, ACCESS, "/resources/access/check"}:
        # A decision is taken under the published policies; the ones written just before must be among them.
        assert await stage.api.services.wait_for("acme", stage.written, ANSWER_WAIT_S)
    address = request.address or f"127.{16 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"
    for _ in range(request.times - 1):
        await _exchange(stage, request.method, octets, address)
    received = await _exchange(stage, request.method, octets, address)
    for _ in range(_RETRIES):
        if received.status != HTTPStatus.SERVICE_UNAVAILABLE:
            break
        # No recorded answer is 503: the machine is busy, nothing was stored, and `Retry-After` is a second.
        await asyncio.sleep(1)
        received = await _exchange(stage, request.method, octets, address)
    if request.path == SESSION and request.method == "DELETE" and received.status == HTTPStatus.NO_CONTENT:
        await stage.session()
    revision = dict(received.headers).get("x-policy-revision")
    if revision is not None and not request.path.startswith("/admin"):
        stage.written = max(stage.written, int(revision))
    return octets, received


async def _octets(stage: Stage, request: Sent) -> bytes:
    if request.raw is not None:
        octets = request.raw
    else:
        given = (*stage.callers[request.caller], *request.headers)
        lines = [f"{request.method} {request.path} HTTP/1.1", "Host: 127.0.0.1"]
        lines += [f"{name}: {value}" for name, value in given]
        octets = "\r\n".join(lines).encode("utf-8")
    octets = await _filled(stage, octets)
    if request.raw is not None:
        return octets
    body = None if request.body is None else await _filled(stage, request.body)
    length = request.declared if body is None else len(body)
    if length is not None:
        octets += b"\r\nContent-Length: %d" % length
    return octets + b"\r\n\r\n" + (body or b"")


async def _filled(stage: Stage, octets: bytes) -> bytes:
    """Put in what the places of a request stand for; a new object is made once for all of them."""
    known: dict[str, str] = {}
    for found in dict.fromkeys(_PLACE.findall(octets)):
        place = found.decode()
        if place.startswith(("new ", "etag ")):
            kind = place.partition(" ")[2]
            row_id = known.get(kind) or await stage.fresh(kind)
            known[kind] = row_id
            value = row_id if place.startswith("new ") else await stage.tag(kind, row_id)
        elif place == "tenant":
            value = "\r\n".join(f"{name}: {value}" for name, value in stage.callers["tenant"])
        elif place == "admin key":
            value = ADMIN_KEY
        else:
            value = stage.ids[place]
        octets = octets.replace(b"@@" + found + b"@@", value.encode())
    return octets


async def _exchange(stage: Stage, method: str, octets: bytes, address: str) -> Received:
    port = urlsplit(stage.api.url).port
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0), limit=2**24)
    try:
        async with asyncio.timeout(ANSWER_WAIT_S):
            writer.write(octets)
            return await _received(reader, method)
    finally:
        writer.transport.abort()


async def _received(reader: asyncio.StreamReader, method: str) -> Received:
    while True:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except (asyncio.IncompleteReadError, ConnectionError):
            return Received(0, (), b"")
        line, *fields = head.split("\r\n")[:-2]
        status = int(line.split()[1])
        headers = tuple(
            (name.lower(), value.strip()) for name, _, value in (each.partition(":") for each in fields)
        )
        if status >= HTTPStatus.OK:
            break
    length = int(dict(headers).get("content-length", "0"))
    body = b"" if method == "HEAD" or not length else await reader.readexactly(length)
    return Received(status, headers, body)


def answer_of(name: str, received: Received) -> dict[str, Any]:
    """Return what is recorded of an answer.

    Left out is what is usual: of a problem its media type, `about:blank` and the title that RFC 9110 gives to
    the status; of every answer `Cache-Control: no-store`. Texts for people are not recorded.
    """
    found: dict[str, Any] = {"name": name, "status": received.status}
    headers = dict(received.headers)
    normal = {key: _normal(value) for key, value in sorted(headers.items()) if key not in _IGNORED}
    if "allow" in normal:
        normal["allow"] = ", ".join(sorted(normal["allow"].split(", ")))
    for key in ("etag", "x-policy-revision"):
        if key in normal:
            normal[key] = re.sub(r"[0-9]+", "N", normal[key])
    shown: dict[str, str | None] = dict(normal)
    is_problem = received.status >= HTTPStatus.BAD_REQUEST
    usual_type = "application/problem+json" if is_problem else "application/json" if received.body else None
    for key, usual in (("cache-control", "no-store"), ("content-type", usual_type)):
        if headers.get(key) != usual:
            shown[key] = headers.get(key)
    document = _json(received.body) if "json" in headers.get("content-type", "") else None
    if is_problem and isinstance(document, dict) and "title" in document:
        found |= _problem(received.status, document)
    elif document is not None:
        found["body"] = _success(document)
    elif received.body:
        found["body"] = "not JSON"
    if shown:
        found["headers"] = shown
    return found


def _problem(status: int, document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    usual = {"type": "about:blank", "title": _TITLES.get(status, HTTPStatus(status).phrase), "status": status}
    found |= {
        member: document.get(member) for member, value in usual.items() if document.get(member) != value
    }
    found.pop("status", None)
    if document.get("status") != status:
        found["status in the body"] = document.get("status")
    if "errors" in document:
        found["errors"] = _errors(document["errors"])
    for member in sorted(document.keys() - usual.keys() - {"detail", "errors"}):
        value = document[member]
        found[member] = len(value) if isinstance(value, list) else _normal(str(value))
    if "detail" not in document:
        found["detail"] = None
    return found


def _errors(errors: list[dict[str, Any]]) -> list[str]:
    """Return the set of the places that errors name: a pointer, a parameter after `?`, a line after `line`."""
    places = set()
    for each in errors:
        [member] = each.keys() - {"message"}
        assert each["message"], each
        prefix = {"pointer": "", "parameter": "?", "line": "line "}[member]
        places.add(prefix + _normal(str(each[member])))
    found = sorted(places, key=lambda place: (len(place), place))
    more = len(found) - _MOST_ERRORS
    return [*found[:_MOST_ERRORS], f"and {more} more"] if more > 0 else found


def _success(document: Any) -> Any:
    if isinstance(document, dict) and isinstance(document.get("items"), list):
        items = document["items"]
        return {"items of": sorted(items[0]) if items else None}
    plain = _plain(document)
    text = json.dumps(plain)
    if len(text) > _LONGEST_BODY:
        return {"members": sorted(plain) if isinstance(plain, dict) else len(plain)}
    return plain


def _plain(value: Any, name: str = "") -> Any:
    if name in _ANY_VALUE:
        return "<any>"
    if isinstance(value, dict):
        return {key: _plain(entry, key) for key, entry in value.items()}
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    return _normal(value) if isinstance(value, str) else value


def _normal(text: str) -> str:
    for shape, replacement in _NORMAL:
        text = shape.sub(replacement, text)
    return text


def _json(octets: bytes) -> Any:
    return json.loads(octets) if octets else None


def shown_request(octets: bytes) -> str:
    """Return a request as a reader of a failed test sees it: without credentials, and not too long."""
    text = re.sub(
        r"(?im)^(authorization|x-admin-api-key|x-service-api-key|cookie): .*$",
        r"\1: ...",
        octets.decode("latin-1"),
    )
    text = text.replace("\r\n", "\n")
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}... ({len(text)} octets)"
