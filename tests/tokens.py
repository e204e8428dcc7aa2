"""Keys, key sets and tokens for tests: well-formed by default, and as malformed as a test wants them.

`key.sign(claims, typ="JWT")` takes claims as an object or as the very bytes of the payload; header members
set to None are left out. `key.sign_bytes(header, payload)` signs any two byte strings. Keys are made once
per process and name: two calls with one kid give one key, unless `serial` differs.
"""

import base64
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Self

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

ISSUER = "https://idp.example.test"
AUDIENCE = "extauthz"
NOW = 1_800_000_000.0


def b64(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")


def unsigned(value: int, size: int = 0) -> str:
    return b64(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


def claims(**changes: object) -> dict[str, object]:
    """Return claims that are good at NOW; a change to None leaves a claim out."""
    usual: dict[str, object] = {
        "iss": ISSUER,
        "sub": "alice",
        "aud": AUDIENCE,
        "iat": int(NOW) - 60,
        "exp": int(NOW) + 600,
    }
    return {name: value for name, value in (usual | changes).items() if value is not None}


@dataclass(frozen=True)
class SigningKey:
    kid: str | None
    algorithm: str
    private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

    @classmethod
    def rs256(cls, kid: str | None = "rsa", *, bits: int = 2048, serial: int = 0) -> Self:
        return cls(kid, "RS256", _rsa_key(kid, bits, serial))

    @classmethod
    def es256(cls, kid: str | None = "ec", *, serial: int = 0) -> Self:
        return cls(kid, "ES256", _ec_key(kid, serial))

    def sign(self, payload: Mapping[str, object] | bytes, **header: object) -> str:
        usual: dict[str, object] = {"alg": self.algorithm, "typ": "JWT", "kid": self.kid}
        members = {name: value for name, value in (usual | header).items() if value is not None}
        octets = payload if isinstance(payload, bytes) else json.dumps(payload, default=_number).encode()
        return self.sign_bytes(json.dumps(members).encode(), octets)

    def sign_bytes(self, header: bytes, payload: bytes) -> str:
        signing_input = f"{b64(header)}.{b64(payload)}"
        return f"{signing_input}.{b64(self.signature(signing_input.encode()))}"

    def signature(self, signing_input: bytes) -> bytes:
        if isinstance(self.private, rsa.RSAPrivateKey):
            return self.private.sign(signing_input, padding.PKCS1v15(), hashes.SHA256())
        r, s = decode_dss_signature(self.private.sign(signing_input, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def jwk(self, **changes: object) -> dict[str, object]:
        """Return the public half; a change to None leaves a member out."""
        numbers = self.private.public_key().public_numbers()
        members: dict[str, object] = {"kid": self.kid, "alg": self.algorithm, "use": "sig"}
        if isinstance(numbers, rsa.RSAPublicNumbers):
            members |= {"kty": "RSA", "n": unsigned(numbers.n), "e": unsigned(numbers.e)}
        else:
            members |= {"kty": "EC", "crv": "P-256"}
            members |= {"x": unsigned(numbers.x, 32), "y": unsigned(numbers.y, 32)}
        return {name: value for name, value in (members | changes).items() if value is not None}


def jwks(*keys: SigningKey | Mapping[str, object]) -> bytes:
    entries = [key.jwk() if isinstance(key, SigningKey) else dict(key) for key in keys]
    return json.dumps({"keys": entries}).encode()


def _number(value: object) -> float:
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError(type(value).__name__)


@functools.cache
def _rsa_key(_kid: str | None, bits: int, _serial: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


@functools.cache
def _ec_key(_kid: str | None, _serial: int) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())
