"""`If-Match` on every write that the served description has: no update is lost, and none is half done."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from extauthz.domain.tenancy import TenancyMode
from tests.integration.database_dump import dump
from tests.integration.rest_harness import Answer, Api, rest, rule
from tests.integration.rest_saas import firms
from tests.tokens import AUDIENCE

if TYPE_CHECKING:
    from tests.integration.conftest import Database

pytestmark = pytest.mark.anyio
V1, TENANTS = "/api/v1", "/admin/tenants"
RULES, POLICIES = f"{V1}/resources/policies", f"{V1}/abac/policies"
CSV = {"Content-Type": "text/csv"}
READING = {
    # An approval needs a replay; test_rest_change_guard.py has it.
    ("POST", f"{V1}/drafts/{{id}}/approve"),
    # A decision has to be recorded; test_rest_decision_tests.py has it.
    ("POST", f"{V1}/decisions/{{id}}/test"),
    ("POST", f"{V1}/check"), ("POST", f"{V1}/explain"),
    ("POST", f"{V1}/resources/access/check"), ("POST", "/resources/access/check"),
    ("POST", f"{V1}/drafts/{{id}}/replay"),
    # Of the operator alone, and nothing that is stored under a revision.
    ("POST", "/admin/session"), ("DELETE", "/admin/session"),
    ("POST", "/admin/sidecar-keys"), ("DELETE", "/admin/sidecar-keys/{key_id}"),
    # Questions in the form of AuthZEN.
    *(
        ("POST", f"{tenant}/access/v1/{name}")
        for tenant in ("", "/{tenant}")
        for name in ("evaluation", "evaluations", "search/subject", "search/action")
    ),
    # Of recordings, which have no revision.
    ("POST", f"{V1}/recordings/erasures"),
}  # fmt: skip
MALFORMED = ("7", '"7', '7"', "W/7", '"7" "8"', '"7"8', "*, *", '"7", *', "", ",", "'7'")
_numbers = itertools.count(1)


@dataclass
class Write:
    """One write, ready to be sent. `tag` is that of what it is about, None for what is not there yet."""

    method: str
    path: str
    document: object = None
    tag: str | None = None
    data: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    async def send(self, api: Api, if_match: str | None = None) -> Answer:
        caller = "operator" if self.path.startswith("/admin") else "acme/admin"
        headers = dict(self.headers) | ({} if if_match is None else {"If-Match": if_match})
        return await api.ask(self.method, self.path, self.document, data=self.data, caller=caller, **headers)


Prepare = Callable[[Api], Awaitable[Write]]


def named(prefix: str) -> str:
    return f"{prefix}-{next(_numbers)}"


def new_resource(**members: object) -> dict[str, object]:
    return {"name": named("resource"), "serviceName": "billing"} | members


def new_policy() -> dict[str, object]:
    always = {"type": "ALWAYS"}
    return {"name": named("policy"), "resource": "r", "effect": "deny", "rule_data": always}


async def made(api: Api, path: str, document: Mapping[str, object]) -> tuple[str, str]:
    """Make a row, and something else after it: its tag is its own, and not the tenant's."""
    caller = "operator" if path.startswith("/admin") else "acme/admin"
    answer = (await api.post(path, document, caller=caller)).succeeded(201)
    await api.post(RULES, rule(sub=named("other")), caller="acme/admin")
    return f"{path}/{answer.body['id']}", answer.headers["ETag"]


def of_row(method: str, path: str, new: Callable[[], dict[str, object]], *, changed: object = None,
below: str = "") -> Prepare:  # fmt: skip
    """Return a write to one row; `changed` are the members that differ, for PUT with the members it has."""

    async def prepare(api: Api) -> Write:
        document = new()
        one, tag = await made(api, path, document)
        if below == "/restore":
            (await api.delete(one, caller="acme/admin")).succeeded(204)
            tag = (await api.get(f"{one}?deleted=true", caller="acme/admin")).headers["ETag"]
        body = document | changed if method == "PUT" and isinstance(changed, dict) else changed
        return Write(method, one + below, body, tag)

    return prepare


def of_nothing(path: str, new: Callable[[], object]) -> Prepare:
    """Return a write that makes a row, so that there is nothing to be in any state."""

    async def prepare(_: Api) -> Write:
        return Write("POST", path, new())

    return prepare


