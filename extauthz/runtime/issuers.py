"""Where the keys of tenants' own identity providers come from (`MODE=saas`)."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from extauthz.compile.directory import TenancyMode
from extauthz.decide.tokens.keyring import IssuerConfig
from extauthz.domain.tenant_config import TenantIdentityProvider
from extauthz.keys.cache import JwksCache
from extauthz.keys.source import IssuerSource
from extauthz.settings import Settings


def registered_sources(
    settings: Settings, providers: Iterable[TenantIdentityProvider]
) -> Iterator[IssuerSource]:
    """Yield what tenants registered; where a registration does not say, the settings do.

    A tenant writes the addresses, so they are never taken for the operator's own: private ones need
    `JWKS_ALLOW_HOSTS`.
    """
    for provider in providers:
        excluded = provider.excluded_roles
        yield IssuerSource(
            config=IssuerConfig(
                issuer=provider.issuer,
                tenant=provider.tenant,
                audiences=provider.audiences,
                roles_claim=provider.roles_claim or settings.roles_claim,
                domain_claim=provider.domain_claim or settings.domain_claim,
                admin_domain_claim=provider.admin_domain_claim or settings.admin_domain_claim,
                excluded_roles=frozenset(settings.excluded_roles) if excluded is None else excluded,
            ),
            jwks_uri=provider.jwks_uri,
        )


def follow_issuers(
    settings: Settings, cache: JwksCache
) -> Callable[[Sequence[TenantIdentityProvider]], None]:
    """Return what keeps the cache at the published issuers; in selfhost the settings alone name one."""

    def configure(providers: Sequence[TenantIdentityProvider]) -> None:
        if settings.mode is TenancyMode.SAAS and settings.oidc_enabled:
            cache.configure(registered_sources(settings, providers))

    return configure
