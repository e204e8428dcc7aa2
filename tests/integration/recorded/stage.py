"""The server that answers the recorded requests: its tenants, the objects in them, and the callers."""

import base64
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from extauthz.domain.time_text import rfc3339
from tests.integration.recorded.documents import BINDING, CONDITION, POLICY, PROVIDER, RULE, Document
from tests.integration.recorded.sent import (
    BINDINGS,
    KEYS,
    POLICIES,
    PROVIDERS,
    RESOURCES,
    RULES,
    SESSION,
    TENANTS,
)
from tests.integration.rest_harness import ADMIN_KEY, Api
from tests.integration.rest_saas import Firm, Firms, firms
from tests.tokens import SigningKey, b64
from tests.waiting import until

if TYPE_CHECKING:
    from tests.integration.conftest import Database

NOW = float(int(time.time()))
"""The moment at which every request is answered; the key cache judges by the same clock whether keys are old."""

Headers = tuple[tuple[str, str], ...]
SCOPES = (
    "check",
    "identity",
    "resources:write",
    "policies:read",
    "policies:write",
    "keys:write",
    "audit:read",
)
_CREATED = {"rule": RULES, "resource": RESOURCES, "binding": BINDINGS, "policy": POLICIES, "key": KEYS}


@dataclass
class Clock:
    """The time of the server; it stands still, so that limits in time give the same answers on every machine."""

    now: float

    def __call__(self) -> float:
        return self.now


@dataclass
class Stage:
    """The served API with what requests name: `ids` of objects, and `callers` by the headers that they send."""

    api: Api
    ids: dict[str, str] = field(default_factory=dict)
    callers: dict[str, Headers] = field(default_factory=dict)
    made: int = 0
    written: int = 0
    """The revision of the last write of a request in acme."""

    async def create(self, path: str, document: object, *, caller: str = "acme/admin") -> str:
        """Create an object and return its id."""
        made = (await self.api.post(path, document, caller=caller)).succeeded(201).body
        return str(made["id"])

    async def fresh(self, kind: str) -> str:
        """Create one more object of a kind, under a name of its own."""
        self.made += 1
        name = f"spare-{self.made}"
        documents: dict[str, Document] = {
            "rule": RULE | {"sub": name},
            "resource": {"name": name, "serviceName": "billing"},
            "binding": BINDING | {"user": name},
            "policy": POLICY | {"name": name},
            "key": {"name": name, "scopes": ["check"]},
        }
        return await self.create(_CREATED[kind], documents[kind])

    async def tag(self, kind: str, row_id: str) -> str:
        """Return the entity tag that an object has now."""
        answer = await self.api.get(f"{_CREATED[kind]}/{row_id}", caller="acme/admin")
        return answer.succeeded(200).headers["ETag"]

    async def session(self) -> None:
        """Begin a session of the operator."""
        begun = (await self.api.post(SESSION, caller="operator")).succeeded(201).body
        self.callers["session"] = bearer(begun["token"])


def bearer(token: str) -> Headers:
    """Return the header that carries a token."""
    return (("Authorization", f"Bearer {token}"),)


@asynccontextmanager
async def staged(database: "Database") -> AsyncIterator[Stage]:
    """Serve the API with the tenants acme, globex, spare and paused, which is suspended."""
    clock = Clock(NOW - 3600)
    async with firms(database, "acme", "globex", "paused", clock=clock) as found:
        stage = Stage(found.api)
        operator = "operator"
        (await found.api.post(TENANTS, {"name": "Spare", "slug": "spare"}, caller=operator)).succeeded(201)
        suspended = {"status": "suspended"}
        clock.now = NOW - 1800
        await _keys(stage, found)
        clock.now = NOW
        await stage.session()
        _tokens(stage, found.firms["acme"])
        _others(stage, found)
        await _ended_session(stage)
        await _objects(stage, "tenant of these", "")
        await _objects(stage, "globex admin", "globex ")
        (await found.api.patch(f"{TENANTS}/paused", suspended, caller=operator)).succeeded(200)
        await until(lambda: _suspended(found.api, "paused"), what="the suspension of a tenant")
        yield stage


def _suspended(api: Api, tenant: str) -> bool:
    directory = api.services.policies.current()
    return directory is not None and tenant in directory.suspended


def _claims(firm: Firm, **changes: object) -> dict[str, object]:
    claims = {
        "iss": firm.provider.issuer, "sub": "alice", "aud": "extauthz", "iat": int(NOW) - 60, "exp": int(NOW) + 600,
        "dom": "emea", "roles": ["finance"],
    }  # fmt: skip
    return {name: value for name, value in (claims | changes).items() if value is not None}


def _token(firm: Firm, **changes: object) -> Headers:
    return bearer(firm.signing.sign(_claims(firm, **changes)))


