"""Service keys: shown once, bounded by their scopes and by the key that made them, revoked with it."""

import asyncio
import dataclasses
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from extauthz.demo.processes import free_port
from extauthz.rest.quotas import Quotas
from extauthz.storage.pool import open_pool
from tests.integration.rest_harness import Api, rest, rule

if TYPE_CHECKING:
    from tests.integration.conftest import Database

pytestmark = pytest.mark.anyio
KEYS = "/api/v1/service-api-keys"
RULES = "/api/v1/resources/policies"
RESOURCES = "/api/v1/resources"
ABAC = "/api/v1/abac/policies"
BINDINGS = "/api/v1/role-bindings"
REGISTRAR: dict[str, Any] = {
    "name": "billing at start", "scopes": ["resources:write"], "service_name": "billing",
    "prefixes": ["api.acme.example/invoices", "/v1/invoices/"],
}  # fmt: skip


async def made(api: Api, *, caller: str = "key", **members: Any) -> dict[str, Any]:
    body = (await api.post(KEYS, {"name": "robot"} | members, caller=caller)).succeeded(201).body
    api.callers[body["id"]] = {"X-Service-Api-Key": body["key"]}
    return dict(body)


def resource(path: str = "/v1/invoices/{id}", **members: Any) -> dict[str, Any]:
    return {
        "name": "invoice:read", "serviceName": "billing", "routes": [{"methods": ["GET"], "path": path}],
    } | members  # fmt: skip


def with_route(**route: Any) -> dict[str, Any]:
    return resource(routes=[{"methods": ["GET"], "path": "/v1/invoices/{id}"} | route])


async def test_a_key_is_shown_once(database: "Database") -> None:
    async with rest(database) as api:
        key = await made(api, scopes=["check", "check"], description="nightly", domain="emea")
        assert key["key"].startswith("sak_live_")
        assert key["id"].startswith("sak_")
        listed = (await api.get(KEYS)).succeeded(200)
        assert listed.body["items"] == [{name: key[name] for name in key if name != "key"}]
        assert key["scopes"] == ["check"]
        secret = key["key"].rpartition("_")[2]
        trail = (await api.get("/api/v1/audit")).succeeded(200)
        for answer in (listed, trail):
            assert secret not in answer.raw.decode()
        assert await api.trail() == [("create", "service_key")]


async def test_revoking_a_key_revokes_at_once_the_keys_it_made(database: "Database") -> None:
    async with rest(database) as api:
        maker = (await made(api, scopes=["keys:write", "policies:read"]))["id"]
        child = (await made(api, caller=maker, scopes=["keys:write", "policies:read"]))["id"]
        grandchild = (await made(api, caller=child, scopes=["policies:read"]))["id"]
        other = (await made(api, scopes=["policies:read"]))["id"]
        (await api.get(RULES, caller=grandchild)).succeeded(200)
        seen = (await api.get(KEYS, caller=maker)).body["items"]
        assert [each["id"] for each in seen] == [child]
        for unrelated in (other, maker, grandchild):
            (await api.delete(f"{KEYS}/{unrelated}", caller=maker)).problem(404)
        (await api.delete(f"{KEYS}/{maker}", If_Match='"99"')).problem(412)
        (await api.delete(f"{KEYS}/{maker}")).succeeded(204)
        (await api.delete(f"{KEYS}/{maker}")).problem(404)
        for ended in (maker, child, grandchild):
            assert (await api.get(RULES, caller=ended)).problem(401)["reason"] == "api_key_invalid"
        (await api.get(RULES, caller=other)).succeeded(200)
        (await api.delete(f"{KEYS}/sak_x")).problem(404)


async def test_a_key_makes_keys_within_its_own_bounds(database: "Database") -> None:
    async with rest(database) as api:
        soon = datetime.now(UTC) + timedelta(hours=1)
        bounds: dict[str, Any] = {
            "scopes": ["keys:write", "resources:write", "policies:write", "check"], "domain": "emea",
            "service_name": "billing", "prefixes": ["api.acme.example/invoices"],
            "expires_at": soon.isoformat(),
        }  # fmt: skip
        maker = (await made(api, **bounds))["id"]
        within = bounds | {"name": "child", "prefixes": ["api.acme.example/invoices/eu"]}
        for change, pointer in (
            ({"scopes": ["check", "audit:read"]}, "/scopes/1"),
            ({"scopes": ["identity"]}, "/scopes/0"),
            ({"service_name": "hr"}, "/service_name"),
            ({"domain": "apac"}, "/domain"),
            ({"domain": None}, "/domain"),
            ({"prefixes": ["api.acme.example/"]}, "/prefixes/0"),
            ({"prefixes": ["/invoices"]}, "/prefixes/0"),
            ({"prefixes": ["api.acme.example/invoices-old"]}, "/prefixes/0"),
            ({"expires_at": None}, "/expires_at"),
            ({"expires_at": (soon + timedelta(seconds=1)).isoformat()}, "/expires_at"),
        ):
            answer = await api.post(KEYS, within | change, caller=maker)
            answer.problem(403)
            assert answer.pointers == [pointer], change
        child = await made(api, caller=maker, **within)
        assert child["parent"] == maker
        await made(api, caller=maker, scopes=["check"], expires_at=soon.isoformat())


