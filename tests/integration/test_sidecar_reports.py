"""`POST /sidecar-reports`, `GET /api/v1/sidecars` and `?wait=` on writes, over REST and PostgreSQL."""

import asyncio
import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from extauthz.storage.sidecar_reports import SidecarReports
from tests.integration.rest_harness import Api, rest
from tests.integration.rest_saas import firms
from tests.integration.storage_documents import connected

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.integration.conftest import Database
    from tests.integration.rest_harness import Answer

pytestmark = [pytest.mark.anyio, pytest.mark.both_servers]
KEYS = "/api/v1/service-api-keys"
RULES = "/api/v1/resources/policies"
SIDECARS = "/api/v1/sidecars"
REPORTS = "/sidecar-reports"
ONE, OTHER = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"


async def epoch_of(database: "Database") -> str:
    async with connected(database.superuser) as connection:
        return str(await connection.fetchval("SELECT epoch FROM cluster_state"))


async def follower(api: Api, *scopes: str) -> str:
    """Make a key of sidecars; it becomes the caller `sidecar`."""
    body = {"name": "sidecars", "scopes": list(scopes or ("policies:follow",))}
    made = (await api.post(KEYS, body)).succeeded(201).body
    api.callers["sidecar"] = {"X-Service-Api-Key": made["key"]}
    return str(made["id"])


@asynccontextmanager
async def reporting(database: "Database") -> "AsyncIterator[tuple[Api, str]]":
    """Serve the API with a key of sidecars; also the epoch."""
    async with rest(database) as api:
        await follower(api)
        yield api, await epoch_of(database)


def rule(sub: str = "readers") -> Any:
    return {"sub": sub, "dom": "*", "obj": "invoices", "act": "read", "effect": "allow"}


def state(epoch: str | None, revision: int | None, *, tenant: str = "default", age: float = 0.5) -> Any:
    return {"tenant": tenant, "epoch": epoch, "revision": revision, "age": age}


async def report(api: Api, instance: str, *states: Any, caller: str = "sidecar", **more: Any) -> "Answer":
    document = {"instance": instance, "version": "0.2.0", "tenants": list(states), **more}
    return await api.post(REPORTS, document, caller=caller)


async def until_written(api: Api, revision: int) -> None:
    """Wait until the tenant is at a revision, at most as long as the test may take."""
    while True:
        shown = (await api.get(SIDECARS)).succeeded(200).body["items"]
        if shown[0]["revision"] + shown[0]["behind_by"] >= revision:
            return


async def revision_of(api: Api) -> int:
    """Return the revision of the tenant, by a write."""
    written = (await api.post(RULES, rule(sub=f"role {uuid.uuid4()}"))).succeeded(201)
    return int(written.headers["X-Policy-Revision"])


async def test_sidecars_are_listed_with_what_they_have(database: "Database") -> None:
    async with reporting(database) as (api, epoch):
        revision = await revision_of(api)
        answer = (await report(api, ONE, state(epoch, revision))).succeeded(200)
        assert answer.body == {"interval": 3.0}
        (await report(api, OTHER, state(None, None))).succeeded(200)
        one, other = (await api.get(SIDECARS)).succeeded(200).body["items"]
        assert (one["instance"], one["version"], one["live"]) == (ONE, "0.2.0", True)
        assert (one["revision"], one["behind_by"]) == (revision, 0)
        assert 0.5 <= one["age"] < 60
        assert (other["instance"], other["revision"], other["age"]) == (OTHER, None, other["age"])
        assert other["behind_by"] == revision
        page = (await api.get(f"{SIDECARS}?limit=1")).succeeded(200).body
        assert [each["instance"] for each in page["items"]] == [ONE]
        rest_of = (await api.get(f"{SIDECARS}?limit=1&cursor={page['next_cursor']}")).succeeded(200).body
        assert [each["instance"] for each in rest_of["items"]] == [OTHER]


async def test_a_sidecar_that_ends_is_no_longer_listed(database: "Database") -> None:
    async with reporting(database) as (api, epoch):
        (await report(api, ONE, state(epoch, 1))).succeeded(200)
        (await report(api, ONE, gone=["default"])).succeeded(200)
        assert (await api.get(SIDECARS)).succeeded(200).body["items"] == []


