"""A real provider of keys, the cache that follows it, and requests with tokens."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from extauthz.decide.bearer_token import TokenPolicy
from extauthz.decide.needs import Needs, NeedsKey
from extauthz.decide.tokens.cache import VerifiedTokens
from extauthz.decide.tokens.keyring import IssuerConfig
from extauthz.decide.tokens.reader import Rejected
from extauthz.domain.principal import Principal
from extauthz.domain.reasons import Reason
from extauthz.keys.cache import JwksCache
from extauthz.keys.fetcher import FetchLimits, KeyFetcher
from extauthz.keys.schedule import Schedule
from extauthz.keys.source import IssuerSource
from tests.asking import Answer, ask_with
from tests.key_server import KeyServer, key_server
from tests.tokens import AUDIENCE, NOW, SigningKey, claims

OLD = SigningKey.es256("old")
NEW = SigningKey.es256("new")
LIMITS = FetchLimits(connect_s=1.0, total_s=2.0)
# Nothing is refreshed by itself unless a test moves the clock.
CALM = Schedule(shortest_lifetime=600.0, usual_lifetime=600.0, first_retry=600.0, longest_retry=600.0)


@dataclass
class Clock:
    now: float = NOW

    behind: float = 0.0
    """By how many seconds it was put back."""

    def __call__(self) -> float:
        return self.now

    def steady(self) -> float:
        return self.now + self.behind

    def put_back(self, seconds: float) -> None:
        self.now -= seconds
        self.behind += seconds


@dataclass
class Stage:
    """A provider, the cache that watches it, and requests with tokens."""

    server: KeyServer
    cache: JwksCache
    clock: Clock
    outcomes: list[str]
    verified: VerifiedTokens = field(default_factory=VerifiedTokens)

    def source(self, jwks_uri: str | None = None) -> IssuerSource:
        config = IssuerConfig.usual(
            self.server.issuer, "default", (AUDIENCE,), "roles", "dom", "adm", frozenset()
        )
        return IssuerSource(config, jwks_uri, operator_configured=True)

    def token(self, signer: SigningKey, **changes: object) -> str:
        now = int(self.clock.now)
        said: dict[str, object] = {"iss": self.server.issuer, "iat": now - 60, "exp": now + 600} | changes
        return f"Bearer {signer.sign(claims(**said))}"

    def judge(self, authorization: str) -> Answer:
        return ask_with(
            authorization,
            ring=self.cache.current(),
            cache=self.verified,
            now=self.clock.now,
            policy=TokenPolicy(),
        )

    async def ask(self, authorization: str) -> Principal | Reason | None:
        """Judge as a transport does: wait for the shared fetch if needed, and judge again."""
        answer = self.judge(authorization)
        if isinstance(answer, NeedsKey):
            await landed(self.cache.ensure(answer.issuer, answer.kid))
            answer = self.judge(authorization)
        if isinstance(answer, Needs):
            return Reason.KEYS_UNAVAILABLE
        return answer.reason if isinstance(answer, Rejected) else answer


async def landed(flight: Future[None]) -> None:
    async with asyncio.timeout(5):
        await asyncio.wrap_future(flight)


@asynccontextmanager
async def stage(*keys: SigningKey, schedule: Schedule = CALM) -> AsyncIterator[Stage]:
    clock, outcomes, first = Clock(), list[str](), asyncio.Event()

    def ended(outcome: str) -> None:
        outcomes.append(outcome)
        first.set()

    async with key_server(*keys) as server, KeyFetcher(limits=LIMITS) as fetcher:
        cache = JwksCache(
            fetcher,
            schedule=schedule,
            clock=clock,
            steady=clock.steady,
            chance=lambda: 0.0,
            on_fetch=ended,
        )
        play = Stage(server, cache, clock, outcomes)
        cache.configure([play.source()])
        running = asyncio.create_task(cache.run())
        try:
            await asyncio.wait_for(first.wait(), 5)
            yield play
        finally:
            running.cancel()
            await asyncio.wait([running])
