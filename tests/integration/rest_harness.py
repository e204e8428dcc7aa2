"""The REST API as it runs: real PostgreSQL, real keys from a real provider, uvicorn on a loopback port."""

import asyncio
import io
import json
import os
import re
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
from jsonschema import Draft202012Validator

from extauthz.admin.app import build_app, openapi_document
from extauthz.compile.documents.policy_documents import Reading
from extauthz.compile.roles.role_model import RoleModel, compile_model
from extauthz.decide.identity import TokenPolicy
from extauthz.decide.tokens.cache import VerifiedTokens
from extauthz.decide.tokens.keyring import IssuerConfig
from extauthz.decisionlog.log import DecisionLog
from extauthz.decisionlog.recorder import Recorder
from extauthz.domain.claim_readings import AdminRole
from extauthz.domain.tenancy import TenancyMode
from extauthz.keys.cache import JwksCache
from extauthz.keys.fetcher import KeyFetcher
from extauthz.keys.source import IssuerSource
from extauthz.publish.current import CurrentPolicies
from extauthz.publish.past import History
from extauthz.publish.postgres import PostgresPublisher
from extauthz.publish.tenant import Compiler
from extauthz.publish.write_validation import PolicyGate
from extauthz.rest.services import AdminServices
from extauthz.runtime.http_server import serve
from extauthz.runtime.issuers import Issuers
from extauthz.runtime.listener import listen
from extauthz.settings import Settings, load_settings
from extauthz.shipped import shipped
from extauthz.storage.pool import open_pool, open_reader
from extauthz.storage.tenants import ensure_tenant
from extauthz.telemetry.counts import Counts
from extauthz.telemetry.readiness import Readiness
from tests.integration.storage_documents import new_id
from tests.key_server import key_server
from tests.tokens import AUDIENCE, SigningKey

if TYPE_CHECKING:
    from collections.abc import Sequence

    from extauthz.domain.tenant_config import TenantIdentityProvider
    from tests.integration.conftest import Database

ADMIN_KEY = "an operator's key of more than 32 bytes: 0123456789"
READING = Reading(
    condition_headers=frozenset({"x-channel"}),
    claim_headers=frozenset({"x-user-email", "x-user-groups"}),
)
KEY = SigningKey.es256("rest")
OTHER_KEY = SigningKey.es256("other")


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.raw)

    @property
    def revision(self) -> int:
        return int(self.headers["X-Policy-Revision"])

    @property
    def pointers(self) -> list[str]:
        return [each["pointer"] for each in self.body["errors"]]

    def problem(self, status: int) -> Any:
        """Return the problem document, having checked that it is one."""
        assert self.status == status, (self.status, self.raw)
        assert self.headers["Content-Type"] == "application/problem+json"
        body = self.body
        assert body["status"] == status
        assert body["title"]
        assert "Traceback" not in self.raw.decode()
        return body

    def succeeded(self, status: int) -> "Answer":
        assert self.status == status, (self.status, self.raw)
        return self


def validator(schema: dict[str, Any], components: object) -> Any:
    """Return a JSON Schema validator for a schema of the OpenAPI document."""
    return Draft202012Validator(schema | {"components": components})


