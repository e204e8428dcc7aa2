"""Lists in pages while others write: each row that stays is listed once, and no row twice.

Ids are drawn from the past and the future here, so that rows come and go before the cursor and behind it.
"""

import asyncio
import base64
import os
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count, permutations, product
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from extauthz.admin.quotas import Quotas
from extauthz.domain.ids import RANDOM_BYTES, uuid7
from tests.integration.rest_harness import Api, rule
from tests.integration.rest_saas import firms
from tests.tokens import AUDIENCE

if TYPE_CHECKING:
    from tests.integration.conftest import Database

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("postgres", ["embedded"], indirect=True, scope="session"),
]
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


@dataclass
class Others:
    """Clients that insert and delete rows of a list until they are stopped."""

    api: Api
    listing: Listing
    transient: list[str]
    inserted: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    moved: asyncio.Condition = field(default_factory=asyncio.Condition)
    over: bool = False

    async def write(self, seed: int) -> None:
        dice = random.Random(seed)
        while not self.over:
            if self.listing.go is not None and self.transient and dice.random() < 0.5:
                row = self.transient.pop(dice.randrange(len(self.transient)))
                await self.listing.remove(self.api, row)
                self.deleted.append(row)
            else:
                row = await self.listing.add(self.api)
                self.inserted.append(row)
                self.transient.append(row)
            async with self.moved:
                self.moved.notify_all()

    async def have_written(self, times: int) -> None:
        """Wait for `number` more writes."""
        until = len(self.inserted) + len(self.deleted) + times
        async with asyncio.timeout(30), self.moved:
            await self.moved.wait_for(lambda: len(self.inserted) + len(self.deleted) >= until)


async def walk(api: Api, listing: Listing, others: Others | None = None, *, limit: int = 4) -> list[str]:
    """Return what is in the list, page after page."""
    seen: list[str] = []
    following: str | None = None
    while True:
        rows, following = await listing.page(api, following, limit)
        assert len(rows) <= limit
        seen += rows
        if following is None:
            return seen
        assert len(rows) == limit
        if others is not None:
            await others.have_written(3)


async def walked_while_others_write(api: Api, listing: Listing) -> None:
    kept: list[str] = []
    transient: list[str] = []
    for number in range(36):
        (transient if number % 3 == 0 else kept).append(await listing.add(api))
    ever = set(await walk(api, listing, limit=1000))
    assert ever.issuperset(kept + transient)
    others = Others(api, listing, transient)
    async with asyncio.TaskGroup() as writing:
        for seed in range(2):
            writing.create_task(others.write(seed))
        counted = Counter(await walk(api, listing, others))
        others.over = True
    assert [row for row in ever if counted[row] != 1 and row not in others.deleted] == []
    assert [row for row, times in counted.items() if times > 1] == []
    assert set(counted) <= ever.union(others.inserted)
    assert len(others.inserted) > 5
    assert listing.go is None or len(others.deleted) > 5


@pytest.mark.parametrize("which", LISTS)
async def test_paging_shows_each_remaining_row_once_while_others_write(
    database: "Database", which: str
) -> None:
    async with scattered(database, "acme") as api:
        await walked_while_others_write(api, LISTS[which])


async def test_the_rules_of_a_resource_are_paged_too(database: "Database") -> None:
    async with scattered(database, "acme") as api:
        made = await api.post(
            f"{V1}/resources", {"name": "invoice:read", "serviceName": "billing"}, caller="acme/admin"
        )
        path = f"{V1}/resources/{made.succeeded(201).body['id']}/policies"
        for caller in ("acme/admin", "acme/emea"):
            listing = Listing(path, new_rule(), create=RULES, caller=caller, writer="acme/admin")
            await walked_while_others_write(api, listing)


async def test_versions_of_a_policy_are_seen_once_while_it_is_written(database: "Database") -> None:
    async with scattered(database, "acme") as api:
        made = (await api.post(POLICIES, new_policy()(), caller="acme/admin")).succeeded(201)
        one = f"{POLICIES}/{made.body['id']}"

        async def patch() -> None:
            answer = await api.patch(one, {"name": name("policy"), "domain": "emea"}, caller="acme/admin")
            answer.succeeded(200)

        for _ in range(20):
            await patch()
        listing = Listing(f"{one}/versions", dict, member="version")
        seen: list[str] = []
        following: str | None = None
        while len(seen) < 40:
            rows, following = await listing.page(api, following, 4)
            seen += rows
            for _ in range(3):
                await patch()
            assert following is not None
        assert seen == [str(number) for number in range(1, len(seen) + 1)]
        # The first is of every domain: no row of a domain admin's.
        own = Listing(f"{one}/versions", dict, member="version", caller="acme/emea")
        everything = await walk(api, listing, limit=1000)
        assert await walk(api, own, limit=7) == everything[1:]