async def test_a_principal_of_no_domain_makes_none_that_is_of_one(database: "Database") -> None:
    async with rest(database) as api:
        maker = (await made(api, scopes=["keys:write", "identity", "policies:read"]))["id"]
        into = await api.post(KEYS, {"name": "child", "scopes": ["identity"], "domain": "emea"}, caller=maker)
        into.problem(403)
        assert into.pointers == ["/domain"]
        await made(api, caller=maker, scopes=["identity"])
        await made(api, caller=maker, scopes=["policies:read"], domain="emea")


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"scopes": []}, "/scopes"),
        ({"scopes": ["admin"]}, "/scopes/0"),
        ({"scopes": "check"}, "/scopes"),
        ({"name": "e\u0301"}, "/name"),
        ({"domain": "*"}, "/domain"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "/expires_at"),
        ({"expires_at": "soon"}, "/expires_at"),
        ({"prefixes": ["acme.example"]}, "/prefixes/0"),
        ({"prefixes": ["/a/../b"]}, "/prefixes/0"),
        ({"prefixes": ["/a/**"]}, "/prefixes/0"),
        ({"prefixes": ["/{x}"]}, "/prefixes/0"),
        ({"prefixes": ["a b/x"]}, "/prefixes/0"),
        ({"prefixes": []}, "/prefixes"),
        ({"service_name": None}, "/service_name"),
        ({"key": "mine"}, "/key"),
        ({"id": "sak_x"}, "/id"),
    ],
)
async def test_a_key_that_is_described_wrongly(database: "Database", change: Any, pointer: str) -> None:
    async with rest(database) as api:
        answer = await api.post(KEYS, REGISTRAR | change)
        answer.problem(422)
        assert pointer in answer.pointers


async def test_a_registrar_claims_only_what_is_its_own(database: "Database") -> None:
    async with rest(database) as api:
        registrar = (await made(api, **REGISTRAR))["id"]
        created = (await api.post(RESOURCES, resource(), caller=registrar)).succeeded(201).body
        (await api.post(RESOURCES, resource(), caller=registrar)).succeeded(200)
        for refused, pointer in (
            (resource(serviceName="hr"), "/serviceName"),
            (resource("/v1/invoices-old"), "/routes/0"),
            (resource("/v1/{any}"), "/routes/0"),
            (resource("/v1/{any}/x"), "/routes/0"),
            (resource("/v1/**"), "/routes/0"),
            (resource("/**"), "/routes/0"),
            (resource("/invoices/x"), "/routes/0"),
            (resource("/V1/invoices"), "/routes/0"),
            (with_route(path="/invoices/1", host="acme.example"), "/routes/0"),
            (with_route(path="/invoices/1", host="*.acme.example"), "/routes/0"),
            (with_route(authentication="optional"), "/routes/0"),
            (with_route(authentication="none"), "/routes/0"),
        ):
            answer = await api.post(RESOURCES, refused | {"name": "other:read"}, caller=registrar)
            assert answer.problem(403)
            assert pointer in answer.pointers, refused
        for taken in (
            resource("/v1/invoices"),
            resource("/v1/invoices/**"),
            with_route(path="/v1/invoices", host="any.example"),
            with_route(path="/invoices/{id}/lines", host="api.acme.example"),
        ):
            (await api.post(RESOURCES, taken, caller=registrar)).succeeded(200)
        foreign = (await api.post(RESOURCES, resource("/hr", name="hr:read", serviceName="hr"))).body
        seen = (await api.get(RESOURCES, caller=registrar)).body["items"]
        assert [each["id"] for each in seen] == [created["id"]]
        assert (await api.get(f"{RESOURCES}?serviceName=hr", caller=registrar)).body["items"] == []
        one = f"{RESOURCES}/{foreign['id']}"
        for method, body in (("GET", None), ("PATCH", {"displayName": "mine"}), ("DELETE", None)):
            (await api.ask(method, one, body, caller=registrar)).problem(404)
        (await api.patch(f"{RESOURCES}/{created['id']}", {"serviceName": "hr"}, caller=registrar)).problem(
            403
        )
        (await api.delete(f"{RESOURCES}/{created['id']}?cascade=true", caller=registrar)).problem(403)
        (await api.delete(f"{RESOURCES}/{created['id']}", caller=registrar)).succeeded(204)


