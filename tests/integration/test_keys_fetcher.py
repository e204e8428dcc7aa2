"""One fetch from a real HTTP server that works, fails, hangs or sends malformed answers."""

import asyncio
import datetime
import ipaddress
import json
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from extauthz.keys.fetcher import FetchedKeys, FetchFailed, KeyFetcher
from extauthz.keys.source import IssuerSource
from extauthz.telemetry.counts import FetchOutcome
from tests.certificates import Authority
from tests.integration.key_fetching import EC, LIMITS, RSA, Answer, failure, fetch_from, not_asked, source_of
from tests.key_server import KeyServer, answering
from tests.tokens import SigningKey, jwks


def test_keys_are_found_by_discovery() -> None:
    answer, server = fetch_from(lambda server: source_of(server.issuer))
    assert isinstance(answer, FetchedKeys)
    assert {key.kid for key in answer.keys.keys} == {"rsa", "ec"}
    assert answer.jwks_uri == server.jwks_uri
    assert server.requests == {"/.well-known/openid-configuration": 1, "/jwks": 1}


def test_a_configured_address_needs_no_discovery() -> None:
    answer, server = fetch_from(lambda server: source_of("https://idp.example.test", server.jwks_uri))
    assert isinstance(answer, FetchedKeys)
    assert server.requests == {"/jwks": 1}


def test_the_freshness_headers_of_the_provider_are_returned() -> None:
    def prepare(server: KeyServer) -> IssuerSource:
        server.headers = {"Cache-Control": "public, max-age=120"}
        return source_of(server.issuer)

    answer, _ = fetch_from(prepare)
    assert isinstance(answer, FetchedKeys)
    assert answer.cache_control == "public, max-age=120"


@pytest.mark.parametrize(
    "discovery",
    [
        {"issuer": "https://another.example.test"},
        {"issuer": None},
        {"issuer": ["x"]},
        {"jwks_uri": None},
        {"jwks_uri": 7},
    ],
)
def test_a_discovery_document_of_another_issuer_or_without_keys_is_rejected(
    discovery: dict[str, object],
) -> None:
    def prepare(server: KeyServer) -> IssuerSource:
        server.discovery = discovery
        return source_of(server.issuer)

    answer, server = fetch_from(prepare)
    assert failure(answer) is FetchOutcome.INVALID
    assert server.requests["/jwks"] == 0


@pytest.mark.parametrize(
    "jwks_uri",
    [
        "http://idp.example.test/jwks",
        "http://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "ftp://127.0.0.1/jwks",
        "//127.0.0.1/jwks",
        "https://user:secret@127.0.0.1/jwks",
        "https://127.0.0.1/jwks#fragment",
        "https://127.0.0.1:99999/jwks",
        "jwks",
        "",
    ],
)
def test_discovery_cannot_lead_to_an_address_that_is_not_asked(jwks_uri: str) -> None:
    def prepare(server: KeyServer) -> IssuerSource:
        server.discovery = {"jwks_uri": jwks_uri}
        return source_of(server.issuer)

    answer, _ = fetch_from(prepare)
    assert not_asked(answer)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_not_followed(status: int) -> None:
    def prepare(server: KeyServer) -> IssuerSource:
        server.handler = answering(status=status, headers={"Location": f"{server.issuer}/elsewhere"})
        return source_of(server.issuer)

    answer, server = fetch_from(prepare)
    assert failure(answer) is FetchOutcome.REFUSED
    assert server.requests["/elsewhere"] == 0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>maintenance</html>",
        b"{}",
        b'{"keys":[]}',
        b'{"keys":[{"kty":"oct","k":"AAAA"}]}',
        jwks(RSA, SigningKey.rs256(serial=1)),
        jwks(RSA)[:-2],
        b"[" * 60_000,
    ],
)
def test_an_answer_without_a_usable_key_is_rejected(body: bytes) -> None:
    def prepare(server: KeyServer) -> IssuerSource:
        server.handler = answering(body=body)
        return source_of(server.issuer)

    assert failure(fetch_from(prepare)[0]) is FetchOutcome.INVALID


def test_a_key_set_without_usable_keys_has_a_reason_for_each_key() -> None:
    def prepare(server: KeyServer) -> IssuerSource:
        server.handler = answering(body=jwks(RSA.jwk(use="enc"), EC.jwk(crv="P-384"), {"kty": "oct"}))
        return source_of(server.issuer)

    answer, _ = fetch_from(prepare)
    assert isinstance(answer, FetchFailed)
    assert answer.detail == "key set: no usable key"
    assert [(key.kid, key.problem) for key in answer.ignored] == [
        ("rsa", "use is not sig"),
        ("ec", "crv is not P-256"),
        (None, "kty is neither RSA nor EC"),
    ]


