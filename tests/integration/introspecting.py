"""A scripted issuer that is asked about tokens, the introspector, and requests with opaque tokens."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from aiohttp import web

from extauthz.decide.bearer_token import TokenPolicy
from extauthz.decide.identity import Keys, identify
from extauthz.decide.needs import Needs, NeedsIntrospection
from extauthz.decide.tokens.cache import VerifiedTokens
from extauthz.decide.tokens.introspection import Introspected
from extauthz.decide.tokens.keyring import IntrospectionRule, IssuerConfig, IssuerKeys, KeyRing
from extauthz.decide.tokens.reader import Rejected
from extauthz.domain.claim_readings import RoleClaim, RoleShape
from extauthz.domain.credential import BearerToken
from extauthz.domain.principal import Principal
from extauthz.keys.fetcher import FetchLimits, KeyFetcher
from extauthz.keys.introspection_client import ClientAuth, IntrospectionClient
from extauthz.keys.introspector import Introspector
from extauthz.keys.source import IssuerSource
from tests.integration.scripted_server import Handler, Scripted, scripted

NOW = 1_800_000_000.0
AUDIENCE = "orders-api"
TOKEN = "an-opaque-token"
POLICY = TokenPolicy()
WAIT_S = 5.0


def answer(**changes: object) -> dict[str, object]:
    """Return the members of an answer about an active token; a change to None leaves one out."""
    usual: dict[str, object] = {
        "active": True,
        "sub": "alice",
        "aud": AUDIENCE,
        "iat": int(NOW) - 60,
        "exp": int(NOW) + 600,
        "scope": "read",
        "token_type": "Bearer",
    }
    return {name: value for name, value in (usual | changes).items() if value is not None}


def says_bytes(body: bytes, *, status: int = 200, content_type: str = "application/json") -> Handler:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(body=body, status=status, headers={"Content-Type": content_type})

    return handler


def says(status: int = 200, **changes: object) -> Handler:
    return says_bytes(json.dumps(answer(**changes)).encode(), status=status)


def config(issuer: str, **changes: Any) -> IssuerConfig:
    usual = IssuerConfig.usual(issuer, "default", (AUDIENCE,), "scope", "dom", "adm", frozenset())
    roles = (RoleClaim("scope", RoleShape.SPACE),)
    return replace(usual, roles=roles, introspection=IntrospectionRule(60.0), **changes)


@dataclass
class Stage:
    """The clock stands still unless a test moves it."""

    server: Scripted
    introspector: Introspector
    source: IssuerSource
    outcomes: list[str] = field(default_factory=list)
    now: float = NOW

    @property
    def ring(self) -> KeyRing:
        return KeyRing.of([IssuerKeys(self.source.config)])

    def configure(self, **changes: Any) -> None:
        """Change the issuer's configuration."""
        self.source = replace(self.source, config=replace(self.source.config, **changes))
        self.introspector.configure([self.source])

    def judge(
        self, token: str = TOKEN, found: Introspected | None = None, *, owner: str | None = "default"
    ) -> Principal | Rejected | Needs | None:
        keys = Keys(self.ring, {}, VerifiedTokens(), introspected=self.introspector.remembered, answer=found)
        return identify([BearerToken(token)], None, keys, self.now, POLICY, owner=owner)

    async def ask(self, token: str = TOKEN, *, wait_s: float = WAIT_S) -> Principal | Rejected:
        """Judge as a transport does: wait for the answer if one is needed, and judge again."""
        found = self.judge(token)
        if isinstance(found, NeedsIntrospection):
            answered = await asyncio.wrap_future(self.introspector.ask(found, wait_s))
            found = self.judge(token, answered)
        if isinstance(found, Needs):
            return found.otherwise
        assert found is not None
        return found


@asynccontextmanager
async def stage(
    folder: Path, *handlers: Handler, port: int = 0, discovered: bool = False, **client: Any
) -> AsyncIterator[Stage]:
    """Serve the handlers as the issuer's endpoint; with `discovered` the issuer is asked for it."""
    (folder / "secret").write_text("the-secret\n")
    async with scripted(*handlers, port=port) as server, KeyFetcher(limits=FetchLimits()) as fetcher:
        usual: dict[str, Any] = {
            "endpoint": None if discovered else f"{server.url}/introspect",
            "secret_file": folder / "secret",
            "timeout": 3.0,
        }
        asked = IntrospectionClient("gateway", ClientAuth.CLIENT_SECRET_BASIC, **(usual | client))
        source = IssuerSource(config(server.url), operator_configured=True, introspection=asked)
        outcomes: list[str] = []
        introspector = Introspector(
            fetcher.http, b"secret", clock=lambda: found.now, on_outcome=outcomes.append
        )
        found = Stage(server, introspector, source, outcomes)
        introspector.configure([source])
        running = asyncio.create_task(introspector.run())
        await asyncio.sleep(0)
        try:
            yield found
        finally:
            running.cancel()
            await asyncio.wait([running])
