"""The keys that sign assertions: the PEM text of ASSERTION_KEY_FILE becomes private and published keys.

Input: PEM with one or more keys, P-256 or Ed25519. Output: `AssertionKey`s, or why the text is refused; the
reason never quotes the text.
"""

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

MAX_FILE_BYTES: Final = 65536
MAX_KEYS: Final = 8

_BLOCK: Final = re.compile(
    rb"-----BEGIN ([A-Z0-9 ]{1,40})-----[^-]{0,65536}-----END ([A-Z0-9 ]{1,40})-----", re.ASCII
)
_NEEDED: Final = "a P-256 key (ES256) or an Ed25519 key (EdDSA) is needed"
_OCTETS: Final = 32
_PrivateKey = EllipticCurvePrivateKey | Ed25519PrivateKey


@dataclass(frozen=True, slots=True)
class AssertionKey:
    """One key: its public half as a JWK (RFC 7517), and the private one where the file has it.

    `kid` is the JWK thumbprint (RFC 7638), so that every process gives a key the same name.
    """

    kid: str
    jwk: dict[str, str] = field(compare=False)
    private: _PrivateKey | None = field(default=None, compare=False, repr=False)

    @property
    def algorithm(self) -> str:
        """`ES256` or `EdDSA`."""
        return self.jwk["alg"]

    def sign(self, signing_input: bytes) -> bytes:
        """Return the signature in the form of JWS (RFC 7518 3.4, RFC 8037 3.1)."""
        private = self.private
        assert private is not None, "the first key of a file is a private one"
        if isinstance(private, Ed25519PrivateKey):
            return private.sign(signing_input)
        r, s = decode_dss_signature(private.sign(signing_input, ECDSA(SHA256())))
        return r.to_bytes(_OCTETS, "big") + s.to_bytes(_OCTETS, "big")


def read_assertion_keys(pem: bytes) -> tuple[AssertionKey, ...] | str:
    """Return the keys in their order, or what is wrong with the text. The first has its private half."""
    if len(pem) > MAX_FILE_BYTES:
        return f"is larger than {MAX_FILE_BYTES} bytes"
    found: dict[str, AssertionKey] = {}
    for block in _BLOCK.finditer(pem):
        label = block[1].decode("ascii")
        if label == "EC PARAMETERS":
            continue
        key = _key(label, block[0])
        if isinstance(key, str):
            return f"key {len(found) + 1}: {key}"
        if not found and key.private is None:
            return "key 1: a private key is needed; it signs, and later keys are only published"
        found.setdefault(key.kid, key)
    if not found:
        return f"holds no key in PEM; {_NEEDED}"
    if len(found) > MAX_KEYS:
        return f"holds {len(found)} keys, more than {MAX_KEYS}"
    return tuple(found.values())


def _key(label: str, block: bytes) -> AssertionKey | str:
    try:
        if label == "PUBLIC KEY":
            public: object = load_pem_public_key(block)
            private = None
        elif label == "ENCRYPTED PRIVATE KEY":
            return "is encrypted; a private key without a passphrase is needed"
        elif label.endswith("PRIVATE KEY"):
            private = load_pem_private_key(block, password=None)
            public = private.public_key()
        else:
            return f"is a {label.lower()!r}; {_NEEDED}"
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # The library's text may describe the content.
        return f"cannot be read; {_NEEDED}"
    jwk = _jwk(public)
    if jwk is None:
        return f"is of another kind; {_NEEDED}"
    if not isinstance(private, EllipticCurvePrivateKey | Ed25519PrivateKey):
        private = None
    return AssertionKey(jwk["kid"], jwk, private)


def _jwk(public: object) -> dict[str, str] | None:
    """Return the JWK of a public key (RFC 7518 6.2, RFC 8037 2), None for another kind of key."""
    if isinstance(public, Ed25519PublicKey):
        members = {"crv": "Ed25519", "kty": "OKP", "x": _base64url(public.public_bytes_raw())}
        algorithm = "EdDSA"
    elif isinstance(public, EllipticCurvePublicKey) and isinstance(public.curve, SECP256R1):
        numbers = public.public_numbers()
        x, y = (_base64url(each.to_bytes(_OCTETS, "big")) for each in (numbers.x, numbers.y))
        members = {"crv": "P-256", "kty": "EC", "x": x, "y": y}
        algorithm = "ES256"
    else:
        return None
    # RFC 7638 3: the required members in lexicographic order, without white space.
    text = json.dumps(members, sort_keys=True, separators=(",", ":"))
    thumbprint = _base64url(hashlib.sha256(text.encode("ascii")).digest())
    return {**members, "alg": algorithm, "kid": thumbprint, "use": "sig"}


def _base64url(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")
