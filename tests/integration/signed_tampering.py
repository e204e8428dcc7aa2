"""Answers of a server that tampers with signed heads and bodies, each with the reason of its refusal."""

import base64
import json
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.dsse import Envelope

from extauthz.signed.signing_keys import signer
from tests.integration.signed_server import Answer, send
from tests.integration.signed_tenant import SignedTenant


def head_of(signed: SignedTenant, key: Ed25519PrivateKey | None = None, **members: Any) -> Answer:
    """Answer with a later head that has these members."""
    assert signed.head is not None
    later = signed.envelope(key, serial=signed.head.serial + 10**9, **members)
    return lambda request, _: send(request, later)


def payload_of(signed: SignedTenant, **members: Any) -> Answer:
    """Answer with a signed payload that no signer would write."""
    document = json.loads(base64.b64decode(json.loads(signed.envelope())["payload"]))
    document |= {"serial": document["serial"] + 10**9} | members
    envelope = Envelope(json.dumps(document).encode(), "application/vnd.extauthz.policy-head.v1+json", {})
    envelope.sign(signer(signed.key))
    octets = json.dumps(envelope.to_dict()).encode()
    return lambda request, _: send(request, octets)


def envelope_of(signed: SignedTenant, **members: Any) -> Answer:
    """Answer with an envelope that has other members."""
    octets = json.dumps(json.loads(signed.envelope()) | members).encode()
    return lambda request, _: send(request, octets)


def changed_payload(signed: SignedTenant) -> Answer:
    payload = bytearray(base64.b64decode(json.loads(signed.envelope())["payload"]))
    payload[payload.index(b'"revision":') + 11] ^= 1
    return envelope_of(signed, payload=base64.b64encode(payload).decode())


def zeros(request: BaseHTTPRequestHandler, _octets: bytes) -> None:
    """Send 10 GiB that a decompressing client would take for little."""
    request.send_response(200)
    request.send_header("content-encoding", "gzip")
    request.end_headers()
    for _ in range(10 * 2**10):
        request.wfile.write(bytes(2**20))


def redirect(request: BaseHTTPRequestHandler, octets: bytes) -> None:
    send(request, octets, 302, location=request.path)


def milliseconds(seconds: float) -> int:
    return int((time.time() + seconds) * 1000)


TAMPERED_HEADS: dict[str, tuple[Callable[[SignedTenant], Answer], str]] = {
    "another key": (lambda signed: head_of(signed, Ed25519PrivateKey.generate()), "signature"),
    "no signature": (lambda signed: envelope_of(signed, signatures=[]), "signature"),
    "a changed payload": (changed_payload, "signature"),
    "another payload type": (lambda signed: envelope_of(signed, payloadType="text/plain"), "malformed"),
    "another tenant": (lambda signed: head_of(signed, tenant="another"), "tenant"),
    "a smaller serial": (lambda signed: head_with_serial(signed, -1), "serial"),
    "the same serial": (lambda signed: head_with_serial(signed, 0, revision=0, whole_revision=0), "serial"),
    "signed long ago": (lambda signed: head_of(signed, signed_at=milliseconds(-901)), "expired"),
    "signed tomorrow": (lambda signed: head_of(signed, signed_at=milliseconds(86_400)), "expired"),
    "a gap in the changes": (lambda signed: head_of(signed, revision=7), "malformed"),
    "no epoch": (lambda signed: payload_of(signed, epoch=None), "malformed"),
    "a revision of text": (lambda signed: payload_of(signed, revision="2"), "malformed"),
    "a revision of true": (lambda signed: payload_of(signed, revision=True), "malformed"),
    "no digests": (lambda signed: payload_of(signed, digests=[]), "malformed"),
    "not JSON": (lambda _: lambda request, _octets: send(request, b"<html>"), "malformed"),
    "two members": (lambda _: lambda request, _octets: send(request, b'{"sig":"","sig":""}'), "malformed"),
    "an envelope of numbers": (lambda signed: envelope_of(signed, signatures=[1], payload=2), "malformed"),
    "a signature without a key": (lambda signed: envelope_of(signed, signatures=[{"sig": ""}]), "malformed"),
    "an empty answer": (lambda _: lambda request, _octets: send(request, b""), "malformed"),
    "status 500": (lambda _: lambda request, octets: send(request, octets, 500), "unreachable"),
    "status 206": (lambda _: lambda request, octets: send(request, octets, 206), "unreachable"),
    "a redirect": (lambda _: redirect, "unreachable"),
    "10 GiB of zeros": (lambda _: zeros, "unreachable"),
}


def head_with_serial(signed: SignedTenant, difference: int, **members: Any) -> Answer:
    assert signed.head is not None
    octets = signed.envelope(serial=signed.head.serial + difference, **members)
    return lambda request, _: send(request, octets)


def flipped(request: BaseHTTPRequestHandler, octets: bytes) -> None:
    send(request, octets[:-1] + bytes([octets[-1] ^ 1]))


def truncated(request: BaseHTTPRequestHandler, octets: bytes) -> None:
    send(request, octets[:-10])


def longer(request: BaseHTTPRequestHandler, octets: bytes) -> None:
    send(request, octets + b"\0")


def cut_off(request: BaseHTTPRequestHandler, octets: bytes) -> None:
    request.send_response(200)
    request.send_header("content-length", str(len(octets)))
    request.end_headers()
    request.wfile.write(octets[:5])
    request.close_connection = True


TAMPERED_BODIES: dict[str, tuple[Answer, str]] = {
    "one bit": (flipped, "digest"),
    "truncated": (truncated, "digest"),
    "one byte more": (longer, "unreachable"),
    "cut off": (cut_off, "unreachable"),
    "missing": (lambda request, _: send(request, b"", 404), "unreachable"),
    "a redirect": (redirect, "unreachable"),
    "10 GiB of zeros": (zeros, "unreachable"),
}