async def test_a_registrar_does_not_remove_routes_by_leaving_them_out(database: "Database") -> None:
    async with rest(database) as api:
        registrar = (await made(api, **REGISTRAR))["id"]
        created = (await api.post(RESOURCES, resource(), caller=registrar)).succeeded(201).body
        one = f"{RESOURCES}/{created['id']}"
        routes = [*created["routes"], {"methods": ["GET"], "path": "/elsewhere/{id}"}]
        (await api.patch(one, {"routes": routes})).succeeded(200)
        emptied: list[dict[str, object]] = [{"routes": None}, {"routes": []}]
        for patch in emptied:
            refused = await api.patch(one, patch, caller=registrar)
            assert refused.problem(403)
            assert refused.pointers == ["/routes"]
        without = {name: value for name, value in resource().items() if name != "routes"}
        kept = (await api.post(RESOURCES, without, caller=registrar)).succeeded(200).body["routes"]
        assert [route["path"] for route in kept] == [route["path"] for route in routes]


@pytest.mark.parametrize("authentication", ["optional", "none"])
async def test_a_registrar_keeps_the_rules_that_a_tenant_admin_added(
    database: "Database", authentication: str
) -> None:
    async with rest(database) as api:
        registrar = (await made(api, **REGISTRAR))["id"]
        open_route = {"methods": ["GET"], "path": "/v1/invoices/terms", "authentication": authentication}
        foreign = {"methods": ["GET"], "path": "/reports"}
        own = {"methods": ["GET"], "path": "/v1/invoices/{id}"}
        created = (await api.post(RESOURCES, resource(routes=[own, open_route, foreign]))).succeeded(201).body
        one = f"{RESOURCES}/{created['id']}"
        again = resource(routes=[own, open_route, foreign])
        (await api.post(RESOURCES, again, caller=registrar)).succeeded(200)
        answer = await api.post(RESOURCES, resource(routes=[own, open_route]), caller=registrar)
        answer.problem(403)
        assert answer.pointers == ["/routes"]
        (await api.patch(one, {"routes": []}, caller=registrar)).problem(403)
        (await api.patch(one, {"displayName": "Invoices"}, caller=registrar)).succeeded(200)
        (await api.delete(one, caller=registrar)).problem(403)
        (await api.patch(one, {"routes": [own, foreign]}, caller=registrar)).succeeded(200)


async def test_a_list_of_registrations_is_refused_as_a_whole_with_each_index(database: "Database") -> None:
    async with rest(database) as api:
        registrar = (await made(api, **REGISTRAR))["id"]
        listed = [
            resource(),
            resource("/hr", name="hr:read"),
            resource("/v1/invoices/a", name="a:read"),
            resource("/v1/invoices/b", name="b:read", serviceName="hr"),
        ]
        answer = await api.post(f"{RESOURCES}/list", listed, caller=registrar)
        answer.problem(403)
        assert answer.pointers == ["/3/serviceName"]
        listed[3]["serviceName"] = "billing"
        answer = await api.post(f"{RESOURCES}/list", listed, caller=registrar)
        answer.problem(403)
        assert answer.pointers == ["/1/routes/0"]
        assert (await api.get(RESOURCES)).body["items"] == []
        (await api.post(RESOURCES, resource("/v1/invoices/{x}", name="z:read"))).succeeded(201)
        answer = await api.post(f"{RESOURCES}/list", [listed[2], listed[0]], caller=registrar)
        problem = answer.problem(409)
        assert answer.pointers == ["/1"]
        assert "z:read" in problem["errors"][0]["message"]
        (await api.post(f"{RESOURCES}/list", [listed[2], listed[3]], caller=registrar)).succeeded(201)


