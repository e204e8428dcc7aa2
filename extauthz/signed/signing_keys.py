"""The Ed25519 keys of signed policies as securesystemslib has them.

Input: what `POLICY_SIGNING_KEY` and `POLICY_PUBLIC_KEYS` were read to. Output: a signer, public keys.
"""

from collections.abc import Iterable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from securesystemslib.signer import CryptoSigner, Key, SSlibKey


def signer(key: Ed25519PrivateKey) -> CryptoSigner:
    """Return what signs heads."""
    return CryptoSigner(key)


def pinned(raw_keys: Iterable[bytes]) -> tuple[Key, ...]:
    """Return the public keys, 32 bytes each, that may have signed a head."""
    return tuple(SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(raw)) for raw in raw_keys)
