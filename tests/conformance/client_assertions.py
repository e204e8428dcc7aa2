"""The private keys of the cases, and what clients sign with them (RFC 7523 3)."""

import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.conformance.comparison import Request, differences

_LONGEST_LIFE_S: Final = 300
_SHORTEST_ID: Final = 16


@functools.cache
def _key(kind: str) -> Any:
    match kind:
        case "rs256":
            return generate_rsa_key(65537, 2048)
        case "es256":
            return generate_private_key(SECP256R1())
        case "es384":
            return generate_private_key(SECP384R1())
        case "eddsa":
            return Ed25519PrivateKey.generate()
        case _:
            raise AssertionError(kind)


class Assertions:
    """The keys of one case, and the assertions that were seen in it."""

    def __init__(self, folder: Path, now: Callable[[], float]) -> None:
        """Take the folder for key files, and the clock of the case."""
        self._folder = folder
        self._now = now
        self._seen: set[str] = set()

    def key_file(self, kind: str) -> str:
        """Return the name of a file with a private key."""
        file = self._folder / f"{kind}.pem"
        file.write_bytes(_key(kind).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return str(file)

    def differences(self, expected: Mapping[str, Any], request: Request) -> Iterator[str]:
        """Yield how the client assertion of a form differs."""
        sent = [value for name, value in request.form() if name == "client_assertion"]
        if len(sent) != 1:
            yield f"the client assertions are {sent}"
            return
        header = jwt.get_unverified_header(sent[0])
        algorithm = header["alg"]
        try:
            claims = jwt.decode(
                sent[0],
                _key(algorithm.lower()).public_key(),
                algorithms=[algorithm],
                options={"verify_exp": False, "verify_iat": False, "verify_aud": False},
            )
        except jwt.InvalidTokenError as error:
            yield f"the assertion is invalid: {error}"
            return
        identifier, issued, expires = (claims.pop(name, None) for name in ("jti", "iat", "exp"))
        yield from differences(expected["header"], header, "the assertion's header")
        yield from differences(expected["claims"], claims, "the assertion's claims")
        if not isinstance(identifier, str) or len(identifier) < _SHORTEST_ID or identifier in self._seen:
            yield f"the assertion's jti is {identifier!r}"
        self._seen.add(str(identifier))
        if not isinstance(issued, int) or abs(issued - self._now()) > 1:
            yield f"the assertion's iat is {issued!r}"
        elif not isinstance(expires, int) or not issued < expires <= issued + _LONGEST_LIFE_S:
            yield f"the assertion's exp is {expires!r}"
