"""Values of `POLICY_SOURCE`, and of the variables of signed policies: the pinned keys, the signing key.

Errors: `InvalidValueError`, whose text never quotes a key.
"""

import base64
import binascii
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from extauthz.domain.host import HostRejected, canonical_host
from extauthz.domain.loopback import is_loopback
from extauthz.settings.values import FilesSource, InvalidValueError, PostgresSource

_KIND: Final = "ed25519:"
_KEY_BYTES: Final = 32
_URL: Final = "https://HOST[:PORT], or http:// for a loopback host, without a path"


@dataclass(frozen=True, slots=True)
class HttpSource:
    """`https://HOST[:PORT]`: as POLICY_SOURCE the policies are signed, and read over HTTP."""

    url: str

    @property
    def is_encrypted(self) -> bool:
        """Whether the server is asked over TLS."""
        return self.url.startswith("https:")


def policy_source(value: str) -> FilesSource | PostgresSource | HttpSource:
    """Return the source of policies."""
    if value.strip() == "postgres":
        return PostgresSource()
    kind, colon, directory = value.partition(":")
    if kind == "files" and colon and directory:
        return FilesSource(Path(directory))
    if kind in {"http", "https"}:
        return http_server(value)
    raise InvalidValueError("'postgres', 'files:DIR' or 'https://HOST[:PORT]'")


def http_server(value: str) -> HttpSource:
    """Return an HTTP server; plain HTTP only on loopback."""
    text = value.strip()
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise InvalidValueError(_URL) from None
    plain = parts.scheme == "http" and is_loopback(host)
    if not (parts.scheme == "https" or plain) or port == 0 or text.endswith(("?", "#")):
        raise InvalidValueError(_URL)
    if parts.username is not None or parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise InvalidValueError(_URL)
    if isinstance(canonical_host(parts.netloc), HostRejected):
        raise InvalidValueError(_URL)
    return HttpSource(f"{parts.scheme}://{parts.netloc}")


def public_keys(value: str) -> tuple[bytes, ...]:
    """Return Ed25519 public keys, 32 bytes each."""
    return tuple(_public_key(entry.strip()) for entry in value.split(","))


def _public_key(text: str) -> bytes:
    kind, encoded = text[: len(_KIND)], text[len(_KIND) :]
    try:
        raw = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if kind != _KIND or len(raw) != _KEY_BYTES:
        raise InvalidValueError("public keys, comma-separated, each 'ed25519:' and base64 of 32 bytes")
    return raw


def public_key_text(raw: bytes) -> str:
    """Return a public key of 32 bytes as POLICY_PUBLIC_KEYS has it."""
    return _KIND + base64.b64encode(raw).decode()


def signing_key(value: str) -> Ed25519PrivateKey:
    """Return an Ed25519 private key."""
    try:
        key = load_pem_private_key(value.strip().encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise InvalidValueError(
            "an Ed25519 private key in PEM without a password (openssl genpkey -algorithm ed25519)"
        )
    return key