async def test_policy_keys_are_domain_admins_by_name(database: "Database") -> None:
    async with rest(database) as api:
        bound = (await made(api, scopes=["policies:read", "policies:write"], domain="emea"))["id"]
        every = (await made(api, scopes=["policies:read", "policies:write"]))["id"]
        reader = (await made(api, scopes=["policies:read"]))["id"]
        writer = (await made(api, scopes=["policies:write"]))["id"]
        star = (await api.post(RULES, rule(dom="*"))).succeeded(201).body
        apac = (await api.post(RULES, rule(dom="apac"))).succeeded(201).body
        emea = (await api.post(RULES, rule(), caller=bound)).succeeded(201).body

        async def seen(caller: str) -> list[str]:
            items = (await api.get(RULES, caller=caller)).succeeded(200).body["items"]
            return [each["id"] for each in items]

        assert await seen(bound) == [emea["id"]]
        assert await seen(every) == [apac["id"], emea["id"]]
        assert await seen(reader) == [apac["id"], emea["id"]]
        (await api.get(RULES, caller=writer)).problem(403)
        (await api.post(RULES, rule(act="x"), caller=reader)).problem(403)
        (await api.post(RULES, rule(act="x", dom="*"), caller=every)).problem(403)
        (await api.post(RULES, rule(act="x", dom="apac"), caller=bound)).problem(403)
        (await api.post(RULES, rule(act="x", dom="apac"), caller=every)).succeeded(201)
        (await api.delete(f"{RULES}/{star['id']}", caller=every)).problem(404)
        inherits = {"user": "boss", "user_kind": "role", "role": "finance", "dom": "emea"}
        for caller in (bound, every):
            (await api.post(BINDINGS, inherits, caller=caller)).problem(403)
        policy = {
            "name": "p", "resource": "invoice:read", "effect": "deny", "rule_data": {"type": "ALWAYS"},
        }  # fmt: skip
        guardrail = policy | {"priority": 1001, "domain": "emea"}
        (await api.post(ABAC, guardrail, caller=every)).problem(422)
        (await api.post(ABAC, policy, caller=every)).problem(422)
        assert (await api.post(ABAC, policy, caller=bound)).succeeded(201).body["domain"] == "emea"
        (await api.post(ABAC, policy | {"domain": "apac"}, caller=every)).succeeded(201)
        (await api.post(ABAC, policy | {"domain": "*"}, caller=every)).problem(403)


async def test_a_key_with_the_scope_check_asks_about_any_subject(database: "Database") -> None:
    async with rest(database) as api:
        checker = (await made(api, scopes=["check"]))["id"]
        identity = (await made(api, scopes=["identity"]))["id"]
        written = (await api.post(RULES, rule())).succeeded(201)
        asked = {
            "subject": "alice", "domain": "emea", "resource": "invoice:read", "action": "read",
            "attributes": {"user": {"roles": ["finance"]}}, "min_revision": written.revision,
        }  # fmt: skip
        (await api.post("/api/v1/check", asked, caller=checker)).succeeded(200)
        denied = await api.post(
            "/api/v1/check", asked | {"subject_kind": "service", "attributes": {}}, caller=checker
        )
        assert denied.succeeded(403).body["decision"] == "deny"
        (await api.post("/api/v1/check", asked, caller=identity)).problem(403)
        (await api.post("/api/v1/resources/access/check", {"name": "invoice:read"}, caller=checker)).problem(
            403
        )


async def test_a_key_ends_at_its_expiry(database: "Database") -> None:
    now = datetime.now(UTC).timestamp()
    async with rest(database, clock=lambda: now) as api:
        end = datetime.fromtimestamp(now + 60, UTC).isoformat()
        key = (await made(api, scopes=["policies:read"], expires_at=end))["id"]
        (await api.get(RULES, caller=key)).succeeded(200)
        now += 60
        (await api.get(RULES, caller=key)).problem(401)


async def test_when_a_key_was_last_used_is_written_for_many_uses_at_once(database: "Database") -> None:
    async with rest(database) as api:
        key = (await made(api, scopes=["policies:read"]))["id"]
        assert (await api.get(KEYS)).body["items"][0]["last_used_at"] is None
        await asyncio.gather(*(api.get(RULES, caller=key) for _ in range(20)))
        await api.services.key_use.flush(api.services.pool)
        assert (await api.get(KEYS)).body["items"][0]["last_used_at"] is not None
        assert await api.trail() == [("create", "service_key")]


async def test_when_a_key_was_last_used_waits_for_a_database_that_is_away(database: "Database") -> None:
    away = dataclasses.replace(database.address, port=free_port())
    async with rest(database) as api, open_pool(away) as no_pool:
        key = (await made(api, scopes=["policies:read"]))["id"]
        now = datetime.now(UTC).timestamp()
        for at in (now, now - 30):
            api.services.key_use.note("default", key, at)

        await api.services.key_use.flush(no_pool)
        assert (await api.get(KEYS)).body["items"][0]["last_used_at"] is None
        await api.services.key_use.flush(api.services.pool)

        written = (await api.get(KEYS)).body["items"][0]["last_used_at"]
        assert datetime.fromisoformat(written).timestamp() == pytest.approx(now, abs=0.001)


async def test_no_more_keys_than_there_may_be(database: "Database") -> None:
    async with rest(database, quotas=Quotas(service_keys=2)) as api:
        first = (await made(api, scopes=["check"]))["id"]
        await made(api, scopes=["check"])
        problem = (await api.post(KEYS, {"name": "x", "scopes": ["check"]})).problem(422)
        assert "limit" in problem["errors"][0]["message"]
        (await api.delete(f"{KEYS}/{first}")).succeeded(204)
        await made(api, scopes=["check"])
