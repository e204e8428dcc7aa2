"""Tenants in a database, a publisher that follows them, and checks of their requests."""

import asyncio
import contextlib
import os
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from extauthz.check.service import CheckService
from extauthz.compile.directory import Directory
from extauthz.decide.judge import CheckPolicy
from extauthz.decisionlog.log import DecisionLog
from extauthz.decisionlog.recorder import Recorder
from extauthz.domain.service_key import key_text
from extauthz.domain.tenancy import TenancyMode, TenantBinding
from extauthz.keys.cache import JwksCache
from extauthz.keys.fetcher import KeyFetcher
from extauthz.publish.current import CurrentPolicies
from extauthz.publish.postgres import PostgresPublisher
from extauthz.runtime.issuers import Issuers
from extauthz.settings import Settings, load_settings
from extauthz.storage import hosts, identity_providers, resources, role_rules, service_keys, tenants
from extauthz.storage.outcome import Refusal
from extauthz.storage.pool import open_reader
from extauthz.storage.rows import Stored
from extauthz.storage.write import Change, Written
from extauthz.telemetry.counts import Counts
from tests.builders import Answer, check_request, read_answer
from tests.integration.publishing import NEVER, compiler
from tests.integration.storage_documents import ACTOR, new_id, pool_of, resource, role_rule, route, succeed
from tests.key_server import KeyServer, key_server
from tests.tokens import SigningKey, claims
from tests.waiting import until

if TYPE_CHECKING:
    from extauthz.storage.pool import Pool
    from extauthz.storage.rows import Document
    from tests.integration.conftest import Database


SLUGS = ("acme", "globex", "initech")
WITHIN_S = 5.0


@dataclass
class Firm:
    """A tenant with its host, its provider, and a key that identifies."""

    slug: str
    provider: KeyServer
    signing: SigningKey
    idp_id: str
    service_key: str = ""
    key_id: str = ""

    @property
    def host(self) -> str:
        return f"{self.slug}.local"

    def token(self, *, iss: str | None = None, signing: SigningKey | None = None, **changes: Any) -> str:
        now = int(time.time())
        usual = {"iss": iss or self.provider.issuer, "aud": "mesh", "iat": now - 1, "exp": now + 600}
        return (signing or self.signing).sign(claims(**(usual | changes)))

    def identity_provider(self, **changes: object) -> "Document":
        return {
            "id": self.idp_id, "issuer_url": self.provider.issuer, "jwks_uri": None, "audience": "mesh",
            "claim_config": {"roles_claim": "groups"}, "active": True,
        } | changes  # fmt: skip


@dataclass
class Mesh:
    """A control plane's storage, a publisher, and the check behind a proxy."""

    pool: "Pool"
    publisher: PostgresPublisher
    policies: CurrentPolicies
    keys: JwksCache
    service: CheckService
    firms: dict[str, Firm]
    seen: list[Answer] = field(default_factory=list)

    @property
    def directory(self) -> Directory:
        directory = self.policies.current()
        assert directory is not None
        return directory

    async def write(self, slug: str, work: Callable[[Change], Any]) -> Written[Any]:
        """Write, and wait until it is published."""
        written: Written[Any] = await succeed(self.pool, work, tenant=slug)
        assert await self.publisher.wait_for(slug, written.revision, WITHIN_S)
        return written

    async def keys_are_known(self) -> None:
        await until(
            lambda: all(keys.keys is not None for keys in self.keys.current().issuers.values()),
            what="keys of every issuer",
        )

    async def ask(
        self,
        host: str,
        path: str = "/orders",
        *,
        token: str | None = None,
        key: str | None = None,
        **context: str,
    ) -> Answer:
        headers: dict[str, str] = {}
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        if key is not None:
            headers["x-service-api-key"] = key
        raw = check_request(path, host=host, headers=headers, context_extensions=context)
        return read_answer(await asyncio.to_thread(self.service.answer, raw, 2.0))

    async def reason(self, host: str, path: str = "/orders", **how: Any) -> object:
        answer = await self.ask(host, path, **how)
        return "allowed" if answer.allowed else answer.metadata["reason"]

    async def make(self, firm: Firm) -> None:
        async def also(change: Change, _: Stored) -> Stored | Refusal:
            return await service_keys.rotate_bootstrap(change, f"sak_{new_id()}", secret=os.urandom(32))

        made = await tenants.create(
            self.pool, ACTOR, slug=firm.slug, name=firm.slug, also=also, new_id=new_id
        )
        assert isinstance(made, Written), made
        secret = os.urandom(32)
        firm.key_id = f"sak_{new_id()}"
        firm.service_key = key_text(firm.key_id, secret)

        async def everything(change: Change) -> None:
            assert await hosts.replace(change, [firm.host])
            await identity_providers.create(change, firm.identity_provider())
            key = {"id": firm.key_id, "name": "robot", "scopes": ["identity"]}
            await service_keys.create(change, key, secret=secret)
            orders = resource(
                name="order:read",
                routes=[
                    route("/orders"),
                    route("/claimed", host="globex.local"),
                    route("/any/**", host="*.local"),
                ],
            )
            await resources.create(change, [orders])
            everyone = role_rule(sub="*", sub_kind="any", obj="order:read", act="read")
            await role_rules.create(change, [everyone])

        await self.write(firm.slug, everything)


