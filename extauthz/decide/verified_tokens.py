"""Tokens that have been verified, so that the signature of one that is used a thousand times is checked once.

The key of an entry is the whole compact token, every byte of it: nothing that a sender can vary selects
somebody else's entry, and whoever wants an entry needs a token that verifies. What is remembered is only
that a signature was good and what the claims mean; dates, key and registration are judged on every hit.
"""

import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from extauthz.decide.jwks import VerificationKey
from extauthz.decide.keyring import IssuerKeys, KeyRing
from extauthz.domain.principal import Principal

DEFAULT_MAX_ENTRIES: Final = 50_000
DEFAULT_MAX_BYTES: Final = 128 * 1024 * 1024

# What an entry costs beside its token and its principal: two dictionary slots and the entry itself.
_ENTRY_BYTES: Final = 512


@dataclass(slots=True)
class _Entry:
    principal: Principal
    key: VerificationKey
    issuer: str
    valid_from: float
    expires_at: float
    weight: int
    # The registration and keys under which the entry was last found good; changed by any reader, to a value
    # that every reader would have found.
    issuer_keys: IssuerKeys


class VerifiedTokens:
    """A cache of verified tokens, bounded in entries and in bytes; safe to share between threads.

    Two generations: a full young one becomes the old one, and what is used again moves back. So the bound
    holds, what is in use survives, and a hit takes no lock. `hits` and `misses` count for telemetry.
    """

    __slots__ = ("_lock", "_max_bytes", "_max_entries", "_old", "_young", "_young_bytes", "hits", "misses")

    def __init__(self, *, max_entries: int = DEFAULT_MAX_ENTRIES, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        self._max_entries = max_entries // 2
        self._max_bytes = max_bytes // 2
        self._young: dict[str, _Entry] = {}
        self._young_bytes = 0
        self._old: dict[str, _Entry] = {}
        self._lock = threading.Lock()
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def find(self, compact: str, ring: KeyRing, now: float, leeway: float) -> Principal | None:
        """Return who the token proves at `now`, or None: then it is to be judged from the start."""
        entry = self._young.get(compact)
        if entry is None:
            entry = self._old.get(compact)
            if entry is None:
                self.misses += 1
                return None
            self._keep(compact, entry)
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
                self._drop(compact)
                self.misses += 1
                return None
            entry.issuer_keys = issuer_keys
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
            weight=_ENTRY_BYTES + sys.getsizeof(compact) + _weight(principal.claims),
            issuer_keys=issuer_keys,
        )
        self._keep(compact, entry)

    def _keep(self, compact: str, entry: _Entry) -> None:
        if entry.weight > self._max_bytes or not self._max_entries:
            return
        with self._lock:
            if compact in self._young:
                return
            if len(self._young) >= self._max_entries or self._young_bytes + entry.weight > self._max_bytes:
                self._old, self._young, self._young_bytes = self._young, {}, 0
            self._young[compact] = entry
            self._young_bytes += entry.weight

    def _drop(self, compact: str) -> None:
        with self._lock:
            entry = self._young.pop(compact, None)
            if entry is not None:
                self._young_bytes -= entry.weight
            self._old.pop(compact, None)


def _weight(value: object) -> int:
    size = sys.getsizeof(value)
    match value:
        case Mapping():
            # A mapping proxy does not own up to the dictionary behind it.
            return size + sys.getsizeof(dict(value)) + sum(_weight(k) + _weight(v) for k, v in value.items())
        case tuple():
            return size + sum(_weight(item) for item in value)
        case _:
            return size
