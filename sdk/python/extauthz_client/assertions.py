"""Verifies `x-auth-assertion`: that a request passed a check of extauthz, for this service, a moment ago.

A token is accepted if a published key of extauthz signed it, by ES256 or EdDSA and nothing else, for this
issuer and this audience, and it has not expired. Everything else is `AssertionRejected`.
"""

import asyncio
import base64
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import aiohttp
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePublicKey,
    EllipticCurvePublicNumbers,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from extauthz_client.errors import AssertionRejected, ClientError, Unreachable

HEADER: Final = "x-auth-assertion"
TYPE: Final = "assertion+jwt"
LONGEST_LIFETIME_S: Final = 300
KEYS_FRESH_S: Final = 300.0
"""Keys are fetched again after this time; if that fails, the last ones stay."""
REFETCH_S: Final = 1.0
"""The shortest time between two fetches, so that made-up key ids do not cause one each."""

_MAX_TOKEN: Final = 16384
_MAX_KEYS_BYTES: Final = 262144
_OCTETS: Final = 32
_CURVE: Final = SECP256R1()
_Key = EllipticCurvePublicKey | Ed25519PublicKey


@dataclass(frozen=True, slots=True)
class VerifiedAssertion:
    """What an assertion says. `subject` is None for an anonymous caller; times are POSIX seconds.

    `roles` is None where there are too many for a header.
    """

    subject: str | None
    kind: str
    roles: tuple[str, ...] | None
    tenant: str
    domain: str | None
    issued_at: int
    expires_at: int


