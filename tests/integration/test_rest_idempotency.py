"""`Idempotency-Key` on creating requests: done once, answered the same; for another request 409."""

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from extauthz.storage import idempotency
from extauthz.storage.pool import tenant_transaction
from tests.integration.database_dump import dump
from tests.integration.rest_harness import Answer, Api, rest, rule
from tests.integration.rest_saas import firms
from tests.tokens import AUDIENCE

if TYPE_CHECKING:
    from tests.integration.conftest import Database

pytestmark = pytest.mark.anyio
V1 = "/api/v1"
RULES, KEYS = f"{V1}/resources/policies", f"{V1}/service-api-keys"
CSV = {"Content-Type": "text/csv"}
KEY = '"8e03978e-40d5-43e8-bc93-6894a57f9324"'
RESOURCE = {"name": "invoice:read", "serviceName": "billing", "defaultRoles": ["finance"]}
POLICY = {"name": "n", "resource": "r", "effect": "deny", "rule_data": {"type": "ALWAYS"}}
BINDING = {"user": "alice", "user_kind": "user", "role": "finance", "dom": "emea"}
SERVICE_KEY = {"name": "reader", "scopes": ["policies:read"]}


async def rows(api: Api, tenant: str = "default") -> list[Any]:
    async with tenant_transaction(api.services.pool, tenant) as connection:
        return list(await connection.fetch("SELECT * FROM idempotency_keys ORDER BY key"))


def same(first: Answer, second: Answer) -> bool:
    names = ("Location", "ETag", "X-Policy-Revision", "Content-Type", "Cache-Control")
    return (first.status, first.raw) == (second.status, second.raw) and all(
        first.headers.get(name) == second.headers.get(name) for name in names
    )


def refused(answer: Answer, status: int) -> None:
    assert [each["parameter"] for each in answer.problem(status)["errors"]] == ["Idempotency-Key"]


@pytest.mark.parametrize(
    ("path", "document"),
    [
        (RULES, rule()),
        (f"{V1}/role-bindings", BINDING),
        (f"{V1}/abac/policies", POLICY),
        (f"{V1}/resources", RESOURCE),
        (f"{V1}/resources/list", [RESOURCE]),
        ("/resources/list", [RESOURCE]),
    ],
)
async def test_a_repeated_request_is_done_once_and_answered_the_same(
    database: "Database", path: str, document: object
) -> None:
    async with rest(database) as api:
        first = (await api.post(path, document, Idempotency_Key=KEY)).succeeded(201)
        trail = await api.trail()
        again = await api.post(path, document, Idempotency_Key=KEY)

        assert same(first, again)
        assert await api.trail() == trail
        assert (await api.get(f"{V1}/casbin/policy")).headers["ETag"] == f'"{first.revision}"'


async def test_lines_are_added_once(database: "Database") -> None:
    line = b"p,role:finance,emea,invoice:read,read,allow"
    async with rest(database) as api:
        first = await api.ask("POST", f"{V1}/casbin/policy", data=line, Idempotency_Key=KEY, **CSV)
        again = await api.ask("POST", f"{V1}/casbin/policy", data=line, Idempotency_Key=KEY, **CSV)
        other = await api.ask("POST", f"{V1}/casbin/policy", data=line + b"\n", Idempotency_Key=KEY, **CSV)

        assert first.succeeded(200).body == {"role_rules": 1, "role_bindings": 0, "unchanged": 0}
        assert same(first, again)
        refused(other, 409)


async def test_an_answer_without_an_effect_is_kept_too(database: "Database") -> None:
    async with rest(database) as api:
        (await api.post(f"{V1}/resources", RESOURCE)).succeeded(201)
        first = (await api.post(f"{V1}/resources", RESOURCE, Idempotency_Key=KEY)).succeeded(200)
        (await api.patch(f"{V1}/resources/{first.body['id']}", {"displayName": "x"})).succeeded(200)

        assert same(first, await api.post(f"{V1}/resources", RESOURCE, Idempotency_Key=KEY))


async def test_another_request_under_the_key_is_409_and_does_nothing(database: "Database") -> None:
    async with rest(database) as api:
        (await api.post(RULES, rule(), Idempotency_Key=KEY)).succeeded(201)
        before = await dump(database, catalogs=False)

        refused(await api.post(RULES, rule(act="write"), Idempotency_Key=KEY), 409)
        refused(await api.post(f"{V1}/role-bindings", BINDING, Idempotency_Key=KEY), 409)
        assert await dump(database, catalogs=False) == before


async def test_the_order_of_members_and_white_space_make_no_other_request(database: "Database") -> None:
    async with rest(database) as api:
        first = await api.post(RULES, rule(), Idempotency_Key=KEY)
        members = dict(reversed(rule().items()))

        assert same(first.succeeded(201), await api.post(RULES, members, Idempotency_Key=KEY))


async def test_a_refused_request_is_not_kept(database: "Database") -> None:
    async with rest(database) as api:
        stored = (await api.post(RULES, rule())).succeeded(201).body["id"]
        (await api.post(RULES, rule(), Idempotency_Key=KEY)).problem(409)
        (await api.post(RULES, rule(effect="permit"), Idempotency_Key=KEY)).problem(422)
        (await api.post(RULES, rule(), Idempotency_Key=KEY, If_Match='"1"')).problem(412)
        assert await rows(api) == []

        (await api.delete(f"{RULES}/{stored}")).succeeded(204)
        (await api.post(RULES, rule(), Idempotency_Key=KEY)).succeeded(201)


async def test_a_key_is_of_one_caller(database: "Database") -> None:
    async with rest(database) as api:
        (await api.post(RULES, rule(), caller="emea", Idempotency_Key=KEY)).succeeded(201)
        other = await api.post(RULES, rule(act="write"), caller="both", Idempotency_Key=KEY)

        other.succeeded(201)
        assert len(await rows(api)) == 2


