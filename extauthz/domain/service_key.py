"""Service API keys: the spelling of a key, and the digest that a presented one is compared with.

    sak_live_<id, 32 hex digits>_<secret, 64 hex digits>

The id is public (`sak_` and the UUID of the key's row). The secret is 32 random bytes, of which only the
SHA-256 is ever kept: with 256 random bits there is nothing to guess, so a slow hash would protect nothing.
"""

import hmac
import re
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import Final, Self

ID_PREFIX: Final = "sak_"
SECRET_BYTES: Final = 32

_ID: Final = re.compile(r"sak_([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})")
_KEY: Final = re.compile(r"sak_live_([0-9a-f]{32})_([0-9a-f]{64})")


class Scope(StrEnum):
    """What a key may be used for (docs/rest.md#scopes)."""

    CHECK = "check"
    IDENTITY = "identity"
    RESOURCES_WRITE = "resources:write"
    POLICIES_READ = "policies:read"
    POLICIES_WRITE = "policies:write"
    POLICIES_FOLLOW = "policies:follow"
    KEYS_WRITE = "keys:write"
    AUDIT_READ = "audit:read"


def key_text(key_id: str, secret: bytes) -> str:
    """Return the key to hand out once.

    Raises:
        ValueError: the id is not `sak_` and a UUID, or the secret is not 32 bytes.
    """
    row = row_id(key_id)
    if row is None or len(secret) != SECRET_BYTES:
        raise ValueError("a key is made of an id and 32 bytes")
    return f"sak_live_{row.replace('-', '')}_{secret.hex()}"


def secret_digest(secret: bytes) -> bytes:
    """Return what is stored of a secret."""
    return sha256(secret).digest()


def row_id(key_id: str) -> str | None:
    """Return the UUID in a key's id; None for text of another form."""
    found = _ID.fullmatch(key_id)
    return None if found is None else found[1]


@dataclass(frozen=True, slots=True)
class PresentedKey:
    """A presented key: the id of its row, and the digest that the row must have."""

    id: str
    digest: bytes = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read a key; None when it cannot be one of ours. There is one spelling, in lower case."""
        found = _KEY.fullmatch(text)
        if found is None:
            return None
        digits = found[1]
        row = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
        return cls(ID_PREFIX + row, secret_digest(bytes.fromhex(found[2])))

    def opens(self, digest: bytes) -> bool:
        """Tell whether this is the key with the stored digest, in time that does not depend on either."""
        return hmac.compare_digest(self.digest, digest)


@dataclass(frozen=True, slots=True)
class IdentityKey:
    """A key with scope `identity`, with what verifies it and describes its principal.

    `expires_at` is POSIX seconds, None for no end. `domain` is the principal's.
    """

    id: str
    tenant: str
    digest: bytes = field(repr=False)
    domain: str | None = None
    expires_at: float | None = None
