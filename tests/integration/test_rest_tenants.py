"""No route shows, changes or finds rows of another tenant; nor does the database without conditions."""

import asyncio
import itertools
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from extauthz.admin.app import served
from extauthz.domain.tenancy import TenancyMode
from extauthz.rest.authorization import Permission
from extauthz.rest.operation import Operation
from extauthz.storage.pool import tenant_transaction
from extauthz.storage.recording_senders import BatchPart
from extauthz.storage.recordings import RecordingStore
from extauthz.storage.sidecars import SidecarReport
from tests.integration.rest_harness import Answer, Api
from tests.integration.rest_saas import Firms, firms
from tests.integration.unconditional import unconditional_pool
from tests.recording_parts import INSTANCE, counted, decision_id, shape

if TYPE_CHECKING:
    from tests.integration.conftest import Database

pytestmark = pytest.mark.anyio
SLUGS = ("acme", "globex", "initech")
V1 = "/api/v1"
OPERATED = {Permission.OPERATOR, Permission.ADMIN_KEY}
TENANT_TABLES = (
    "attribute_policies", "attribute_policy_versions", "audit_events", "default_roles_applied",
    "change_guards", "draft_changes", "draft_rows", "drafts", "policy_tests",
    "idempotency_keys", "identity_providers", "policy_changes", "policy_revisions",
    "replay_jobs", "resources", "role_bindings", "role_rules", "route_claims",
    "service_api_keys", "sidecars", "tenant_hosts", "tenants",
)  # fmt: skip

BOTH = pytest.mark.parametrize("conditions", [True, False], ids=["with-conditions", "without-conditions"])
"""As the statements are written, and with row-level security alone."""


def method_of(route: Operation) -> str:
    assert route.methods is not None
    return next(iter(route.methods))


def permission_of(route: Operation) -> Permission:
    return route.requires.permission


@asynccontextmanager
async def neighbours(database: "Database", *, conditions: bool) -> AsyncIterator[Firms]:
    if conditions:
        async with firms(database, *SLUGS) as found:
            yield found
        return
    async with unconditional_pool(database.address) as (pool, statements):
        async with firms(database, *SLUGS, pool=pool) as found:
            yield found
        assert statements.rewritten


@dataclass
class Holdings:
    """What a tenant made through the API: ids by path; every name of its own has its `mark`."""

    mark: str
    ids: dict[str, str] = field(default_factory=dict)
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)

    def document(self, route: Operation) -> object:
        """Return a body that would do something."""
        if route.document_body is None:
            return None
        if route.path.endswith("/approve"):
            return {"comment": "seen"}
        if route.path.endswith("/changes"):
            rules = self.documents[f"{V1}/resources/policies"]
            return [{"action": "create", "kind": "role_rule", "document": rules}]
        if route.path.endswith("/resources/list"):
            return [self.documents[f"{V1}/resources"]]
        base = route.path.removesuffix("/{id}")
        if method_of(route) == "PATCH":
            return {"displayName": "taken over"} if base.endswith("resources") else {"enabled": False}
        if route.operation_id == "check":
            return {"resource": f"{self.mark}:read", "action": "read"}
        if "access/check" in route.path:
            return {"name": f"{self.mark}:read"}
        if route.operation_id == "deleteRoleRuleByValue":
            value = self.documents[base]
            return {name: value[name] for name in ("sub", "dom", "obj")}
        return self.documents.get(base)

    @property
    def secrets(self) -> list[str]:
        return [self.mark, *self.ids.values()]


def documents(mark: str) -> dict[str, dict[str, Any]]:
    return {
        f"{V1}/resources": {
            "name": f"{mark}:read", "serviceName": mark, "defaultRoles": [mark],
            "routes": [{"methods": ["GET"], "path": f"/{mark}/{{id}}"}],
        },
        f"{V1}/resources/policies": {
            "sub": mark, "dom": "emea", "obj": f"{mark}:read", "act": "read", "effect": "allow",
        },
        f"{V1}/role-bindings": {"user": mark, "user_kind": "user", "role": mark, "dom": "emea"},
        f"{V1}/abac/policies": {
            "name": mark, "resource": f"{mark}:read", "domain": "emea", "effect": "deny",
            "rule_data": {"type": "ALWAYS"},
        },
        f"{V1}/service-api-keys": {"name": mark, "scopes": ["check"]},
        f"{V1}/drafts": {"title": mark},
        f"{V1}/policy-tests": {
            "name": mark, "principal": {"id": mark}, "request": {"path": f"/{mark}/7"},
            "expect": {"decision": "deny"},
        },
    }  # fmt: skip


