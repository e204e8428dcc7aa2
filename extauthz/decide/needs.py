"""What a check needs before its credential can be judged; the caller provides it and judges again."""

from dataclasses import dataclass, field
from typing import Final

from extauthz.decide.tokens.keyring import IssuerConfig
from extauthz.decide.tokens.reader import Rejected
from extauthz.domain.reasons import Reason

NOT_FETCHED: Final = Rejected(Reason.KEYS_UNAVAILABLE, "the issuer's keys could not be fetched in time")
_NOT_INTROSPECTED: Final = Rejected(
    Reason.INTROSPECTION_UNAVAILABLE, "the provider did not answer about the token in time"
)
_NOT_VERIFIED: Final = Rejected(Reason.OVERLOADED, "the token was not verified in time")


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """Something that a credential cannot be judged without; `otherwise` is the answer without it."""

    otherwise: Rejected = field(compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class NeedsKey(Needs):
    """The keys of the issuer do not verify the token; newer ones may, and they may be waited for now."""

    issuer: str
    kid: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NeedsVerification(Needs):
    """The token is not remembered: verifying its signature costs more than all the rest of a check."""

    otherwise: Rejected = field(default=_NOT_VERIFIED, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class NeedsIntrospection(Needs):
    """The issuer of `config` has to be asked about a token (RFC 7662).

    `key` names the token in what is remembered (`IntrospectedTokens.key_of`); empty before it was computed.
    """

    config: IssuerConfig
    token: str = field(repr=False)
    key: bytes = b""
    otherwise: Rejected = field(default=_NOT_INTROSPECTED, compare=False)
