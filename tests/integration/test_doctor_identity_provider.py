"""The findings of doctor at a real identity provider."""

import asyncio
import json
import time
from email.utils import formatdate

import pytest

from extauthz.commands.doctor.identity_provider import examine_identity_provider
from extauthz.proxyconfig.findings import Finding
from extauthz.runtime.issuers import configured_sources
from extauthz.settings import Settings, load_settings
from tests.key_server import KeyServer, answering, key_server
from tests.tokens import SigningKey, jwks

RSA = SigningKey.rs256()
NOW = time.time()


def examine(server: KeyServer, clock: float = NOW, **more: str) -> list[tuple[str, str]]:
    environ = {"AUTH_SERVER_URL": server.issuer, "OIDC_AUDIENCE": "api", **more}
    settings = load_settings(environ)
    assert isinstance(settings, Settings)
    (source,) = configured_sources(settings)

    async def run() -> list[Finding]:
        return await examine_identity_provider(settings, source, lambda: clock)

    return [(one.severity.value, one.code) for one in asyncio.run(run())]


async def examined(server: KeyServer, clock: float = NOW, **more: str) -> list[tuple[str, str]]:
    return await asyncio.to_thread(examine, server, clock, **more)


PLAINTEXT = [("warning", "issuer-plaintext"), ("warning", "issuer-plaintext")]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("off_by", "leeway", "expected"),
    [
        (0.0, "0", []),
        (1.5, "0", []),
        (10.0, "0", [("warning", "clocks-differ")]),
        (10.0, "20", []),
        (-10.0, "20", [("warning", "clocks-differ")]),
        (3600.0, "30", [("error", "clocks-differ")]),
        (-3600.0, "30", [("error", "clocks-differ")]),
    ],
)
async def test_clocks_that_differ_are_found(
    off_by: float, leeway: str, expected: list[tuple[str, str]]
) -> None:
    async with key_server(RSA) as server:
        server.headers = {"Date": formatdate(NOW + off_by, usegmt=True)}

        found = await examined(server, TOKEN_LEEWAY=leeway)

    assert [one for one in found if one not in PLAINTEXT] == expected


@pytest.mark.anyio
async def test_http_is_mentioned_even_where_it_is_allowed() -> None:
    async with key_server(RSA) as server:
        server.headers = {"Date": formatdate(NOW, usegmt=True)}

        assert await examined(server) == PLAINTEXT


@pytest.mark.anyio
async def test_no_usable_keys_and_no_answer_are_errors() -> None:
    async with key_server(RSA) as server:
        for body in (b"{}", b"<html>", b'{"keys": []}'):
            server.handler = answering(body=body)
            assert ("error", "keys-unavailable") in await examined(server)
        server.discovery = {"issuer": "https://other.example"}
        assert ("error", "keys-unavailable") in await examined(server)
        assert ("error", "keys-unavailable") in await examined(server, OIDC_CA_FILE="/nowhere")
    assert ("error", "keys-unavailable") in await examined(server)


@pytest.mark.anyio
async def test_keys_that_are_not_used_are_mentioned() -> None:
    async with key_server(RSA) as server:
        both = json.loads(jwks(RSA))
        both["keys"].append({"kty": "oct", "kid": "shared", "k": "AAAA"})
        server.handler = answering(
            body=json.dumps(both).encode(), headers={"Date": formatdate(NOW, usegmt=True)}
        )

        assert ("info", "key-ignored") in await examined(server)