async def test_revisions_from_before_a_restore_do_not_count(database: "Database") -> None:
    async with reporting(database) as (api, epoch):
        revision = await revision_of(api)
        (await report(api, ONE, state(str(uuid.uuid4()), revision + 100))).succeeded(200)
        (shown,) = (await api.get(SIDECARS)).succeeded(200).body["items"]
        assert (shown["revision"], shown["behind_by"]) == (None, revision)
        late = (await api.post(f"{RULES}?wait=all&within=1", rule(sub="after"))).succeeded(202)
        assert [each["instance"] for each in late.body["missing"]] == [ONE]
        (await report(api, ONE, state(epoch, revision + 1))).succeeded(200)
        assert (await api.get(SIDECARS)).body["items"][0]["behind_by"] == 0


async def test_a_write_waits_until_every_sidecar_has_it(database: "Database") -> None:
    async with reporting(database) as (api, epoch):
        before = await revision_of(api)
        for instance in (ONE, OTHER):
            (await report(api, instance, state(epoch, before))).succeeded(200)
        waiting = asyncio.create_task(api.post(f"{RULES}?wait=all&within=60", rule(sub="waits")))
        await until_written(api, before + 1)
        (await report(api, ONE, state(epoch, before + 1))).succeeded(200)
        assert not waiting.done()
        (await report(api, OTHER, state(epoch, before + 1))).succeeded(200)
        answer = (await waiting).succeeded(201)
        assert answer.headers["X-Policy-Revision"] == str(before + 1)
        assert "missing" not in answer.body


async def test_a_write_that_some_do_not_have_is_202_with_the_same_answer(database: "Database") -> None:
    async with reporting(database) as (api, epoch):
        before = await revision_of(api)
        for instance in (ONE, OTHER):
            (await report(api, instance, state(epoch, before))).succeeded(200)
        waiting = asyncio.create_task(api.post(f"{RULES}?wait=all&within=2", rule(sub="late")))
        await until_written(api, before + 1)
        (await report(api, ONE, state(epoch, before + 1))).succeeded(200)
        late = (await waiting).succeeded(202)
        assert late.headers["Location"].endswith(late.body["id"])
        assert late.headers["X-Policy-Revision"] == str(before + 1)
        assert late.headers["ETag"] == f'"{before + 1}"'
        assert late.body["sub"] == "late"
        assert late.body["missing_count"] == 1
        (missing,) = late.body["missing"]
        assert (missing["instance"], missing["behind_by"]) == (OTHER, 1)
        waiting = asyncio.create_task(api.post(f"{RULES}?wait=50%25", rule(sub="half")))
        await until_written(api, before + 2)
        (await report(api, ONE, state(epoch, before + 2))).succeeded(200)
        (await waiting).succeeded(201)
        gone = (await api.delete(f"{RULES}/{late.body['id']}?wait=all&within=1")).succeeded(202)
        assert [each["instance"] for each in gone.body["missing"]] == [ONE, OTHER]
        resource = {"name": "a", "displayName": "a", "serviceName": "billing"}
        many = (await api.post("/api/v1/resources/list?wait=51%25&within=1", [resource])).succeeded(202)
        assert [each["name"] for each in many.body["items"]] == ["a"]
        assert many.body["missing_count"] == 2


async def test_without_sidecars_a_write_waits_for_none(database: "Database") -> None:
    async with rest(database) as api:
        (await api.post(f"{RULES}?wait=all", rule())).succeeded(201)
        (await api.post(f"{RULES}?wait=1%", rule(sub="another"))).succeeded(201)


async def test_a_repeated_request_waits_as_well(database: "Database") -> None:
    async with reporting(database) as (api, epoch):
        before = await revision_of(api)
        (await report(api, ONE, state(epoch, before))).succeeded(200)
        path, body, key = f"{RULES}?wait=all&within=1", rule("once"), {"Idempotency-Key": '"a"'}
        first = (await api.post(path, body, **key)).succeeded(202)
        assert (await api.post(path, body, **key)).succeeded(202).body["id"] == first.body["id"]
        (await report(api, ONE, state(epoch, before + 1))).succeeded(200)
        again = (await api.post(path, body, **key)).succeeded(201)
        assert again.body["id"] == first.body["id"]


