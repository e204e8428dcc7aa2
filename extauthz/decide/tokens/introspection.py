"""Answers of token introspection (RFC 7662), remembered for a while, by a keyed hash of the token.

Input: the members of an answer. Output: an `ActiveToken`, or `Rejected`. An answer counts at most until `exp`
and for `IntrospectionRule.max_age`, one that refuses a token for `REFUSAL_AGE_S`.

INVARIANT: no token is kept: neither as a key nor in a value.
"""

import hmac
import re
import sys
from dataclasses import dataclass
from typing import Final

from extauthz.decide.tokens.cache import weight_of
from extauthz.decide.tokens.keyring import IssuerConfig
from extauthz.decide.tokens.reader import RegisteredClaims, Rejected
from extauthz.domain.bounded_cache import BoundedCache
from extauthz.domain.principal import Principal

REFUSAL_AGE_S: Final = 5.0
MAX_ACTIVE: Final = 50_000
MAX_REFUSED: Final = 10_000
MAX_BYTES: Final = 64 * 1024 * 1024
_ENTRY_BYTES: Final = 768
_LARGEST_STEP_BACK_S: Final = 30.0

# RFC 6750 2.1: b64token
_BEARER_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+={0,2}", re.ASCII)


def is_opaque(text: str) -> bool:
    """Tell whether a bearer token is not a JWT: one has three segments (RFC 7515 7.1)."""
    return text.count(".") != 2


def is_bearer_token(text: str) -> bool:
    """Tell whether a text has the syntax of a bearer token (RFC 6750 2.1)."""
    return _BEARER_TOKEN.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class ActiveToken:
    """What an answer says of an active token; dates and audience are judged at each use.

    `states_expiry` is whether the answer has `exp`; without one the token counts for the maximum age.
    """

    principal: Principal
    registered: RegisteredClaims
    states_expiry: bool


@dataclass(frozen=True, slots=True)
class Introspected:
    """The result for the token that `key` names; it counts from `asked_at` until before `usable_until`.

    Times are POSIX seconds. A result that only holds for the requests that waited has both times equal.
    """

    key: bytes
    config: IssuerConfig
    found: ActiveToken | Rejected
    asked_at: float
    usable_until: float


class IntrospectedTokens:
    """The remembered answers, bounded in entries and bytes; safe to share between threads.

    Those that refuse a token are kept apart: a flood of invented tokens replaces no answer about an active
    one.
    """

    __slots__ = ("_active", "_refused", "_secret", "hits")

    def __init__(
        self,
        secret: bytes,
        *,
        max_active: int = MAX_ACTIVE,
        max_refused: int = MAX_REFUSED,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        """Take a random secret of the process, so that a hash does not tell a token of little entropy."""
        self._secret = secret
        self._active = BoundedCache[bytes, Introspected](max_active, max_bytes=max_bytes)
        self._refused = BoundedCache[bytes, Introspected](max_refused)
        self.hits = 0

    def __len__(self) -> int:
        return len(self._active) + len(self._refused)

    def key_of(self, issuer: str, token: str) -> bytes:
        """Return the name of an issuer's token: an HMAC, from which the token cannot be found."""
        return hmac.digest(self._secret, f"{len(issuer)}:{issuer}{token}".encode(), "sha256")

    def find(self, key: bytes, config: IssuerConfig, now: float) -> ActiveToken | Rejected | None:
        """Return what is remembered of a token; None: the issuer has to be asked."""
        entry = self._active.get(key)
        if entry is None:
            entry = self._refused.get(key)
        if entry is None or not entry.asked_at - _LARGEST_STEP_BACK_S <= now < entry.usable_until:
            return None
        # INVARIANT: an answer counts only for the issuer as it was configured when it answered.
        if entry.config is not config and entry.config != config:
            return None
        self.hits += 1
        return entry.found

    def remember(self, answer: Introspected) -> None:
        """Keep an answer in place of an older one."""
        if isinstance(answer.found, Rejected):
            self._active.discard(answer.key)
            if answer.usable_until > answer.asked_at:
                self._refused.put(answer.key, answer)
            return
        self._refused.discard(answer.key)
        if answer.usable_until > answer.asked_at:
            weight = _ENTRY_BYTES + sys.getsizeof(answer.key) + weight_of(answer.found.principal.claims)
            self._active.put(answer.key, answer, weight)
