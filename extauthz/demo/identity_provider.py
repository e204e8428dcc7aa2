"""The demo's identity provider: an OpenID Connect issuer as far as a resource server sees one.

| request | answers |
| --- | --- |
| `GET /.well-known/openid-configuration` | discovery |
| `GET /jwks` | the public keys: one RS256 (2048 bits) and one ES256, and after a rotation the previous two |
| `POST /token` | an access token, valid an hour (RFC 6749 4.3 `password` and 4.4 `client_credentials`) |
| `POST /rotate` | new keys, published before the first token is signed with them; the keys before the current ones stay published until the next call |

For the demo alone, `POST /token` also takes `alg` (`RS256`, the default, or `ES256`) and `flaw`
(`expired`, `wrong_audience`, `forged`: signed by an unpublished key under the id of a published one).

Run as `python -m extauthz.demo.identity_provider --port PORT`.
"""  # noqa: E501 - a table row

import argparse
import base64
import binascii
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from extauthz.demo import accounts
from extauthz.demo.accounts import Account

AUDIENCE: Final = "extauthz-demo"
TOKEN_LIFETIME_S: Final = 3600
ALGORITHMS: Final = ("RS256", "ES256")
FLAWS: Final = ("expired", "wrong_audience", "forged")


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key under the name that its public half is published with."""

    kid: str
    algorithm: str
    private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

    @classmethod
    def generate(cls, algorithm: str) -> "SigningKey":
        """Return a new key for `RS256` or `ES256`."""
        kid = f"{algorithm.lower()}-{secrets.token_hex(6)}"
        if algorithm == "RS256":
            return cls(kid, algorithm, rsa.generate_private_key(public_exponent=65537, key_size=2048))
        return cls(kid, algorithm, ec.generate_private_key(ec.SECP256R1()))

    def jwk(self) -> dict[str, object]:
        """Return the public half (RFC 7517)."""
        public = self.private.public_key()
        parameters = (
            RSAAlgorithm.to_jwk(public, as_dict=True)
            if isinstance(public, rsa.RSAPublicKey)
            else ECAlgorithm.to_jwk(public, as_dict=True)
        )
        shown = {name: value for name, value in parameters.items() if name != "key_ops"}
        return shown | {"kid": self.kid, "alg": self.algorithm, "use": "sig"}


def _new_keys() -> dict[str, SigningKey]:
    return {algorithm: SigningKey.generate(algorithm) for algorithm in ALGORITHMS}


class IdentityProvider:
    """Keys, accounts and the tokens made of them; no transport."""

    def __init__(self, issuer: str, *, audience: str = AUDIENCE) -> None:
        """Start with fresh keys under the given issuer and audience."""
        self._issuer = issuer
        self._audience = audience
        self._keys = _new_keys()
        self._previous: dict[str, SigningKey] = {}

    def discovery(self) -> dict[str, object]:
        """Return the discovery document (OpenID Connect Discovery 1.0, section 3)."""
        return {
            "issuer": self._issuer,
            "jwks_uri": f"{self._issuer}/jwks",
            "token_endpoint": f"{self._issuer}/token",
            "response_types_supported": ["token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": list(ALGORITHMS),
            "grant_types_supported": ["password", "client_credentials"],
        }

    def jwks(self) -> dict[str, object]:
        """Return the published keys (RFC 7517 5)."""
        return {"keys": [key.jwk() for key in (*self._keys.values(), *self._previous.values())]}

    def rotate(self) -> None:
        """Publish and use new keys, keep the current ones published, retire those before them."""
        self._previous, self._keys = self._keys, _new_keys()

    def token(self, account: Account, *, algorithm: str = "RS256", flaw: str | None = None, now: int) -> str:
        """Return a signed access token of this account; `now` in POSIX seconds."""
        issued = now - 2 * TOKEN_LIFETIME_S if flaw == "expired" else now
        claims = {
            "iss": self._issuer,
            "sub": account.name,
            "aud": f"not-{self._audience}" if flaw == "wrong_audience" else self._audience,
            "iat": issued,
            "exp": issued + TOKEN_LIFETIME_S,
            "jti": secrets.token_hex(8),
            "realm_access": {"roles": list(account.roles)},
            **account.claims,
        }
        published = self._keys[algorithm]
        signing = SigningKey.generate(algorithm) if flaw == "forged" else published
        return jwt.encode(claims, signing.private, algorithm=algorithm, headers={"kid": published.kid})


def application(provider: IdentityProvider) -> web.Application:
    """Return the provider as an HTTP application."""

    async def discovery(_: web.Request) -> web.Response:
        return web.json_response(provider.discovery())

    async def jwks(_: web.Request) -> web.Response:
        return web.json_response(provider.jwks())

    async def rotate(_: web.Request) -> web.Response:
        provider.rotate()
        return web.json_response(provider.jwks())

    async def token(request: web.Request) -> web.Response:
        form = {name: value for name, value in (await request.post()).items() if isinstance(value, str)}
        return _answer(provider, form, request.headers.get("Authorization"))

    app = web.Application()
    app.router.add_get("/.well-known/openid-configuration", discovery)
    app.router.add_get("/jwks", jwks)
    app.router.add_post("/token", token)
    app.router.add_post("/rotate", rotate)
    return app


def _answer(provider: IdentityProvider, form: Mapping[str, str], authorization: str | None) -> web.Response:
    algorithm, flaw = form.get("alg", "RS256"), form.get("flaw")
    if algorithm not in ALGORITHMS or flaw not in (None, *FLAWS):
        return _refused("invalid_request")
    match form.get("grant_type"):
        case "password":
            account = accounts.find(accounts.USERS, form.get("username", ""), form.get("password", ""))
            error = "invalid_grant"
        case "client_credentials":
            account = accounts.find(accounts.SERVICES, *_client(form, authorization))
            error = "invalid_client"
        case None:
            return _refused("invalid_request")
        case _:
            return _refused("unsupported_grant_type")
    if account is None:
        return _refused(error)
    signed = provider.token(account, algorithm=algorithm, flaw=flaw, now=int(time.time()))
    return web.json_response(
        {"access_token": signed, "token_type": "Bearer", "expires_in": TOKEN_LIFETIME_S},
        headers={"Cache-Control": "no-store"},
    )


def _client(form: Mapping[str, str], authorization: str | None) -> tuple[str, str]:
    """Return the client's id and secret, from HTTP Basic or from the body (RFC 6749 2.3.1)."""
    scheme, _, encoded = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return form.get("client_id", ""), form.get("client_secret", "")
    try:
        name, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return name, secret


def _refused(error: str) -> web.Response:
    """Return an error of RFC 6749 5.2."""
    return web.json_response({"error": error}, status=401 if error == "invalid_client" else 400)


def main(arguments: list[str] | None = None) -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description="the demo's identity provider")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--audience", default=AUDIENCE)
    options = parser.parse_args(arguments)
    provider = IdentityProvider(f"http://{options.host}:{options.port}", audience=options.audience)
    web.run_app(
        application(provider),
        host=options.host,
        port=options.port,
        access_log=None,
        print=None,
        shutdown_timeout=1.0,
    )


if __name__ == "__main__":
    main()
