"""Adds to a tenant's configuration what the database lacks: the operator's providers, and last good keys.

Input: a configuration from the database, `Additions`, the configuration that was signed last. Output: the
configuration to sign.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from typing import Final

from extauthz.decide.tokens.registered_provider import read_registered
from extauthz.domain.tenant_config import ProviderKeys, TenantConfig, TenantIdentityProvider

KEYS_RENEWED_S: Final = 3600
"""After how many seconds the same keys are signed with the time of a newer fetch."""
_KEY_PLACES: Final = ("jwks_uri", "jwks", "algorithms")


@dataclass(frozen=True, slots=True)
class Additions:
    """What is added to the configuration of one tenant.

    `providers` are those that the operator configured, `keys` the last good ones of any provider. `owners`
    are the tenants of issuers that the operator configured, for any tenant. Without `registered` the
    providers in the database do not count, as with MODE=selfhost.
    """

    providers: tuple[TenantIdentityProvider, ...] = ()
    keys: tuple[ProviderKeys, ...] = ()
    owners: Mapping[str, str] = field(default_factory=dict)
    registered: bool = True


def completed(config: TenantConfig, added: Additions, last: TenantConfig | None) -> TenantConfig:
    """Return the configuration to sign. `last` is the one that was signed before it.

    Of the keys of an issuer the newest count: those of `last` where its provider is away since this process
    started, or another replica fetched later. None are kept from before the issuer's keys were to be found at
    another place.
    """
    registered = config.providers if added.registered else ()
    if added.owners:
        registered = tuple(each for each in registered if not _is_foreign(each, added.owners))
    providers = (*added.providers, *registered)
    keys = {each.issuer: each for each in added.keys}
    if last is not None and last.keys:
        same_place = _same_places(providers, last.providers)
        for old in last.keys:
            if old.issuer in same_place and _is_kept(old, keys.get(old.issuer)):
                keys[old.issuer] = old
    return replace(config, providers=providers, keys=tuple(keys[issuer] for issuer in sorted(keys)))


def _is_kept(old: ProviderKeys, new: ProviderKeys | None) -> bool:
    if new is None or old.fetched_at >= new.fetched_at:
        return True
    # Another time of the same keys is not worth a new configuration.
    return old.jwks == new.jwks and new.fetched_at - old.fetched_at < KEYS_RENEWED_S


def _is_foreign(provider: TenantIdentityProvider, owners: Mapping[str, str]) -> bool:
    """Tell whether the operator gave an issuer of a registered provider to another tenant."""
    return any(owners.get(name, provider.tenant) != provider.tenant for name in _issuers(provider))


def _same_places(
    providers: tuple[TenantIdentityProvider, ...], before: tuple[TenantIdentityProvider, ...]
) -> frozenset[str]:
    """Return the issuers whose keys come from the same place as before."""
    now, then = _places(providers), _places(before)
    return frozenset(issuer for issuer, place in now.items() if then.get(issuer) == place)


def _places(providers: tuple[TenantIdentityProvider, ...]) -> Mapping[str, tuple[object, ...]]:
    return {
        issuer: tuple(each.document.get(name) for name in _KEY_PLACES)
        for each in providers
        for issuer in _issuers(each, aliases=False)
    }


def _issuers(provider: TenantIdentityProvider, *, aliases: bool = True) -> AbstractSet[str]:
    """Return the issuers of a provider; none for a document that cannot be read."""
    reading = read_registered(provider.document, provider.tenant)
    if isinstance(reading, list):
        return frozenset()
    return {name for each in reading.configs for name in (each.names if aliases else (each.issuer,))}