class Described:
    """The served OpenAPI document, as a judge of every answer."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document
        self._validators: dict[tuple[str, str, str], Any] = {}
        self._paths = [
            (re.compile(re.sub(r"\{[^}]*\}", "[^/]*", path)), operations)
            for path, operations in sorted(document["paths"].items(), key=lambda entry: "{" in entry[0])
        ]

    def check(self, method: str, path: str, answer: Answer) -> None:
        """Fail unless the document describes the answer; it does not describe internal errors."""
        plain = path.partition("?")[0]
        operations = next((found for shape, found in self._paths if shape.fullmatch(plain)), None)
        if operations is None or method.lower() not in operations or answer.status == 500:
            return
        response = operations[method.lower()]["responses"][str(answer.status)]
        if "$ref" in response:
            response = self.document["components"]["responses"][response["$ref"].rpartition("/")[2]]
        for header in response.get("headers", {}):
            assert header in answer.headers or header == "Link", (method, path, answer.status, header)
        content = response.get("content")
        if content is None:
            assert answer.raw == b"", (method, path, answer)
            return
        media_type = answer.headers["Content-Type"].partition(";")[0]
        schema = content[media_type]["schema"]
        if not media_type.endswith("json"):
            return
        key = (operations[method.lower()]["operationId"], str(answer.status), media_type)
        if key not in self._validators:
            self._validators[key] = validator(schema, self.document["components"])
        self._validators[key].validate(answer.body)


@cache
def described_in(mode: TenancyMode) -> Described:
    """Return the judge of a mode's answers; one a process, because its document and validators are dear."""
    return Described(openapi_document(mode))


@dataclass
class Api:
    """One served API; `ask` as one of the callers below, or with any headers."""

    url: str
    session: aiohttp.ClientSession
    services: AdminServices
    issuer: str
    log: Path
    described: Described
    callers: dict[str, dict[str, str]] = field(default_factory=dict)

    def token(self, *, key: SigningKey = KEY, **claims: object) -> str:
        now = int(time.time())
        usual: dict[str, object] = {
            "iss": self.issuer, "sub": "alice", "aud": AUDIENCE, "iat": now - 5, "exp": now + 600,
        }  # fmt: skip
        return key.sign({name: value for name, value in (usual | claims).items() if value is not None})

    def bearer(self, **claims: Any) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token(**claims)}"}

    async def ask(
        self,
        method: str,
        path: str,
        document: object = None,
        *,
        caller: str = "key",
        data: bytes | None = None,
        **headers: Any,
    ) -> Answer:
        sent = self.callers[caller] | {name.replace("_", "-"): value for name, value in headers.items()}
        if document is not None:
            data = json.dumps(document).encode()
        if data is not None:
            sent = {"Content-Type": "application/json"} | sent
        body = None if data is None else io.BytesIO(data)
        async with self.session.request(method, self.url + path, data=body, headers=sent) as response:
            answer = Answer(response.status, response.headers, await response.read())
        self.described.check(method, path, answer)
        return answer

    async def get(self, path: str, *, caller: str = "key", **headers: Any) -> Answer:
        return await self.ask("GET", path, caller=caller, **headers)

    async def post(
        self, path: str, document: object = None, *, caller: str = "key", **headers: Any
    ) -> Answer:
        return await self.ask("POST", path, document, caller=caller, **headers)

    async def put(self, path: str, document: object, *, caller: str = "key", **headers: Any) -> Answer:
        return await self.ask("PUT", path, document, caller=caller, **headers)

    async def patch(self, path: str, document: object, *, caller: str = "key", **headers: Any) -> Answer:
        return await self.ask("PATCH", path, document, caller=caller, **headers)

    async def delete(
        self, path: str, document: object = None, *, caller: str = "key", **headers: Any
    ) -> Answer:
        return await self.ask("DELETE", path, document, caller=caller, **headers)

    async def trail(self) -> list[tuple[str, str]]:
        """Return the actions and kinds of the audit trail, oldest first."""
        events = (await self.get("/api/v1/audit?limit=1000")).succeeded(200).body["items"]
        return [(event["action"], event["kind"]) for event in reversed(events)]


@cache
def role_model() -> RoleModel:
    """Return the shipped model, which no test changes."""
    model = compile_model(shipped("policies/model.conf").read_text("utf-8"))
    assert isinstance(model, RoleModel)
    return model


def _settings() -> Settings:
    settings = load_settings({"MODE": "saas"})
    assert isinstance(settings, Settings), settings
    return settings


