"""A stored row is damaged outside the API: access can still be removed, and answers name the row."""

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.damaged_rows import DAMAGES, condition, damaging
from tests.integration.publishing import behind_our_back
from tests.integration.rest_harness import Answer, Api, rest, rule
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.integration.conftest import Database

pytestmark = pytest.mark.anyio
RULES = "/api/v1/resources/policies"
BINDINGS = "/api/v1/role-bindings"
POLICIES = "/api/v1/abac/policies"
RESOURCES = "/api/v1/resources"
KEYS = "/api/v1/service-api-keys"
CASCADE = {"resource": "?cascade=true"}
COUNT_UP = "UPDATE tenants SET revision = revision + 1 WHERE tenant_id = 'default'"
ANNOUNCE = "SELECT pg_notify('extauthz_policy', 'default:0')"
CHECK = "/api/v1/check"
ASKED = {"resource": "invoice:read", "action": "read"}


def policy(**members: object) -> dict[str, object]:
    return {
        "name": "p",
        "resource": "other:read",
        "effect": "deny",
        "rule_data": {"type": "ALWAYS"},
    } | members


@dataclass
class Stored:
    """What was stored while all was well; `damaged` are the rows to damage, by kind."""

    api: Api
    allow_rule: str
    allow_policy: str
    resource: str
    binding: str
    key: str
    damaged: dict[str, str]

    async def decides(self, revision: int | None = None) -> int:
        """Return the status of a check; for a `revision`, once it is in effect."""
        if revision is None:
            return (await self.api.post(CHECK, ASKED, caller="alice")).status
        # A busy machine may need longer than one request waits; 503 says to try again.
        async with asyncio.timeout(60):
            while True:
                asked = ASKED | {"min_revision": revision}
                if (answer := await self.api.post(CHECK, asked, caller="alice")).status != 503:
                    return answer.status


async def made(api: Api, path: str, document: object) -> str:
    body = (await api.post(path, document)).succeeded(201).body
    return str(body["id"])


async def store(api: Api) -> Stored:
    routes = [{"methods": ["*"], "path": "/invoices/{id}"}]
    resource = await made(api, RESOURCES, {"name": "invoice:read", "serviceName": "s", "routes": routes})
    routes = [{"methods": ["*"], "path": "/memos/{id}"}]
    other = await made(api, RESOURCES, {"name": "memo:read", "serviceName": "s", "routes": routes})
    await made(api, BINDINGS, {"user": "clerk", "user_kind": "role", "role": "reader", "dom": "*"})
    return Stored(
        api=api,
        allow_rule=await made(api, RULES, rule()),
        allow_policy=await made(api, POLICIES, policy(effect="allow", resource="memo:read")),
        resource=resource,
        binding=await made(
            api, BINDINGS, {"user": "bob", "user_kind": "user", "role": "finance", "dom": "*"}
        ),
        key=await made(api, KEYS, {"name": "robot", "scopes": ["check"]}),
        damaged={
            "attribute_policy": await made(api, POLICIES, policy()),
            "role_rule": await made(api, RULES, rule(sub="mallory", obj="other:read", effect="deny")),
            "role_binding": await made(
                api, BINDINGS, {"user": "auditor", "user_kind": "role", "role": "reader", "dom": "*"}
            ),
            "resource": other,
        },
    )


@asynccontextmanager
async def damaged(
    database: "Database", damage: str, *, announced: bool = True, **how: Any
) -> "AsyncIterator[Stored]":
    """Serve a tenant with a damaged row; unless it is `announced` the next write comes upon it first."""
    async with rest(database, **how) as api:
        stored = await store(api)
        row = stored.damaged[DAMAGES[damage][0]]
        announcement = [ANNOUNCE] if announced else []
        await behind_our_back(database.superuser, *damaging(damage, row), COUNT_UP, *announcement)
        yield stored


async def undescribed(api: Api, path: str) -> Any:
    """Read what no schema describes: a damaged row is shown as it is stored."""
    async with api.session.get(api.url + path, headers=api.callers["key"]) as response:
        assert response.status == 200
        return json.loads(await response.read(), parse_int=Decimal)


