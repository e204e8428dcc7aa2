"""Tokens of the operator's sessions: issue and verify; see `admin.sessions`.

    eas_<id, 32 hex digits>_<expiry, POSIX seconds>_<HMAC-SHA-256 of the text before, 64 hex digits>

The signing key is derived from `ADMIN_API_KEY` (HKDF, RFC 5869), so another admin key ends every session.
"""

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

LIFETIME_S: Final = 900
PREFIX: Final = "eas_"

_SALT: Final = b"extauthz"
_INFO: Final = b"admin session 1"
_TOKEN: Final = re.compile(r"(eas_([0-9a-f]{32})_([0-9]{1,12}))_([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class AdminSession:
    """A session whose signature is valid; `expires_at` is POSIX seconds, exclusive."""

    id: UUID
    expires_at: int


def issue(admin_api_key: str, session_id: str, now: float) -> tuple[str, AdminSession]:
    """Return the token of a new session."""
    session = AdminSession(UUID(session_id), int(now) + LIFETIME_S)
    signed = f"{PREFIX}{session.id.hex}_{session.expires_at}"
    return f"{signed}_{_signature(admin_api_key, signed)}", session


def verify(admin_api_key: str, token: str, now: float) -> AdminSession | None:
    """Return the session of a token; None when the admin key did not sign it, or it has expired."""
    found = _TOKEN.fullmatch(token)
    if found is None or not hmac.compare_digest(_signature(admin_api_key, found[1]), found[4]):
        return None
    session = AdminSession(UUID(found[2]), int(found[3]))
    return session if now < session.expires_at else None


def _signature(admin_api_key: str, signed: str) -> str:
    secret = admin_api_key.encode("utf-8", "surrogateescape")
    key = HKDF(hashes.SHA256(), hashes.SHA256.digest_size, _SALT, _INFO).derive(secret)
    return hmac.new(key, signed.encode("ascii"), hashlib.sha256).hexdigest()
