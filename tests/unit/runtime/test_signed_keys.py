"""The last good keys of providers: signed by a control plane, taken over by a follower."""

from dataclasses import replace

import orjson
import pytest

from extauthz.decide.tokens.jwks import KeySet, parse_jwks
from extauthz.decide.tokens.keyring import IssuerConfig
from extauthz.domain.tenant_config import ProviderKeys, TenantIdentityProvider
from extauthz.keys.cache import JwksCache
from extauthz.keys.fetcher import FetchedKeys, FetchFailed
from extauthz.keys.schedule import Schedule
from extauthz.keys.source import IssuerSource
from extauthz.runtime.issuers import Issuers, settings_providers
from extauthz.runtime.signed_keys import SignedKeys, take_over
from extauthz.settings import Settings, load_settings
from tests.tokens import ISSUER, SigningKey, jwks

KEYS = [SigningKey.rs256("rsa"), SigningKey.es256("ec"), SigningKey.of("EdDSA", "okp")]
NOW = 1_800_000_000.0
PINNED = "ed25519:" + "A" * 43 + "="


class NoProvider:
    """A provider that is never asked: the cache of these tests does not run."""

    async def fetch(
        self, source: IssuerSource, *, known_jwks_uri: str | None = None
    ) -> FetchedKeys | FetchFailed:
        raise AssertionError((source, known_jwks_uri))


def cache(now: float = NOW) -> JwksCache:
    """Return a cache with one issuer and no keys."""
    found = JwksCache(NoProvider(), schedule=Schedule(max_staleness=86_400.0), clock=lambda: now)
    config = IssuerConfig.usual(ISSUER, "default", None, "roles", "dom", "adm", frozenset())
    found.configure([IssuerSource(config)])
    return found


def key_set(*keys: SigningKey) -> KeySet:
    found = parse_jwks(jwks(*keys))
    assert isinstance(found, KeySet)
    return found


def signed(*keys: SigningKey, fetched_at: float = NOW) -> tuple[ProviderKeys, ...]:
    """Return the keys as a control plane signs them that fetched them then."""
    source = cache()
    source.seed(ISSUER, key_set(*keys), fetched_at)
    return SignedKeys(source).by_tenant()["default"]


def test_what_is_signed_is_the_public_keys_that_verify() -> None:
    (found,) = signed(*KEYS)
    assert (found.issuer, found.fetched_at) == (ISSUER, int(NOW))
    again = parse_jwks(orjson.dumps(found.jwks))
    assert isinstance(again, KeySet)
    assert again.keys == key_set(*KEYS).keys
    assert not {"d", "p", "q", "k", "key_ops"} & {name for key in found.jwks["keys"] for name in key}  # type: ignore[attr-defined]


def test_the_same_keys_fetched_again_within_the_hour_are_signed_as_before() -> None:
    source = cache()
    keys = key_set(*KEYS)
    source.seed(ISSUER, keys, NOW)
    converter = SignedKeys(source)
    before = converter.by_tenant()
    source.seed(ISSUER, keys, NOW + 60)
    assert converter.by_tenant()["default"][0] is before["default"][0]
    source.seed(ISSUER, keys, NOW + 3600)
    assert converter.by_tenant()["default"][0].fetched_at == before["default"][0].fetched_at + 3600


def test_a_follower_verifies_with_them_until_they_are_too_old() -> None:
    follower = cache()
    take_over(follower, signed(*KEYS))
    known = follower.current().issuers[ISSUER]
    assert known.keys == key_set(*KEYS)
    assert known.keys_at(NOW + 86_399) is not None
    assert known.keys_at(NOW + 86_400) is None


def test_keys_that_a_provider_rotated_are_taken_over_at_once() -> None:
    source, follower = cache(), cache()
    converter = SignedKeys(source)
    for number, key in enumerate(KEYS):
        source.seed(ISSUER, key_set(key), NOW + 2 * number)
        take_over(follower, converter.by_tenant()["default"])
        assert follower.current().issuers[ISSUER].keys == key_set(key)


def test_keys_that_are_newer_here_are_not_replaced() -> None:
    follower = cache()
    follower.seed(ISSUER, key_set(KEYS[0]), NOW + 1)
    take_over(follower, signed(KEYS[1]))
    assert follower.current().issuers[ISSUER].keys == key_set(KEYS[0])


def test_keys_of_an_issuer_that_is_not_registered_are_ignored() -> None:
    follower = cache()
    take_over(follower, [ProviderKeys("https://another.example", int(NOW), {"keys": []})])
    assert set(follower.current().issuers) == {ISSUER}


@pytest.mark.parametrize("document", [{}, {"keys": 1}, {"keys": [{"kty": "oct", "k": "AA"}]}])
def test_a_set_that_verifies_nothing_allows_nothing(document: dict[str, object]) -> None:
    follower = cache()
    take_over(follower, [ProviderKeys(ISSUER, int(NOW), document)])
    keys = follower.current().issuers[ISSUER].keys
    assert keys is None or not keys.keys


def settings(**environ: str) -> Settings:
    followed = {"POLICY_SOURCE": "https://policies.example.com", "POLICY_PUBLIC_KEYS": PINNED}
    found = load_settings(followed | environ)
    assert isinstance(found, Settings), found
    return found


def registered(**environ: str) -> set[tuple[str, tuple[str, ...] | None]]:
    """Return the issuers and audiences of a follower that gets a provider with its policies."""
    source = {"AUTH_SERVER_URL": ISSUER, "OIDC_AUDIENCE": "signed"}
    control_plane = load_settings(source)
    assert isinstance(control_plane, Settings)
    follower = JwksCache(NoProvider())
    issuers = Issuers(settings(**environ), follower)
    issuers.register(settings_providers(control_plane))
    return {(name, known.config.audiences) for name, known in follower.current().issuers.items()}


def test_a_follower_without_a_provider_has_that_of_the_control_plane() -> None:
    assert registered() == {(ISSUER, ("signed",))}


def test_the_settings_of_a_follower_go_before_what_is_signed() -> None:
    assert registered(AUTH_SERVER_URL=ISSUER, OIDC_AUDIENCE="own") == {(ISSUER, ("own",))}


def test_with_other_sources_selfhost_ignores_registered_providers() -> None:
    known = load_settings({"AUTH_SERVER_URL": ISSUER, "OIDC_AUDIENCE": "own"})
    assert isinstance(known, Settings)
    follower = JwksCache(NoProvider())
    issuers = Issuers(known, follower)
    other = {"issuer": "https://another.example", "audiences": ["any"]}
    issuers.register([TenantIdentityProvider("default", "1", other)])
    assert set(follower.current().issuers) == {ISSUER}


def test_an_alias_of_an_issuer_is_signed_with_it_alone() -> None:
    source = cache()
    config = replace(source.current().issuers[ISSUER].config, aliases=("accounts.example",))
    source.configure([IssuerSource(config)])
    source.seed(ISSUER, key_set(*KEYS), NOW)
    assert [each.issuer for each in SignedKeys(source).by_tenant()["default"]] == [ISSUER]
