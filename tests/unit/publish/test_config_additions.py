"""What is added to a tenant's configuration before it is signed."""

from dataclasses import replace
from typing import Any

from extauthz.domain.tenant_config import ProviderKeys, TenantConfig, TenantIdentityProvider
from extauthz.publish.config_additions import Additions, completed
from tests.tokens import SigningKey

ISSUER = "https://idp.example.com"
KEYS = ProviderKeys(ISSUER, 3600, {"keys": [SigningKey.rs256("a").jwk()]})
NEWER = ProviderKeys(ISSUER, 7200, {"keys": [SigningKey.rs256("b").jwk()]})


def provider(issuer: str = ISSUER, tenant: str = "acme", **members: Any) -> TenantIdentityProvider:
    return TenantIdentityProvider(tenant, issuer, {"issuer": issuer, "audiences": "any", **members})


def last(*keys: ProviderKeys, **members: Any) -> TenantConfig:
    return TenantConfig(providers=(provider(**members),), keys=keys)


def test_providers_of_the_operator_come_before_registered_ones() -> None:
    own, registered = provider("https://own.example"), provider()
    found = completed(TenantConfig(providers=(registered,)), Additions((own,)), None)
    assert found.providers == (own, registered)


def test_keys_of_a_provider_that_is_away_are_kept() -> None:
    assert completed(TenantConfig(providers=(provider(),)), Additions(), last(KEYS)).keys == (KEYS,)


def test_keys_that_were_fetched_replace_those_of_before() -> None:
    found = completed(TenantConfig(providers=(provider(),)), Additions(keys=(NEWER,)), last(KEYS))
    assert found.keys == (NEWER,)


def test_the_newest_keys_count_whichever_replica_fetched_them() -> None:
    found = completed(TenantConfig(providers=(provider(),)), Additions(keys=(KEYS,)), last(NEWER))
    assert found.keys == (NEWER,)


def test_another_time_of_the_same_keys_changes_nothing_for_an_hour() -> None:
    config = TenantConfig(providers=(provider(),))
    later = replace(KEYS, fetched_at=KEYS.fetched_at + 3599)
    assert completed(config, Additions(keys=(later,)), last(KEYS)).keys == (KEYS,)
    later = replace(KEYS, fetched_at=KEYS.fetched_at + 3600)
    assert completed(config, Additions(keys=(later,)), last(KEYS)).keys == (later,)


def test_keys_of_a_provider_that_went_are_not_kept() -> None:
    assert completed(TenantConfig(), Additions(), last(KEYS)).keys == ()


def test_keys_from_another_place_are_not_kept() -> None:
    moved = TenantConfig(providers=(provider(jwks_uri="https://idp.example.com/new"),))
    assert completed(moved, Additions(), last(KEYS)).keys == ()
    restricted = TenantConfig(providers=(provider(algorithms=["ES256"]),))
    assert completed(restricted, Additions(), last(KEYS)).keys == ()
    other_audience = TenantConfig(providers=(provider(audience_claim="azp"),))
    assert completed(other_audience, Additions(), last(KEYS)).keys == (KEYS,)


def test_an_issuer_that_the_operator_gave_to_another_tenant_is_not_signed() -> None:
    registered = TenantConfig(providers=(provider(), provider("https://b.example", aliases=["c"])))
    assert completed(registered, Additions(owners={ISSUER: "globex"}), None).providers == (
        registered.providers[1],
    )
    assert completed(registered, Additions(owners={"c": "globex"}), None).providers == (
        registered.providers[0],
    )
    assert completed(registered, Additions(owners={ISSUER: "acme"}), None) == registered


def test_with_one_tenant_what_the_database_registers_does_not_count() -> None:
    found = completed(TenantConfig(providers=(provider(),)), Additions(registered=False), last(KEYS))
    assert (found.providers, found.keys) == ((), ())
