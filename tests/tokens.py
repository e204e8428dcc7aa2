"""Keys, key sets and tokens for tests: well-formed by default, malformed on request.

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
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

CURVES: dict[str, tuple[ec.EllipticCurve, int, str]] = {
    "ES256": (ec.SECP256R1(), 32, "P-256"),
    "ES384": (ec.SECP384R1(), 48, "P-384"),
    "ES512": (ec.SECP521R1(), 66, "P-521"),
}
HASHES: dict[str, hashes.HashAlgorithm] = {
    "256": hashes.SHA256(),
    "384": hashes.SHA384(),
    "512": hashes.SHA512(),
}

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
    private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

    @classmethod
    def rs256(cls, kid: str | None = "rsa", *, bits: int = 2048, serial: int = 0) -> Self:
        return cls(kid, "RS256", _rsa_key(kid, bits, serial))

    @classmethod
    def es256(cls, kid: str | None = "ec", *, serial: int = 0) -> Self:
        return cls(kid, "ES256", _ec_key(kid, "ES256", serial))

    @classmethod
    def of(cls, algorithm: str, kid: str | None = None, *, serial: int = 0) -> Self:
        """Return a key of any algorithm; its kid is the algorithm's name unless given."""
        kid = kid or algorithm
        if algorithm == "EdDSA":
            return cls(kid, algorithm, _ed25519_key(kid, serial))
        if algorithm in CURVES:
            return cls(kid, algorithm, _ec_key(kid, algorithm, serial))
        return cls(kid, algorithm, _rsa_key(kid, 2048, serial))

    def sign(self, payload: Mapping[str, object] | bytes, **header: object) -> str:
        usual: dict[str, object] = {"alg": self.algorithm, "typ": "JWT", "kid": self.kid}
        members = {name: value for name, value in (usual | header).items() if value is not None}
        octets = payload if isinstance(payload, bytes) else json.dumps(payload, default=_number).encode()
        return self.sign_bytes(json.dumps(members).encode(), octets)

    def sign_bytes(self, header: bytes, payload: bytes) -> str:
        signing_input = f"{b64(header)}.{b64(payload)}"
        return f"{signing_input}.{b64(self.signature(signing_input.encode()))}"

    def signature(self, signing_input: bytes) -> bytes:
        if isinstance(self.private, ed25519.Ed25519PrivateKey):
            return self.private.sign(signing_input)
        digest = HASHES[self.algorithm[2:]]
        if isinstance(self.private, rsa.RSAPrivateKey):
            if self.algorithm.startswith("PS"):
                salted = padding.PSS(padding.MGF1(digest), salt_length=digest.digest_size)
                return self.private.sign(signing_input, salted, digest)
            return self.private.sign(signing_input, padding.PKCS1v15(), digest)
        r, s = decode_dss_signature(self.private.sign(signing_input, ec.ECDSA(digest)))
        _, size, _ = CURVES[self.algorithm]
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")

    def jwk(self, **changes: object) -> dict[str, object]:
        """Return the public half; a change to None leaves a member out."""
        members: dict[str, object] = {"kid": self.kid, "alg": self.algorithm, "use": "sig"}
        match self.private.public_key():
            case rsa.RSAPublicKey() as public:
                numbers = public.public_numbers()
                members |= {"kty": "RSA", "n": unsigned(numbers.n), "e": unsigned(numbers.e)}
            case ec.EllipticCurvePublicKey() as public:
                point, (_, size, curve) = public.public_numbers(), CURVES[self.algorithm]
                members |= {"kty": "EC", "crv": curve}
                members |= {"x": unsigned(point.x, size), "y": unsigned(point.y, size)}
            case public:
                members |= {"kty": "OKP", "crv": "Ed25519", "x": b64(public.public_bytes_raw())}
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
def _ec_key(_kid: str | None, algorithm: str, _serial: int) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(CURVES[algorithm][0])


@functools.cache
def _ed25519_key(_kid: str | None, _serial: int) -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()
