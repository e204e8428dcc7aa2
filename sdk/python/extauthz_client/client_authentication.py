"""Authenticates a client at its token endpoint: by a secret, or by a signed assertion (RFC 7523)."""

import base64
import json
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote_plus

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from extauthz_client import timing
from extauthz_client.errors import ClientError

AuthMethod = Literal["client_secret_basic", "client_secret_post", "private_key_jwt"]
AUTH_METHODS: Final[tuple[AuthMethod, ...]] = ("client_secret_basic", "client_secret_post", "private_key_jwt")

_ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_LIFETIME_S: Final = 60
_LARGEST_FILE: Final = 65536
_SMALLEST_RSA_BITS: Final = 2048
_CURVES: Final[dict[str, tuple[str, HashAlgorithm]]] = {
    "secp256r1": ("ES256", SHA256()),
    "secp384r1": ("ES384", SHA384()),
    "secp521r1": ("ES512", SHA512()),
}

PrivateKey = RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey


@dataclass(frozen=True, slots=True)
class ClientAuthentication:
    """How one client authenticates."""

    client_id: str
    method: AuthMethod
    secret: str = field(default="", repr=False)
    key_file: Path = field(default=Path())
    key_id: str | None = None

    @classmethod
    def of(
        cls,
        client_id: str,
        secret: str | None,
        *,
        method: AuthMethod | None,
        key_file: str | Path | None,
        key_id: str | None,
    ) -> "ClientAuthentication":
        """Return what the parts come to. Raises ValueError where they do not fit together."""
        if key_file is None:
            if not secret:
                raise ValueError("a client secret or a key file is needed")
            if method == "private_key_jwt" or key_id is not None:
                raise ValueError("private_key_jwt and a key id need a key file, not a client secret")
            return cls(client_id, method or "client_secret_basic", secret)
        if secret:
            raise ValueError("a client secret and a key file are both given; keep one")
        if method not in (None, "private_key_jwt"):
            raise ValueError(f"{method} needs a client secret, not a key file")
        return cls(client_id, "private_key_jwt", key_file=Path(key_file), key_id=key_id)

    def credentials(self, issuer: str) -> tuple[dict[str, str], dict[str, str]]:
        """Return headers and form members that authenticate one request to the token endpoint.

        Raises:
            ClientError: the key file cannot be used; the text says why and quotes nothing of it.
        """
        match self.method:
            case "client_secret_basic":
                # RFC 6749 2.3.1: both are form-encoded before they are joined.
                pair = f"{quote_plus(self.client_id)}:{quote_plus(self.secret)}"
                basic = base64.b64encode(pair.encode("ascii")).decode("ascii")
                return {"authorization": f"Basic {basic}"}, {}
            case "client_secret_post":
                return {}, {"client_id": self.client_id, "client_secret": self.secret}
            case "private_key_jwt":
                return {}, {
                    "client_id": self.client_id,
                    "client_assertion_type": _ASSERTION_TYPE,
                    "client_assertion": self._assertion(issuer),
                }

    def _assertion(self, issuer: str) -> str:
        """Return a client assertion (RFC 7523 3); its only audience is the issuer, as RFC 7523bis asks."""
        key = read_private_key(self.key_file)
        now = int(timing.wall_clock())
        header = {"alg": _algorithm(key), "typ": "JWT"} | ({"kid": self.key_id} if self.key_id else {})
        claims = {
            "iss": self.client_id,
            "sub": self.client_id,
            "aud": issuer,
            "jti": secrets.token_urlsafe(16),
            "iat": now,
            "exp": now + _LIFETIME_S,
        }
        signing_input = f"{_encoded(_json(header))}.{_encoded(_json(claims))}"
        return f"{signing_input}.{_encoded(_signature(key, signing_input.encode('ascii')))}"


def read_private_key(file: str | Path) -> PrivateKey:
    """Return the private key in a PEM file without a password. Raises ClientError."""
    try:
        with Path(file).open("rb") as opened:
            content = opened.read(_LARGEST_FILE)
    except OSError as error:
        raise ClientError(f"{str(file)!r} cannot be read: {error.strerror or error}") from error
    try:
        key = load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ClientError(f"{str(file)!r} holds no private key in PEM without a password") from None
    if isinstance(key, RSAPrivateKey) and key.key_size < _SMALLEST_RSA_BITS:
        raise ClientError(f"{str(file)!r} holds an RSA key of {key.key_size} bits; 2048 or more are needed")
    if isinstance(key, EllipticCurvePrivateKey) and key.curve.name not in _CURVES:
        raise ClientError(f"{str(file)!r} holds a key of a curve other than P-256, P-384 and P-521")
    if isinstance(key, PrivateKey):
        return key
    raise ClientError(f"{str(file)!r} holds a key that is neither RSA, EC nor Ed25519")


def _algorithm(key: PrivateKey) -> str:
    match key:
        case RSAPrivateKey():
            return "RS256"
        case EllipticCurvePrivateKey():
            return _CURVES[key.curve.name][0]
        case _:
            return "EdDSA"


def _signature(key: PrivateKey, signing_input: bytes) -> bytes:
    if isinstance(key, RSAPrivateKey):
        return key.sign(signing_input, PKCS1v15(), SHA256())
    if isinstance(key, Ed25519PrivateKey):
        return key.sign(signing_input)
    # RFC 7518 3.4: both numbers in a fixed length, not the DER that the library returns.
    r, s = decode_dss_signature(key.sign(signing_input, ECDSA(_CURVES[key.curve.name][1])))
    octets = (key.curve.key_size + 7) // 8
    return r.to_bytes(octets, "big") + s.to_bytes(octets, "big")


def _json(document: dict[str, object] | dict[str, str]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode("ascii")


def _encoded(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")
