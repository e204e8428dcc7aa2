"""Cursors as values: valid only unchanged, in their list, with its filters, for its tenant."""

import base64
import random
import uuid
from itertools import permutations, product
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from extauthz.storage.sidecars import SidecarReport
from tests.integration.rest_harness import Api
from tests.integration.rest_lists import (
    KEYS,
    POLICIES,
    RULES,
    V1,
    Listing,
    new_binding,
    new_key,
    new_policy,
    new_provider,
    new_resource,
    new_rule,
    scattered,
)

if TYPE_CHECKING:
    from tests.integration.conftest import Database

pytestmark = pytest.mark.anyio


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
    drafts = await drafts_of(api, admin)
    tests = f"{V1}/policy-tests"
    for number in range(2):
        case = {"principal": {"id": "alice"}, "request": {"path": "/"}, "expect": {"decision": "deny"}}
        (await api.post(tests, case | {"name": f"case {number}"}, caller=admin)).succeeded(201)
        (await api.post("/admin/sidecar-keys", {"name": f"{slug} {number}"}, caller="operator")).succeeded(
            201
        )
        report = SidecarReport(str(uuid.uuid4()), "1", None, None, None, 60.0)
        assert await api.services.sidecars.store(api.services.pool, slug, report) is None
    return {
        f"{V1}/drafts": f"{V1}/drafts",
        f"{V1}/drafts/{{id}}/diff": f"{drafts}/diff",
        tests: tests,
        f"{V1}/sidecars": f"{V1}/sidecars",
        "/admin/sidecar-keys": "/admin/sidecar-keys",
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


async def drafts_of(api: Api, admin: str) -> str:
    """Make two drafts; return the path of one that has two changes."""
    made, _ = [(await api.post(f"{V1}/drafts", {}, caller=admin)).succeeded(201).body["id"] for _ in range(2)]
    for _ in range(2):
        (await api.post(f"{RULES}?draft={made}", new_rule()(), caller=admin)).succeeded(201)
    return f"{V1}/drafts/{made}"


def caller_of(path: str, slug: str) -> str:
    return "operator" if path.startswith("/admin") else f"{slug}/admin"


async def cursor_of(api: Api, path: str, slug: str) -> str:
    members = {"versions": "version", "sidecars": "instance"}
    listing = Listing(path, dict, member=members.get(path.rpartition("/")[2], "id"))
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
        found = {path for path, operation in read.items() if is_list(operation, schemas)}
        # The last twenty replays of a draft are one page.
        assert found - {f"{V1}/drafts/{{id}}/replay"} == set(lists["acme"])
        cursors = {slug: {path: await cursor_of(api, path, slug) for path in paths.values()}
                   for slug, paths in lists.items()}  # fmt: skip
        for shape in lists["acme"]:
            (acme, own), (globex, foreign) = (
                (lists[slug][shape], quote(cursors[slug][lists[slug][shape]], safe="%"))
                for slug in ("acme", "globex")
            )
            if shape in {"/admin/tenants", "/admin/sidecar-keys"}:
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
