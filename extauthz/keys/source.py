"""Sources of verification keys: the interface `KeySource`, and the URLs of an issuer's keys.

Input: a registered issuer, a URL, a discovery document. Output: a `FetchUrl`, the `jwks_uri`, or
`AddressRejected`.
"""

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Protocol, Self

from yarl import URL

from extauthz.decide.tokens.keyring import IssuerConfig, KeyRing
from extauthz.domain.claims import value_kind
from extauthz.domain.loopback import is_loopback
from extauthz.domain.strict_json import JsonRejected, read_object
from extauthz.keys.introspection_client import IntrospectionClient

# OpenID Connect Discovery 1.0, 4.
_WELL_KNOWN: Final = "/.well-known/openid-configuration"
_MAX_SHOWN: Final = 200
FROM_ENVIRONMENT: Final = "environment"
"""The value of `proxy` that selects the proxy variables of the process environment."""
_DEFAULT_PORTS: Final = {"https": 443, "http": 80}


class KeySource(Protocol):
    """The interface of a source of verification keys; both methods are thread-safe."""

    def current(self) -> KeyRing:
        """Return the current keys of every issuer."""

    def ensure(self, issuer: str, kid: str | None) -> Future[None]:
        """Return a future that is done when the issuer's keys were fetched; concurrent callers share one."""


@dataclass(frozen=True, slots=True)
class IssuerSource:
    """A registered issuer and the URL of its keys.

    The keys are in the text `jwks`, in the file `jwks_file`, or at `jwks_uri`; if all three are None, the URL
    is discovered from the issuer. `operator_configured`: the URLs come from the operator's settings, and
    may have private addresses; those of a tenant may not. Only the operator's sources have the other members:
    the file of a bearer token for the provider, the URL of an HTTP proxy (`FROM_ENVIRONMENT`: HTTPS_PROXY and
    NO_PROXY apply), a file of additional CA certificates, and how the issuer is asked about tokens.
    `entry` is the entry of the file IDENTITY_PROVIDERS that all of this is from.
    """

    config: IssuerConfig
    jwks_uri: str | None = None
    operator_configured: bool = False
    jwks: bytes | None = None
    jwks_file: Path | None = None
    token_file: Path | None = None
    proxy: str | None = None
    ca_file: Path | None = None
    introspection: IntrospectionClient | None = None
    entry: Mapping[str, object] | None = field(default=None, compare=False, repr=False)

    def is_same_place(self, other: "IssuerSource") -> bool:
        """Return whether another source reads its keys from the same place in the same way."""
        algorithms_differ = self.config.algorithms != other.config.algorithms
        return (
            not algorithms_differ
            and replace(self, config=other.config, introspection=other.introspection) == other
        )

    @property
    def discovery_url(self) -> str:
        """The URL of the discovery document; a final slash of the issuer is removed (Discovery 1.0, 4.1)."""
        return self.config.issuer.removesuffix("/") + _WELL_KNOWN


@dataclass(frozen=True, slots=True)
class AddressRejected:
    """Why a URL, or a discovery document, is rejected; `problem` is safe to log."""

    problem: str


@dataclass(frozen=True, slots=True)
class FetchUrl:
    """A URL that may be fetched. `private_allowed`: its host may have a private address."""

    url: URL
    private_allowed: bool

    @classmethod
    def parse(
        cls, text: str, *, operator_configured: bool, allow_hosts: frozenset[str]
    ) -> Self | AddressRejected:
        """Return the URL if its scheme is https, or http for loopback and for hosts in `allow_hosts`.

        `allow_hosts` are `host:port` in lower case (`JWKS_ALLOW_HOSTS`), with IPv6 addresses in brackets.
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
        # OpenID Connect Discovery 1.0, 4 and RFC 8725 3.10 require TLS: an attacker that can replace the keys
        # can sign a token for any subject.
        if url.scheme != "https" and not listed and not is_loopback(host):
            return AddressRejected("http is only for loopback and hosts in JWKS_ALLOW_HOSTS")
        return cls(url, private_allowed=operator_configured or listed)


def _shown(issuer: str) -> str:
    """Return an issuer for the log: quoted, truncated, with credentials of a URL replaced."""
    scheme, separator, rest = issuer.partition("://")
    authority, slash, path = rest.partition("/")
    if "@" in authority:
        issuer = f"{scheme}{separator}[redacted]@{authority.rpartition('@')[2]}{slash}{path}"
    return repr(issuer if len(issuer) <= _MAX_SHOWN else issuer[:_MAX_SHOWN] + "...")


def discovered_jwks_uri(document: bytes, issuer: str) -> str | AddressRejected:
    """Return the `jwks_uri` of a discovery document, whose issuer must be `issuer`."""
    return discovered_endpoint(document, issuer, "jwks_uri")


def discovered_endpoint(document: bytes, issuer: str, name: str) -> str | AddressRejected:
    """Return the URL in a member of a discovery document, whose issuer must be `issuer`."""
    members = read_object(document)
    if isinstance(members, JsonRejected):
        return AddressRejected(f"discovery document: {members.problem}")
    # Discovery 1.0, 4.3: the issuer MUST be identical to the one in tokens; otherwise a provider could supply
    # keys for the issuer of another.
    found = members.get("issuer")
    if found != issuer:
        shown = _shown(found) if isinstance(found, str) else value_kind(found)
        return AddressRejected(f"discovery document: its issuer is {shown}, not {_shown(issuer)}")
    address = members.get(name)
    if not isinstance(address, str):
        return AddressRejected(f"discovery document: no {name}")
    return address
