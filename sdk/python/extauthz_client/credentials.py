"""The credentials of the client: a service key, or client credentials (RFC 6749 4.4) and their token."""

import base64
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import quote_plus, urlsplit

import aiohttp

from extauthz_client import timing
from extauthz_client.errors import ClientError, Unreachable

_RENEW_BEFORE_S: Final = 30.0
_ASSUMED_LIFE_S: Final = 60.0
_NOT_NOW: Final = frozenset({429, 500, 502, 503, 504})
_CREDENTIAL: Final = re.compile(r"[\x21-\x7e]+")
_B64_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750 2.1


class Credentials(Protocol):
    """A credential. The client that holds it never calls `headers` twice at once."""

    async def headers(self, session: aiohttp.ClientSession) -> Mapping[str, str]:
        """Return the headers that carry the credential.

        Raises:
            Unreachable: not now; asking again can succeed.
            ClientError: there is none.
        """

    def refused(self, headers: Mapping[str, str]) -> bool:
        """Hear that the API refused these headers; tell whether there can be others."""


@dataclass(frozen=True, slots=True)
class ServiceKey:
    """A service API key (`sak_live_...`)."""

    key: str = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse what no header can carry, such as the line end of a file. Raises ValueError."""
        if _CREDENTIAL.fullmatch(self.key) is None:
            raise ValueError("a service key is one word of ASCII characters; is there a line end in it?")

    async def headers(self, session: aiohttp.ClientSession) -> Mapping[str, str]:  # noqa: ARG002
        """Return the key's header."""
        return {"x-service-api-key": self.key}

    def refused(self, headers: Mapping[str, str]) -> bool:  # noqa: ARG002
        """Tell that there is no other key."""
        return False


class ClientCredentials:
    """A client of the identity provider; its token endpoint is discovered from the issuer."""

    def __init__(self, issuer: str, client_id: str, client_secret: str, *, scope: str | None = None) -> None:
        """Name the client; nothing is fetched before the first call."""
        self._issuer = issuer
        self._client_id = client_id
        self._client_secret = client_secret
        self._scope = scope
        self._token: str | None = None
        self._renew_at = 0.0
        self._endpoint: str | None = None

    async def headers(self, session: aiohttp.ClientSession) -> Mapping[str, str]:
        """Return the token's header, fetching a token when there is none that lasts."""
        if self._token is None or timing.elapsed() >= self._renew_at:
            self._token = None
            endpoint = self._endpoint or await self._discovered(session)
            document = await self._fetched(session, endpoint)
            self._endpoint = endpoint
            self._keep(document, endpoint)
        return {"authorization": f"Bearer {self._token}"}

    def refused(self, headers: Mapping[str, str]) -> bool:
        """Drop the token, unless it has been replaced since; another can always be fetched."""
        if headers.get("authorization") == f"Bearer {self._token}":
            self._token = None
        return True

    async def _discovered(self, session: aiohttp.ClientSession) -> str:
        # OpenID Connect Discovery 1.0, 4.1: a final slash is left out of the address, and out of it only.
        url = self._issuer.removesuffix("/") + "/.well-known/openid-configuration"
        document = await _json(session, "GET", url)
        endpoint = document.get("token_endpoint")
        # 4.3: MUST be exactly the same.
        if document.get("issuer") != self._issuer:
            raise ClientError(f"{url} is of the issuer {document.get('issuer')!r}, not of {self._issuer!r}")
        if not isinstance(endpoint, str):
            raise ClientError(f"{url} names no token_endpoint")
        if urlsplit(endpoint).scheme not in {"https", urlsplit(self._issuer).scheme}:
            raise ClientError(f"{url} names the token_endpoint {endpoint!r}: the secret would go unprotected")
        return endpoint

    async def _fetched(self, session: aiohttp.ClientSession, endpoint: str) -> Mapping[str, object]:
        form = {"grant_type": "client_credentials"} | ({"scope": self._scope} if self._scope else {})
        # RFC 6749 2.3.1: both are form-encoded before they are joined.
        pair = f"{quote_plus(self._client_id)}:{quote_plus(self._client_secret)}"
        basic = "Basic " + base64.b64encode(pair.encode("ascii")).decode("ascii")
        try:
            return await _json(session, "POST", endpoint, data=form, headers={"authorization": basic})
        except ClientError:
            self._endpoint = None
            raise

    def _keep(self, document: Mapping[str, object], endpoint: str) -> None:
        token, kind = document.get("access_token"), document.get("token_type")
        if not isinstance(token, str) or _B64_TOKEN.fullmatch(token) is None:
            raise ClientError(f"the token endpoint {endpoint} gave no access_token")
        # RFC 6749 7.1: a token of a type that is not understood must not be used.
        if not isinstance(kind, str) or kind.lower() != "bearer":
            raise ClientError(f"the token endpoint {endpoint} gave a token of type {kind!r}, not Bearer")
        lives = _lifetime(document.get("expires_in"))
        self._token = token
        self._renew_at = timing.elapsed() + max(lives - _RENEW_BEFORE_S, lives / 2)


