"""How an issuer is asked about tokens (RFC 7662), as the file of IDENTITY_PROVIDERS configures it."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class ClientAuth(StrEnum):
    """How this service authenticates to the provider (OpenID Connect Core 9)."""

    CLIENT_SECRET_BASIC = "client_secret_basic"  # noqa: S105  # a name
    CLIENT_SECRET_POST = "client_secret_post"  # noqa: S105  # a name
    PRIVATE_KEY_JWT = "private_key_jwt"


@dataclass(frozen=True, slots=True)
class IntrospectionClient:
    """How an issuer is asked about tokens; files are the operator's.

    `endpoint` None: it is discovered. `algorithm` None: the usual one of the key. `assertion_audience` None:
    the issuer. `timeout` is seconds.
    """

    client_id: str
    method: ClientAuth
    endpoint: str | None = None
    secret_file: Path | None = None
    key_file: Path | None = None
    key_id: str | None = None
    algorithm: str | None = None
    assertion_audience: str | None = None
    timeout: float = 1.0
