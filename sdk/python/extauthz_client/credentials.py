"""The credentials of the client: a service key, or client credentials (RFC 6749 4.4) and their token."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlencode, urlsplit

from extauthz_client import timing
from extauthz_client.client_authentication import (
    AUTH_METHODS,
    AuthMethod,
    ClientAuthentication,
    read_private_key,
)
from extauthz_client.errors import ClientError, Unreachable
from extauthz_client.exchange import ConnectionFailed, HttpReply, HttpRequest, Steps
from extauthz_client.numbers import parsed

_RENEW_BEFORE_S: Final = 30.0
_ASSUMED_LIFE_S: Final = 60.0
_NOT_NOW: Final = frozenset({429, 500, 502, 503, 504})
_CREDENTIAL: Final = re.compile(r"[\x21-\x7e]+")
_B64_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750 2.1


class Credentials(Protocol):
    """A credential. The client that holds it never takes the steps of `headers` twice at once."""

    def at_hand(self) -> Mapping[str, str] | None:
        """Return the headers that carry the credential; None where steps are needed first."""

    def headers(self) -> Steps[Mapping[str, str]]:
        """Return the headers that carry the credential, as steps.

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

    def at_hand(self) -> Mapping[str, str]:
        """Return the key's header."""
        return {"x-service-api-key": self.key}

    def headers(self) -> Steps[Mapping[str, str]]:
        """Return the key's header."""
        yield from ()
        return self.at_hand()

    def refused(self, headers: Mapping[str, str]) -> bool:  # noqa: ARG002
        """Tell that there is no other key."""
        return False


class ClientCredentials:
    """A client of the identity provider; its token endpoint is discovered from the issuer."""

    def __init__(
        self,
        issuer: str,
        client_id: str,
        client_secret: str | None = None,
        *,
        scope: str | None = None,
        audience: str | None = None,
        resource: str | Sequence[str] = (),
        method: AuthMethod | None = None,
        key_file: str | Path | None = None,
        key_id: str | None = None,
    ) -> None:
        """Name the client; nothing is fetched before the first call, and `key_file` is read for each token.

        The client authenticates by its secret, or by a private key in PEM (`private_key_jwt`). `method` None
        is `client_secret_basic` with a secret. `audience` and `resource` (RFC 8707: absolute URIs) say what
        the token is for, where the provider has to know.

        Raises:
            ValueError: the issuer is not an address, secret, key file and method do not fit together, the key
                file cannot be used, or a resource is not such a URI.
        """
        _require_issuer(issuer)
        self._issuer = issuer
        self._authentication = ClientAuthentication.of(
            client_id, client_secret, method=method, key_file=key_file, key_id=key_id
        )
        if key_file is not None:
            try:
                read_private_key(key_file)
            except ClientError as error:
                raise ValueError(str(error)) from error
        resources = (resource,) if isinstance(resource, str) else tuple(resource)
        for each in resources:
            _require_absolute(each)
        form = {"grant_type": "client_credentials", "scope": scope, "audience": audience}
        self._form = [(name, value) for name, value in form.items() if value]
        self._form += [("resource", each) for each in resources]
        self._token: str | None = None
        self._renew_at = 0.0
        self._endpoint: str | None = None

    def at_hand(self) -> Mapping[str, str] | None:
        """Return the token's header, where there is a token that lasts."""
        token = self._token
        if token is None or timing.elapsed() >= self._renew_at:
            return None
        return {"authorization": f"Bearer {token}"}

    def headers(self) -> Steps[Mapping[str, str]]:
        """Return the token's header, fetching a token when there is none that lasts."""
        known = self.at_hand()
        if known is not None:
            return known
        self._token = None
        endpoint = self._endpoint or (yield from self._discovered())
        document = yield from self._fetched(endpoint)
        self._endpoint = endpoint
        self._keep(document, endpoint)
        return {"authorization": f"Bearer {self._token}"}

    def refused(self, headers: Mapping[str, str]) -> bool:
        """Drop the token, unless it has been replaced since; another can always be fetched."""
        if headers.get("authorization") == f"Bearer {self._token}":
            self._token = None
        return True

    def _discovered(self) -> Steps[str]:
        # OpenID Connect Discovery 1.0, 4.1: a final slash is left out of the address, and out of it only.
        url = self._issuer.removesuffix("/") + "/.well-known/openid-configuration"
        document = yield from _json(HttpRequest("GET", url, {"accept": "application/json"}))
        endpoint = document.get("token_endpoint")
        # 4.3: MUST be exactly the same.
        if document.get("issuer") != self._issuer:
            raise ClientError(f"{url} is of the issuer {document.get('issuer')!r}, not of {self._issuer!r}")
        if not isinstance(endpoint, str):
            raise ClientError(f"{url} names no token_endpoint")
        if urlsplit(endpoint).scheme not in {"https", urlsplit(self._issuer).scheme}:
            raise ClientError(f"{url} names the token_endpoint {endpoint!r}: the secret would go unprotected")
        return endpoint

    def _fetched(self, endpoint: str) -> Steps[Mapping[str, object]]:
        headers, members = self._authentication.credentials(self._issuer)
        headers = {
            "accept": "application/json",
            "content-type": "application/x-www-form-urlencoded",
            **headers,
        }
        body = urlencode([*self._form, *members.items()]).encode("ascii")
        try:
            return (yield from _json(HttpRequest("POST", endpoint, headers, body)))
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
        # In this order: a thread that sees the token sees its time.
        self._renew_at = timing.elapsed() + max(lives - _RENEW_BEFORE_S, lives / 2)
        self._token = token


