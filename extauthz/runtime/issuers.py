"""Configures the key cache with the issuers of the settings, of the file IDENTITY_PROVIDERS, and of tenants.

Input: `Settings`, configurations of tenants. Output: `IssuerSource`s. Errors: `StartRefusedError`.
"""

import ssl
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

import structlog

from extauthz.decide.tokens.keyring import IssuerConfig
from extauthz.decide.tokens.provider_form import ANY_AUDIENCE, ProviderReading
from extauthz.decide.tokens.registered_provider import read_registered
from extauthz.domain.tenancy import DEFAULT_TENANT, TenancyMode
from extauthz.domain.tenant_config import TenantIdentityProvider
from extauthz.keys.cache import JwksCache
from extauthz.keys.fetcher import KeyFetcher
from extauthz.keys.introspector import Introspector
from extauthz.keys.provider_documents import ProviderDefaults
from extauthz.keys.provider_file import ProviderFile, Sources
from extauthz.keys.source import IssuerSource
from extauthz.runtime.start_refused import StartRefusedError
from extauthz.settings import HttpSource, Settings
from extauthz.telemetry.spans import Tracing

_log = structlog.get_logger("extauthz.runtime")


class Issuers:
    """Keeps a key cache configured with the issuers of the settings, of the file and of tenants.

    An issuer of the settings or of the file is configured by the operator: its addresses may be private.
    `register` is thread-safe.
    """

    def __init__(
        self,
        settings: Settings,
        cache: JwksCache,
        introspector: Introspector | None = None,
        *,
        wait_for_file: bool = False,
    ) -> None:
        """Read the settings and the file, and configure the cache.

        With `wait_for_file` an invalid file is not an error: its providers are missing until it is corrected.

        Raises:
            StartRefusedError: the file is invalid; the text names all its problems.
        """
        self._settings = settings
        self._cache = cache
        self._introspector = introspector
        self._lock = threading.Lock()
        self._own = tuple(settings_sources(settings))
        self._file = provider_file(settings)
        self._of_file = () if self._file is None else first_sources(self._file, wait=wait_for_file)
        self._of_tenants: Mapping[TenantIdentityProvider, Sources] = {}
        if self._file is not None:
            self._file.on_change = self._take_file
        self._configure()

    def register(self, providers: Sequence[TenantIdentityProvider]) -> None:
        """Set the identity providers that tenants registered.

        With MODE=selfhost there are some only where signed policies are followed. There, issuers of the
        settings and of the file go before them.
        """
        follows = isinstance(self._settings.policy_source, HttpSource)
        if self._settings.oidc_enabled and (follows or self._settings.mode is TenancyMode.SAAS):
            with self._lock:
                known = self._of_tenants
                # A change of one tenant does not read the documents of all.
                self._of_tenants = {
                    each: known[each] if each in known else tuple(registered_sources(self._settings, [each]))
                    for each in providers
                }
            self._configure()

    async def follow(self) -> None:
        """Read the file again when it changes, until cancelled; return at once without a file."""
        if self._file is not None:
            await self._file.run()

    def problems(self) -> list[str]:
        """Return the problems of the current content of the file, for the health endpoint."""
        problems = [] if self._file is None else self._file.problems
        return [f"IDENTITY_PROVIDERS: {problem}" for problem in problems]

    def of_file(self) -> frozenset[str]:
        """Return every value of `iss` that the file's providers accept."""
        return frozenset(name for source in self._of_file for name in source.config.names)

    def file_sources(self) -> Sources:
        """Return the sources of the file; the same object until the file changes."""
        return self._of_file

    def _take_file(self, sources: Sources) -> None:
        with self._lock:
            self._of_file = sources
        self._configure()

    def _configure(self) -> None:
        with self._lock:
            of_tenants = list(chain.from_iterable(self._of_tenants.values()))
            if isinstance(self._settings.policy_source, HttpSource):
                # What a control plane signs is of the same operator, whose settings here go before it.
                own = {name for each in (*self._own, *self._of_file) for name in each.config.names}
                of_tenants = [each for each in of_tenants if own.isdisjoint(each.config.names)]
            # First, so that an issuer which the cache has can be asked.
            if self._introspector is not None:
                self._introspector.configure(self._of_file)
            self._cache.configure((*self._own, *self._of_file, *of_tenants))


