"""A cache of verified tokens: the signature of a token that is used often is verified once.

The key of an entry is the whole compact token, every byte of it: nothing that a sender can vary selects
the entry of another token, and only a token that verifies makes an entry. What is remembered is only
that a signature was good and what the claims mean; dates, key and issuer are judged on every hit.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from extauthz.decide.tokens.jwks import VerificationKey
from extauthz.decide.tokens.keyring import IssuerKeys, KeyRing
from extauthz.domain.bounded_cache import BoundedCache
from extauthz.domain.principal import Principal

DEFAULT_MAX_ENTRIES: Final = 50_000
DEFAULT_MAX_BYTES: Final = 128 * 1024 * 1024

# What an entry costs in addition to its token and its principal: its place in the cache and the entry itself.
_ENTRY_BYTES: Final = 512


@dataclass(slots=True)
class _Entry:
    principal: Principal
    key: VerificationKey
    issuer: str
    valid_from: float
    expires_at: float
    leeway: float | None
    # The issuer's configuration and keys under which the entry was last valid; any reader changes it
    # to a value that every reader would have found.
    issuer_keys: IssuerKeys


class VerifiedTokens:
    """A cache of verified tokens, bounded in entries and in bytes; safe to share between threads.

    Tokens that are used once do not replace those in use (`BoundedCache`), and a hit takes no lock. `hits`
    and `misses` count for telemetry.
    """

    __slots__ = ("_entries", "hits", "misses")

    def __init__(self, *, max_entries: int = DEFAULT_MAX_ENTRIES, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        self._entries = BoundedCache[str, _Entry](max_entries, max_bytes=max_bytes)
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, compact: str, ring: KeyRing, now: float, leeway: float) -> Principal | None:
        """Return the principal of a token at `now`; None: the token has to be verified."""
        entry = self._entries.get(compact)
        if entry is None:
            self.misses += 1
            return None
        issuer_keys = ring.issuers.get(entry.issuer)
        if issuer_keys is not entry.issuer_keys:
            # INVARIANT: an entry is good only while the very key that verified it belongs to its issuer, and
            # the issuer is registered as it was.
            if (
                issuer_keys is None
                or issuer_keys.keys is None
                or issuer_keys.config != entry.issuer_keys.config
                or entry.key not in issuer_keys.keys.keys
            ):
                self._entries.discard(compact)
                self.misses += 1
                return None
            entry.issuer_keys = issuer_keys
        if entry.leeway is not None:
            leeway = entry.leeway
        # RFC 7519 4.1.4 and 4.1.5, as in `judge_claims`.
        if (
            now - leeway >= entry.expires_at
            or now + leeway < entry.valid_from
            or now >= entry.issuer_keys.usable_until
        ):
            self.misses += 1
            return None
        # One bytecode reads, adds and writes without giving up the interpreter lock in between.
        self.hits += 1
        return entry.principal

    def remember(
        self,
        compact: str,
        principal: Principal,
        *,
        key: VerificationKey,
        issuer_keys: IssuerKeys,
        valid_from: float,
        expires_at: float,
    ) -> None:
        """Keep a token that `key` of `issuer_keys` verified. Times are POSIX seconds, without leeway."""
        entry = _Entry(
            principal=principal,
            key=key,
            issuer=issuer_keys.config.issuer,
            valid_from=valid_from,
            expires_at=expires_at,
            leeway=issuer_keys.config.leeway,
            issuer_keys=issuer_keys,
        )
        weight = _ENTRY_BYTES + sys.getsizeof(compact) + weight_of(principal.claims)
        self._entries.put(compact, entry, weight)


def weight_of(value: object) -> int:
    """Return how many bytes claims occupy, about."""
    size = sys.getsizeof(value)
    match value:
        case Mapping():
            # sys.getsizeof(MappingProxyType) excludes the wrapped dict.
            return (
                size + sys.getsizeof(dict(value)) + sum(weight_of(k) + weight_of(v) for k, v in value.items())
            )
        case tuple():
            return size + sum(weight_of(item) for item in value)
        case _:
            return size