def by_value(method: str, *, in_query: bool = False) -> Prepare:
    async def prepare(api: Api) -> Write:
        document = rule(sub=named("sub"))
        _, tag = await made(api, RULES, document)
        if method == "PUT":
            return Write(method, RULES, document | {"effect": "deny"}, tag)
        value = {name: document[name] for name in ("sub", "dom", "obj")}
        if in_query:
            query = "&".join(f"{name}={text}" for name, text in value.items())
            return Write(method, f"{RULES}?{query}", tag=tag)
        return Write(method, RULES, value, tag)

    return prepare


async def registered_again(api: Api) -> Write:
    document = new_resource()
    _, tag = await made(api, f"{V1}/resources", document)
    return Write("POST", f"{V1}/resources", document | {"displayName": "Another"}, tag)


def in_bulk(path: str) -> Prepare:
    async def prepare(api: Api) -> Write:
        answer = await api.post(path, [new_resource()], caller="acme/admin")
        return Write("POST", path, [new_resource()], answer.succeeded(201).headers["ETag"])

    return prepare


async def imported(api: Api) -> Write:
    path = f"{V1}/casbin/policy"
    tag = (await api.get(path, caller="acme/admin")).headers["ETag"]
    line = f"p,role:{named('role')},emea,r,read,allow\r\n"
    return Write("POST", path, tag=tag, data=line.encode(), headers=CSV)


def of_tenant(method: str, below: str, new: Callable[[], object] = lambda: None) -> Prepare:
    """Return a write to a tenant itself, whose tag every write in it makes another one."""

    async def prepare(api: Api) -> Write:
        slug = named("tenant")
        await api.post(TENANTS, {"name": slug, "slug": slug}, caller="operator")
        await api.patch(f"{TENANTS}/{slug}", {"name": named("name")}, caller="operator")
        tag = (await api.get(f"{TENANTS}/{slug}", caller="operator")).headers["ETag"]
        return Write(method, f"{TENANTS}/{slug}{below}", new(), tag)

    return prepare


def new_provider() -> dict[str, object]:
    return {"issuer_url": f"https://{named('idp')}.example", "audience": AUDIENCE, "active": False}


DRAFTS, TESTS, GUARD = f"{V1}/drafts", f"{V1}/policy-tests", f"{V1}/change-guard"


def new_test() -> dict[str, object]:
    expect = {"decision": "deny"}
    return {"name": named("test"), "principal": "anonymous", "request": {"path": "/x"}, "expect": expect}


async def guarded(api: Api) -> Write:
    now = await api.get(GUARD, caller="acme/admin")
    other = {"publish": "every_write", "every_write": "publish"}[now.body["tests"]]
    return Write("PUT", GUARD, {"tests": other}, now.headers["ETag"])


def of_draft(method: str, below: str, new: Callable[[], object] = lambda: None) -> Prepare:
    """Return a write to a draft, whose tag every change in it makes another one."""

    async def prepare(api: Api) -> Write:
        caller = "acme/admin"
        draft = (await api.post(DRAFTS, {}, caller=caller)).succeeded(201).body["id"]
        document = rule(sub=named("sub"))
        made = (await api.post(f"{RULES}?draft={draft}", document, caller=caller)).succeeded(201)
        if below == "/rebase":
            await api.post(RULES, rule(sub=named("other")), caller=caller)
        return Write(method, f"{DRAFTS}/{draft}{below}", new(), made.headers["ETag"])

    return prepare


async def written_in_draft(api: Api) -> Write:
    write = await of_draft("POST", "")(api)
    draft = write.path.rpartition("/")[2]
    return Write("POST", f"{RULES}?draft={draft}", rule(sub=named("sub")), write.tag)


