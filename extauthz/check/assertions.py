"""The signed assertion that a request passed here: `x-auth-assertion`, a JWT for the service of the resource.

It says what the identity headers say, and is signed, so that a workload can tell it from what another
client in its network sends. It is valid for `LIFETIME_S` and used again for half of that; `ForwardedHeaders`
of `forwarded_headers` are cached by everything that it says.
"""

import base64
import json
from collections.abc import Mapping
from typing import Final, NamedTuple, Protocol

from extauthz.check.identity_headers import MAX_ROLES_BYTES
from extauthz.domain.verdict import Allowed, Preflight
from extauthz.keys.assertion_keys import AssertionKey

LIFETIME_S: Final = 60
USED_AGAIN_S: Final = 30.0
TYPE: Final = "assertion+jwt"
"""`typ` of the header (RFC 8725 3.11): no other token of this kind of key is taken for an assertion."""


class Signers(Protocol):
    """The source of the key that signs."""

    def signer(self) -> AssertionKey | None:
        """Return the key that signs now."""


class Assertion(NamedTuple):
    """A signed assertion, and the times between which it is used (POSIX seconds)."""

    token: str
    used_from: float
    used_until: float


class Assertions:
    """Signs assertions in the name of `issuer` (ASSERTION_ISSUER)."""

    def __init__(self, issuer: str, signers: Signers) -> None:
        """Take the issuer and the source of keys."""
        self._issuer = issuer
        self._signers = signers

    def sign(self, verdict: Allowed | Preflight, service: str, now: float) -> Assertion | None:
        """Return an assertion for the service at `now` (POSIX seconds); None where there is no key yet."""
        key = self._signers.signer()
        if key is None:
            return None
        principal = verdict.principal
        issued_at = int(now)
        claims: dict[str, object] = {
            "iss": self._issuer,
            "aud": service,
            "iat": issued_at,
            "exp": issued_at + LIFETIME_S,
            "kind": principal.kind.value,
            "tenant": verdict.tenant,
        }
        optional = {"sub": principal.id, "domain": principal.domain}
        claims |= {name: value for name, value in optional.items() if value is not None}
        if sum(map(len, verdict.roles)) + len(verdict.roles) <= MAX_ROLES_BYTES:
            claims["roles"] = list(verdict.roles)
        else:
            claims["roles_truncated"] = True
        header = {"alg": key.algorithm, "kid": key.kid, "typ": TYPE}
        signing_input = f"{_encoded(header)}.{_encoded(claims)}"
        signature = _base64url(key.sign(signing_input.encode("ascii")))
        return Assertion(f"{signing_input}.{signature}", issued_at, issued_at + USED_AGAIN_S)


def _encoded(document: Mapping[str, object]) -> str:
    return _base64url(json.dumps(document, separators=(",", ":")).encode("ascii"))


def _base64url(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode("ascii")