@pytest.mark.parametrize(
    "query", ["wait=", "wait=0%", "wait=101%", "wait=50", "wait=ALL", "within=3", "wait=all&within=0",
              "wait=all&within=61", "wait=all&within=1.5", "wait=all&wait=all"],
)  # fmt: skip
async def test_what_cannot_be_waited_for_is_refused_before_the_write(
    database: "Database", query: str
) -> None:
    async with rest(database) as api:
        (await api.post(f"{RULES}?{query}", rule())).problem(422)
        assert (await api.get(RULES)).body["items"] == []
        (await api.get(f"{RULES}?wait=all")).problem(422)


async def test_reports_need_a_key_for_them(database: "Database") -> None:
    async with rest(database) as api:
        (await report(api, ONE, caller="key")).problem(401)
        (await report(api, ONE, caller="nobody")).problem(401)
        await follower(api, "policies:read")
        (await report(api, ONE, state(None, None))).problem(403)
        await follower(api)
        (await report(api, ONE, state(None, None, tenant="another"))).problem(403)
        (await report(api, ONE, gone=["another"])).problem(403)
        use = {"tenant": "another", "id": f"sak_{ONE}", "at": 1}
        (await report(api, ONE, key_uses=[use])).problem(403)
        assert (await api.get(SIDECARS)).body["items"] == []


@pytest.mark.parametrize(
    "document",
    [
        [], {}, {"instance": "x", "version": "1"}, {"instance": ONE, "version": ""},
        {"instance": ONE, "version": "1", "tenants": {}}, {"instance": ONE, "version": "1", "tenants": [{}]},
        {"instance": ONE, "version": "1", "tenants": [{"tenant": "../x"}]},
        {"instance": ONE, "version": "1", "tenants": [{"tenant": "default", "revision": -1}]},
        {"instance": ONE, "version": "1", "tenants": [{"tenant": "default", "revision": 2**70}]},
        {"instance": ONE, "version": "1", "tenants": [{"tenant": "default", "revision": True}]},
        {"instance": ONE, "version": "1", "tenants": [{"tenant": "default", "age": -1}]},
        {"instance": ONE, "version": "1", "tenants": [{"tenant": "default", "age": 1e300}]},
        {"instance": ONE, "version": "1", "tenants": [{"tenant": "default", "epoch": "x"}]},
        {"instance": ONE, "version": "1", "tenants": [{"tenant": "default"}] * 1001},
        {"instance": ONE, "version": "1", "key_uses": [{"tenant": "default", "id": "x", "at": "never"}]},
    ],
)  # fmt: skip
async def test_reports_that_cannot_be_read_are_refused(database: "Database", document: Any) -> None:
    async with reporting(database) as (api, _):
        (await api.post(REPORTS, document, caller="sidecar")).problem(422)
        assert (await api.get(SIDECARS)).body["items"] == []


async def test_members_of_a_later_version_are_ignored(database: "Database") -> None:
    async with reporting(database) as (api, epoch):
        (await report(api, ONE, state(epoch, 1) | {"later": 1}, later={})).succeeded(200)


async def test_uses_of_keys_are_noted_but_not_in_the_future(database: "Database") -> None:
    async with reporting(database) as (api, _):
        key = await follower(api)
        uses = [
            {"tenant": "default", "id": key, "at": 4_000_000_000},
            {"tenant": "default", "id": "not a key", "at": 1},
        ]
        (await report(api, ONE, key_uses=uses)).succeeded(200)
        await api.services.key_use.flush(api.services.pool)
        shown = {each["id"]: each["last_used_at"] for each in (await api.get(KEYS)).body["items"]}
        assert "2026" <= shown[key][:4] < "2096"


