"""The principal of a request: its verified identity."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from extauthz.domain.forwarding import Forwarding


class PrincipalKind(StrEnum):
    """What sort of identity a principal is; decides the prefix of its Casbin subject."""

    USER = "user"
    SERVICE = "service"
    WORKLOAD = "workload"
    ANONYMOUS = "anonymous"


class Authentication(StrEnum):
    """How the principal was authenticated (log field `authentication`)."""

    JWT = "jwt"
    INTROSPECTION = "introspection"
    API_KEY = "api_key"
    MTLS = "mtls"
    METADATA = "metadata"
    NONE = "none"
    DISABLED = "disabled"


_NO_CLAIMS: Final[Mapping[str, object]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Principal:
    """A verified identity.

    `roles` are the roles its own credential carries, without excluded ones, sorted and unique; bound and
    inherited roles are added by the policies of the tenant that decides. `tenant` is None for the anonymous
    principal and for workloads. `claims` holds verified claims only, deeply immutable: objects are mapping
    proxies, lists are tuples, fractional numbers are `Decimal`.
    """

    kind: PrincipalKind
    id: str | None
    tenant: str | None
    domain: str | None
    roles: tuple[str, ...]
    authentication: Authentication
    claims: Mapping[str, object] = field(default_factory=lambda: _NO_CLAIMS, compare=False)
    confirmation: str | None = None
    """The thumbprint of the client certificate that the token is bound to, None for a bearer token."""
    forwarding: Forwarding | None = None
    """What the identity provider says that workloads get; None where it says nothing."""


ANONYMOUS_ROLE: Final = "anonymous"
ANONYMOUS: Final = Principal(
    kind=PrincipalKind.ANONYMOUS,
    id=None,
    tenant=None,
    domain=None,
    roles=(ANONYMOUS_ROLE,),
    authentication=Authentication.NONE,
)
"""The principal of a request without a credential, on a route whose rules decide about it."""