def is_list(operation: dict[str, Any], schemas: dict[str, Any]) -> bool:
    schema = operation["responses"]["200"].get("content", {}).get("application/json", {}).get("schema", {})
    referred = schemas.get(schema.get("$ref", "").rpartition("/")[2], {})
    return schema.get("type") == "array" or "next_cursor" in referred.get("properties", {})


async def first_pages(api: Api, slug: str) -> dict[str, str]:
    """Return, of every list that the description has, the path of the second page of one row."""
    admin = f"{slug}/admin"
    ids = {}
    for path, new in (
        (f"{V1}/resources", new_resource), (RULES, new_rule(obj="invoice:read")),
        (f"{V1}/role-bindings", new_binding), (POLICIES, new_policy()), (KEYS, new_key),
    ):  # fmt: skip
        for _ in range(2):
            ids[path] = (await api.post(path, new(), caller=admin)).succeeded(201).body["id"]
    named = (await api.get(f"{V1}/resources/{ids[f'{V1}/resources']}", caller=admin)).body["name"]
    for _ in range(2):
        await api.post(RULES, new_rule(obj=named)(), caller=admin)
    one = f"{POLICIES}/{ids[POLICIES]}"
    (await api.patch(one, {"enabled": False}, caller=admin)).succeeded(200)
    idps = f"/admin/tenants/{slug}/identity-providers"
    for _ in range(2):
        (await api.post(idps, new_provider(), caller="operator")).succeeded(201)
    return {
        f"{V1}/resources": f"{V1}/resources",
        f"{V1}/resources/{{id}}/policies": f"{V1}/resources/{ids[f'{V1}/resources']}/policies",
        RULES: RULES,
        f"{V1}/role-bindings": f"{V1}/role-bindings",
        POLICIES: POLICIES,
        f"{POLICIES}/{{id}}/versions": f"{one}/versions",
        KEYS: KEYS,
        f"{V1}/audit": f"{V1}/audit",
        "/admin/tenants": "/admin/tenants",
        "/admin/tenants/{id}/identity-providers": idps,
    }


def caller_of(path: str, slug: str) -> str:
    return "operator" if path.startswith("/admin") else f"{slug}/admin"


async def cursor_of(api: Api, path: str, slug: str) -> str:
    listing = Listing(path, dict, member="version" if path.endswith("versions") else "id")
    listing.caller = caller_of(path, slug)
    _, following = await listing.page(api, None, 1)
    assert following is not None, path
    (await api.get(following, caller=listing.caller)).succeeded(200)
    return following.rpartition("cursor=")[2]


async def refuses(api: Api, path: str, page: str, slug: str, parameter: str) -> None:
    problem = (await api.get(f"{path}?{page}", caller=caller_of(path, slug))).problem(422)
    assert [error["parameter"] for error in problem["errors"]] == [parameter], (path, page)


def altered(cursor: str) -> list[str]:
    """Return spellings of a cursor that it was not given out in, some of which mean the same octets."""
    raw = base64.urlsafe_b64decode(cursor)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    changed = [
        cursor[:place] + letter + cursor[place + 1 :]
        for place, letter in product(range(len(cursor)), letters)
        if letter != cursor[place]
    ]
    fewer = [cursor[:-1], cursor[1:], cursor[:8], "", "="]
    more = [
        cursor + "A",
        cursor + "=",
        cursor + "====",
        f" {cursor}",
        f"{cursor}\n",
        cursor * 2,
        f"{cursor}.x",
    ]
    other = [
        base64.urlsafe_b64encode(octets).decode()
        for octets in (raw[:-8], raw[:-1], raw + b"\0", raw[:-8] + bytes(8), raw[8:], bytes(24), bytes(12))
    ]
    unpadded = [
        cursor.rstrip("="),
        cursor.replace("-", "+").replace("_", "/"),
        cursor[:4] + "\n" + cursor[4:],
    ]
    wrong = {*changed, *fewer, *more, *other, *unpadded, "é", "\0", "null"} - {cursor}
    assert len(wrong) > 500
    return [*(text for text in wrong if means(text, raw)), *random.Random(7).sample(sorted(wrong), 60)]