async def test_a_key_of_the_installation_reports_for_every_tenant_and_does_nothing_else(
    database: "Database",
) -> None:
    async with firms(database, "acme", "globex") as found:
        api = found.api
        made = (await api.post("/admin/sidecar-keys", {"name": "west"}, caller="operator")).succeeded(201)
        assert made.body["last_used_at"] is None
        api.callers["sidecar"] = {"X-Service-Api-Key": made.body["key"]}
        epoch = await epoch_of(database)
        both = [state(epoch, 1, tenant="acme"), state(epoch, 2, tenant="globex")]
        (await report(api, ONE, *both)).succeeded(200)
        for firm in ("acme", "globex"):
            (shown,) = (await api.get(SIDECARS, caller=f"{firm}/key")).succeeded(200).body["items"]
            assert shown["instance"] == ONE
        (await report(api, ONE, state(epoch, 1, tenant="no-such-tenant"))).succeeded(200)
        (await api.get(SIDECARS, caller="sidecar")).problem(401)
        await api.services.key_use.flush(api.services.pool)
        (listed,) = (await api.get("/admin/sidecar-keys", caller="operator")).succeeded(200).body["items"]
        assert listed["name"] == "west"
        assert listed["last_used_at"] is not None
        assert "key" not in listed
        async with connected(database.superuser) as connection:
            stored = await connection.fetch("SELECT k::text AS row FROM sidecar_keys AS k")
            trail = await connection.fetch("SELECT action, kind FROM audit_events WHERE kind = 'sidecar_key'")
        assert made.body["key"].rpartition("_")[2] not in str(stored)
        assert [tuple(each) for each in trail] == [("create", "sidecar_key")]
        revoke = f"/admin/sidecar-keys/{listed['id']}"
        (await api.delete(revoke, caller="acme/key")).problem(403)
        (await api.delete(revoke, caller="operator")).succeeded(204)
        (await api.delete(revoke, caller="operator")).problem(404)
        assert (await api.get("/admin/sidecar-keys", caller="operator")).body["items"] == []


async def test_an_expired_key_of_the_installation_is_refused(database: "Database") -> None:
    async with rest(database) as api:
        past = {"name": "old", "expires_at": "2020-01-01T00:00:00Z"}
        (await api.post("/admin/sidecar-keys", past)).problem(422)
        (await api.post("/admin/sidecar-keys", {"name": "x", "scopes": []})).problem(422)
        soon = {"name": "new", "expires_at": "2096-01-01T00:00:00Z"}
        made = (await api.post("/admin/sidecar-keys", soon)).succeeded(201).body
        api.callers["sidecar"] = {"X-Service-Api-Key": made["key"]}
        async with connected(database.superuser) as connection:
            await connection.execute("UPDATE sidecar_keys SET expires_at = now() - interval '1 hour'")
            (await report(api, ONE, state(None, None))).problem(401)
            await connection.execute("UPDATE sidecar_keys SET expires_at = now() + interval '1 hour'")
        (await report(api, ONE, state(None, None))).succeeded(200)
        api.callers["another"] = {"X-Service-Api-Key": made["key"][:-64] + "0" * 64}
        (await report(api, OTHER, state(None, None), caller="another")).problem(401)


async def test_reports_that_arrive_together_are_stored_together(database: "Database") -> None:
    async with reporting(database) as (api, epoch):
        instances = [str(uuid.UUID(int=number)) for number in range(1, 201)]
        answers = await asyncio.gather(*(report(api, each, state(epoch, 1)) for each in instances))
        assert {each.status for each in answers} == {200}
        shown = (await api.get(f"{SIDECARS}?limit=1000")).succeeded(200).body["items"]
        assert [each["instance"] for each in shown] == instances
        late = (await api.post(f"{RULES}?wait=all&within=1", rule(sub="late"))).succeeded(202)
        assert (len(late.body["missing"]), late.body["missing_count"]) == (100, 200)


def test_the_interval_grows_with_the_sidecars() -> None:
    reports = SidecarReports()
    assert reports.interval("acme") == 3.0
    for number in range(10_000):
        reports.hear("acme", str(number))
    assert reports.interval("acme") == 20.0


TOOL = {"methods": ["POST"], "path": "/mcp", "mcp": {"method": "tools/call", "tool": "search"}}
POLICY = {"name": "small", "resource": "search:call", "effect": "allow", "format": "casbin"}
READING = {"rule_data": "request.body.params.arguments.limit <= 10"}


