"""Tokens that are bound to a client certificate (RFC 8705 3.1): reads the binding, and verifies it.

Also the URIs of the certificate of a workload.

A token with `cnf` (RFC 7800) proves nothing by itself: its bearer has to have the key that `cnf` names. The
one method that can be verified here is `x5t#S256`, by the certificate that the proxy verified of its client.
A token with another method, or with several, is refused.
"""

import base64
import hashlib
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import unquote_to_bytes

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from extauthz.decide.tokens.claims import ClaimRejected
from extauthz.domain.claims import value_kind

_METHOD: Final = "x5t#S256"
_THUMBPRINT: Final = re.compile(r"[A-Za-z0-9_-]{43}")  # base64url of 32 octets
# RFC 7468 2 and 5: one certificate, the peer's own.
_PEM: Final = re.compile(
    rb"\s*-----BEGIN CERTIFICATE-----\s*([A-Za-z0-9+/=\s]{1,65536}?)-----END CERTIFICATE-----\s*"
)


def confirmation(claims: Mapping[str, object], *, required: bool) -> str | ClaimRejected | None:
    """Return the thumbprint that the token is bound to; None for a token without `cnf`."""
    found = claims.get("cnf")
    if found is None:
        return (
            ClaimRejected("cnf is missing, and tokens of the issuer have to be bound") if required else None
        )
    if not isinstance(found, Mapping):
        return ClaimRejected(f"cnf is {value_kind(found)}, not an object")
    if set(found) != {_METHOD}:
        return ClaimRejected(f"cnf has another method than {_METHOD}, which alone can be verified")
    thumbprint = found[_METHOD]
    if not isinstance(thumbprint, str) or _THUMBPRINT.fullmatch(thumbprint) is None:
        return ClaimRejected(f"cnf: {_METHOD} is not the base64url of a SHA-256 value")
    return thumbprint


def binding_problem(thumbprint: str, certificate: bytes) -> str | None:
    """Tell why a token with this thumbprint may not be used by the peer; None when it may.

    `certificate` is the peer's as Envoy passes it, PEM in URL encoding; empty without one.
    """
    if not certificate:
        return "the token is bound to a certificate, and the proxy passed none of its client"
    found = _thumbprint(certificate)
    if found is None:
        return "the token is bound to a certificate, and the one of the proxy's client cannot be read"
    return None if found == thumbprint else "the token is bound to another certificate"


def uri_problem(name: str, certificate: bytes) -> str | None:
    """Tell why a certificate does not name one workload; None when it does, or the proxy passed none.

    Envoy's name of a peer is the first of the URIs. X509-SVID 2: exactly one URI is allowed, and a
    certificate with several must be rejected.
    """
    if not certificate:
        return None
    uris = _uris(certificate)
    if uris is None:
        return "is of a certificate that cannot be read"
    return None if uris in ((), (name,)) else "is not the only URI of the certificate"


@lru_cache(maxsize=256)
def _uris(certificate: bytes) -> tuple[str, ...] | None:
    """Return the URIs among the subject alternative names of a certificate."""
    der = _der(certificate)
    if der is None:
        return None
    try:
        extensions = x509.load_der_x509_certificate(der).extensions
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    except (ValueError, x509.DuplicateExtension, UnsupportedAlgorithm):
        return None
    return tuple(names.get_values_for_type(x509.UniformResourceIdentifier))


def _der(certificate: bytes) -> bytes | None:
    pem = _PEM.fullmatch(unquote_to_bytes(certificate))
    if pem is None:
        return None
    try:
        return base64.b64decode(b"".join(pem[1].split()), validate=True)
    except ValueError:
        return None


@lru_cache(maxsize=256)
def _thumbprint(certificate: bytes) -> str | None:
    """Return `x5t#S256` of a certificate (RFC 8705 3.1): of its DER octets."""
    der = _der(certificate)
    if der is None:
        return None
    return base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode("ascii")