ACME_IDPS, IDPS = f"{TENANTS}/acme/identity-providers", f"{TENANTS}/{{id}}/identity-providers"
WRITES: dict[tuple[str, str], list[Prepare]] = {
    ("POST", f"{V1}/resources"): [of_nothing(f"{V1}/resources", new_resource), registered_again],
    ("POST", f"{V1}/resources/list"): [in_bulk(f"{V1}/resources/list")],
    ("POST", "/resources/list"): [in_bulk("/resources/list")],
    ("PATCH", f"{V1}/resources/{{id}}"): [
        of_row("PATCH", f"{V1}/resources", new_resource, changed={"displayName": "Another"})
    ],
    ("DELETE", f"{V1}/resources/{{id}}"): [of_row("DELETE", f"{V1}/resources", new_resource)],
    ("POST", RULES): [of_nothing(RULES, lambda: rule(sub=named("sub"))), written_in_draft],
    ("PUT", RULES): [by_value("PUT")],
    ("DELETE", RULES): [by_value("DELETE"), by_value("DELETE", in_query=True)],
    ("PUT", f"{RULES}/{{id}}"): [
        of_row("PUT", RULES, lambda: rule(sub=named("sub")), changed={"act": "write"})
    ],
    ("DELETE", f"{RULES}/{{id}}"): [of_row("DELETE", RULES, lambda: rule(sub=named("sub")))],
    ("POST", f"{V1}/role-bindings"): [
        of_nothing(
            f"{V1}/role-bindings", lambda: {"user": named("u"), "user_kind": "user", "role": "r", "dom": "*"}
        )
    ],
    ("DELETE", f"{V1}/role-bindings/{{id}}"): [
        of_row(
            "DELETE",
            f"{V1}/role-bindings",
            lambda: {"user": named("u"), "user_kind": "user", "role": "r", "dom": "*"},
        )
    ],
    ("POST", POLICIES): [of_nothing(POLICIES, new_policy)],
    ("PUT", f"{POLICIES}/{{id}}"): [of_row("PUT", POLICIES, new_policy, changed={"enabled": False})],
    ("PATCH", f"{POLICIES}/{{id}}"): [of_row("PATCH", POLICIES, new_policy, changed={"enabled": False})],
    ("DELETE", f"{POLICIES}/{{id}}"): [of_row("DELETE", POLICIES, new_policy)],
    ("POST", f"{POLICIES}/{{id}}/restore"): [of_row("POST", POLICIES, new_policy, below="/restore")],
    ("POST", f"{V1}/service-api-keys"): [
        of_nothing(f"{V1}/service-api-keys", lambda: {"name": named("key"), "scopes": ["check"]})
    ],
    ("DELETE", f"{V1}/service-api-keys/{{id}}"): [
        of_row("DELETE", f"{V1}/service-api-keys", lambda: {"name": named("key"), "scopes": ["check"]})
    ],
    ("POST", f"{V1}/casbin/policy"): [imported],
    ("POST", TESTS): [of_nothing(TESTS, new_test)],
    ("PUT", f"{TESTS}/{{id}}"): [of_row("PUT", TESTS, new_test, changed={"request": {"path": "/other"}})],
    ("DELETE", f"{TESTS}/{{id}}"): [of_row("DELETE", TESTS, new_test)],
    ("PUT", GUARD): [guarded],
    ("POST", DRAFTS): [of_nothing(DRAFTS, lambda: {"title": named("draft")})],
    ("DELETE", f"{DRAFTS}/{{id}}"): [of_draft("DELETE", "")],
    ("POST", f"{DRAFTS}/{{id}}/rebase"): [of_draft("POST", "/rebase")],
    ("POST", f"{DRAFTS}/{{id}}/publish"): [of_draft("POST", "/publish")],
    ("POST", f"{DRAFTS}/{{id}}/changes"): [
        of_draft(
            "POST",
            "/changes",
            lambda: [{"action": "create", "kind": "role_rule", "document": rule(sub=named("sub"))}],
        )
    ],
    ("POST", TENANTS): [of_nothing(TENANTS, lambda: {"name": "x", "slug": named("new")})],
    ("PATCH", f"{TENANTS}/{{id}}"): [of_tenant("PATCH", "", lambda: {"name": named("other")})],
    ("DELETE", f"{TENANTS}/{{id}}"): [of_tenant("DELETE", "")],
    ("PUT", f"{TENANTS}/{{id}}/hosts"): [
        of_tenant("PUT", "/hosts", lambda: {"hosts": [named("h") + ".local"]})
    ],
    ("POST", f"{TENANTS}/{{id}}/bootstrap-key"): [of_tenant("POST", "/bootstrap-key")],
    ("DELETE", f"{TENANTS}/{{id}}/bootstrap-key"): [of_tenant("DELETE", "/bootstrap-key")],
    ("POST", IDPS): [of_nothing(ACME_IDPS, new_provider)],
    ("PUT", f"{IDPS}/{{idp_id}}"): [of_row("PUT", ACME_IDPS, new_provider, changed={"audience": "other"})],
    ("DELETE", f"{IDPS}/{{idp_id}}"): [of_row("DELETE", ACME_IDPS, new_provider)],
}


