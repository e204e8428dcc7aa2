"""Who calls: a service key, or client credentials (RFC 6749 4.4) whose token is fetched and kept."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

import aiohttp

from extauthz.client.errors import ClientError, Unreachable

_RENEW_BEFORE_S: Final = 30.0
_SHORTEST_LIFE_S: Final = 60.0


class Credentials(Protocol):
    """Something that says who calls."""

    async def headers(self, session: aiohttp.ClientSession) -> Mapping[str, str]:
        """Return the headers that carry the credential. Raises ClientError."""

    def forget(self) -> None:
        """Drop what was kept: the API has refused it."""


@dataclass(frozen=True, slots=True)
class ServiceKey:
    """A service API key (`sak_live_...`)."""

    key: str = field(repr=False)

    async def headers(self, session: aiohttp.ClientSession) -> Mapping[str, str]:  # noqa: ARG002
        """Return the key's header."""
        return {"x-service-api-key": self.key}

    def forget(self) -> None:
        """Keep the key: there is no other."""


class ClientCredentials:
    """A client of the identity provider; its token endpoint is discovered from the issuer."""

    def __init__(self, issuer: str, client_id: str, client_secret: str, *, scope: str | None = None) -> None:
        """Name the client; nothing is fetched before the first call."""
        self._issuer = issuer.rstrip("/")
        self._client_id = client_id
        self._client_secret = client_secret
        self._scope = scope
        self._token: str | None = None
        self._renew_at = 0.0
        self._endpoint: str | None = None
        self._lock = asyncio.Lock()

    async def headers(self, session: aiohttp.ClientSession) -> Mapping[str, str]:
        """Return the token's header, fetching a token when there is none that lasts."""
        async with self._lock:
            if self._token is None or time.monotonic() >= self._renew_at:
                await self._fetch(session)
            return {"authorization": f"Bearer {self._token}"}

    def forget(self) -> None:
        """Fetch another token next time."""
        self._token = None

    async def _fetch(self, session: aiohttp.ClientSession) -> None:
        endpoint = self._endpoint or await self._discover(session)
        form = {"grant_type": "client_credentials"} | ({"scope": self._scope} if self._scope else {})
        basic = aiohttp.encode_basic_auth(self._client_id, self._client_secret)
        document = await _json(session, "POST", endpoint, data=form, headers={"authorization": basic})
        token, lifetime = document.get("access_token"), document.get("expires_in")
        if not isinstance(token, str) or not token:
            raise ClientError(f"the token endpoint {endpoint} gave no access_token")
        lives = float(lifetime) if isinstance(lifetime, int | float) else _SHORTEST_LIFE_S
        self._token = token
        self._renew_at = time.monotonic() + max(lives - _RENEW_BEFORE_S, lives / 2)

    async def _discover(self, session: aiohttp.ClientSession) -> str:
        # OpenID Connect Discovery 1.0, 4
        document = await _json(session, "GET", f"{self._issuer}/.well-known/openid-configuration")
        endpoint = document.get("token_endpoint")
        if not isinstance(endpoint, str) or document.get("issuer") != self._issuer:
            raise ClientError(
                f"the discovery document of {self._issuer} is not its own, or has no token_endpoint"
            )
        self._endpoint = endpoint
        return endpoint


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
            if response.status != 200:
                raise ClientError(f"{url} answered {response.status}")
            document = await response.json(content_type=None)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise Unreachable(f"{url}: {str(error) or type(error).__name__}") from error
    if not isinstance(document, Mapping):
        raise ClientError(f"{url} did not answer with an object")
    return document


def credentials_from(environ: Mapping[str, str]) -> Credentials:
    """Return the credentials that an environment names.

    `EXTAUTHZ_SERVICE_API_KEY`, or `AUTH_SERVER_URL` with `ADMIN_CLIENT_ID` and `ADMIN_CLIENT_SECRET`.

    Raises:
        ClientError: it names none, or only a part of one.
    """
    key = environ.get("EXTAUTHZ_SERVICE_API_KEY")
    if key:
        return ServiceKey(key)
    names = ("AUTH_SERVER_URL", "ADMIN_CLIENT_ID", "ADMIN_CLIENT_SECRET")
    missing = [name for name in names if not environ.get(name)]
    if missing:
        raise ClientError(f"{', '.join(missing)} not set; set them, or EXTAUTHZ_SERVICE_API_KEY")
    return ClientCredentials(*(environ[name] for name in names))
