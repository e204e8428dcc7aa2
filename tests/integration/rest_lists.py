"""Every list of the REST API: its path, its caller, and how rows are added and removed."""

import os
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING
from urllib.parse import quote

from extauthz.domain.ids import RANDOM_BYTES, uuid7
from extauthz.rest.quotas import Quotas
from tests.integration.rest_harness import Api, rule
from tests.integration.rest_saas import firms
from tests.tokens import AUDIENCE

if TYPE_CHECKING:
    from tests.integration.conftest import Database


V1 = "/api/v1"


RULES, POLICIES, KEYS = f"{V1}/resources/policies", f"{V1}/abac/policies", f"{V1}/service-api-keys"
IDPS = "/admin/tenants/acme/identity-providers"
HOUR_MS = 3_600_000


_numbers = count(1)


def scattered_ids(seed: int) -> Callable[[], str]:
    """Return ids of an hour before and after now, in no order."""
    dice = random.Random(seed)
    now = time.time_ns() // 1_000_000
    return lambda: uuid7(now + dice.randint(-HOUR_MS, HOUR_MS), os.urandom(RANDOM_BYTES))


@asynccontextmanager
async def scattered(database: "Database", *slugs: str) -> AsyncIterator[Api]:
    quotas = Quotas(identity_providers=10_000)
    async with firms(database, *slugs, new_id=scattered_ids(1), quotas=quotas) as found:
        yield found.api


@dataclass
class Listing:
    """One list: its path, its caller, and how rows are added and removed. `go` None: they stay for ever."""

    path: str
    new: Callable[[], dict[str, object]]
    create: str = ""
    caller: str = "acme/admin"
    member: str = "id"
    come: tuple[tuple[str, str], ...] = ()
    go: tuple[str, str] | None = ("DELETE", "")
    writer: str = ""

    def called(self, page: str) -> str:
        return f"{self.path}{'&' if '?' in self.path else '?'}{page}"

    @property
    def collection(self) -> str:
        return self.create or self.path.partition("?")[0]

    async def add(self, api: Api) -> str:
        """Make a row that is in the list."""
        by = self.writer or self.caller
        made = (await api.post(self.collection, self.new(), caller=by)).succeeded(201).body["id"]
        for method, below in self.come:
            (await api.ask(method, f"{self.collection}/{made}{below}", caller=by)).succeeded(204)
        return str(made)

    async def remove(self, api: Api, row: str) -> None:
        assert self.go is not None
        method, below = self.go
        answer = await api.ask(method, f"{self.collection}/{row}{below}", caller=self.writer or self.caller)
        assert answer.status in {200, 204}, answer

    async def page(self, api: Api, following: str | None, limit: int) -> tuple[list[str], str | None]:
        """Return what is in a part of the list, and where the next one is."""
        answer = (await api.get(following or self.called(f"limit={limit}"), caller=self.caller)).succeeded(
            200
        )
        body = answer.body
        if isinstance(body, list):
            link = answer.headers.get("Link")
            return [each[self.member] for each in body], None if link is None else link[1:].partition(">")[0]
        cursor = body["next_cursor"]
        rows = [str(each[self.member]) for each in body["items"]]
        return rows, None if cursor is None else self.called(f"limit={limit}&cursor={quote(cursor)}")


def name(prefix: str) -> str:
    return f"{prefix}-{next(_numbers)}"


def new_rule(**members: object) -> Callable[[], dict[str, object]]:
    return lambda: rule(sub=name("sub")) | members


def new_policy(**members: object) -> Callable[[], dict[str, object]]:
    usual = {"resource": "invoice:read", "effect": "deny", "rule_data": {"type": "ALWAYS"}}
    return lambda: {"name": name("policy")} | usual | members


def new_resource() -> dict[str, object]:
    return {"name": name("resource"), "serviceName": "billing"}


def new_binding() -> dict[str, object]:
    return {"user": name("user"), "user_kind": "user", "role": "finance", "dom": "emea"}


def new_key() -> dict[str, object]:
    return {"name": name("key"), "scopes": ["audit:read"]}


def new_tenant() -> dict[str, object]:
    # Slugs are in their own order: these lie anywhere in it.
    return {"name": "x", "slug": f"{random.Random(next(_numbers)).getrandbits(48):012x}"}


def new_provider() -> dict[str, object]:
    return {"issuer_url": f"https://{name('idp')}.example", "audience": AUDIENCE, "active": False}


LISTS = {
    "resources": Listing(f"{V1}/resources", new_resource),
    "resources of a service": Listing(f"{V1}/resources?serviceName=billing", new_resource),
    "role rules": Listing(RULES, new_rule()),
    "role rules of a domain admin": Listing(RULES, new_rule(), caller="acme/emea"),
    "role rules on a name": Listing(f"{RULES}?obj={quote('invoice:read')}", new_rule()),
    "role bindings": Listing(f"{V1}/role-bindings", new_binding),
    "attribute policies": Listing(POLICIES, new_policy()),
    "attribute policies of a domain admin": Listing(
        f"{POLICIES}?resource={quote('invoice:read')}", new_policy(domain="emea"), caller="acme/emea"
    ),
    "deleted attribute policies": Listing(
        f"{POLICIES}?deleted=true", new_policy(), come=(("DELETE", ""),), go=("POST", "/restore")
    ),
    "service keys": Listing(KEYS, new_key),
    "audit": Listing(f"{V1}/audit?kind=role_rule", new_rule(), create=RULES, member="entity_id", go=None),
    "tenants": Listing("/admin/tenants", new_tenant, caller="operator"),
    "identity providers": Listing(IDPS, new_provider, caller="operator"),
}
