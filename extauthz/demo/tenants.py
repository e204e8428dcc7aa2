"""The tenants of a demo: their accounts, their host, and a REST client with their administrator's token."""

from dataclasses import dataclass, field
from typing import Final

from extauthz.demo import identity_provider
from extauthz.demo.rest import RestApi
from extauthz.demo.tokens import TokenSource
from extauthz.domain.tenancy import DEFAULT_TENANT, TenancyMode

SLUGS: Final = {TenancyMode.SELFHOST: (DEFAULT_TENANT,), TenancyMode.SAAS: ("acme", "globex")}
"""The tenants of each mode."""

_CLAIMS: Final = {
    "roles_claim": "realm_access.roles", "domain_claim": "dom", "admin_domain_claim": "adm",
}  # fmt: skip
"""What `ROLES_CLAIM` and the others are by default (saas: each identity provider says it for itself)."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """One tenant as its clients and its administrator see it.

    `host` is what a client puts into `Host`, None where any will do. `key` is the bootstrap key, None for
    the one tenant of `selfhost`, which the operator administers.
    """

    slug: str
    host: str | None
    people: TokenSource
    rest: RestApi
    key: str | None = field(default=None, repr=False)


def found(operator: RestApi, slug: str, people: TokenSource) -> Tenant:
    """Make a tenant with a host and an identity provider, as an operator does over REST (`MODE=saas`).

    Raises:
        ProcessFailedError: the API refused something.
    """
    host = f"{slug}.local"
    created = operator.create("/admin/tenants", {"name": slug.capitalize(), "slug": slug})
    operator.put(f"/admin/tenants/{slug}/hosts", {"hosts": [host]})
    operator.create(
        f"/admin/tenants/{slug}/identity-providers",
        {
            "issuer_url": people.issuer,
            "jwks_uri": people.jwks_uri,
            "audience": identity_provider.AUDIENCE,
            "claim_config": _CLAIMS,
        },
    )
    key = str(created.document["bootstrapKey"])
    return Tenant(slug, host, people, operator.with_service_key(key), key)