@pytest.mark.parametrize(
    ("found", "shown"),
    [
        ("https://another.example.test", "'https://another.example.test'"),
        (
            "https://login.microsoftonline.com/{tenantid}/v2.0",
            "'https://login.microsoftonline.com/{tenantid}/v2.0'",
        ),
        ("https://user:s3cret@another.example.test/x", "'https://[redacted]@another.example.test/x'"),
        ("x" * 500, f"'{'x' * 200}...'"),
        ("a\nb", "'a\\nb'"),
        (None, "null"),
        (["x"], "a list"),
    ],
)
def test_discovery_of_another_issuer_names_both(found: object, shown: str) -> None:
    def prepare(server: KeyServer) -> IssuerSource:
        server.discovery = {"issuer": found}
        return source_of(server.issuer)

    answer, server = fetch_from(prepare)
    assert isinstance(answer, FetchFailed)
    assert answer.detail == f"discovery document: its issuer is {shown}, not {server.issuer!r}"


def test_a_redirect_is_refused_with_advice() -> None:
    def prepare(server: KeyServer) -> IssuerSource:
        server.handler = answering(
            status=302, headers={"Location": f"{server.issuer}/elsewhere?secret=s3cret"}
        )
        return source_of(server.issuer)

    answer, _ = fetch_from(prepare)
    assert isinstance(answer, FetchFailed)
    assert "JWKS_URI" in answer.detail
    assert "s3cret" not in answer.detail


def test_a_provider_that_is_not_there_is_an_error() -> None:
    assert failure(fetch_from(lambda _: source_of("http://127.0.0.1:1"))[0]) is FetchOutcome.UNREACHABLE
    assert failure(fetch_from(lambda _: source_of("https://nowhere.invalid"))[0]) is FetchOutcome.UNREACHABLE


def test_a_server_of_another_protocol_is_an_error() -> None:
    async def scenario() -> Answer:
        async def malformed(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"\x00\xff SSH-2.0 hello\r\n\r\n")
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(malformed, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, KeyFetcher(limits=LIMITS) as fetcher:
            return await fetcher.fetch(source_of(f"http://127.0.0.1:{port}"))

    assert failure(asyncio.run(scenario())) is FetchOutcome.UNREACHABLE


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_tenant_cannot_make_the_service_connect_to_itself(host: str) -> None:
    def prepare(server: KeyServer) -> IssuerSource:
        address = f"http://{host}:{server.port}/jwks"
        return source_of("https://idp.example.test", address, operator_configured=False)

    answer, server = fetch_from(prepare)
    assert not_asked(answer)
    assert not server.requests
    answer, server = fetch_from(prepare, allow=lambda server: {f"{host.upper()}:{server.port}"})
    assert isinstance(answer, FetchedKeys)
    answer, _ = fetch_from(prepare, allow=lambda server: {f"{host}:{server.port + 1}"})
    assert not_asked(answer)


def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert isinstance(fetch_from(lambda server: source_of(server.issuer))[0], FetchedKeys)


def test_tls_needs_a_certificate_that_the_operator_trusts(tmp_path: Path) -> None:
    certificate = self_signed(tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    answer, server = fetch_from(lambda server: source_of(server.issuer), tls=tls)
    assert failure(answer) is FetchOutcome.UNREACHABLE
    assert not server.requests
    answer, _ = fetch_from(lambda server: source_of(server.issuer), tls=tls, ca_file=str(certificate))
    assert isinstance(answer, FetchedKeys)


def test_a_private_ca_without_key_usage_is_accepted_on_every_version_of_python(tmp_path: Path) -> None:
    """`openssl req -x509` makes such a CA; `ssl.create_default_context` refuses it since Python 3.13."""
    authority = Authority("private")
    issued = authority.issue("localhost")
    (tmp_path / "server.pem").write_bytes(issued.key + issued.chain)
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(tmp_path / "server.pem")
    answer, _ = fetch_from(lambda server: source_of(server.issuer), tls=tls, ca_file=str(tmp_path / "ca.pem"))
    assert isinstance(answer, FetchedKeys)


def test_failures_never_quote_the_answer() -> None:
    def prepare(server: KeyServer) -> IssuerSource:
        server.handler = answering(body=json.dumps({"keys": "s3cret"}).encode())
        return source_of(server.issuer)

    assert "s3cret" not in repr(fetch_from(prepare)[0])


def self_signed(folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "server.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path