class AssertionVerifier:
    """Verifies the assertions of one mesh for one service; for the tasks of one event loop."""

    def __init__(
        self,
        keys_url: str,
        *,
        issuer: str,
        audience: str,
        leeway_s: float = 5.0,
        timeout_s: float = 2.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Name the place of the keys (`/.well-known/jwks.json`), ASSERTION_ISSUER, and this service.

        `audience` is the `serviceName` of the service's resources. `leeway_s` is how far clocks may differ.

        Raises:
            ValueError: the address is not an http or https URL, or the issuer or the audience is empty.
        """
        if urlsplit(keys_url).scheme not in {"http", "https"} or not urlsplit(keys_url).hostname:
            raise ValueError(f"{keys_url!r} is not an http or https URL")
        if not issuer or not audience:
            raise ValueError("an issuer and an audience are needed")
        self._keys_url = keys_url
        self._issuer = issuer
        self._audience = audience
        self._leeway_s = leeway_s
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._clock = clock
        self._keys: Mapping[str, _Key] | None = None
        self._fetched_at = self._tried_at = float("-inf")
        self._fetching = asyncio.Lock()

    async def verify(self, token: str | None) -> VerifiedAssertion:
        """Return what the value of the header says; None stands for a request without the header.

        Raises:
            AssertionRejected: the request did not pass extauthz, or not for this service, or not lately.
            Unreachable: there are no keys yet, and they cannot be fetched.
        """
        if not token:
            raise AssertionRejected("the request has no x-auth-assertion")
        if len(token) > _MAX_TOKEN or not token.isascii():
            raise AssertionRejected("the assertion is too long or not ASCII")
        parts = token.split(".")
        if len(parts) != 3:  # RFC 7515 7.1
            raise AssertionRejected("the assertion is not a signed JWT")
        header = _object(parts[0], "header")
        if header.get("typ") != TYPE or "crit" in header:
            raise AssertionRejected(f"the token is not of the type {TYPE}")
        kid = header.get("kid")
        if not isinstance(kid, str):
            raise AssertionRejected("the assertion names no key")
        key = await self._key(kid)
        if key is None:
            raise AssertionRejected("no published key has the key id of the assertion")
        signing_input = f"{parts[0]}.{parts[1]}".encode("ascii")
        if not _verifies(key, header.get("alg"), signing_input, _octets(parts[2], "signature")):
            raise AssertionRejected("the signature does not verify")
        return self._judged(_object(parts[1], "payload"))

    def _judged(self, claims: Mapping[str, object]) -> VerifiedAssertion:
        if claims.get("iss") != self._issuer:
            raise AssertionRejected("the assertion is of another issuer")
        if claims.get("aud") != self._audience:
            raise AssertionRejected("the assertion is for another service")
        issued_at, expires_at = claims.get("iat"), claims.get("exp")
        if type(issued_at) is not int or type(expires_at) is not int:
            raise AssertionRejected("the assertion has no times")
        if not 0 < expires_at - issued_at <= LONGEST_LIFETIME_S:
            raise AssertionRejected("the assertion is valid for too long")
        now = self._clock()
        if now - self._leeway_s >= expires_at:
            raise AssertionRejected("the assertion has expired")
        if now + self._leeway_s < issued_at:
            raise AssertionRejected("the assertion is from the future")
        subject, domain, roles = claims.get("sub"), claims.get("domain"), claims.get("roles")
        kind, tenant = claims.get("kind"), claims.get("tenant")
        if not isinstance(kind, str) or not isinstance(tenant, str):
            raise AssertionRejected("the assertion names no kind or no tenant")
        if not isinstance(subject, str | None) or not isinstance(domain, str | None):
            raise AssertionRejected("the subject or the domain is not a string")
        if subject is None and kind != "anonymous":
            raise AssertionRejected("the assertion names no subject")
        if roles is not None and not (isinstance(roles, list) and all(isinstance(one, str) for one in roles)):
            raise AssertionRejected("the roles are not a list of strings")
        return VerifiedAssertion(
            subject, kind, None if roles is None else tuple(roles), tenant, domain, issued_at, expires_at
        )

    async def _key(self, kid: str) -> _Key | None:
        now = time.monotonic()
        known = None if self._keys is None else self._keys.get(kid)
        if known is not None and now - self._fetched_at < KEYS_FRESH_S:
            return known
        async with self._fetching:
            # A fetch that another task began while this one waited answers this one, too.
            if now - self._tried_at >= REFETCH_S:
                await self._fetch()
            if self._keys is None:
                raise Unreachable(f"{self._keys_url}: the keys of assertions cannot be fetched")
            return self._keys.get(kid)

    async def _fetch(self) -> None:
        """Fetch the keys; where that fails the last ones stay."""
        self._tried_at = time.monotonic()
        try:
            async with (
                aiohttp.ClientSession(timeout=self._timeout) as session,
                session.get(self._keys_url, allow_redirects=False) as response,
            ):
                if response.status != 200:
                    return
                text = await response.content.read(_MAX_KEYS_BYTES + 1)
                while len(text) <= _MAX_KEYS_BYTES and (more := await response.content.read(_MAX_KEYS_BYTES)):
                    text += more
        except (aiohttp.ClientError, TimeoutError, OSError):
            return
        keys = _key_set(text) if len(text) <= _MAX_KEYS_BYTES else None
        if keys is not None:
            self._keys, self._fetched_at = keys, time.monotonic()


def _key_set(text: bytes) -> Mapping[str, _Key] | None:
    """Return the keys of a JWK Set by id; entries that cannot be used are left out. None for another text."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        return None
    keys: dict[str, _Key] = {}
    for entry in entries:
        kid = entry.get("kid") if isinstance(entry, dict) else None
        if isinstance(kid, str) and (key := _public_key(entry)) is not None:
            keys[kid] = key
    return keys


def _public_key(jwk: Mapping[str, object]) -> _Key | None:
    try:
        match jwk.get("kty"), jwk.get("crv"), jwk.get("alg"):
            case "OKP", "Ed25519", "EdDSA" | None:
                return Ed25519PublicKey.from_public_bytes(_octets(jwk.get("x"), "key"))
            case "EC", "P-256", "ES256" | None:
                x, y = (int.from_bytes(_octets(jwk.get(name), "key"), "big") for name in ("x", "y"))
                return EllipticCurvePublicNumbers(x, y, _CURVE).public_key()
    except (ValueError, ClientError):
        return None
    return None


def _verifies(key: _Key, algorithm: object, signing_input: bytes, signature: bytes) -> bool:
    # INVARIANT: the kind of the key fixes the algorithm (RFC 8725 3.1); the header has only to agree.
    try:
        if isinstance(key, Ed25519PublicKey):
            if algorithm != "EdDSA":
                return False
            key.verify(signature, signing_input)
            return True
        if algorithm != "ES256" or len(signature) != 2 * _OCTETS:
            return False
        r, s = (int.from_bytes(half, "big") for half in (signature[:_OCTETS], signature[_OCTETS:]))
        key.verify(encode_dss_signature(r, s), signing_input, ECDSA(SHA256()))
    except (InvalidSignature, ValueError):
        return False
    return True


def _object(part: str, what: str) -> Mapping[str, object]:
    try:
        found = json.loads(_octets(part, what))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise AssertionRejected(f"the {what} of the assertion is not a JSON object")
    return found


def _octets(text: object, what: str) -> bytes:
    """Return the octets behind base64url without padding (RFC 7515 2)."""
    try:
        if isinstance(text, str) and "=" not in text:
            octets = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            if base64.urlsafe_b64encode(octets).rstrip(b"=").decode("ascii") == text:
                return octets
    except ValueError:
        pass
    raise AssertionRejected(f"the {what} of the assertion is not base64url")
