"""Verifies a presented service key; its principal is of kind service, named by the key's id (ADR 11)."""

from collections.abc import Mapping

from extauthz.domain.principal import Authentication, Principal, PrincipalKind
from extauthz.domain.service_key import IdentityKey, PresentedKey


def bearer_of(presented: str, keys: Mapping[str, IdentityKey], now: float) -> Principal | None:
    """Return the principal that a presented key proves at `now` (POSIX seconds); None for an invalid key.

    `keys` holds the unrevoked keys with scope `identity`, by id. The bearer's roles are what is bound to it.
    """
    parsed = PresentedKey.parse(presented)
    key = None if parsed is None else keys.get(parsed.id)
    if parsed is None or key is None or not parsed.opens(key.digest):
        return None
    if key.expires_at is not None and now >= key.expires_at:
        return None
    return Principal(
        kind=PrincipalKind.SERVICE,
        id=key.id,
        tenant=key.tenant,
        domain=key.domain,
        roles=(),
        authentication=Authentication.API_KEY,
    )
