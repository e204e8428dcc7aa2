"""Credentials as a request carries them: read, and not judged yet.

INVARIANT: a credential is in no other data of a request, so no log, cache or queue of requests holds one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

BEARER_PREFIX = "bearer "
"""RFC 6750 2.1, RFC 9110 11.1: the scheme is compared without case."""


@dataclass(slots=True)
class BearerToken:
    """A token, from `Authorization: Bearer`, a header or a cookie: text that may not be a token."""

    text: str = field(repr=False)


@dataclass(slots=True)
class OtherScheme:
    """An `Authorization` header of another scheme than Bearer."""


@dataclass(slots=True)
class PresentedServiceKey:
    """The value of `X-Service-Api-Key`."""

    presented: str = field(repr=False)


@dataclass(slots=True)
class VerifiedClaims:
    """The payload of a token that the proxy verified, as the strict JSON reader would return it."""

    claims: Mapping[str, object] = field(repr=False)


@dataclass(slots=True)
class RepeatedHeader:
    """A credential header that came more than once, or joined from several; `name` is lower-case."""

    name: str


Credential = BearerToken | OtherScheme | PresentedServiceKey | VerifiedClaims | RepeatedHeader


def authorization_credential(value: str) -> BearerToken | OtherScheme:
    """Return the credential in the value of an `Authorization` header."""
    if value[: len(BEARER_PREFIX)].lower() != BEARER_PREFIX:
        return OtherScheme()
    return BearerToken(value[len(BEARER_PREFIX) :])