async def test_a_key_is_of_one_tenant(database: "Database") -> None:
    async with firms(database, "acme", "globex") as made:
        answers = [
            (await made.api.post(RULES, rule(), caller=f"{slug}/admin", Idempotency_Key=KEY)).succeeded(201)
            for slug in ("acme", "globex")
        ]

        assert answers[0].body["id"] != answers[1].body["id"]
        assert [len(await rows(made.api, slug)) for slug in ("acme", "globex")] == [1, 1]


async def test_an_answer_with_a_secret_is_neither_stored_nor_shown_again(database: "Database") -> None:
    async with rest(database) as api:
        made = (await api.post(KEYS, SERVICE_KEY, Idempotency_Key=KEY)).succeeded(201).body
        refused(await api.post(KEYS, SERVICE_KEY, Idempotency_Key=KEY), 409)

        assert [row["answer"] for row in await rows(api)] == [None]
        assert [key["id"] for key in (await api.get(KEYS)).body["items"]] == [made["id"]]
        assert made["key"].rpartition("_")[2] not in str(await dump(database, catalogs=False))


async def test_secrets_of_the_operator_are_not_kept(database: "Database") -> None:
    provider = {"issuer_url": "https://login.example.com", "audience": AUDIENCE}
    tenant = {"name": "New", "slug": "new"}
    async with firms(database, "acme") as made:
        api = made.api

        async def post(path: str, document: object = None, key: str = KEY) -> Answer:
            return await api.post(path, document, caller="operator", Idempotency_Key=key)

        (await post("/admin/tenants", tenant)).succeeded(201)
        refused(await post("/admin/tenants", tenant), 409)
        refused(await post("/admin/tenants", {"name": "Another", "slug": "another"}), 409)
        refused(await post("/admin/session"), 409)
        (await post("/admin/session", key='"session"')).succeeded(201)
        refused(await post("/admin/session", key='"session"'), 409)
        (await post("/admin/tenants/new/bootstrap-key")).succeeded(201)
        refused(await post("/admin/tenants/new/bootstrap-key"), 409)
        first = (await post("/admin/tenants/new/identity-providers", provider, '"p"')).succeeded(201)
        assert same(first, await post("/admin/tenants/new/identity-providers", provider, '"p"'))
        tenants = (await api.get("/admin/tenants", caller="operator")).body["items"]
        assert [each["slug"] for each in tenants] == ["acme", "default", "new"]
        assert len(await rows(api, "-")) == 2
        (await api.delete("/admin/tenants/new", caller="operator")).succeeded(204)
        assert await rows(api, "new") == []


async def test_requests_at_the_same_time_are_done_once(database: "Database") -> None:
    async with rest(database) as api:
        answers = await asyncio.gather(
            *(api.post(RULES, rule(), Idempotency_Key=KEY) for _ in range(6)),
            *(api.post(RULES, rule(act="write"), Idempotency_Key=KEY) for _ in range(2)),
        )

        done = [answer for answer in answers if answer.status == 201]
        assert len({answer.raw for answer in done}) == 1
        assert len(done) in {2, 6}
        for answer in answers:
            if answer.status != 201:
                refused(answer, 409)
        assert len((await api.get(RULES)).body["items"]) == 1


@pytest.mark.parametrize(
    "key",
    ['"', '""', '"a', 'a"', '"a" "b"', '"a", "b"', "a b", "a,b", '"\\x"', "é", " ", '"' + "a" * 256 + '"'],
)
async def test_a_malformed_key_is_400(database: "Database", key: str) -> None:
    async with rest(database) as api:
        refused(await api.post(RULES, rule(), Idempotency_Key=key), 400)
        assert (await api.get(RULES)).body["items"] == []


async def test_a_key_may_be_sent_without_quotes(database: "Database") -> None:
    async with rest(database) as api:
        first = (await api.post(RULES, rule(), Idempotency_Key=KEY)).succeeded(201)
        longest = '"' + "a" * 255 + '"'

        assert same(first, await api.post(RULES, rule(), Idempotency_Key=KEY.strip('"')))
        (await api.post(RULES, rule(act="x"), Idempotency_Key=longest)).succeeded(201)


async def test_a_check_is_decided_each_time(database: "Database") -> None:
    question = {"subject": "alice", "resource": "invoice:read", "action": "read"}
    async with rest(database) as api:
        first = await api.post(f"{V1}/check", question, Idempotency_Key=KEY)
        again = await api.post(f"{V1}/check", question, Idempotency_Key=KEY)

        assert first.body["decision_id"] != again.body["decision_id"]
        assert await rows(api) == []


async def test_an_answer_is_kept_for_a_day(database: "Database") -> None:
    async with rest(database) as api:
        first = (await api.post(RULES, rule(), Idempotency_Key=KEY)).succeeded(201)
        await age(api, "23 hours 59 minutes")
        assert same(first, await api.post(RULES, rule(), Idempotency_Key=KEY))

        await age(api, "24 hours 1 minute")
        assert (await api.post(RULES, rule(), Idempotency_Key=KEY)).problem(409)["ids"] == [first.body["id"]]
        (await api.post(RULES, rule(act="write"), Idempotency_Key='"other"')).succeeded(201)
        assert [row["key"] for row in await rows(api)] == ["other"]
        await age(api, "25 hours")
        assert await idempotency.sweep(api.services.pool, "default") is None
        assert await rows(api) == []


async def age(api: Api, by: str) -> None:
    async with tenant_transaction(api.services.pool, "default") as connection:
        await connection.execute(
            f"UPDATE idempotency_keys SET created_at = now() - interval '{by}' WHERE tenant_id = 'default'"
        )