@asynccontextmanager
async def rest(
    database: "Database",
    *,
    allow_hosts: frozenset[str] = frozenset(),
    loaded: bool = True,
    max_bytes: int | None = None,
    **changes: Any,
) -> AsyncIterator[Api]:
    """Serve the API; `changes` are to its services, `allow_hosts` where tenants' providers may be.

    `loaded` waits for the first policies, which never come where the stored rows do not compile. `max_bytes`
    is how large the policies of a tenant may be.
    """
    mode = changes.get("mode", TenancyMode.SELFHOST)
    current = CurrentPolicies()
    compiler = Compiler(READING, role_model())
    counts = Counts("rest")
    async with (
        open_pool(database.address, max_size=8) as pool,
        key_server(KEY) as provider,
        KeyFetcher(allow_hosts=allow_hosts) as fetcher,
        aiohttp.ClientSession() as session,
    ):
        assert not isinstance(await ensure_tenant(pool, "default", "default"), Exception)
        keys = JwksCache(fetcher)
        follow = Issuers(_settings(), keys).register

        def on_issuers(providers: "Sequence[TenantIdentityProvider]") -> None:
            # Before a tenant has one, the harness' own issuer stays.
            if mode is TenancyMode.SAAS and (providers or current.current() is not None):
                follow(providers)

        publisher = PostgresPublisher(
            partial(open_reader, database.address),
            current,
            compiler,
            mode=mode,
            on_issuers=on_issuers,
            max_bytes=max_bytes,
        )
        config = IssuerConfig.usual(
            provider.issuer, "default", (AUDIENCE,), "roles", "dom", "adm", frozenset({"offline_access"})
        )
        admins = (AdminRole("tenant-admin", "*"), AdminRole("emea-admin", "emea"))
        config = replace(config, admin_roles=admins)
        keys.configure([IssuerSource(config, provider.jwks_uri, operator_configured=True)])
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "decisions.log"
            log = DecisionLog(str(path), worker=0, instance=uuid.uuid4())
            log.start()
            gate = PolicyGate(compiler, publisher.state, publisher.sizes)
            services = AdminServices(
                mode=TenancyMode.SELFHOST,
                pool=pool,
                policies=current,
                wait_for=publisher.wait_for,
                validate=gate.validate,
                compiled=gate.compiled,
                unreadable=publisher.unreadable,
                keys=keys,
                tokens=VerifiedTokens(),
                token_policy=TokenPolicy(),
                admin_api_key=ADMIN_KEY,
                condition_headers=READING.condition_headers,
                claim_headers=READING.claim_headers,
                max_staleness=900.0,
                recorder=Recorder(log, counts, random_bytes=os.urandom),
                new_id=new_id,
                clock=time.time,
                readiness=lambda: Readiness(ready=True, checks={"database": True}),
                metrics=lambda: b"",
                history=History(compiler, publisher.state, publisher.wait_for),
            )
            services = replace(services, **changes)
            listener = listen("127.0.0.1", 0)
            app = build_app(services)
            api = Api(
                f"http://127.0.0.1:{listener.getsockname()[1]}",
                session,
                services,
                provider.issuer,
                path,
                described_in(services.mode),
            )
            api.callers = {
                "nobody": {},
                "key": {"X-Admin-Api-Key": ADMIN_KEY},
                "tenant": api.bearer(sub="root", adm="*"),
                "emea": api.bearer(sub="eve", adm=["emea"]),
                "both": api.bearer(sub="ben", adm=["emea", "apac"]),
                "alice": api.bearer(dom="emea", roles=["finance"]),
            }
            tasks = [
                asyncio.create_task(work) for work in (keys.run(), publisher.run(), serve(app, listener))
            ]
            try:
                if loaded:
                    assert await publisher.wait_for("default", 0, 10)
                yield api
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                log.close(5)


def rule(**members: object) -> dict[str, object]:
    return {
        "sub": "finance", "dom": "emea", "obj": "invoice:read", "act": "read", "effect": "allow",
    } | members  # fmt: skip
