"""The last good keys of providers: what a control plane signs of its cache, and what a follower takes over.

Input: a key ring, signed keys. Output: `ProviderKeys` by tenant, seeds of a key cache.
"""

from collections.abc import Mapping, Sequence

import orjson
import structlog

from extauthz.decide.tokens.jwks import JwksRejected, KeySet, parse_jwks
from extauthz.domain.tenant_config import ProviderKeys
from extauthz.keys.cache import JwksCache
from extauthz.publish.config_additions import KEYS_RENEWED_S

_log = structlog.get_logger("extauthz.keys")


class SignedKeys:
    """The keys of a cache as they are signed; a key set is converted once."""

    def __init__(self, cache: JwksCache) -> None:
        self._cache = cache
        self._converted: dict[str, tuple[KeySet, ProviderKeys]] = {}

    def by_tenant(self) -> Mapping[str, tuple[ProviderKeys, ...]]:
        """Return the last good keys of every issuer, by its tenant."""
        found: dict[str, list[ProviderKeys]] = {}
        for issuer, known in sorted(self._cache.current().issuers.items()):
            # An alias has the keys of its issuer.
            if known.keys is None or known.fetched_at is None or issuer != known.config.issuer:
                continue
            converted = self._of(issuer, known.keys, int(known.fetched_at))
            found.setdefault(known.config.tenant, []).append(converted)
        return {tenant: tuple(keys) for tenant, keys in found.items()}

    def _of(self, issuer: str, keys: KeySet, fetched_at: int) -> ProviderKeys:
        # Followers take keys that are newer than theirs, so each set has the time of its own fetch.
        before = self._converted.get(issuer)
        if before is not None and before[0] is keys and fetched_at - before[1].fetched_at < KEYS_RENEWED_S:
            return before[1]
        converted = ProviderKeys(issuer, fetched_at, jwks_of(keys))
        self._converted[issuer] = keys, converted
        return converted


def jwks_of(keys: KeySet) -> dict[str, object]:
    """Return a JWK Set of the public keys."""
    return {"keys": [key.jwk() for key in keys.keys]}


def take_over(cache: JwksCache, signed: Sequence[ProviderKeys]) -> None:
    """Give a key cache what a control plane had; keys that are fetched here go before them."""
    issuers = cache.current().issuers
    for each in signed:
        known = issuers.get(each.issuer)
        if known is None:
            continue
        keys = parse_jwks(orjson.dumps(each.jwks), algorithms=known.config.algorithms)
        if isinstance(keys, JwksRejected):
            _log.error("signed_keys_refused", issuer=each.issuer, problem=keys.problem)
            continue
        cache.seed(each.issuer, keys, each.fetched_at)