async def warned(api: Api, number: int) -> list[str]:
    """Return the warnings about bodies of writes that read them; one that reads none has no warning."""
    route = TOOL | {"path": f"/mcp{number}"}
    resource = {"name": f"search{number}:call", "serviceName": "tools", "routes": [route]}
    single = (await api.post("/api/v1/resources", resource)).succeeded(201).body
    many = (await api.post("/api/v1/resources/list", [resource])).succeeded(200).body
    patched = await api.patch(f"/api/v1/resources/{single['id']}", {"displayName": "Search"})
    policy = (await api.post("/api/v1/abac/policies", POLICY | READING)).succeeded(201).body
    path = f"/api/v1/abac/policies/{policy['id']}"
    replaced = await api.put(path, POLICY | READING)
    renamed = await api.patch(path, {"name": "smaller"})
    (await api.delete(path)).succeeded(204)
    restored = await api.post(f"{path}/restore", None)
    other = await api.post("/api/v1/abac/policies", POLICY | {"rule_data": "user.level <= 10"})
    changed = [each.succeeded(200).body for each in (patched, replaced, renamed, restored)]
    shown = [bodies_of(each) for each in (single, *many, policy, *changed)]
    assert len({*map(len, shown)}) == 1, shown
    assert bodies_of(other.succeeded(201).body) == []
    return [message for each in shown for message in each]


def bodies_of(written: Any) -> list[str]:
    return [each["message"] for each in written.get("warnings", ()) if each["code"] == "body_not_sent"]


@pytest.mark.parametrize(
    ("reads", "shown", "said"),
    [
        ({}, (None, None), None),
        ({"condition_body_max": 9, "request_bodies": None}, (9, None), None),
        ({"condition_body_max": 9, "request_bodies": "arrived"}, (9, "arrived"), None),
        ({"condition_body_max": 9, "request_bodies": "of a later version"}, (9, None), None),
        (
            {"condition_body_max": 9, "request_bodies": "none"},
            (9, "none"),
            "has seen a request with",
        ),
        (
            {"condition_body_max": 9, "request_bodies": "unreadable"},
            (9, "unreadable"),
            "none with bytes that",
        ),
        ({"condition_body_max": 0}, (0, None), "have CONDITION_BODY_MAX=0"),
    ],
)
async def test_a_write_that_needs_bodies_warns_of_what_sidecars_say(
    database: "Database", reads: dict[str, Any], shown: tuple[object, object], said: str | None
) -> None:
    async with reporting(database) as (api, epoch):
        assert await warned(api, 1) == []
        (await report(api, ONE, state(epoch, 1), **reads)).succeeded(200)
        (listed,) = (await api.get(SIDECARS)).succeeded(200).body["items"]
        assert (listed["condition_body_max"], listed["request_bodies"]) == shown
        messages = await warned(api, 2)
        assert len(messages) == (0 if said is None else 7)
        assert all(said in message for message in messages if said is not None)


async def test_only_live_sidecars_of_the_tenant_say_whether_bodies_arrive(database: "Database") -> None:
    none: dict[str, Any] = {"condition_body_max": 65536, "request_bodies": "none"}
    async with reporting(database) as (api, epoch):
        (await report(api, ONE, state(epoch, 1), **none)).succeeded(200)
        (await report(api, OTHER, state(epoch, 1), **none | {"request_bodies": "arrived"})).succeeded(200)
        assert await warned(api, 1) == []
        async with connected(database.superuser) as connection:
            await connection.execute(
                "UPDATE sidecars SET live_until = now() - interval '1 s' WHERE instance = $1",
                uuid.UUID(OTHER),
            )
        assert len(await warned(api, 2)) == 7
        (await report(api, ONE, state(epoch, 1), **none | {"request_bodies": "arrived"})).succeeded(200)
        assert await warned(api, 3) == []


@pytest.mark.parametrize(
    "wrong",
    [{"condition_body_max": -1}, {"condition_body_max": True}, {"condition_body_max": "1"},
     {"request_bodies": True}, {"request_bodies": "x" * 65}],
)  # fmt: skip
async def test_a_report_of_bodies_that_cannot_be_read_is_refused(
    database: "Database", wrong: dict[str, Any]
) -> None:
    async with reporting(database) as (api, _):
        (await report(api, ONE, **wrong)).problem(422)
