"""The keys of assertions: a JWK Set (RFC 7517) as public keys, and the signatures that they verify."""

import base64
import json
from collections.abc import Mapping
from typing import Final

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

from extauthz_client.errors import AssertionRejected, ClientError

_OCTETS: Final = 32
_CURVE: Final = SECP256R1()
Key = EllipticCurvePublicKey | Ed25519PublicKey


def read_key_set(text: bytes) -> Mapping[str, Key] | None:
    """Return the keys of a JWK Set by id; entries that cannot be used are left out. None for another text."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        return None
    keys: dict[str, Key] = {}
    for entry in entries:
        kid = entry.get("kid") if isinstance(entry, dict) else None
        if isinstance(kid, str) and (key := _public_key(entry)) is not None:
            keys[kid] = key
    return keys


def _public_key(jwk: Mapping[str, object]) -> Key | None:
    try:
        match jwk.get("kty"), jwk.get("crv"), jwk.get("alg"):
            case "OKP", "Ed25519", "EdDSA" | None:
                return Ed25519PublicKey.from_public_bytes(octets(jwk.get("x"), "key"))
            case "EC", "P-256", "ES256" | None:
                x, y = (int.from_bytes(octets(jwk.get(name), "key"), "big") for name in ("x", "y"))
                return EllipticCurvePublicNumbers(x, y, _CURVE).public_key()
    except (ValueError, ClientError):
        return None
    return None


def verifies(key: Key, algorithm: object, signing_input: bytes, signature: bytes) -> bool:
    """Tell whether a key signed this, by the algorithm that is the key\'s own."""
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


def octets(text: object, what: str) -> bytes:
    """Return the octets behind base64url without padding (RFC 7515 2)."""
    try:
        if isinstance(text, str) and "=" not in text:
            octets = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            if base64.urlsafe_b64encode(octets).rstrip(b"=").decode("ascii") == text:
                return octets
    except ValueError:
        pass
    raise AssertionRejected(f"the {what} of the assertion is not base64url")
