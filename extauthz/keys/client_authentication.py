"""Authenticates this service to a provider, for introspection: a shared secret, or a signed assertion.

Input: an `IntrospectionClient`, whose files are read at each use, so that they may be replaced. Output:
headers and form members of a request. Errors: `ClientInvalidError`, whose text never quotes a secret.
"""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import quote_plus

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from extauthz.keys.followed_file import read_regular_file
from extauthz.keys.introspection_client import ClientAuth, IntrospectionClient
from extauthz.settings.values import InvalidValueError, secret

MAX_SECRET_BYTES: Final = 16_384
ASSERTION_LIFETIME_S: Final = 60
# RFC 7662 2.1, RFC 7009 2.1
_HINT, _KIND = "token_type_hint", "access_token"
_ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_RSA_ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_CURVES: Final = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_SMALLEST_RSA_BITS: Final = 2048

_PrivateKey = RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey


class ClientInvalidError(ValueError):
    """A file of the client's secret or key cannot be used; the text says why, and is safe to log."""


def client_credentials(
    client: IntrospectionClient, issuer: str, *, now: float, unique: str
) -> tuple[dict[str, str], dict[str, str]]:
    """Return headers and form members that authenticate one request.

    `now` is POSIX seconds, `unique` a text that no other request has. Reads a file.

    Raises:
        ClientInvalidError: the secret or the key cannot be used.
    """
    match client.method:
        case ClientAuth.CLIENT_SECRET_BASIC:
            # RFC 6749 2.3.1: both are form-encoded first.
            pair = f"{quote_plus(client.client_id)}:{quote_plus(read_secret(client.secret_file))}"
            return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode('ascii')}"}, {}
        case ClientAuth.CLIENT_SECRET_POST:
            form = {"client_id": client.client_id, "client_secret": read_secret(client.secret_file)}
            return {}, form
        case ClientAuth.PRIVATE_KEY_JWT:
            return {}, _assertion(client, issuer, now, unique)


def _assertion(client: IntrospectionClient, issuer: str, now: float, unique: str) -> dict[str, str]:
    """Return the members of a client assertion (RFC 7523 2.2 and 3)."""
    key = read_private_key(client.key_file)
    algorithm = client.algorithm or algorithms_of(key)[0]
    claims = {
        "iss": client.client_id,
        "sub": client.client_id,
        "aud": client.assertion_audience or issuer,
        "iat": int(now),
        "exp": int(now) + ASSERTION_LIFETIME_S,
        "jti": unique,
    }
    headers = None if client.key_id is None else {"kid": client.key_id}
    try:
        assertion = jwt.encode(claims, key, algorithm=algorithm, headers=headers)
    except (jwt.PyJWTError, TypeError, ValueError) as error:
        raise ClientInvalidError(
            f"key_file: no {algorithm} signature with it ({type(error).__name__})"
        ) from None
    return {
        "client_id": client.client_id,
        "client_assertion_type": _ASSERTION_TYPE,
        "client_assertion": assertion,
    }


def read_secret(file: Path | None) -> str:
    """Return the secret in a file, without its final line end. Raises ClientInvalidError."""
    if file is None:
        raise ClientInvalidError("client_secret_file is missing")
    octets = _content("client_secret_file", file)
    try:
        return secret(octets.decode("utf-8").removesuffix("\n").removesuffix("\r"))
    except UnicodeDecodeError:
        raise ClientInvalidError("client_secret_file: is not UTF-8") from None
    except InvalidValueError as invalid:
        raise ClientInvalidError(f"client_secret_file: must contain {invalid}") from None


def read_private_key(file: Path | None) -> _PrivateKey:
    """Return the private key in a PEM file without a passphrase. Raises ClientInvalidError."""
    if file is None:
        raise ClientInvalidError("key_file is missing")
    octets = _content("key_file", file)
    try:
        key = load_pem_private_key(octets, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ClientInvalidError("key_file: holds no private key in PEM without a passphrase") from None
    if isinstance(key, RSAPrivateKey) and key.key_size < _SMALLEST_RSA_BITS:
        raise ClientInvalidError(f"key_file: RSA of {key.key_size} bits; 2048 or more are needed")
    if isinstance(key, EllipticCurvePrivateKey) and key.curve.name not in _CURVES:
        raise ClientInvalidError("key_file: the curve is not P-256, P-384 or P-521")
    if isinstance(key, RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey):
        return key
    raise ClientInvalidError("key_file: the key is neither RSA, EC nor Ed25519")


def algorithms_of(key: _PrivateKey) -> tuple[str, ...]:
    """Return the algorithms that a key can sign with; the first is the usual one."""
    match key:
        case RSAPrivateKey():
            return _RSA_ALGORITHMS
        case EllipticCurvePrivateKey():
            return (_CURVES[key.curve.name],)
        case Ed25519PrivateKey():
            return ("EdDSA",)


def _content(name: str, file: Path) -> bytes:
    try:
        octets = read_regular_file(file, MAX_SECRET_BYTES)
    except OSError as error:
        raise ClientInvalidError(f"{name}: {error.strerror or error}") from None
    if len(octets) > MAX_SECRET_BYTES:
        raise ClientInvalidError(f"{name}: larger than {MAX_SECRET_BYTES} bytes")
    return octets


def form_of(token: str, credentials: Mapping[str, str]) -> dict[str, str]:
    """Return the form of an introspection request (RFC 7662 2.1)."""
    return {"token": token, _HINT: _KIND, **credentials}