@asynccontextmanager
async def mesh(
    database: "Database",
    *,
    slugs: Iterable[str] = SLUGS,
    serves: Iterable[str] = (),
    binding: TenantBinding = TenantBinding.HOST,
) -> AsyncIterator[Mesh]:
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(pool_of(database.address))
        firms: dict[str, Firm] = {}
        for slug in slugs:
            signing = SigningKey.es256(f"key of {slug}")
            provider = await stack.enter_async_context(key_server(signing))
            firms[slug] = Firm(slug, provider, signing, new_id())
        found = await stack.enter_async_context(
            following_mesh(database, pool, firms, serves=serves, binding=binding)
        )
        for firm in firms.values():
            if serves and firm.slug not in serves:
                continue
            await found.make(firm)
        await found.keys_are_known()
        yield found


def another_worker(database: "Database", of: Mesh) -> contextlib.AbstractAsyncContextManager[Mesh]:
    """Start following the same database anew, as a worker that was replaced does."""
    return following_mesh(database, of.pool, of.firms)


@asynccontextmanager
async def following_mesh(
    database: "Database",
    pool: "Pool",
    firms: dict[str, Firm],
    *,
    serves: Iterable[str] = (),
    binding: TenantBinding = TenantBinding.HOST,
) -> AsyncIterator[Mesh]:
    async with AsyncExitStack() as stack:
        allowed = ",".join(f"127.0.0.1:{firm.provider.port}" for firm in firms.values())
        settings = load_settings({"MODE": "saas", "JWKS_ALLOW_HOSTS": allowed})
        assert isinstance(settings, Settings), settings
        fetcher = await stack.enter_async_context(KeyFetcher(allow_hosts=settings.jwks_allow_hosts))
        keys = JwksCache(fetcher)
        policies = CurrentPolicies()
        publisher = PostgresPublisher(
            partial(open_reader, database.address),
            policies,
            compiler(),
            mode=TenancyMode.SAAS,
            tenants=frozenset(serves),
            poll_interval=NEVER,
            on_issuers=Issuers(settings, keys).register,
        )
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        log = DecisionLog(str(Path(folder) / "decisions.log"), worker=0, instance=uuid.uuid4())
        log.start()
        stack.callback(log.close, 2.0)
        service = CheckService(
            policies=policies,
            keys=keys,
            policy=CheckPolicy(binding=binding),
            recorder=Recorder(log, Counts("test"), random_bytes=os.urandom),
        )
        tasks = [asyncio.create_task(keys.run()), asyncio.create_task(publisher.run())]
        try:
            found = Mesh(pool, publisher, policies, keys, service, firms)
            yield found
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
