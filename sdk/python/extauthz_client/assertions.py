"""Verifies `x-auth-assertion`: that a request passed a check of extauthz, for this service, a moment ago.

A token is accepted if a published key of extauthz signed it, by ES256 or EdDSA and nothing else, for this
issuer and this audience, and it has not expired. Everything else is `AssertionRejected`.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from extauthz_client.assertion_keys import Key as _Key
from extauthz_client.assertion_keys import octets, verifies
from extauthz_client.assertion_keys import read_key_set as _key_set
from extauthz_client.drivers import AsyncDriver, BlockingDriver
from extauthz_client.errors import AssertionRejected, Unreachable
from extauthz_client.exchange import ConnectionFailed, Exclusive, HttpReply, HttpRequest, Steps

HEADER: Final = "x-auth-assertion"
TYPE: Final = "assertion+jwt"
LONGEST_LIFETIME_S: Final = 300
KEYS_FRESH_S: Final = 300.0
"""Keys are fetched again after this time; if that fails, the last ones stay."""
REFETCH_S: Final = 1.0
"""The shortest time between two fetches, so that made-up key ids do not cause one each."""

_MAX_TOKEN: Final = 16384
_MAX_KEYS_BYTES: Final = 262144


@dataclass(frozen=True, slots=True)
class VerifiedAssertion:
    """What an assertion says. `subject` is None for an anonymous caller; times are POSIX seconds.

    `roles` is None where there are too many for a header.
    """

    subject: str | None
    kind: str
    roles: tuple[str, ...] | None
    tenant: str
    domain: str | None
    issued_at: int
    expires_at: int


class _Verification:
    """What is known of the keys, and the rules of an assertion; its steps are performed by a driver."""

    def __init__(
        self, keys_url: str, issuer: str, audience: str, leeway_s: float, clock: Callable[[], float]
    ) -> None:
        if urlsplit(keys_url).scheme not in {"http", "https"} or not urlsplit(keys_url).hostname:
            raise ValueError(f"{keys_url!r} is not an http or https URL")
        if not issuer or not audience:
            raise ValueError("an issuer and an audience are needed")
        self._keys_url = keys_url
        self._issuer = issuer
        self._audience = audience
        self._leeway_s = leeway_s
        self._clock = clock
        self._keys: Mapping[str, _Key] | None = None
        self._fetched_at = self._tried_at = float("-inf")

    def verify(self, token: str | None) -> Steps[VerifiedAssertion]:
        """Return what the value of the header says."""
        if not token:
            raise AssertionRejected("the request has no x-auth-assertion")
        if len(token) > _MAX_TOKEN or not token.isascii():
            raise AssertionRejected("the assertion is too long or not ASCII")
        parts = token.split(".")
        if len(parts) != 3:  # RFC 7515 7.1
            raise AssertionRejected("the assertion is not a signed JWT")
        header = _object(parts[0], "header")
        if header.get("typ") != TYPE or "crit" in header:
            raise AssertionRejected(f"the token is not of the type {TYPE}")
        kid = header.get("kid")
        if not isinstance(kid, str):
            raise AssertionRejected("the assertion names no key")
        key = yield from self._key(kid)
        if key is None:
            raise AssertionRejected("no published key has the key id of the assertion")
        signing_input = f"{parts[0]}.{parts[1]}".encode("ascii")
        if not verifies(key, header.get("alg"), signing_input, octets(parts[2], "signature")):
            raise AssertionRejected("the signature does not verify")
        return self._judged(_object(parts[1], "payload"))

    def _judged(self, claims: Mapping[str, object]) -> VerifiedAssertion:
        if claims.get("iss") != self._issuer:
            raise AssertionRejected("the assertion is of another issuer")
        if claims.get("aud") != self._audience:
            raise AssertionRejected("the assertion is for another service")
        issued_at, expires_at = claims.get("iat"), claims.get("exp")
        if type(issued_at) is not int or type(expires_at) is not int:
            raise AssertionRejected("the assertion has no times")
        if not 0 < expires_at - issued_at <= LONGEST_LIFETIME_S:
            raise AssertionRejected("the assertion is valid for too long")
        now = self._clock()
        if now - self._leeway_s >= expires_at:
            raise AssertionRejected("the assertion has expired")
        if now + self._leeway_s < issued_at:
            raise AssertionRejected("the assertion is from the future")
        subject, domain, roles = claims.get("sub"), claims.get("domain"), claims.get("roles")
        kind, tenant = claims.get("kind"), claims.get("tenant")
        if not isinstance(kind, str) or not isinstance(tenant, str):
            raise AssertionRejected("the assertion names no kind or no tenant")
        if not isinstance(subject, str | None) or not isinstance(domain, str | None):
            raise AssertionRejected("the subject or the domain is not a string")
        if subject is None and kind != "anonymous":
            raise AssertionRejected("the assertion names no subject")
        if roles is not None and not (isinstance(roles, list) and all(isinstance(one, str) for one in roles)):
            raise AssertionRejected("the roles are not a list of strings")
        return VerifiedAssertion(
            subject, kind, None if roles is None else tuple(roles), tenant, domain, issued_at, expires_at
        )

    def _key(self, kid: str) -> Steps[_Key | None]:
        known = None if self._keys is None else self._keys.get(kid)
        if known is not None and time.monotonic() - self._fetched_at < KEYS_FRESH_S:
            return known
        found: _Key | None = yield Exclusive(self._fetched(kid, time.monotonic()))
        return found

    def _fetched(self, kid: str, asked_at: float) -> Steps[_Key | None]:
        # A fetch that another task or thread began while this one waited answers this one, too.
        if asked_at - self._tried_at >= REFETCH_S:
            yield from self._fetch()
        if self._keys is None:
            raise Unreachable(f"{self._keys_url}: the keys of assertions cannot be fetched")
        return self._keys.get(kid)

    def _fetch(self) -> Steps[None]:
        """Fetch the keys; where that fails the last ones stay."""
        self._tried_at = time.monotonic()
        try:
            reply: HttpReply = yield HttpRequest(
                "GET", self._keys_url, {"accept": "application/json"}, limit=_MAX_KEYS_BYTES
            )
        except ConnectionFailed:
            return
        keys = _key_set(reply.body) if len(reply.body) <= _MAX_KEYS_BYTES else None
        if reply.status == 200 and keys is not None:
            self._keys, self._fetched_at = keys, time.monotonic()


class AssertionVerifier:
    """Verifies the assertions of one mesh for one service; for the tasks of one event loop."""

    def __init__(
        self,
        keys_url: str,
        *,
        issuer: str,
        audience: str,
        leeway_s: float = 5.0,
        timeout_s: float = 2.0,
        clock: Callable[[], float] = time.time,
        ca_file: str | Path | None = None,
    ) -> None:
        """Name the place of the keys (`/.well-known/jwks.json`), ASSERTION_ISSUER, and this service.

        `audience` is the `serviceName` of the service's resources. `leeway_s` is how far clocks may differ.
        The CAs of `ca_file` (PEM) are trusted in addition to the system's.

        Raises:
            ValueError: the address is not an http or https URL, the issuer or the audience is empty, or the
                file holds no certificate.
        """
        self._rules = _Verification(keys_url, issuer, audience, leeway_s, clock)
        self._driver = AsyncDriver(timeout_s=timeout_s, ca_file=ca_file)

    async def verify(self, token: str | None) -> VerifiedAssertion:
        """Return what the value of the header says; None stands for a request without the header.

        Raises:
            AssertionRejected: the request did not pass extauthz, or not for this service, or not lately.
            Unreachable: there are no keys yet, and they cannot be fetched.
        """
        return await self._driver.run(self._rules.verify(token))


class SyncAssertionVerifier:
    """The same verifier for threads, which share it."""

    def __init__(
        self,
        keys_url: str,
        *,
        issuer: str,
        audience: str,
        leeway_s: float = 5.0,
        timeout_s: float = 2.0,
        clock: Callable[[], float] = time.time,
        ca_file: str | Path | None = None,
    ) -> None:
        """As `AssertionVerifier`."""
        self._rules = _Verification(keys_url, issuer, audience, leeway_s, clock)
        self._driver = BlockingDriver(timeout_s=timeout_s, ca_file=ca_file)

    def verify(self, token: str | None) -> VerifiedAssertion:
        """As `AssertionVerifier.verify`."""
        return self._driver.run(self._rules.verify(token))


def _object(part: str, what: str) -> Mapping[str, object]:
    try:
        found = json.loads(octets(part, what))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise AssertionRejected(f"the {what} of the assertion is not a JSON object")
    return found