def names(answer: Answer, kind: str, row_id: str) -> Answer:
    """Require that an answer names the damaged row: in a header, and in the body where there is one."""
    assert answer.headers["X-Policy-Warnings"] == f'unreadable_row;kind="{kind}";id="{row_id}"'
    if answer.raw and isinstance(answer.body, dict):
        (warning,) = [each for each in answer.body["warnings"] if each["code"] == "unreadable_row"]
        assert (warning["kind"], warning["id"]) == (kind, row_id)
        assert warning["pointer"].startswith(f"/{kind}/{row_id}")
        assert row_id in warning["message"]
    return answer


@pytest.mark.parametrize("damage", DAMAGES)
async def test_access_is_removed_even_if_another_row_is_damaged(database: "Database", damage: str) -> None:
    kind = DAMAGES[damage][0]
    async with damaged(database, damage, announced=False) as stored:
        api, row = stored.api, stored.damaged[kind]
        assert await stored.decides() == 200

        removed = names((await api.delete(f"{RULES}/{stored.allow_rule}")).succeeded(204), kind, row)
        assert await stored.decides(removed.revision) == 403

        names((await api.post(RULES, rule(sub="eve", effect="deny"))).succeeded(201), kind, row)
        names((await api.post(POLICIES, policy(resource="memo:read"))).succeeded(201), kind, row)
        narrowed = await api.patch(f"{POLICIES}/{stored.allow_policy}", {"rule_data": condition()})
        names(narrowed.succeeded(200), kind, row)
        disabled = await api.patch(f"{POLICIES}/{stored.allow_policy}", {"enabled": False})
        names(disabled.succeeded(200), kind, row)
        names((await api.delete(f"{POLICIES}/{stored.allow_policy}")).succeeded(204), kind, row)
        names((await api.delete(f"{KEYS}/{stored.key}")).succeeded(204), kind, row)
        names((await api.delete(f"{BINDINGS}/{stored.binding}")).succeeded(204), kind, row)
        names((await api.delete(f"{RESOURCES}/{stored.resource}?cascade=true")).succeeded(204), kind, row)
        granted = names((await api.post(RULES, rule(sub="clerk"))).succeeded(201), kind, row)
        assert await api.services.wait_for("default", granted.revision, 10)
        directory = api.services.policies.current()
        assert directory is not None
        # What could not be confirmed grows old, as long as it lasts.
        assert directory.confirmed("default") < directory.confirmed_at


@pytest.mark.parametrize("damage", DAMAGES)
async def test_the_damaged_row_itself_is_shown_and_deleted(database: "Database", damage: str) -> None:
    kind = DAMAGES[damage][0]
    path = {"attribute_policy": POLICIES, "role_rule": RULES, "role_binding": BINDINGS, "resource": RESOURCES}
    async with damaged(database, damage) as stored:
        api, row = stored.api, stored.damaged[kind]
        await until(lambda: bool(api.services.unreadable("default")), what="the damage to be seen")

        shown = await undescribed(api, f"{path[kind]}/{row}")
        assert shown["id"] == row
        if kind != "role_binding" and damage != "the route of another resource":
            (warning,) = shown["warnings"]
            assert (warning["code"], warning["id"]) == ("unreadable_row", row)
        listed = await undescribed(api, f"{path[kind]}?limit=1000")
        marked = [each["id"] for each in listed["items"] if "warnings" in each]
        assert marked == [row]

        gone = (await api.delete(f"{path[kind]}/{row}{CASCADE.get(kind, '')}")).succeeded(204)
        assert "X-Policy-Warnings" not in gone.headers
        assert await api.services.wait_for("default", gone.revision, 10)
        assert api.services.unreadable("default") == []
        made_after = (await api.post(RULES, rule(sub="after"))).succeeded(201)
        assert "warnings" not in made_after.body


