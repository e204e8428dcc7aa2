"""Where keys come from: what the process reads them from, and the addresses of an issuer's key set."""

from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol, Self

from yarl import URL

from extauthz.decide.tokens.keyring import IssuerConfig, KeyRing
from extauthz.domain.claims import value_kind
from extauthz.domain.loopback import is_loopback
from extauthz.domain.strict_json import JsonRejected, read_object

# OpenID Connect Discovery 1.0, 4.
_WELL_KNOWN: Final = "/.well-known/openid-configuration"
_MAX_SHOWN: Final = 200
FROM_ENVIRONMENT: Final = "environment"
"""Stands for the proxy that the environment of the process names."""
_DEFAULT_PORTS: Final = {"https": 443, "http": 80}


class KeySource(Protocol):
    """Where verification keys come from; both methods are for any thread."""

    def current(self) -> KeyRing:
        """Return the keys of every issuer as they are now."""

    def ensure(self, issuer: str, kid: str | None) -> Future[None]:
        """Fetch the issuer's keys; concurrent callers share one fetch."""


@dataclass(frozen=True, slots=True)
class IssuerSource:
    """A registered issuer and where its keys are.

    The keys are in the text `jwks`, in the file `jwks_file`, or at `jwks_uri`, which is discovered from the
    issuer when all three are None. `operator_configured` says that the addresses come from the operator's
    own settings, so they may be private; a tenant's may not. Only an operator's source has the rest: the file
    of a bearer token for the provider, the URL of an HTTP proxy (`FROM_ENVIRONMENT`: as HTTPS_PROXY and
    NO_PROXY say), and a file of CA certificates trusted in addition.
    """

    config: IssuerConfig
    jwks_uri: str | None = None
    operator_configured: bool = False
    jwks: bytes | None = None
    jwks_file: Path | None = None
    token_file: Path | None = None
    proxy: str | None = None
    ca_file: Path | None = None

    def is_same_place(self, other: "IssuerSource") -> bool:
        """Tell whether the same keys are found in the same way, whatever else is configured."""
        algorithms_differ = self.config.algorithms != other.config.algorithms
        return not algorithms_differ and replace(self, config=other.config) == other

    @property
    def discovery_url(self) -> str:
        """The address of the discovery document; a final slash of the issuer is left out (Discovery 4.1)."""
        return self.config.issuer.removesuffix("/") + _WELL_KNOWN


@dataclass(frozen=True, slots=True)
class AddressRejected:
    """Why an address is not asked; safe to log."""

    problem: str


@dataclass(frozen=True, slots=True)
class FetchUrl:
    """An address that may be asked. `private_allowed`: whether it may resolve to one of our own networks."""

    url: URL
    private_allowed: bool

    @classmethod
    def parse(
        cls, text: str, *, operator_configured: bool, allow_hosts: frozenset[str]
    ) -> Self | AddressRejected:
        """Check an address: https, or http on this machine or where the operator allows it.

        `allow_hosts` holds `host:port` entries in lower case (`JWKS_ALLOW_HOSTS`); IPv6 in brackets.
        """
        try:
            url = URL(text)
            host, port = url.host, url.port
        except ValueError:
            return AddressRejected("not a URL")
        if url.scheme not in _DEFAULT_PORTS or not host or port is None:
            return AddressRejected("not an absolute https URL")
        if url.user is not None or url.password is not None or url.raw_fragment:
            return AddressRejected("a URL with credentials or a fragment")
        shown = f"[{host}]" if ":" in host else host
        listed = f"{shown}:{port}".lower() in allow_hosts
        # OpenID Connect Discovery 4 and RFC 8725 3.10 want TLS: who can change the keys can be anybody.
        if url.scheme != "https" and not listed and not is_loopback(host):
            return AddressRejected("http is only for loopback and hosts in JWKS_ALLOW_HOSTS")
        return cls(url, private_allowed=operator_configured or listed)


def _shown(issuer: str) -> str:
    """Quote an issuer for the log, cut, and without the credentials that a URL could hold."""
    scheme, separator, rest = issuer.partition("://")
    authority, slash, path = rest.partition("/")
    if "@" in authority:
        issuer = f"{scheme}{separator}[redacted]@{authority.rpartition('@')[2]}{slash}{path}"
    return repr(issuer if len(issuer) <= _MAX_SHOWN else issuer[:_MAX_SHOWN] + "...")


def discovered_jwks_uri(document: bytes, issuer: str) -> str | AddressRejected:
    """Read `jwks_uri` from a discovery document, which must be the issuer's own."""
    members = read_object(document)
    if isinstance(members, JsonRejected):
        return AddressRejected(f"discovery document: {members.problem}")
    # Discovery 4.3: the issuer MUST be exactly the one that the tokens name; else one provider could speak
    # for another.
    found = members.get("issuer")
    if found != issuer:
        shown = _shown(found) if isinstance(found, str) else value_kind(found)
        return AddressRejected(f"discovery document: its issuer is {shown}, not {_shown(issuer)}")
    jwks_uri = members.get("jwks_uri")
    if not isinstance(jwks_uri, str):
        return AddressRejected("discovery document: no jwks_uri")
    return jwks_uri
