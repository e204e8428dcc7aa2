"""The identity providers of the settings and of the file IDENTITY_PROVIDERS, as signed policies have them.

Input: `Settings`, the issuers and keys of a process. Output: `Additions` of each tenant.

Signed policies are read on other hosts. So nothing is signed that names a file or a proxy of this host, or
holds a secret: such members are left out. A provider is left out as a whole where followers would accept
tokens that are refused here. Both are logged.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from extauthz.decide.tokens.jwks import KeySet
from extauthz.decide.tokens.registered_provider import read_registered
from extauthz.domain.tenancy import TenancyMode
from extauthz.domain.tenant_config import TenantIdentityProvider
from extauthz.keys.cache import JwksCache
from extauthz.keys.source import IssuerSource
from extauthz.publish.config_additions import Additions
from extauthz.runtime.issuers import Issuers, settings_providers
from extauthz.runtime.signed_keys import SignedKeys, jwks_of
from extauthz.settings import Settings

_LEFT_OUT: Final = ("ca_file", "introspection", "jwks_proxy", "jwks_token_file")
"""Without one of these a follower accepts no token that it refuses with it; it only fetches fewer keys.

An issuer that is asked about every token is the exception; it is not signed at all.
"""
_KEY_FILE: Final = "jwks_file"

_log = structlog.get_logger("extauthz.keys")


@dataclass(slots=True)
class _Entry:
    """An entry of the file; `document` is what is signed of it. `keys` are those of its `jwks_file`."""

    source: IssuerSource
    id: str
    members: Mapping[str, object]
    keys: KeySet | None = None
    document: Mapping[str, object] | None = None


class SignedAdditions:
    """What signed configurations have that the database does not."""

    def __init__(
        self,
        settings: Settings,
        issuers: Issuers,
        cache: JwksCache,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take what has the providers and their keys."""
        self._settings = settings
        self._issuers = issuers
        self._cache = cache
        self._keys = SignedKeys(cache)
        self._clock = clock
        self._of_settings = [each for each in settings_providers(settings) if _is_readable(each)]
        self._sources: Sequence[IssuerSource] | None = None
        self._entries: list[_Entry] = []
        self._owners: Mapping[str, str] = {}

    def now(self) -> Callable[[str], Additions]:
        """Return what is added now, by tenant."""
        keys = self._keys.by_tenant()
        providers: dict[str, list[TenantIdentityProvider]] = {}
        for provider in (*self._of_settings, *self._of_file()):
            providers.setdefault(provider.tenant, []).append(provider)
        owners, registered = self._owners, self._settings.mode is TenancyMode.SAAS

        def of(tenant: str) -> Additions:
            return Additions(tuple(providers.get(tenant, ())), keys.get(tenant, ()), owners, registered)

        return of

    def _of_file(self) -> Iterator[TenantIdentityProvider]:
        sources = self._issuers.file_sources()
        if sources is not self._sources:
            self._sources = sources
            self._owners = {name: each.config.tenant for each in sources for name in each.config.names}
            self._entries = list(self._signable(sources))
        now, known = self._clock(), self._cache.current().issuers
        for entry in self._entries:
            source = entry.source
            if source.jwks_file is not None:
                issuer = known.get(source.config.issuer)
                keys = None if issuer is None else issuer.keys_at(now)
                if keys is not entry.keys:
                    entry.keys = keys
                    entry.document = _with_keys(entry, keys)
            if entry.document is not None:
                yield TenantIdentityProvider(source.config.tenant, entry.id, entry.document)

    def _signable(self, sources: Sequence[IssuerSource]) -> Iterator[_Entry]:
        """Yield what can be signed of each entry, and log what cannot."""
        seen: set[int] = set()
        for source in sources:
            entry = source.entry
            if entry is None or id(entry) in seen:
                continue
            seen.add(id(entry))
            name = {"issuer": source.config.issuer, "tenant": source.config.tenant}
            rule = source.config.introspection
            if rule is not None and rule.every_token:
                problem = "its issuer is asked about every token, with a secret that is not signed"
                _log.warning("identity_provider_not_signed", **name, problem=problem)
                continue
            left_out = [member for member in _LEFT_OUT if member in entry]
            members = self._plain(entry)
            found = _Entry(source, f"file/{len(seen)}", members)
            if source.jwks_file is None:
                found.document = members
                provider = TenantIdentityProvider(source.config.tenant, found.id, members)
                if not _is_readable(provider):
                    continue
            if left_out:
                effect = "followers verify with the signed keys; those that cannot fetch others keep these"
                _log.warning("identity_provider_signed_in_part", **name, left_out=left_out, effect=effect)
            yield found

    def _plain(self, entry: Mapping[str, object]) -> dict[str, object]:
        """Return an entry as REST registers it, with the claims of the settings where it names none."""
        settings = self._settings
        unsigned = {*_LEFT_OUT, _KEY_FILE, "tenant"}
        claims: dict[str, object] = {"admin_domain_claim": settings.admin_domain_claim}
        if "roles" not in entry:
            claims["roles_claim"] = settings.roles_claim
        if "domain_claims" not in entry:
            claims["domain_claim"] = settings.domain_claim
        if "excluded_roles" not in entry:
            claims["excluded_roles"] = list(settings.excluded_roles)
        return {**{k: _json(v) for k, v in entry.items() if k not in unsigned}, "claim_config": claims}


def _with_keys(entry: _Entry, keys: KeySet | None) -> Mapping[str, object] | None:
    """Return the document of an entry with the keys of its file; None while it has none."""
    if keys is None or not keys.keys:
        return None
    document = {**entry.members, "jwks": jwks_of(keys)}
    provider = TenantIdentityProvider(entry.source.config.tenant, entry.id, document)
    return document if _is_readable(provider) else None


def _is_readable(provider: TenantIdentityProvider) -> bool:
    """Tell whether followers can read a provider; log why not.

    INVARIANT: no other is signed, because a follower refuses the whole configuration for it.
    """
    reading = read_registered(provider.document, provider.tenant)
    if isinstance(reading, list):
        _log.warning(
            "identity_provider_not_signed",
            issuer=str(provider.document.get("issuer")),
            tenant=provider.tenant,
            problem="; ".join(map(str, reading)),
        )
        return False
    return True


def _json(value: object) -> object:
    """Return a value of a YAML document with the types that JSON gives."""
    match value:
        case Mapping():
            return {str(name): _json(member) for name, member in value.items()}
        case list() | tuple():
            return [_json(member) for member in value]
        case _:
            return value
