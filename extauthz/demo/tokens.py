"""The demo's client of its identity provider: tokens of the accounts, and rotation of keys."""

import http.client
import json
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode

from extauthz.demo import identity_provider
from extauthz.demo.processes import LOOPBACK, ProcessFailedError

_FLAWED: Final = {flaw: ("alice", flaw) for flaw in identity_provider.FLAWS}
_NAMED: Final = {name: (name, None) for name in ("admin", "alice", "bob", "carol", "dave")} | _FLAWED


class TokenSource:
    """The identity provider on one loopback port, for processes that need its tokens."""

    def __init__(self, port: int) -> None:
        """Name the port; nothing is asked yet."""
        self.port = port

    @property
    def issuer(self) -> str:
        """The identity provider."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def jwks_uri(self) -> str:
        """Where its public keys are."""
        return f"{self.issuer}/jwks"

    @property
    def token_url(self) -> str:
        """Where it gives tokens."""
        return f"{self.issuer}/token"

    def token(self, name: str, *, flaw: str | None = None, algorithm: str = "RS256") -> str:
        """Return a new token of a demo person.

        Raises:
            ProcessFailedError: the identity provider does not answer as it should.
        """
        form = {"grant_type": "password", "username": name, "password": name, "alg": algorithm}
        return str(self._ask("/token", form | ({} if flaw is None else {"flaw": flaw}))["access_token"])

    def named(self) -> dict[str, str]:
        """Return a token for each name (docs/reference/contract.md#ready-file-of-the-demo)."""
        return {name: self.token(person, flaw=flaw) for name, (person, flaw) in _NAMED.items()}

    def rotate_keys(self) -> None:
        """Have the provider publish and use new keys in addition to the present ones."""
        self._ask("/rotate", {})

    def _ask(self, path: str, form: Mapping[str, str]) -> dict[str, object]:
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=5)
        try:
            connection.request(
                "POST", path, urlencode(form), {"Content-Type": "application/x-www-form-urlencoded"}
            )
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as problem:
            raise ProcessFailedError(
                f"the identity provider on port {self.port} does not answer: {problem}"
            ) from problem
        finally:
            connection.close()
        if response.status != 200:
            raise ProcessFailedError(
                f"the identity provider answered {response.status} to POST {path}: {body!r}"
            )
        document: dict[str, object] = json.loads(body)
        return document
