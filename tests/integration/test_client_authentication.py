"""How a client of the identity provider authenticates, what its token is for, and which CAs are trusted."""

import asyncio
import base64
import json
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from extauthz_client import (
    AssertionRejected,
    AssertionVerifier,
    ClientCredentials,
    ClientError,
    ExtauthzClient,
    ServiceKey,
    SyncExtauthzClient,
    Unreachable,
    credentials_from,
)
from tests.certificates import Authority
from tests.integration.scripted_server import Scripted, says, scripted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio

EMPTY = says(200, {"items": [], "next_cursor": None})
GRANT = says(200, {"access_token": "abc.def", "token_type": "Bearer", "expires_in": 3600})
RSA = rsa.generate_private_key(65537, 2048)
KEYS: dict[str, Any] = {
    "RS256": RSA,
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "ES512": ec.generate_private_key(ec.SECP521R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def pem(key: Any, encryption: Any = None) -> bytes:
    content: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())
    return content


async def discovery(request: web.Request) -> web.StreamResponse:
    own = f"http://{request.host}"
    if request.path == "/token":
        return await GRANT(request)
    return web.json_response({"issuer": own, "token_endpoint": f"{own}/token"})


async def token_request(*arguments: Any, **named: Any) -> tuple[dict[str, list[str]], dict[str, str], str]:
    """Return the form and the headers of a token request, and the issuer that it went to."""
    async with scripted(discovery) as idp, scripted(EMPTY) as api:
        async with ExtauthzClient(api.url, ClientCredentials(idp.url, *arguments, **named)) as client:
            assert await client.role_rules() == ()
        form = await idp.requests[1].post()
        headers = dict(idp.requests[1].headers)
        return {name: [str(each) for each in form.getall(name)] for name in form}, headers, idp.url


async def test_a_secret_may_stand_in_the_form() -> None:
    form, headers, _ = await token_request("a:b", "ö+ /", method="client_secret_post")
    assert form == {"grant_type": ["client_credentials"], "client_id": ["a:b"], "client_secret": ["ö+ /"]}
    assert "Authorization" not in headers


async def test_a_token_may_be_for_an_audience_and_resources() -> None:
    form, headers, _ = await token_request(
        "a", "b", scope="x y", audience="api://extauthz", resource=["https://x.example/", "urn:y"]
    )
    assert form == {
        "grant_type": ["client_credentials"], "scope": ["x y"], "audience": ["api://extauthz"],
        "resource": ["https://x.example/", "urn:y"],
    }  # fmt: skip
    assert headers["Authorization"] == "Basic " + base64.b64encode(b"a:b").decode()
    assert (await token_request("a", "b", resource="https://x.example/"))[0]["resource"] == [
        "https://x.example/"
    ]


@pytest.mark.parametrize("algorithm", KEYS)
async def test_a_private_key_signs_the_assertion_of_the_client(algorithm: str, tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_bytes(pem(KEYS[algorithm]))
    form, headers, issuer = await token_request("operations", key_file=file, key_id="k1")
    (assertion,) = form.pop("client_assertion")
    assert form == {
        "grant_type": ["client_credentials"], "client_id": ["operations"],
        "client_assertion_type": ["urn:ietf:params:oauth:client-assertion-type:jwt-bearer"],
    }  # fmt: skip
    assert "Authorization" not in headers
    assert jwt.get_unverified_header(assertion) == {"alg": algorithm, "typ": "JWT", "kid": "k1"}
    claims = jwt.decode(assertion, KEYS[algorithm].public_key(), [algorithm], audience=issuer)
    assert claims["iss"] == claims["sub"] == "operations"
    assert claims["aud"] == issuer
    assert claims["exp"] - claims["iat"] == 60
    assert len(claims["jti"]) >= 20


async def test_a_key_file_may_be_replaced_and_each_assertion_is_another(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_bytes(pem(KEYS["ES256"]))
    async with scripted(discovery) as idp, scripted(says(401), EMPTY, says(401), EMPTY) as api:
        credentials = ClientCredentials(idp.url, "a", key_file=str(file))
        async with ExtauthzClient(api.url, credentials) as client:
            await client.role_rules()
            file.write_bytes(pem(KEYS["EdDSA"]))
            await client.role_rules()
            file.write_bytes(b"nothing")
            credentials.refused({"authorization": "Bearer abc.def"})
            with pytest.raises(ClientError, match="holds no private key in PEM"):
                await client.role_rules()
        assertions = [
            str((await each.post())["client_assertion"]) for each in idp.requests if each.path == "/token"
        ]
    assert [jwt.get_unverified_header(each)["alg"] for each in assertions] == ["ES256", "ES256", "EdDSA"]
    assert len({jwt.decode(each, options={"verify_signature": False})["jti"] for each in assertions}) == 3


@pytest.mark.parametrize(
    ("named", "problem"),
    [
        ({}, "a client secret or a key file is needed"),
        ({"client_secret": "s", "key_file": "k"}, "both given; keep one"),
        ({"client_secret": "s", "method": "private_key_jwt"}, "need a key file"),
        ({"client_secret": "s", "key_id": "k"}, "need a key file"),
        ({"key_file": "k", "method": "client_secret_post"}, "needs a client secret"),
        ({"client_secret": "s", "resource": "/relative"}, "is not an absolute URI"),
        ({"client_secret": "s", "resource": ["https://x/#part"]}, "is not an absolute URI"),
        ({"client_secret": "s", "resource": "https:"}, "is not an absolute URI"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(named: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        ClientCredentials("https://idp", "a", **named)


BASE = {"AUTH_SERVER_URL": "https://idp", "ADMIN_CLIENT_ID": "a"}


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        (BASE | {"ADMIN_CLIENT_SECRET": "s", "ADMIN_CLIENT_KEY_FILE": "{key}"}, "both set; keep one"),
        ({"ADMIN_CLIENT_KEY_FILE": "{key}"}, "^AUTH_SERVER_URL, ADMIN_CLIENT_ID not set"),
        (BASE | {"ADMIN_CLIENT_KEY_FILE": "{none}"}, "^ADMIN_CLIENT_KEY_FILE: .* cannot be read"),
        (BASE | {"ADMIN_CLIENT_KEY_FILE": "{locked}"}, "^ADMIN_CLIENT_KEY_FILE: .* without a password"),
        (BASE | {"ADMIN_CLIENT_KEY_FILE": "{public}"}, "^ADMIN_CLIENT_KEY_FILE: .* no private key"),
        (BASE | {"ADMIN_CLIENT_KEY_FILE": "{short}"}, "1024 bits; 2048 or more"),
        (BASE | {"ADMIN_CLIENT_KEY_FILE": "{curve}"}, "other than P-256, P-384 and P-521"),
        (
            BASE | {"ADMIN_CLIENT_SECRET": "s", "ADMIN_CLIENT_AUTH_METHOD": "tls_client_auth"},
            "^ADMIN_CLIENT_AUTH_METHOD: 'tls_client_auth' is not one of client_secret_basic",
        ),
        (
            BASE | {"ADMIN_CLIENT_SECRET": "s", "ADMIN_CLIENT_AUTH_METHOD": "private_key_jwt"},
            "ADMIN_CLIENT_AUTH_METHOD.*need a key file",
        ),
        (
            BASE | {"ADMIN_CLIENT_KEY_FILE": "{key}", "ADMIN_CLIENT_AUTH_METHOD": "client_secret_basic"},
            "ADMIN_CLIENT_AUTH_METHOD.*needs a client secret",
        ),
        (
            BASE | {"ADMIN_CLIENT_SECRET": "s", "ADMIN_CLIENT_RESOURCE": "https://a/ b"},
            "ADMIN_CLIENT_RESOURCE.*'b' is not an absolute URI",
        ),
    ],
)
def test_an_environment_that_does_not_fit_is_refused_with_the_names(
    environ: dict[str, str], problem: str, tmp_path: Path
) -> None:
    files = {
        "key": pem(RSA),
        "locked": pem(RSA, BestAvailableEncryption(b"x")),
        "public": RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "short": pem(rsa.generate_private_key(65537, 1024)),
        "curve": pem(ec.generate_private_key(ec.SECP256K1())),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    paths = {name: str(tmp_path / name) for name in (*files, "none")}
    with pytest.raises(ClientError, match=problem) as refused:
        credentials_from({name: value.format(**paths) for name, value in environ.items()})
    assert "BEGIN" not in str(refused.value)


async def test_an_environment_names_all_of_it(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_bytes(pem(KEYS["ES256"]))
    async with scripted(discovery) as idp, scripted(EMPTY) as api:
        environ = {
            "EXTAUTHZ_URL": api.url,
            "AUTH_SERVER_URL": idp.url,
            "ADMIN_CLIENT_ID": "operations",
            "ADMIN_CLIENT_AUTH_METHOD": "private_key_jwt",
            "ADMIN_CLIENT_KEY_FILE": str(tmp_path / "key.pem"),
            "ADMIN_CLIENT_KEY_ID": "k1",
            "ADMIN_CLIENT_SCOPE": "x y",
            "ADMIN_CLIENT_AUDIENCE": "extauthz",
            "ADMIN_CLIENT_RESOURCE": "https://x.example/ urn:y",
        }
        async with ExtauthzClient.from_environment(environ) as client:
            assert await client.role_rules() == ()
        form = await idp.requests[1].post()
        assert [form["scope"], form["audience"]] == ["x y", "extauthz"]
        assert form.getall("resource") == ["https://x.example/", "urn:y"]
        assert jwt.get_unverified_header(str(form["client_assertion"]))["kid"] == "k1"


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        ({}, "EXTAUTHZ_URL not set"),
        ({"EXTAUTHZ_URL": "localhost"}, "AUTH_SERVER_URL, ADMIN_CLIENT_ID, ADMIN_CLIENT_SECRET not set"),
        ({"EXTAUTHZ_URL": "localhost", "EXTAUTHZ_SERVICE_API_KEY": "k"}, "EXTAUTHZ_URL.* not at 'localhost'"),
        (
            {"EXTAUTHZ_URL": "http://x", "EXTAUTHZ_SERVICE_API_KEY": "k", "EXTAUTHZ_CA_FILE": "/nowhere/ca"},
            "EXTAUTHZ_CA_FILE.*'/nowhere/ca' holds no certificate",
        ),
    ],
)
@pytest.mark.parametrize("kind", [ExtauthzClient, SyncExtauthzClient])
def test_a_client_of_an_incomplete_environment_is_refused(
    kind: type[ExtauthzClient] | type[SyncExtauthzClient], environ: dict[str, str], problem: str
) -> None:
    with pytest.raises(ClientError, match=problem):
        kind.from_environment(environ)


@pytest.fixture
async def secured(tmp_path: Path) -> "AsyncIterator[Scripted]":
    """A server with a certificate of a CA that no system knows; `ca.pem` is that CA."""
    authority = Authority("ca of the test")
    certificate = authority.issue("localhost")
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    (tmp_path / "other.pem").write_bytes(Authority("another ca").pem)
    (tmp_path / "server.pem").write_bytes(certificate.chain + certificate.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    server = Scripted(handlers=[EMPTY])
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    server.url = f"https://localhost:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()


async def test_a_ca_file_is_trusted_in_addition_to_the_system(secured: Scripted, tmp_path: Path) -> None:
    async with ExtauthzClient(secured.url, ServiceKey("k"), ca_file=tmp_path / "ca.pem") as client:
        assert await client.role_rules() == ()
    with SyncExtauthzClient(secured.url, ServiceKey("k"), ca_file=str(tmp_path / "ca.pem")) as blocking:
        assert await asyncio.to_thread(blocking.role_rules) == ()
    for ca_file in (None, tmp_path / "other.pem"):
        async with ExtauthzClient(secured.url, ServiceKey("k"), attempts=1, ca_file=ca_file) as client:
            with pytest.raises(Unreachable, match=r"(?i)certificate.verify.failed"):
                await client.role_rules()
        with (
            SyncExtauthzClient(secured.url, ServiceKey("k"), attempts=1, ca_file=ca_file) as blocking,
            pytest.raises(Unreachable, match=r"(?i)certificate.verify.failed"),
        ):
            await asyncio.to_thread(blocking.role_rules)
    assert len(secured.requests) == 2


async def test_the_keys_of_assertions_are_fetched_with_the_ca_file(secured: Scripted, tmp_path: Path) -> None:
    secured.handlers = [says(200, {"keys": []})]
    token = ".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
        for part in ({"alg": "ES256", "kid": "1", "typ": "assertion+jwt"}, {}, "x")
    )
    verifier = AssertionVerifier(secured.url, issuer="mesh", audience="billing", ca_file=tmp_path / "ca.pem")
    with pytest.raises(AssertionRejected, match="no published key"):
        await verifier.verify(token)
    with pytest.raises(Unreachable):
        await AssertionVerifier(secured.url, issuer="mesh", audience="billing").verify(token)
    with pytest.raises(ValueError, match="holds no certificate"):
        AssertionVerifier(secured.url, issuer="mesh", audience="billing", ca_file=tmp_path / "nothing")