def _lifetime(expires_in: object) -> float:
    """Return how many seconds a token lives; some providers write the number as a string."""
    try:
        lives = float(str(expires_in))
    except ValueError:
        return _ASSUMED_LIFE_S
    return lives if math.isfinite(lives) and lives > 0 else _ASSUMED_LIFE_S


async def _json(
    session: aiohttp.ClientSession,
    method: str,
    url: str,
    *,
    data: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Mapping[str, object]:
    try:
        async with session.request(
            method, url, data=data, headers=headers, allow_redirects=False
        ) as response:
            status, body = response.status, await response.read()
    except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
        raise ClientError(f"{url!r} is not an address of HTTP") from error
    except (aiohttp.ClientError, TimeoutError) as error:
        raise Unreachable(f"{method} {url}: {str(error) or type(error).__name__}") from error
    document = parsed(body)
    if status in _NOT_NOW:
        raise Unreachable(f"{method} {url}: answered {status}")
    if status != 200 or not isinstance(document, Mapping):
        said = document.get("error") if isinstance(document, Mapping) else None
        raise ClientError(f"{method} {url}: answered {status}" + (f" {said!r:.80}" if said else ""))
    return document


def parsed(body: bytes) -> object:
    """Return a JSON document (RFC 8259: UTF-8); None for what is not one, or has a member twice.

    Numbers that no `float` holds are `Decimal`.
    """
    try:
        return json.loads(
            body.decode(), parse_float=_fraction, parse_constant=_refused, object_pairs_hook=_unique
        )
    except (ValueError, RecursionError):
        return None


def _refused(literal: str) -> object:
    raise ValueError(f"{literal} is not JSON")


def _unique(members: list[tuple[str, object]]) -> dict[str, object]:
    # RFC 8259 4: which of the two would be meant is not defined.
    document = dict(members)
    if len(document) != len(members):
        raise ValueError("a member is given twice")
    return document


def _fraction(literal: str) -> float | Decimal:
    exact, rounded = Decimal(literal), float(literal)
    return rounded if Decimal(repr(rounded)) == exact else exact


def credentials_from(environ: Mapping[str, str]) -> Credentials:
    """Return the credentials that an environment names.

    `EXTAUTHZ_SERVICE_API_KEY`, or `AUTH_SERVER_URL` with `ADMIN_CLIENT_ID` and `ADMIN_CLIENT_SECRET`; each
    of the two secrets may stand in a file that `NAME_FILE` names.

    Raises:
        ClientError: it names none or both, only a part of one, or a file that cannot be read.
    """
    key = _secret(environ, "EXTAUTHZ_SERVICE_API_KEY")
    client_id, secret = environ.get("ADMIN_CLIENT_ID"), _secret(environ, "ADMIN_CLIENT_SECRET")
    if key is not None:
        if client_id or secret:
            raise ClientError(
                "EXTAUTHZ_SERVICE_API_KEY and ADMIN_CLIENT_ID are both set; keep the one that is meant"
            )
        try:
            return ServiceKey(key)
        except ValueError as error:
            raise ClientError(f"EXTAUTHZ_SERVICE_API_KEY: {error}") from error
    issuer = environ.get("AUTH_SERVER_URL")
    found = {"AUTH_SERVER_URL": issuer, "ADMIN_CLIENT_ID": client_id, "ADMIN_CLIENT_SECRET": secret}
    if not (issuer and client_id and secret):
        missing = ", ".join(name for name, value in found.items() if not value)
        raise ClientError(f"{missing} not set; set all of it, or EXTAUTHZ_SERVICE_API_KEY")
    return ClientCredentials(issuer, client_id, secret)


def _secret(environ: Mapping[str, str], name: str) -> str | None:
    """Return a secret from the environment or from the file that it names, without the file's line end."""
    file = environ.get(f"{name}_FILE")
    if not file:
        return environ.get(name) or None
    if environ.get(name):
        raise ClientError(f"{name} and {name}_FILE are both set; keep one")
    try:
        return Path(file).read_text("utf-8").rstrip("\r\n") or None
    except (OSError, ValueError) as error:
        raise ClientError(f"{name}_FILE: {file!r} cannot be read: {error}") from error