async def test_the_damaged_row_is_replaced(database: "Database") -> None:
    damage = "an unknown operator"
    kind = DAMAGES[damage][0]
    async with damaged(database, damage) as stored:
        api, row = stored.api, stored.damaged[kind]
        await until(lambda: bool(api.services.unreadable("default")), what="the damage to be seen")
        refused = await api.patch(f"{POLICIES}/{row}", {"priority": 7})
        assert "resembles" in refused.problem(422)["errors"][0]["message"]
        repaired = (await api.put(f"{POLICIES}/{row}", policy(priority=7))).succeeded(200)
        assert "X-Policy-Warnings" not in repaired.headers
        assert await api.services.wait_for("default", repaired.revision, 10)
        assert api.services.unreadable("default") == []


async def test_a_repair_by_hand_is_seen_without_any_change_of_the_revision(database: "Database") -> None:
    damage = "an unknown operator"
    kind = DAMAGES[damage][0]
    async with damaged(database, damage) as stored:
        api = stored.api
        await until(lambda: bool(api.services.unreadable("default")), what="the damage to be seen")
        await behind_our_back(
            database.superuser,
            'UPDATE attribute_policies SET rule_data = \'{"type": "ALWAYS"}\''
            f" WHERE id = '{stored.damaged[kind]}'",
        )
        await until(lambda: not api.services.unreadable("default"), what="the repair to be seen")
        directory = api.services.policies.current()
        assert directory is not None
        assert directory.confirmed("default") == directory.confirmed_at


async def test_a_row_left_out_for_a_conflict_is_in_force_after_the_conflict_ends(
    database: "Database",
) -> None:
    damage = "the route of another resource"
    async with damaged(database, damage) as stored:
        api = stored.api
        (await api.delete(f"{RESOURCES}/{stored.resource}?cascade=true")).succeeded(204)

        def in_force() -> list[str]:
            directory = api.services.policies.current()
            assert directory is not None
            routes = directory.snapshots["default"].resources_by_name["memo:read"].routes
            return [route.path for route in routes]

        await until(lambda: in_force() == ["/invoices/{n}"], what="the resource to be in force")
        assert not api.services.unreadable("default")


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_control_plane_that_starts_on_a_damaged_row_removes_access(
    database: "Database", damage: str
) -> None:
    kind = DAMAGES[damage][0]
    async with damaged(database, damage) as stored:
        pass
    async with rest(database, loaded=False) as api:
        stored.api, row = api, stored.damaged[kind]
        names((await api.delete(f"{RULES}/{stored.allow_rule}")).succeeded(204), kind, row)
        names((await api.post(RULES, rule(sub="eve", effect="deny"))).succeeded(201), kind, row)
        names((await api.delete(f"{KEYS}/{stored.key}")).succeeded(204), kind, row)
        names((await api.delete(f"{BINDINGS}/{stored.binding}")).succeeded(204), kind, row)
        assert (await api.post(CHECK, ASKED, caller="alice")).status == 503
        path = {"attribute_policy": POLICIES, "role_rule": RULES, "role_binding": BINDINGS}
        where = f"{path.get(kind, RESOURCES)}/{row}{CASCADE.get(kind, '')}"
        gone = (await api.delete(where)).succeeded(204)
        assert "X-Policy-Warnings" not in gone.headers
        assert await stored.decides(gone.revision) == 403


async def test_a_domain_admin_learns_of_the_row_and_not_what_is_in_it(database: "Database") -> None:
    damage = "an unknown operator"
    kind = DAMAGES[damage][0]
    async with damaged(database, damage) as stored:
        answer = await stored.api.post(RULES, rule(sub="eve", effect="deny"), caller="emea")
        names(answer.succeeded(201), kind, stored.damaged[kind])
        assert "resembles" not in answer.raw.decode()


async def test_a_list_of_resources_is_written_despite_a_damaged_row(database: "Database") -> None:
    damage = "an unknown operator"
    kind = DAMAGES[damage][0]
    async with damaged(database, damage) as stored:
        answer = await stored.api.post(
            f"{RESOURCES}/list", [{"name": "new:read", "serviceName": "s", "routes": []}]
        )
        names(answer.succeeded(201), kind, stored.damaged[kind])
        csv = await stored.api.ask(
            "POST", "/api/v1/casbin/policy", data=b"p,role:x,emea,y,z,deny\n", Content_Type="text/csv"
        )
        names(csv.succeeded(200), kind, stored.damaged[kind])