async def _keys(stage: Stage, found: Firms) -> None:
    """Make a service key of every scope, and keys that are revoked, expired, or bound to a domain."""
    api = stage.api
    for slug in ("acme", "globex", "paused"):
        api.callers[f"{slug}/admin"] = dict(found.firms[slug].key)
    for scope in SCOPES:
        document = {
            "name": scope, "scopes": [scope], "service_name": "billing", "prefixes": ["api.example.com/invoices"],
        }  # fmt: skip
        stage.callers[scope] = await _key(stage, document)
    emea = {"name": "emea", "scopes": ["policies:read", "policies:write", "keys:write"], "domain": "emea"}
    stage.callers["emea key"] = await _key(stage, emea)
    over = {
        "name": "over",
        "scopes": ["policies:read"],
        "expires_at": rfc3339(datetime.fromtimestamp(NOW - 900, UTC)),
    }
    stage.callers["expired service key"] = await _key(stage, over)
    stage.callers["revoked service key"] = await _key(stage, {"name": "revoked", "scopes": ["policies:read"]})
    (await api.delete(f"{KEYS}/{stage.ids['made key']}", caller="acme/admin")).succeeded(204)
    stage.callers["paused key"] = tuple(found.firms["paused"].key.items())
    keys = (await api.get(f"{KEYS}?limit=1000", caller="acme/admin")).succeeded(200).body["items"]
    stage.ids["bootstrap key"] = next(key["id"] for key in keys if key["bootstrap"])


async def _key(stage: Stage, document: object) -> Headers:
    made = (await stage.api.post(KEYS, document, caller="acme/admin")).succeeded(201).body
    stage.ids["made key"] = made["id"]
    return (("X-Service-Api-Key", made["key"]),)


def _tokens(stage: Stage, acme: Firm) -> None:
    admin = {"sub": "root", "adm": "*"}
    good = acme.signing.sign(_claims(acme, **admin))
    head, payload, signature = good.split(".")
    claims = _claims(acme, **admin)
    flipped = ("A" if signature[0] != "A" else "B") + signature[1:]
    none = b64(json.dumps({"alg": "none", "typ": "JWT"}).encode())
    twice = json.dumps(claims).encode()[:-1] + b', "sub": "root"}'
    tokens = {
        "tenant": good,
        "tenant of these": good,
        "bearer word": "x",
        "bearer three dots": "a.b.c.d",
        "bearer with padding": f"{head}=.{payload}=.{signature}",
        "token of a foreign key": SigningKey.es256(acme.signing.kid, serial=7).sign(claims),
        "token without key id": acme.signing.sign(claims, kid=None),
        "token with a flipped signature": f"{head}.{payload}.{flipped}",
        "token without signature": f"{head}.{payload}.",
        "token of none": f"{none}.{payload}.",
        "token of HS256": acme.signing.sign(claims, alg="HS256"),
        "token with crit": acme.signing.sign(claims, crit=["exp"]),
        "token with duplicate claims": acme.signing.sign(twice),
        "token of 20000 octets": acme.signing.sign(claims | {"more": "x" * 20_000}),
    }
    changes: dict[str, Mapping[str, object]] = {
        "alice": {},
        "emea": {"sub": "eve", "adm": ["emea"]},
        "both": {"sub": "ben", "adm": ["emea", "apac"]},
        "expired token": {"exp": int(NOW) - 3600, "iat": int(NOW) - 7200},
        "future token": {"nbf": int(NOW) + 3600, "iat": int(NOW) + 3600, "exp": int(NOW) + 7200},
        "token without expiry": {"exp": None},
        "token of another audience": {"aud": "other"},
        "token of another issuer": {"iss": "https://idp.example.test"},
        "token with text expiry": {"exp": str(int(NOW) + 600)},
        "token with list subject": {"sub": ["root"]},
        "token without subject": {"sub": None},
        "token with empty subject": {"sub": ""},
        "token with NUL subject": {"sub": "a\0b"},
        "token with admin text": {"adm": "emea"},
        "token with admin number": {"adm": 1},
        "token with admin object": {"adm": {"*": True}},
        "token with roles number": {"roles": 7},
        "token with domain list": {"dom": ["emea"]},
    }
    stage.callers |= {name: bearer(token) for name, token in tokens.items()}
    stage.callers |= {name: _token(acme, **change) for name, change in changes.items()}
    no_admin = json.dumps(_claims(acme)).encode()[:-1] + b', "adm": null}'
    stage.callers["token with admin null"] = bearer(acme.signing.sign(no_admin))
    for name, value in (
        ("bearer lower case", f"bearer {good}"), ("bearer upper case", f"BEARER {good}"), ("bearer tab", f"Bearer\t{good}"),
        ("bearer comma", f"Bearer {good}, Bearer {good}"), ("bearer two words", f"Bearer {good} x"), ("no scheme", good),
        ("empty authorization", ""), ("bearer alone", "Bearer"), ("bearer and spaces", "Bearer    "), ("digest", "Digest x=1"),
        ("basic", "Basic " + base64.b64encode(b"admin:admin").decode()),
    ):  # fmt: skip
        stage.callers[name] = (("Authorization", value),)
    stage.callers["token twice"] = (*bearer(good), *bearer(good))
    stage.callers["cookie"] = (("Cookie", f"token={good}; Authorization=Bearer {good}"),)