async def settled(found: Firms) -> dict[str, Holdings]:
    """Give every tenant one of everything."""
    holdings: dict[str, Holdings] = {}
    recording = RecordingStore(found.api.services.pool, lambda _tenant: frozenset())
    for number, slug in enumerate(SLUGS):
        held = Holdings(f"{slug}-mark", documents=documents(f"{slug}-mark"))
        for path, document in held.documents.items():
            key = {"Idempotency-Key": '"one of each"'} if path.endswith("role-bindings") else {}
            answer = await found.api.post(path, document, caller=f"{slug}/admin", **key)
            held.ids[path] = answer.succeeded(201).body["id"]
            if path == f"{V1}/resources":
                asked = shape(subject=held.mark, tenant=slug, token_tenant=slug, domain="emea")
                counts = counted(asked, revision=answer.revision, number=number)
                await recording.add(slug, BatchPart(INSTANCE, 1, (counts,)))
                held.ids[f"{V1}/decisions"] = decision_id(number)
        services = found.api.services
        report = SidecarReport(str(uuid.UUID(int=number)), held.mark, None, None, None, 600.0)
        assert await services.sidecars.store(services.pool, slug, report) is None
        settings = {"tests": "every_write"}
        (await found.api.put(f"{V1}/change-guard", settings, caller=f"{slug}/admin")).succeeded(200)
        drafted = f"{V1}/resources/policies?draft={held.ids[f'{V1}/drafts']}"
        document = documents(f"{slug}-mark drafted")[f"{V1}/resources/policies"]
        (await found.api.post(drafted, document, caller=f"{slug}/admin")).succeeded(201)
        replay = f"{V1}/drafts/{held.ids[f'{V1}/drafts']}/replay"
        answer = await found.api.post(replay, caller=f"{slug}/admin")
        held.ids["replay"] = answer.succeeded(202).body["id"]
        holdings[slug] = held
    return holdings


async def everything(api: Api, slug: str) -> str:
    """Return all that a tenant sees of itself, as text."""
    seen = []
    for path in (
        "resources", "resources/policies", "role-bindings", "abac/policies", "abac/policies?deleted=true",
        "service-api-keys", "audit", "drafts", "policy-tests",
    ):  # fmt: skip
        items = (await api.get(f"{V1}/{path}", caller=f"{slug}/admin")).succeeded(200).body["items"]
        # Keys are in use meanwhile.
        seen.append([each | {"last_used_at": None} for each in items])
    return json.dumps(seen, sort_keys=True)


def leaks(answer: Answer, held: Holdings) -> list[str]:
    """Return what of a tenant's is in an answer that is not the echo of the question."""
    text = answer.raw.decode() + json.dumps(dict(answer.headers))
    return [secret for secret in held.secrets if secret in text]


@BOTH
async def test_no_route_shows_or_changes_ids_of_another_tenant(
    database: "Database", *, conditions: bool
) -> None:
    async with neighbours(database, conditions=conditions) as found:
        api = found.api
        holdings = await settled(found)
        operations = [
            route
            for route in served(TenancyMode.SAAS)
            if permission_of(route) not in OPERATED and "{id}" in route.path
        ]
        assert len(operations) > 15
        before = {slug: await everything(api, slug) for slug in SLUGS}
        for caller, owner in itertools.permutations(SLUGS, 2):
            for route, holder in itertools.product(operations, ("admin", "key")):
                base = route.path.partition("/{id}")[0]
                path = route.path.replace("{id}", holdings[owner].ids[base])
                path = path.replace("{replay_id}", holdings[owner].ids["replay"])
                document = holdings[caller].document(route)
                answer = await api.ask(method_of(route), path, document, caller=f"{caller}/{holder}")
                # Keys approve no draft at all.
                of_persons = permission_of(route) is Permission.DRAFTS_APPROVE
                answer.problem(403 if of_persons and holder == "key" else 404)
                # The id in the question may be in the answer, nothing else.
                assert holdings[owner].mark not in answer.raw.decode()
        assert {slug: await everything(api, slug) for slug in SLUGS} == before
        for route, slug in itertools.product(operations, SLUGS):
            if method_of(route) == "GET":
                base = route.path.partition("/{id}")[0]
                path = route.path.replace("{id}", holdings[slug].ids[base])
                path = path.replace("{replay_id}", holdings[slug].ids["replay"])
                (await api.get(path, caller=f"{slug}/admin")).succeeded(200)


@BOTH
async def test_no_list_shows_what_is_another_tenants(database: "Database", *, conditions: bool) -> None:
    async with neighbours(database, conditions=conditions) as found:
        api = found.api
        holdings = await settled(found)
        lists = [
            route.path
            for route in served(TenancyMode.SAAS)
            if method_of(route) == "GET" and permission_of(route) not in OPERATED and "{" not in route.path
            # Nothing has reported or recorded anything here.
            if route.path != f"{V1}/recordings"
            # Neither of these is a list of rows.
            and not route.path.endswith(("/results", "/change-guard"))
        ]
        assert len(lists) == 10
        for slug, path, holder in itertools.product(SLUGS, lists, ("admin", "key")):
            answer = (await api.get(path, caller=f"{slug}/{holder}")).succeeded(200)
            assert leaks(answer, holdings[slug])
            for other in set(SLUGS) - {slug}:
                assert leaks(answer, holdings[other]) == [], (slug, path)
        for path in lists:
            if "casbin" in path:
                continue
            page = (await api.get(f"{path}?limit=1", caller="acme/admin")).succeeded(200).body
            if page["next_cursor"] is not None:
                stolen = f"{path}?limit=1&cursor={page['next_cursor']}"
                (await api.get(stolen, caller="globex/admin")).problem(422)


