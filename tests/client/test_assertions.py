"""The verifier of assertions: what it accepts, and that it accepts nothing else."""

import base64
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from extauthz.check.assertions import Assertions
from extauthz.domain.verdict import Allowed, PolicyVersion, Rule, RuleKind
from extauthz.keys.assertion_keys import AssertionKey, read_assertion_keys
from extauthz_client import AssertionRejected, AssertionVerifier, Unreachable, VerifiedAssertion
from extauthz_client import assertions as client_assertions
from tests.builders import ALICE, READ_INVOICE, request_facts

pytestmark = pytest.mark.anyio
ISSUER = "https://mesh.example"
VERDICT = Allowed(
    "id",
    Rule("r", RuleKind.ROLE),
    ALICE,
    ("finance", "rôle,x"),
    READ_INVOICE,
    PolicyVersion(),
    request_facts(),
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def new_key(*, curve: bool = True) -> AssertionKey:
    private = ec.generate_private_key(ec.SECP256R1()) if curve else ed25519.Ed25519PrivateKey.generate()
    found = read_assertion_keys(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    assert isinstance(found, tuple)
    return found[0]


KEY, OTHER, EDWARDS = new_key(), new_key(), new_key(curve=False)


class One:
    """The source of one key."""

    def __init__(self, key: AssertionKey) -> None:
        self._key = key

    def signer(self) -> AssertionKey:
        return self._key


def signed(key: AssertionKey = KEY, *, at: float | None = None, audience: str = "billing") -> str:
    made = Assertions(ISSUER, One(key)).sign(VERDICT, audience, time.time() if at is None else at)
    assert made is not None
    return made.token


def encoded(document: object) -> str:
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def forged(key: AssertionKey = KEY, header: dict[str, Any] | None = None, **claims: object) -> str:
    """Sign a token of our own making; a claim that is None is left out."""
    now = int(time.time())
    said = {"iss": ISSUER, "aud": "billing", "iat": now, "exp": now + 60, "sub": "a", "kind": "user"}
    said |= {"tenant": "default", "roles": []} | claims
    usual = {"alg": key.algorithm, "kid": key.kid, "typ": "assertion+jwt"} | (header or {})
    parts = [encoded({n: v for n, v in each.items() if v is not None}) for each in (usual, said)]
    return ".".join([*parts, encoded(key.sign(".".join(parts).encode()))])


class Keys:
    """The server of a key set, which a test changes."""

    def __init__(self) -> None:
        self.answer: Callable[[], web.Response] = lambda: self.of(KEY, EDWARDS)
        self.asked = 0
        self.url = ""

    @staticmethod
    def of(*keys: AssertionKey) -> web.Response:
        return web.json_response({"keys": [{"kty": "RSA"}, 7, *(key.jwk for key in keys)]})

    async def serve(self, _: web.BaseRequest) -> web.Response:
        self.asked += 1
        return self.answer()

    def verifier(self, **more: Any) -> AssertionVerifier:
        return AssertionVerifier(self.url, **({"issuer": ISSUER, "audience": "billing"} | more))


@asynccontextmanager
async def published() -> AsyncIterator[Keys]:
    keys = Keys()
    runner = web.ServerRunner(web.Server(keys.serve))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    keys.url = f"http://127.0.0.1:{runner.addresses[0][1]}/.well-known/jwks.json"
    try:
        yield keys
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("key", [KEY, EDWARDS])
async def test_an_assertion_says_what_the_identity_headers_say(key: AssertionKey) -> None:
    now = time.time()
    async with published() as keys:
        found = await keys.verifier().verify(signed(key, at=now))
        assert found == VerifiedAssertion(
            ALICE.id, "user", ("finance", "rôle,x"), "default", ALICE.domain, int(now), int(now) + 60
        )
        verifier = keys.verifier()
        for _ in range(3):
            await verifier.verify(signed(key))
        assert keys.asked == 2


async def test_an_assertion_that_is_changed_old_or_of_another_issuer_is_refused() -> None:
    now = int(time.time())
    head, body, signature = signed().split(".")
    hmac = encoded({"alg": "HS256", "kid": KEY.kid, "typ": "assertion+jwt"})
    none = encoded({"alg": "none", "kid": KEY.kid, "typ": "assertion+jwt"})
    refused: dict[str, str | None] = {
        "absent": None,
        "empty": "",
        "no JWT": "a.b",
        "five parts": f"{head}.{body}.{signature}.x.y",
        "too long": "a" * 20000,
        "not ASCII": signed() + "é",
        "another signature": f"{head}.{body}.{encoded(b'x' * 64)}",
        "no signature": f"{head}.{body}.",
        "a padded signature": f"{head}.{body}.{signature}==",
        "a joined header": f"{signed()},{signed()}",
        "no algorithm": f"{none}.{body}.",
        "a symmetric algorithm": f"{hmac}.{body}.{signature}",
        "the other algorithm": forged(header={"alg": "EdDSA"}),
        "another key of the same id": forged(OTHER, {"kid": KEY.kid}),
        "an unpublished key": forged(OTHER),
        "no kid": forged(header={"kid": None}),
        "a kid that is a number": forged(header={"kid": 7}),
        "a plain JWT": forged(header={"typ": "JWT"}),
        "no type": forged(header={"typ": None}),
        "crit": forged(header={"crit": ["b64"]}),
        "another issuer": forged(iss="https://other.example"),
        "no issuer": forged(iss=None),
        "another audience": forged(aud="other"),
        "a list of audiences": forged(aud=["billing"]),
        "no audience": forged(aud=None),
        "expired": forged(iat=now - 120, exp=now - 60),
        "no expiry": forged(exp=None),
        "a text as expiry": forged(exp=str(now + 60)),
        "a boolean as expiry": forged(exp=True),
        "a day long": forged(exp=now + 86400),
        "from the future": forged(iat=now + 3600, exp=now + 3660),
        "no kind": forged(kind=None),
        "no tenant": forged(tenant=None),
        "no subject": forged(sub=None),
        "a subject that is a list": forged(sub=["a"]),
        "roles as text": forged(roles="admin"),
        "roles of numbers": forged(roles=[1]),
        "a payload that is a list": f"{head}.{encoded([])}.{signature}",
        "a payload that is deep": f"{head}.{encoded(b'[' * 5000)}.{signature}",
    }
    async with published() as keys:
        verifier = keys.verifier()
        await verifier.verify(signed())
        assert (await verifier.verify(forged(kind="anonymous", sub=None))).subject is None
        for name, token in refused.items():
            with pytest.raises(AssertionRejected) as rejected:
                await verifier.verify(token)
            assert token is None or len(token) < 9 or token not in str(rejected.value), name


async def test_an_assertion_is_refused_from_its_expiry_on() -> None:
    at = 1_800_000_000.0
    now = [at]
    async with published() as keys:
        verifier = keys.verifier(leeway_s=5.0, clock=lambda: now[0])
        token = signed(at=at)
        for moment in (at - 5, at, at + 59, at + 64.9):
            now[0] = moment
            await verifier.verify(token)
        for moment in (at - 6, at + 65, at + 3600):
            now[0] = moment
            with pytest.raises(AssertionRejected):
                await verifier.verify(token)


async def test_an_unknown_key_id_fetches_the_keys_again_but_not_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with published() as keys:
        verifier = keys.verifier()
        await verifier.verify(signed())
        keys.answer = lambda: keys.of(KEY, OTHER)
        for _ in range(5):
            with pytest.raises(AssertionRejected):
                await verifier.verify(signed(OTHER))
        assert keys.asked == 1
        monkeypatch.setattr(client_assertions, "REFETCH_S", 0.0)
        await verifier.verify(signed(OTHER))
        assert keys.asked == 2


@pytest.mark.parametrize(
    "answer",
    [
        lambda: web.Response(status=500),
        lambda: web.Response(text="no JSON"),
        lambda: web.Response(body=b"[" * 100_000),
        lambda: web.json_response([]),
        lambda: web.json_response({"keys": {}}),
        lambda: web.Response(body=b" " * 300_000),
        lambda: web.Response(status=302, headers={"location": "/elsewhere"}),
    ],
)
async def test_without_usable_keys_nothing_is_verified_and_known_keys_stay(
    answer: Callable[[], web.Response], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_assertions, "REFETCH_S", 0.0)
    async with published() as keys:
        known = keys.verifier()
        await known.verify(signed())
        keys.answer = answer
        with pytest.raises(Unreachable):
            await keys.verifier().verify(signed())
        with pytest.raises(AssertionRejected):
            await known.verify(signed(OTHER))
        await known.verify(signed())


async def test_the_verifier_says_what_is_wrong_with_its_arguments() -> None:
    for url, issuer, audience in (("file:///x", "i", "a"), ("http://x", "", "a"), ("http://x", "i", "")):
        with pytest.raises(ValueError, match=r"needed|URL"):
            AssertionVerifier(url, issuer=issuer, audience=audience)


def test_the_two_sides_agree_on_names() -> None:
    from extauthz.check import assertions as server
    from extauthz.check.identity_headers import ASSERTION

    assert (client_assertions.TYPE, client_assertions.HEADER) == (server.TYPE, ASSERTION)
    assert server.LIFETIME_S <= client_assertions.LONGEST_LIFETIME_S