def _others(stage: Stage, found: Firms) -> None:
    acme, callers = found.firms["acme"], stage.callers
    admin_key, key = ("X-Admin-Api-Key", ADMIN_KEY), ("X-Service-Api-Key", acme.bootstrap)
    session = dict(callers["session"])["Authorization"].removeprefix("Bearer ")
    begin, expiry, signature = session.rsplit("_", 2)
    callers |= {
        "none": (),
        "operator": (admin_key,),
        "bootstrap": (key,),
        "paused tenant": _token(found.firms["paused"], adm="*"),
        "globex admin": _token(found.firms["globex"], adm="*"),
        "globex key": (("X-Service-Api-Key", found.firms["globex"].bootstrap),),
        "token and admin key": (*callers["tenant"], admin_key),
        "token and service key": (*callers["tenant"], key),
        "admin key and service key": (admin_key, key),
        "wrong admin key": (("X-Admin-Api-Key", "x" * 40),),
        "empty admin key": (("X-Admin-Api-Key", ""),),
        "admin key with a space": (("X-Admin-Api-Key", f"{ADMIN_KEY} x"),),
        "admin key as bearer": bearer(ADMIN_KEY),
        "admin key twice": (admin_key, admin_key),
        "admin key not ASCII": (("X-Admin-Api-Key", "é" * 40),),
        "admin key as service key": (("X-Service-Api-Key", ADMIN_KEY),),
        "wrong service key": (("X-Service-Api-Key", "x"),),
        "empty service key": (("X-Service-Api-Key", ""),),
        "service key as bearer": bearer(acme.bootstrap),
        "service key twice": (key, key),
        "service key upper case": (("X-Service-Api-Key", acme.bootstrap.upper()),),
        "service key cut": (("X-Service-Api-Key", acme.bootstrap[:-1]),),
        "service key with another secret": (("X-Service-Api-Key", acme.bootstrap[:-64] + "0" * 64),),
        "session cut": bearer(session[:-1]),
        "session with another expiry": bearer(f"{begin}_{int(expiry) + 1}_{signature}"),
        "session with another signature": bearer(f"{begin}_{expiry}_{'0' * 64}"),
        "session as admin key": (("X-Admin-Api-Key", session),),
        "proxy identity headers": (
            ("X-Auth-User", "root"),
            ("X-Auth-Roles", "admin"),
            ("X-Auth-Tenant", "acme"),
        ),
    }


async def _ended_session(stage: Stage) -> None:
    """End the session of now, keep its token, and begin another."""
    api = stage.api
    ended = stage.callers["session"]
    api.callers["ended"] = dict(ended)
    (await api.delete(SESSION, caller="ended")).succeeded(204)
    stage.callers["ended session"] = ended
    await stage.session()


async def _objects(stage: Stage, caller: str, prefix: str) -> None:
    """Create one object of each kind in the tenant of a caller, and in acme those that requests write to."""
    api = stage.api
    api.callers["acme/admin"] = dict(stage.callers["tenant"])
    api.callers["maker"] = dict(stage.callers[caller])
    condition = dict(CONDITION)
    first: dict[str, tuple[str, Document]] = {
        "resource": (RESOURCES, {
            "name": "staged:read", "serviceName": "billing", "routes": [{"methods": ["GET"], "path": "/staged"}],
        }),
        "rule": (RULES, RULE | {"sub": "staged", "obj": "staged:read"}),
        "binding": (BINDINGS, BINDING | {"user": "staged", "role": "staged"}),
        "policy": (POLICIES, POLICY | {"name": "staged", "resource": "staged:read"}),
        "key": (KEYS, {"name": "staged", "scopes": ["check"]}),
    }  # fmt: skip
    more: dict[str, tuple[str, Document]] = {
        "rule in apac": (RULES, RULE | {"sub": "staged", "dom": "apac"}),
        "rule everywhere": (RULES, RULE | {"sub": "staged", "dom": "*"}),
        "rule for put": (RULES, RULE | {"sub": "put"}),
        "other resource": (RESOURCES, {"name": "other:read", "serviceName": "other"}),
        "resource for patch": (RESOURCES, {"name": "patch", "serviceName": "billing"}),
        "policy in apac": (POLICIES, POLICY | {"name": "staged", "domain": "apac"}),
        "policy for put": (POLICIES, POLICY | {"name": "put"}),
        "policy for patch": (POLICIES, POLICY | {"name": "patch"}),
        "guardrail": (
            POLICIES,
            POLICY | {"name": "guard", "effect": "deny", "priority": 2000, "rule_data": condition},
        ),
        "deleted policy": (POLICIES, POLICY | {"name": "deleted"}),
    }
    for name, (path, document) in (first if prefix else first | more).items():
        stage.ids[prefix + name] = await stage.create(path, document, caller="maker")
    if not prefix:
        (await api.delete(f"{POLICIES}/{stage.ids['deleted policy']}", caller="maker")).succeeded(204)
        provider = PROVIDER | {"issuer_url": "https://put.example"}
        stage.ids["provider for put"] = await stage.create(PROVIDERS, provider, caller="operator")