def stale(tag: str | None) -> list[str]:
    """Return conditions that name other states than this one."""
    if tag is None:
        return ["*", '"1"', '"0"', '"x"']
    revision = int(tag.strip('"'))
    return [
        f'"{revision - 1}"', f'"{revision + 1}"', f'"0{revision}"', f'W/{tag}', '"x"',
        f'"{revision},{revision}"', '"999999999999999999999999"',
        f'"{revision - 1}", "{revision + 1}", W/{tag}',
    ]  # fmt: skip


async def test_every_described_write_checks_if_match(database: "Database") -> None:
    async with firms(database, "acme") as found:
        api = found.api
        api.callers["acme/admin"] = found.firms["acme"].bearer(adm="*")
        described: dict[str, dict[str, Any]] = api.described.document["paths"]
        writes = {
            (method.upper(), path)
            for path, operations in described.items()
            for method in operations
            if method != "get"
        } - READING
        assert writes == set(WRITES)
        for (method, path), preparations in WRITES.items():
            operation = described[path][method.lower()]
            assert "If-Match" in [each["name"] for each in operation["parameters"]], (method, path)
            assert "412" in operation["responses"], (method, path)
            for prepare in preparations:
                await honours(database, api, await prepare(api))


async def honours(database: "Database", api: Api, write: Write) -> None:
    before = await dump(database, catalogs=False)
    where = (write.method, write.path)
    for condition in MALFORMED:
        (await write.send(api, condition)).problem(400)
    for condition in stale(write.tag):
        answer = await write.send(api, condition)
        assert answer.status == 412, (where, condition, answer)
        answer.problem(412)
    assert await dump(database, catalogs=False) == before, where
    current = None if write.tag is None else f'"x", , W/"1",{write.tag}'
    answer = await write.send(api, current)
    assert answer.status in {200, 201, 204}, (where, answer)
    assert answer.revision > 0
    after = await dump(database, catalogs=False)
    assert after != before, where
    if write.tag is not None:
        # What it named has passed, by this very write.
        assert answer.headers.get("ETag") != write.tag
        again = await write.send(api, write.tag)
        gone = write.method == "DELETE" or write.path.endswith("/restore")
        assert again.status in ({404, 412} if gone else {412}), (where, again)
        assert await dump(database, catalogs=False) == after, where


async def test_any_state_will_do_for_what_is_there(database: "Database") -> None:
    async with firms(database, "acme") as found:
        for preparations in WRITES.values():
            for prepare in preparations:
                write = await prepare(found.api)
                if write.tag is not None:
                    answer = await write.send(found.api, "*")
                    assert answer.status in {200, 201, 204}, (write, answer)


async def test_one_of_several_writers_with_the_same_etag_succeeds(database: "Database") -> None:
    async with rest(database) as api:
        path = f"{V1}/resources/list"
        tag = (await api.post(path, [new_resource()])).succeeded(201).headers["ETag"]
        csv = f"{V1}/casbin/policy"
        answers = await asyncio.gather(
            *(api.post(path, [new_resource()], If_Match=tag) for _ in range(5)),
            *(
                api.ask("POST", csv, data=f"p,role:r{number},*,a,b,allow\r\n".encode(), **CSV, If_Match=tag)
                for number in range(5)
            ),
        )
        assert sorted(answer.status for answer in answers)[1:] == [412] * 9
        (winner,) = (answer for answer in answers if answer.status in {200, 201})
        exported = (await api.get(csv)).succeeded(200)
        assert exported.headers["ETag"] == winner.headers["ETag"] == f'"{winner.revision}"'
        assert len((await api.get(f"{V1}/resources")).body["items"]) + exported.raw.count(b"\n") == 2


async def test_a_bulk_write_that_changes_nothing_leaves_the_state_as_it_is(database: "Database") -> None:
    async with rest(database, mode=TenancyMode.SELFHOST) as api:
        path, documents = f"{V1}/resources/list", [new_resource(), new_resource()]
        tag = (await api.post(path, documents)).succeeded(201).headers["ETag"]
        again = (await api.post(path, documents, If_Match=tag)).succeeded(200)
        assert again.headers["ETag"] == tag
        line = b"p,role:r,*,a,b,allow\r\n"
        added = await api.ask("POST", f"{V1}/casbin/policy", data=line, **CSV, If_Match=tag)
        repeated = await api.ask(
            "POST", f"{V1}/casbin/policy", data=line, **CSV, If_Match=added.succeeded(200).headers["ETag"]
        )
        assert repeated.succeeded(200).headers["ETag"] == added.headers["ETag"]