def settings_sources(settings: Settings) -> Iterator[IssuerSource]:
    """Yield the issuer that the single-provider variables configure (`MODE=selfhost`)."""
    if not settings.oidc_enabled or settings.mode is not TenancyMode.SELFHOST:
        return
    if settings.auth_server_url is None:
        return
    yield IssuerSource(
        config=IssuerConfig.usual(
            issuer=settings.auth_server_url,
            tenant=DEFAULT_TENANT,
            audiences=settings.oidc_audience,
            roles_claim=settings.roles_claim,
            domain_claim=settings.domain_claim,
            admin_domain_claim=settings.admin_domain_claim,
            excluded_roles=frozenset(settings.excluded_roles),
        ),
        jwks_uri=settings.jwks_uri,
        operator_configured=True,
    )


def settings_providers(settings: Settings) -> tuple[TenantIdentityProvider, ...]:
    """Return the provider of the single-provider variables as REST registers one, for signed policies."""
    if not settings.oidc_enabled or settings.mode is not TenancyMode.SELFHOST:
        return ()
    if settings.auth_server_url is None:
        return ()
    document: dict[str, object] = {
        "issuer": settings.auth_server_url,
        "audiences": list(settings.oidc_audience or (ANY_AUDIENCE,)),
        "claim_config": {
            "roles_claim": settings.roles_claim,
            "domain_claim": settings.domain_claim,
            "admin_domain_claim": settings.admin_domain_claim,
            "excluded_roles": list(settings.excluded_roles),
        },
    }
    if settings.jwks_uri is not None:
        document["jwks_uri"] = settings.jwks_uri
    return (TenantIdentityProvider(DEFAULT_TENANT, "settings", document),)


def configured_sources(settings: Settings) -> tuple[IssuerSource, ...]:
    """Return the issuers of the settings and of the file. Raises StartRefusedError: the file is invalid."""
    file = provider_file(settings)
    return (*settings_sources(settings), *(() if file is None else first_sources(file)))


def provider_file(settings: Settings) -> ProviderFile | None:
    """Return the file of IDENTITY_PROVIDERS, which is not read yet; None if the variable is not set."""
    if settings.identity_providers is None or not settings.oidc_enabled:
        return None
    return ProviderFile(settings.identity_providers, provider_defaults(settings))


def provider_defaults(settings: Settings) -> ProviderDefaults:
    """Return what providers leave to the single-provider variables."""
    return ProviderDefaults(
        mode=settings.mode,
        roles_claim=settings.roles_claim,
        domain_claim=settings.domain_claim,
        admin_domain_claim=settings.admin_domain_claim,
        excluded_roles=frozenset(settings.excluded_roles),
        allow_hosts=settings.jwks_allow_hosts,
        claim_headers=settings.claim_headers,
        binding=settings.tenant_binding,
    )


def first_sources(file: ProviderFile, *, wait: bool = False) -> Sources:
    """Return the sources of the file at the start, with `wait` none for an invalid file.

    Raises:
        StartRefusedError: the file is invalid, and `wait` is false.
    """
    found = file.load()
    if not isinstance(found, list):
        return found
    problem = "IDENTITY_PROVIDERS cannot be used: " + "; ".join(map(str, found))
    if not wait:
        raise StartRefusedError(problem)
    _log.error("identity_providers_refused", problem=problem, effect="its providers are missing")
    return ()


def registered_sources(
    settings: Settings, providers: Iterable[TenantIdentityProvider]
) -> Iterator[IssuerSource]:
    """Yield the sources of registered identity providers; the settings supply what they leave out.

    A tenant chose the addresses, so they do not count as configured by the operator: a private address
    needs `JWKS_ALLOW_HOSTS`.
    """
    defaults = provider_defaults(settings).claims
    for provider in providers:
        reading = read_registered(provider.document, provider.tenant, defaults)
        # A provider that cannot be read has no source. A row is read before under no settings; these differ.
        if not isinstance(reading, ProviderReading):
            _log.error(
                "identity_provider_refused",
                tenant=provider.tenant,
                problems=[str(problem) for problem in reading],
                effect="its tokens are refused",
            )
            continue
        for config in reading.configs:
            yield IssuerSource(config, jwks_uri=reading.jwks_uri, jwks=reading.jwks)


def key_fetcher(settings: Settings, tracing: Tracing | None = None) -> KeyFetcher:
    """Return the fetcher of keys, whose requests `tracing` traces.

    Raises StartRefusedError: OIDC_CA_FILE is unreadable or invalid.
    """
    ca_file = None if settings.oidc_ca_file is None else str(settings.oidc_ca_file)
    try:
        return KeyFetcher(allow_hosts=settings.jwks_allow_hosts, ca_file=ca_file, tracing=tracing)
    except ssl.SSLError as error:
        raise StartRefusedError(f"OIDC_CA_FILE {ca_file!r} holds no certificate") from error
    except OSError as error:
        raise StartRefusedError(f"OIDC_CA_FILE {ca_file!r} cannot be read: {error.strerror}") from error