def _require_issuer(issuer: str) -> None:
    if not _is_address(issuer):
        # A password is not repeated.
        shown = "one with a user or a password" if "@" in issuer else repr(issuer)
        raise ValueError(f"an issuer is an http or https address, not {shown}")


def _require_absolute(resource: str) -> None:
    """Refuse what RFC 8707 2 does not allow as a resource. Raises ValueError."""
    parts = urlsplit(resource)
    if not parts.scheme or not (parts.netloc or parts.path) or "#" in resource or " " in resource:
        raise ValueError(f"the resource {resource!r} is not an absolute URI without a fragment (RFC 8707)")


def _lifetime(expires_in: object) -> float:
    """Return how many seconds a token lives; some providers write the number as a string."""
    try:
        lives = float(str(expires_in))
    except ValueError:
        return _ASSUMED_LIFE_S
    return lives if math.isfinite(lives) and lives > 0 else _ASSUMED_LIFE_S


def _json(request: HttpRequest) -> Steps[Mapping[str, object]]:
    method, url = request.method, request.url
    if not _is_address(url):
        raise ClientError(f"{url!r} is not an address of HTTP")
    try:
        reply: HttpReply = yield request
    except ConnectionFailed as error:
        raise Unreachable(f"{method} {url}: {error}") from error
    document = parsed(reply.body)
    if reply.status in _NOT_NOW:
        raise Unreachable(f"{method} {url}: answered {reply.status}")
    if reply.status != 200 or not isinstance(document, Mapping):
        said = document.get("error") if isinstance(document, Mapping) else None
        raise ClientError(f"{method} {url}: answered {reply.status}" + (f" {said!r:.80}" if said else ""))
    return document


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        named = bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
        return parts.scheme in {"http", "https"} and named
    except ValueError:
        return False


def credentials_from(environ: Mapping[str, str]) -> Credentials:
    """Return the credentials that an environment names.

    `EXTAUTHZ_SERVICE_API_KEY`, or `AUTH_SERVER_URL` with `ADMIN_CLIENT_ID` and `ADMIN_CLIENT_SECRET` or
    `ADMIN_CLIENT_KEY_FILE`; each of the two secrets may stand in a file that `NAME_FILE` names. A service key
    goes before client credentials: it needs no token endpoint when the application starts. Of client
    credentials, `ADMIN_CLIENT_AUTH_METHOD`, `ADMIN_CLIENT_KEY_ID`, `ADMIN_CLIENT_SCOPE`,
    `ADMIN_CLIENT_AUDIENCE` and `ADMIN_CLIENT_RESOURCE` (separated by spaces) say more.

    Raises:
        ClientError: it names none, only a part of one, parts that do not fit together, or a file
            that cannot be read.
    """
    key = _secret(environ, "EXTAUTHZ_SERVICE_API_KEY")
    if key is not None:
        try:
            return ServiceKey(key)
        except ValueError as error:
            raise ClientError(f"EXTAUTHZ_SERVICE_API_KEY: {error}") from error
    client_id, secret = environ.get("ADMIN_CLIENT_ID"), _secret(environ, "ADMIN_CLIENT_SECRET")
    key_file = environ.get("ADMIN_CLIENT_KEY_FILE") or None
    issuer = environ.get("AUTH_SERVER_URL")
    found = {"AUTH_SERVER_URL": issuer, "ADMIN_CLIENT_ID": client_id}
    if not key_file:
        found["ADMIN_CLIENT_SECRET"] = secret
    missing = ", ".join(name for name, value in found.items() if not value)
    if not issuer or not client_id or missing:
        raise ClientError(f"{missing} not set; set all of it, or EXTAUTHZ_SERVICE_API_KEY")
    if secret and key_file:
        raise ClientError("ADMIN_CLIENT_SECRET and ADMIN_CLIENT_KEY_FILE are both set; keep one")
    return _client_credentials(environ, issuer, client_id, secret, key_file)


def _client_credentials(
    environ: Mapping[str, str], issuer: str, client_id: str, secret: str | None, key_file: str | None
) -> ClientCredentials:
    method = environ.get("ADMIN_CLIENT_AUTH_METHOD") or None
    known = next((each for each in AUTH_METHODS if each == method), None)
    if method is not None and known is None:
        raise ClientError(f"ADMIN_CLIENT_AUTH_METHOD: {method!r} is not one of {', '.join(AUTH_METHODS)}")
    try:
        _require_issuer(issuer)
    except ValueError as error:
        raise ClientError(f"AUTH_SERVER_URL: {error}") from error
    try:
        if key_file is not None:
            read_private_key(key_file)
        return ClientCredentials(
            issuer,
            client_id,
            secret,
            scope=environ.get("ADMIN_CLIENT_SCOPE") or None,
            audience=environ.get("ADMIN_CLIENT_AUDIENCE") or None,
            resource=(environ.get("ADMIN_CLIENT_RESOURCE") or "").split(),
            method=known,
            key_file=key_file,
            key_id=environ.get("ADMIN_CLIENT_KEY_ID") or None,
        )
    except ValueError as error:
        raise ClientError(f"ADMIN_CLIENT_AUTH_METHOD, ADMIN_CLIENT_RESOURCE: {error}") from error
    except ClientError as error:
        raise ClientError(f"ADMIN_CLIENT_KEY_FILE: {error}") from error


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
