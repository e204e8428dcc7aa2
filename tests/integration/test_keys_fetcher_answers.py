"""Answers with key sets: how they may be sent, and which are too large, too slow or read in two ways."""

import asyncio
import time

import pytest
from aiohttp import web

from extauthz.keys.fetcher import FetchedKeys, FetchFailed
from extauthz.keys.source import IssuerSource
from extauthz.telemetry.counts import FetchOutcome
from tests.integration.key_fetching import EC, RSA, failure, fetch_from, source_of
from tests.key_server import KeyServer, answering
from tests.tokens import jwks


@pytest.mark.parametrize(
    "content_type",
    [
        "application/jwk-set+json",
        "application/json; charset=utf-8",
        "text/plain",
        "application/octet-stream",
        "x",
    ],
)
def test_the_content_type_of_an_answer_does_not_matter(content_type: str) -> None:
    def prepare(server: KeyServer) -> IssuerSource:
        server.handler = answering(body=jwks(RSA), headers={"Content-Type": content_type})
        return source_of(server.issuer)

    assert isinstance(fetch_from(prepare)[0], FetchedKeys)


@pytest.mark.parametrize(
    "body",
    [
        b'{"keys":[' + b",".join([b"1"] * 20_000) + b"]}",
        b'{"keys":[' + b",".join([b'{"a":' * 20 + b"1" + b"}" * 20] * 300) + b"]}",
    ],
    ids=["members", "objects"],
)
def test_an_answer_of_very_many_members_is_not_parsed(body: bytes) -> None:
    def prepare(server: KeyServer) -> IssuerSource:
        server.handler = answering(body=body)
        return source_of(server.issuer)

    answer, _ = fetch_from(prepare)
    assert isinstance(answer, FetchFailed)
    assert answer.detail == "more members than a key set has"


def test_the_largest_key_set_is_read() -> None:
    def prepare(server: KeyServer) -> IssuerSource:
        server.handler = answering(
            body=jwks(*(EC.jwk(kid=f"k{number}", x5c=["A"] * 5) for number in range(256)))
        )
        return source_of(server.issuer)

    answer, _ = fetch_from(prepare)
    assert isinstance(answer, FetchedKeys)
    assert len(answer.keys.keys) == 256


def test_an_answer_may_come_in_chunks() -> None:
    async def chunked(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        body = jwks(RSA)
        for start in range(0, len(body), 100):
            await response.write(body[start : start + 100])
        return response

    def prepare(server: KeyServer) -> IssuerSource:
        server.handler = chunked
        return source_of(server.issuer)

    assert isinstance(fetch_from(prepare)[0], FetchedKeys)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"\xef\xbb\xbf" + jwks(RSA), "byte order mark"),
        (jwks(RSA).decode().encode("utf-16"), "not UTF-8"),
        (b'{"keys":[' + b'"\xe9"' + b"]}", "not UTF-8"),
        (jwks(RSA).replace(b'"kid"', b'"alg": "ES256", "kid"'), "a member name occurs twice"),
        (b'{"keys":[],"keys":[]}', "a member name occurs twice"),
        (b"\x1f\x8b" + bytes(20), "not UTF-8"),
        (b"", "not JSON"),
    ],
)
def test_an_answer_that_two_readers_could_read_differently_is_named(body: bytes, problem: str) -> None:
    def prepare(server: KeyServer) -> IssuerSource:
        server.handler = answering(body=body)
        return source_of(server.issuer)

    answer, _ = fetch_from(prepare)
    assert isinstance(answer, FetchFailed)
    assert problem in answer.detail


@pytest.mark.parametrize("status", [201, 204, 304, 400, 404, 429, 500, 503])
def test_only_status_200_brings_keys(status: int) -> None:
    def prepare(server: KeyServer) -> IssuerSource:
        server.handler = answering(body=jwks(RSA) if status not in {204, 304} else b"", status=status)
        return source_of(server.issuer)

    assert failure(fetch_from(prepare)[0]) is FetchOutcome.REFUSED


def test_ten_megabytes_are_not_read() -> None:
    sent = 0

    async def flood(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            for _ in range(160):
                await response.write(b" " * 65536)
                sent += 65536
        except (ConnectionError, asyncio.CancelledError):
            pass
        return response

    def prepare(server: KeyServer) -> IssuerSource:
        server.handler = flood
        return source_of(server.issuer)

    assert failure(fetch_from(prepare)[0]) is FetchOutcome.INVALID
    assert sent < 10 * 1024 * 1024


def test_a_compressed_answer_is_not_unpacked() -> None:
    def prepare(server: KeyServer) -> IssuerSource:
        server.handler = answering(body=b"\x1f\x8b" + b"\x00" * 100, headers={"Content-Encoding": "gzip"})
        return source_of(server.issuer)

    assert failure(fetch_from(prepare)[0]) is FetchOutcome.INVALID


def test_a_provider_that_trickles_is_given_up_in_time() -> None:
    async def trickle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b" ")
                await asyncio.sleep(0.05)
        except (ConnectionError, asyncio.CancelledError):
            return response

    def prepare(server: KeyServer) -> IssuerSource:
        server.handler = trickle
        return source_of(server.issuer)

    begun = time.monotonic()
    answer, _ = fetch_from(prepare)
    assert failure(answer) is FetchOutcome.UNREACHABLE
    assert time.monotonic() - begun < 5