@BOTH
async def test_lookups_by_name_or_value_find_only_the_own_tenant(
    database: "Database", *, conditions: bool
) -> None:
    async with neighbours(database, conditions=conditions) as found:
        api = found.api
        holdings = await settled(found)
        before = {slug: await everything(api, slug) for slug in SLUGS}
        rules = f"{V1}/resources/policies"
        for caller, owner in itertools.permutations(SLUGS, 2):
            holder = f"{caller}/admin"
            value = holdings[owner].documents[rules]
            (await api.put(rules, value, caller=holder)).problem(404)
            named = {name: value[name] for name in ("sub", "dom", "obj")}
            (await api.delete(rules, named, caller=holder)).problem(404)
            query = "&".join(f"{name}={text}" for name, text in named.items())
            (await api.delete(f"{rules}?{query}", caller=holder)).problem(404)
            mark = holdings[owner].mark
            for path in (f"{rules}?obj={mark}:read", f"{V1}/resources?name={mark}:read"):
                assert (await api.get(path, caller=holder)).body["items"] == []
            asked = {
                "subject": mark, "domain": "emea", "resource": f"{mark}:read", "action": "read",
                "attributes": {"user": {"roles": [mark]}},
            }  # fmt: skip
            decided = (await api.post(f"{V1}/check", asked, caller=f"{caller}/key")).succeeded(403).body
            assert (decided["reason"], decided["matched_rule_id"]) == ("no_matching_rule", None)
        assert {slug: await everything(api, slug) for slug in SLUGS} == before


@BOTH
async def test_tenants_may_use_the_same_names(database: "Database", *, conditions: bool) -> None:
    async with neighbours(database, conditions=conditions) as found:
        api = found.api
        shared = documents("shared")
        ids = set()
        for slug in SLUGS:
            for path, document in shared.items():
                answer = await api.post(path, document, caller=f"{slug}/admin")
                ids.add(answer.succeeded(201).body["id"])
        assert len(ids) == len(SLUGS) * len(shared)
        rules = f"{V1}/resources/policies"
        value = shared[rules]
        (await api.put(rules, value | {"effect": "deny"}, caller="acme/admin")).succeeded(200)
        (await api.delete(rules, {**value, "effect": "deny"}, caller="acme/admin")).succeeded(204)
        for slug, left in (("acme", 0), ("globex", 1), ("initech", 1)):
            seen = (await api.get(f"{rules}?dom=emea", caller=f"{slug}/admin")).body["items"]
            assert len(seen) == left


@BOTH
async def test_a_token_of_one_tenant_is_none_of_another(database: "Database", *, conditions: bool) -> None:
    async with neighbours(database, conditions=conditions) as found:
        api = found.api
        for signer, named in itertools.permutations(SLUGS, 2):
            issuer = found.firms[named].provider.issuer
            forged = found.firms[signer].bearer(iss=issuer, adm="*", tenant=named)
            # 503 while a fetch for another unknown key of the issuer is less than two seconds ago.
            async with asyncio.timeout(10):
                while (  # noqa: ASYNC110 - a client that retries after 503
                    answer := await api.get(f"{V1}/resources", caller="nobody", **forged)
                ).status == 503:
                    await asyncio.sleep(0.1)
            assert answer.problem(401)["reason"] == "token_unknown_key"


async def test_row_level_security_holds_alone(database: "Database") -> None:
    async with firms(database, *SLUGS) as found:
        await settled(found)
        pool = found.api.services.pool
        before = {slug: await everything(found.api, slug) for slug in SLUGS}
        for slug, table in itertools.product(SLUGS, TENANT_TABLES):
            async with tenant_transaction(pool, slug) as connection:
                seen = await connection.fetch(f"SELECT DISTINCT tenant_id FROM {table}")
                assert [row["tenant_id"] for row in seen] == [slug], (slug, table)
        for table in set(TENANT_TABLES) - {"tenants", "audit_events", "attribute_policy_versions"}:
            async with tenant_transaction(pool, "acme") as connection:
                await connection.execute(f"DELETE FROM {table}")
        assert before["globex"] == await everything(found.api, "globex")
        assert before["initech"] == await everything(found.api, "initech")
        assert before["acme"] != await everything(found.api, "acme")
