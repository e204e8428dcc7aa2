"""Judges credentials as a check does, from the values of its headers."""

from collections.abc import Mapping

from extauthz.decide.bearer_token import TokenPolicy
from extauthz.decide.identity import Keys, identify
from extauthz.decide.needs import Needs
from extauthz.decide.tokens.cache import VerifiedTokens
from extauthz.decide.tokens.keyring import KeyRing
from extauthz.decide.tokens.reader import Rejected
from extauthz.domain.credential import (
    Credential,
    PresentedServiceKey,
    RepeatedHeader,
    authorization_credential,
)
from extauthz.domain.principal import Principal
from extauthz.domain.service_key import IdentityKey

Answer = Principal | Rejected | Needs | None


def ask_with(
    authorization: str | None = None,
    *,
    ring: KeyRing,
    now: float,
    policy: TokenPolicy,
    repeated: bool = False,
    service_key: str | None = None,
    service_key_repeated: bool = False,
    service_keys: Mapping[str, IdentityKey] | None = None,
    cache: VerifiedTokens | None = None,
) -> Answer:
    credentials: list[Credential] = []
    if repeated:
        credentials.append(RepeatedHeader("authorization"))
    elif authorization is not None:
        credentials.append(authorization_credential(authorization))
    if service_key_repeated:
        credentials.append(RepeatedHeader("x-service-api-key"))
    elif service_key is not None:
        credentials.append(PresentedServiceKey(service_key))
    keys = Keys(ring, service_keys or {}, VerifiedTokens() if cache is None else cache)
    return identify(credentials, None, keys, now, policy)