def means(text: str, octets: bytes) -> bool:
    """Tell whether a lenient reader of base64 takes a text for these octets."""
    try:
        return base64.b64decode(text.encode(), altchars=b"-_") == octets
    except ValueError:
        return False


async def test_a_cursor_is_valid_only_unchanged_and_in_its_list_of_its_tenant(database: "Database") -> None:
    async with scattered(database, "acme", "globex") as api:
        lists = {slug: await first_pages(api, slug) for slug in ("acme", "globex")}
        described = api.described.document
        schemas = described["components"]["schemas"]
        read = {path: methods["get"] for path, methods in described["paths"].items() if "get" in methods}
        assert {path for path, operation in read.items() if is_list(operation, schemas)} == set(lists["acme"])
        cursors = {slug: {path: await cursor_of(api, path, slug) for path in paths.values()}
                   for slug, paths in lists.items()}  # fmt: skip
        for shape in lists["acme"]:
            (acme, own), (globex, foreign) = (
                (lists[slug][shape], quote(cursors[slug][lists[slug][shape]], safe="%"))
                for slug in ("acme", "globex")
            )
            if shape == "/admin/tenants":
                continue
            await refuses(api, globex, f"cursor={own}", "globex", "cursor")
            await refuses(api, acme, f"cursor={foreign}", "acme", "cursor")
        for one, other in permutations(lists["acme"].values(), 2):
            await refuses(api, one, f"cursor={cursors['acme'][other]}", "acme", "cursor")
        for path in lists["acme"].values():
            cursor = cursors["acme"][path].replace("%3D", "=")
            for text in altered(cursor):
                await refuses(api, path, f"cursor={quote(text, safe='')}", "acme", "cursor")
            await refuses(api, path, f"cursor={quote(cursor)}&cursor={quote(cursor)}", "acme", "cursor")


async def test_a_cursor_is_valid_only_with_its_filters(database: "Database") -> None:
    async with scattered(database, "acme") as api:
        await first_pages(api, "acme")
        for path, filters in (
            (RULES, ("", "obj=invoice:read", "dom=emea", "obj=invoice:read&dom=emea")),
            (f"{V1}/resources", ("", "serviceName=billing")),
            (f"{V1}/role-bindings", ("", "role=finance", "dom=emea")),
            (POLICIES, ("", "resource=invoice:read", "deleted=false")),
            (f"{V1}/audit", ("", "kind=role_rule", "kind=service_key")),
        ):
            cursors = {}
            for given in filters:
                page = (await api.get(f"{path}?limit=1&{given}", caller="acme/admin")).succeeded(200).body
                assert page["next_cursor"] is not None, (path, given)
                cursors[given] = page["next_cursor"]
            for made, used in permutations(filters, 2):
                problem = await api.get(f"{path}?{used}&cursor={cursors[made]}", caller="acme/admin")
                assert problem.problem(422)["errors"][0]["parameter"] == "cursor", (path, made, used)


async def test_every_list_bounds_its_pages(database: "Database") -> None:
    async with scattered(database, "acme") as api:
        lists = await first_pages(api, "acme")
        for path in lists.values():
            for limit in (
                "0",
                "-1",
                "1001",
                "",
                "1.0",
                "1e2",
                "%201",
                "+1",
                "0x10",
                "%D9%A5",
                "9" * 30,
                "null",
            ):
                await refuses(api, path, f"limit={limit}", "acme", "limit")
            await refuses(api, path, "limit=1&limit=2", "acme", "limit")
            for limit in ("1", "01", "1000"):
                (await api.get(f"{path}?limit={limit}", caller=caller_of(path, "acme"))).succeeded(200)


async def test_a_page_that_is_not_bounded_has_a_hundred(database: "Database") -> None:
    async with scattered(database, "acme") as api:
        bulk = [new_resource() | {"name": f"r-{number}"} for number in range(1_001)]
        (await api.post(f"{V1}/resources/list", bulk, caller="acme/admin")).succeeded(201)
        for query, expected in (("", 100), ("?limit=1000", 1000), ("?limit=999", 999)):
            page = (await api.get(f"{V1}/resources{query}", caller="acme/admin")).succeeded(200).body
            assert len(page["items"]) == expected
            assert page["next_cursor"] is not None
