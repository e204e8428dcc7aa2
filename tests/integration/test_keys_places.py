"""Keys in a file, in the configuration, behind a bearer token, a proxy or a CA of the provider's own."""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from extauthz.decide.tokens.keyring import IssuerConfig
from extauthz.keys.fetcher import FetchedKeys, FetchFailed, KeyFetcher
from extauthz.keys.source import FROM_ENVIRONMENT, IssuerSource
from extauthz.telemetry.counts import FetchOutcome
from tests.certificates import Authority
from tests.integration.key_fetching import EC, LIMITS, RSA, Answer, source_of
from tests.key_server import KeyServer, key_server
from tests.tokens import jwks

NOT_A_URL = IssuerConfig.usual("spiffe://td.example", "default", None, "roles", "dom", "adm", frozenset())


def fetch(source: IssuerSource) -> Answer:
    async def scenario() -> Answer:
        async with KeyFetcher(limits=LIMITS) as fetcher:
            return await fetcher.fetch(source)

    return asyncio.run(scenario())


def detail(answer: Answer) -> str:
    assert isinstance(answer, FetchFailed), answer
    return answer.detail


def kids(answer: Answer) -> set[str | None]:
    assert isinstance(answer, FetchedKeys), answer
    return {key.kid for key in answer.keys.keys}


def test_keys_are_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(jwks(RSA, EC))
    answer = fetch(IssuerSource(NOT_A_URL, jwks_file=path))
    assert kids(answer) == {"rsa", "ec"}
    assert isinstance(answer, FetchedKeys)
    assert answer.jwks_uri is None


def test_a_file_without_keys_is_a_failed_fetch(tmp_path: Path) -> None:
    source = IssuerSource(NOT_A_URL, jwks_file=tmp_path / "keys.json")
    assert detail(fetch(source)) == "jwks_file: No such file or directory"
    (tmp_path / "keys.json").write_bytes(b"{}")
    assert detail(fetch(source)) == "key set: no list of `keys`"
    (tmp_path / "keys.json").write_bytes(b" " * (LIMITS.max_bytes + 1))
    assert detail(fetch(source)) == f"larger than {LIMITS.max_bytes} bytes"
    assert detail(fetch(replace(source, jwks_file=Path("/dev/zero")))) == "jwks_file: is not a regular file"


def test_keys_are_read_from_the_configuration() -> None:
    assert kids(fetch(IssuerSource(NOT_A_URL, jwks=jwks(RSA)))) == {"rsa"}


class Protected:
    """Serves its keys, and discovery where asked, to one bearer token."""

    def __init__(self, token: str) -> None:
        self._token = token
        self.seen: list[str | None] = []

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request.headers.get("Authorization"))
        if self.seen[-1] != f"Bearer {self._token}":
            return web.Response(status=401)
        return web.Response(body=jwks(RSA), content_type="application/json")


def fetch_with(prepare: Callable[[KeyServer], IssuerSource]) -> Answer:
    async def scenario() -> Answer:
        async with key_server(RSA) as server, KeyFetcher(limits=LIMITS) as fetcher:
            return await fetcher.fetch(prepare(server))

    return asyncio.run(scenario())


def test_a_bearer_token_opens_a_protected_key_set(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret.token-of_the~pod\n")
    protected = Protected("secret.token-of_the~pod")

    def prepare(server: KeyServer) -> IssuerSource:
        server.handler = protected
        return replace(source_of("https://idp.example.test", server.jwks_uri), token_file=token)

    assert kids(fetch_with(prepare)) == {"rsa"}
    token.write_text("another")
    assert detail(fetch_with(prepare)) == "status 401"


@pytest.mark.parametrize("text", ["", "two words", "line\nbreak", "caf\u00e9", "x" * 20_000])
def test_a_file_that_holds_no_token_is_named_and_not_quoted(tmp_path: Path, text: str) -> None:
    token = tmp_path / "token"
    token.write_text(text)
    protected = Protected("x")

    def prepare(server: KeyServer) -> IssuerSource:
        server.handler = protected
        return replace(source_of("https://idp.example.test", server.jwks_uri), token_file=token)

    assert detail(fetch_with(prepare)) == "jwks_token_file: holds no bearer token"
    assert protected.seen == []


def test_the_token_is_not_sent_to_another_origin(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret")
    other = Protected("secret")

    async def scenario() -> Answer:
        async with key_server(RSA) as own, key_server(RSA) as elsewhere, KeyFetcher(limits=LIMITS) as fetcher:
            elsewhere.handler = other
            own.discovery = {"jwks_uri": elsewhere.jwks_uri}
            return await fetcher.fetch(replace(source_of(own.issuer), token_file=token))

    assert detail(asyncio.run(scenario())) == "status 401"
    assert other.seen == [None]


class Proxy:
    """An HTTP proxy that answers every request itself, with keys."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        self.asked.append(request.split(b" ")[1].decode())
        body = jwks(EC)
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()


def through_proxy(
    *, proxy_of: Callable[[str], str], prepare: Callable[[str], None] = lambda _url: None
) -> tuple[Answer, Proxy, KeyServer]:
    async def scenario() -> tuple[Answer, Proxy, KeyServer]:
        proxy = Proxy()
        listener = await asyncio.start_server(proxy.answer, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        prepare(url)
        async with listener, key_server(RSA) as server, KeyFetcher(limits=LIMITS) as fetcher:
            source = replace(source_of("https://idp.example.test", server.jwks_uri), proxy=proxy_of(url))
            return await fetcher.fetch(source), proxy, server

    return asyncio.run(scenario())


def test_keys_are_fetched_through_the_provider_s_proxy() -> None:
    answer, proxy, server = through_proxy(proxy_of=lambda url: url)
    assert kids(answer) == {"ec"}
    assert proxy.asked == [server.jwks_uri]
    assert server.requests == {}


def test_the_proxy_of_the_environment_is_used_only_where_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)

    def prepare(url: str) -> None:
        monkeypatch.setenv("HTTP_PROXY", url)
        monkeypatch.setenv("NO_PROXY", "other.example")

    answer, proxy, _ = through_proxy(proxy_of=lambda _url: FROM_ENVIRONMENT, prepare=prepare)
    assert kids(answer) == {"ec"}
    assert len(proxy.asked) == 1

    def excepted(url: str) -> None:
        prepare(url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    answer, proxy, _ = through_proxy(proxy_of=lambda _url: FROM_ENVIRONMENT, prepare=excepted)
    assert kids(answer) == {"rsa"}
    assert proxy.asked == []


def test_a_provider_may_have_a_ca_of_its_own(tmp_path: Path) -> None:
    authority = Authority("provider")
    certificate = authority.issue("idp.example.test")
    (tmp_path / "server.pem").write_bytes(certificate.chain + certificate.key)
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "server.pem")

    def fetched(ca_file: Path | None) -> Answer:
        async def scenario() -> Answer:
            async with key_server(RSA, tls=tls) as server, KeyFetcher(limits=LIMITS) as fetcher:
                return await fetcher.fetch(replace(source_of(server.issuer), ca_file=ca_file))

        return asyncio.run(scenario())

    assert kids(fetched(tmp_path / "ca.pem")) == {"rsa"}
    refused = fetched(None)
    assert isinstance(refused, FetchFailed)
    assert refused.outcome is FetchOutcome.UNREACHABLE
    assert detail(fetched(tmp_path / "none.pem")) == "ca_file: No such file or directory"
    (tmp_path / "ca.pem").write_text("no certificate")
    assert detail(fetched(tmp_path / "ca.pem")) == "ca_file holds no certificate"
