"""Rights on drafts over REST: what authors and publishers may write, see, publish and give up."""

from typing import TYPE_CHECKING

import pytest

from tests.integration.draft_requests import (
    BINDINGS,
    DRAFTS,
    POLICIES,
    RESOURCES,
    RULES,
    V1,
    a_draft,
    binding,
    diff,
    items,
    policy,
    publish,
    resource,
)
from tests.integration.rest_harness import rest, rule

if TYPE_CHECKING:
    from tests.integration.conftest import Database

pytestmark = pytest.mark.anyio


async def test_publishing_needs_the_rights_of_author_and_publisher(database: "Database") -> None:
    async with rest(database) as api:
        draft = await a_draft(api, caller="tenant")
        q = f"?draft={draft}"
        (await api.post(RULES + q, rule(), caller="emea")).succeeded(201)
        (await publish(api, draft, caller="alice")).problem(403)
        other = (await api.post(RULES + q, rule(dom="apac"), caller="tenant")).succeeded(201).body["id"]
        refused = (await publish(api, draft, caller="emea")).problem(403)
        assert [each["pointer"] for each in refused["errors"]] == [f"/role_rule/{other}"]
        assert "eve" in refused["errors"][0]["message"]
        (await publish(api, draft, caller="both")).succeeded(200)


@pytest.mark.parametrize(
    ("path", "document"),
    [
        (RULES, rule(dom="*")), (RULES, rule(dom="apac")), (RESOURCES, resource()),
        (POLICIES, policy(priority=7)), (POLICIES, policy(effect="deny", priority=1001)),
        (POLICIES, policy(domain="*")), (BINDINGS, binding(user_kind="role", user="clerk")),
    ],
)  # fmt: skip
async def test_a_domain_admin_publishes_only_what_it_may_write(
    database: "Database", path: str, document: dict[str, object]
) -> None:
    async with rest(database) as api:
        draft = await a_draft(api, caller="emea")
        (await api.post(f"{path}?draft={draft}", document, caller="tenant")).succeeded(201)
        (await publish(api, draft, caller="emea")).problem(403)
        (await publish(api, draft, caller="tenant")).succeeded(200)


async def test_a_domain_admin_publishes_no_change_of_a_tenant_admins_deny(database: "Database") -> None:
    async with rest(database) as api:
        deny = (await api.post(RULES, rule(effect="deny"), caller="tenant")).succeeded(201).body["id"]
        bound = (await api.post(BINDINGS, binding(), caller="tenant")).succeeded(201).body["id"]
        for path in (f"{RULES}/{deny}", f"{BINDINGS}/{bound}"):
            draft = await a_draft(api, caller="emea")
            (await api.delete(f"{path}?draft={draft}", caller="emea")).problem(403)
            (await api.delete(f"{path}?draft={draft}", caller="tenant")).succeeded(204)
            (await publish(api, draft, caller="emea")).problem(403)


async def test_a_deny_that_came_live_since_stops_the_authors_change(database: "Database") -> None:
    async with rest(database) as api:
        bound = (await api.post(BINDINGS, binding(), caller="tenant")).succeeded(201).body["id"]
        draft = await a_draft(api, caller="emea")
        (await api.delete(f"{BINDINGS}/{bound}?draft={draft}", caller="emea")).succeeded(204)
        (await api.post(RULES, rule(effect="deny"), caller="tenant")).succeeded(201)
        (await api.post(f"{DRAFTS}/{draft}/rebase", caller="emea")).succeeded(200)
        refused = (await publish(api, draft, caller="tenant")).problem(403)
        assert "the author 'eve'" in refused["errors"][0]["message"]


async def test_a_revoked_key_publishes_nothing_as_an_author(database: "Database") -> None:
    async with rest(database) as api:
        key = {"name": "k", "scopes": ["policies:read", "policies:write"], "domain": "emea"}
        made = (await api.post(f"{V1}/service-api-keys", key)).succeeded(201).body
        api.callers["writer"] = {"X-Service-Api-Key": made["key"]}
        draft = await a_draft(api, caller="writer")
        (await api.post(f"{RULES}?draft={draft}", rule(), caller="writer")).succeeded(201)
        (await api.delete(f"{V1}/service-api-keys/{made['id']}")).succeeded(204)
        (await api.post(f"{DRAFTS}/{draft}/rebase")).succeeded(200)
        assert "revoked" in str((await publish(api, draft)).problem(403)["errors"])


async def test_only_the_creator_and_tenant_admins_give_up_changes(database: "Database") -> None:
    async with rest(database) as api:
        draft = await a_draft(api, caller="both")
        (await api.delete(f"{DRAFTS}/{draft}", caller="emea")).problem(403)
        (await api.delete(f"{DRAFTS}/{draft}", caller="both")).succeeded(204)
        (await api.get(f"{DRAFTS}/{draft}")).problem(404)
        assert ("delete", "draft") in await api.trail()


async def test_a_domain_admin_sees_the_differences_of_its_domains(database: "Database") -> None:
    async with rest(database) as api:
        draft = await a_draft(api)
        q = f"?draft={draft}"
        for dom in ("emea", "apac", "*"):
            (await api.post(RULES + q, rule(dom=dom))).succeeded(201)
        (await api.post(RESOURCES + q, resource())).succeeded(201)
        assert [each["after"]["dom"] for each in await items(api, f"{DRAFTS}/{draft}/diff", "emea")] == [
            "emea"
        ]
        assert len(await diff(api, draft)) == 4


async def test_a_registrar_registers_into_a_draft(database: "Database") -> None:
    async with rest(database) as api:
        key = {
            "name": "r", "scopes": ["resources:write"], "service_name": "billing", "prefixes": ["/invoices"],
        }  # fmt: skip
        made = (await api.post(f"{V1}/service-api-keys", key)).succeeded(201).body
        api.callers["registrar"] = {"X-Service-Api-Key": made["key"]}
        draft = await a_draft(api)
        q = f"?draft={draft}"
        (await api.post(f"{RESOURCES}/list{q}", [resource()], caller="registrar")).succeeded(201)
        (await api.post(f"{RESOURCES}/list{q}", [resource()], caller="registrar")).succeeded(200)
        (await api.post(RESOURCES + q, resource(serviceName="other"), caller="registrar")).problem(403)
        (await publish(api, draft)).succeeded(200)
        assert [each["defaultRoles"] for each in await items(api, RESOURCES)] == [["finance"]]
