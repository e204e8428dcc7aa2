"""`MODE=saas`: what an operator administers: tenants, hosts, bootstrap keys, identity providers, sessions."""

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from extauthz.domain.tenancy import TenancyMode
from extauthz.keys import session_tokens
from extauthz.publish.tenant import Compiler
from extauthz.publish.write_validation import PolicyGate
from extauthz.rest.quotas import Quotas
from tests.integration.rest_harness import ADMIN_KEY, READING, Api, rest, role_model, rule
from tests.integration.rest_saas import firms
from tests.waiting import until

if TYPE_CHECKING:
    from tests.integration.conftest import Database

pytestmark = pytest.mark.anyio
TENANTS = "/admin/tenants"
RULES = "/api/v1/resources/policies"
KEYS = "/api/v1/service-api-keys"
NO_ID = "01900000-0000-7000-8000-000000000000"


def presenting(key: str) -> dict[str, str]:
    return {"X-Service-Api-Key": key}


async def tenant(api: Api, slug: str = "acme") -> dict[str, Any]:
    created = await api.post(TENANTS, {"name": slug.title(), "slug": slug})
    return dict(created.succeeded(201).body)


def provider(**members: Any) -> dict[str, Any]:
    return {
        "issuer_url": "https://login.acme.example/realms/acme", "jwks_uri": None, "audience": "mesh",
        "claim_config": {"roles_claim": "groups", "excluded_roles": ["offline_access"]},
    } | members  # fmt: skip


async def test_a_tenant_from_its_creation_to_its_end(database: "Database") -> None:
    async with rest(database, mode=TenancyMode.SAAS) as api:
        created = (await api.post(TENANTS, {"name": "Acme", "slug": "acme"})).succeeded(201)
        body = created.body
        assert (body["id"], body["slug"], body["status"], body["hosts"]) == ("acme", "acme", "active", [])
        assert created.headers["Location"] == f"{TENANTS}/acme"
        bootstrap = body["bootstrapKey"]
        (await api.post(RULES, rule(), caller="nobody", **presenting(bootstrap))).succeeded(201)
        (await api.post(TENANTS, {"name": "Other", "slug": "acme"})).problem(409)
        got = (await api.get(f"{TENANTS}/acme")).succeeded(200)
        assert got.body == {name: body[name] for name in body if name != "bootstrapKey"} | {
            "updatedAt": got.body["updatedAt"]
        }
        stale = got.headers["ETag"]
        renamed = (await api.patch(f"{TENANTS}/acme", {"name": "ACME"}, If_Match=stale)).succeeded(200)
        assert renamed.body["name"] == "ACME"
        (await api.patch(f"{TENANTS}/acme", {"name": "x"}, If_Match=stale)).problem(412)
        same = (await api.patch(f"{TENANTS}/acme", {})).succeeded(200)
        assert same.headers["ETag"] == renamed.headers["ETag"]
        wrongs: list[object] = [{"name": None}, {"status": "gone"}, {"slug": "x"}, {"name": ""}, []]
        for wrong in wrongs:
            (await api.patch(f"{TENANTS}/acme", wrong)).problem(422)
        (await api.delete(f"{TENANTS}/acme")).succeeded(204)
        (await api.get(RULES, caller="nobody", **presenting(bootstrap))).problem(401)
        for method, path, document in (
            ("GET", "", None), ("PATCH", "", {}), ("DELETE", "", None), ("PUT", "/hosts", []),
            ("POST", "/bootstrap-key", None), ("DELETE", "/bootstrap-key", None),
            ("GET", "/identity-providers", None), ("POST", "/identity-providers", provider()),
        ):  # fmt: skip
            for slug in ("acme", "nobody", "NO", "a%00", "-"):
                (await api.ask(method, f"{TENANTS}/{slug}{path}", document)).problem(404)
        (await api.post(TENANTS, {"name": "Acme", "slug": "acme"})).problem(409)


async def test_a_tenant_can_be_deleted_before_its_policies_are_read(database: "Database") -> None:
    unread = PolicyGate(Compiler(READING, role_model()), lambda _: None)
    async with rest(database, mode=TenancyMode.SAAS, validate=unread.validate) as api:
        bootstrap = (await tenant(api))["bootstrapKey"]
        (await api.post(RULES, rule(), caller="nobody", **presenting(bootstrap))).succeeded(201)
        (await api.delete(f"{TENANTS}/acme")).succeeded(204)
        (await api.get(f"{TENANTS}/acme")).problem(404)


@pytest.mark.parametrize("slug", ["", "A", "a_b", "-a", "a-", "a" * 64, "a.b", "\u00e4", 1, None])
async def test_an_invalid_slug_is_refused(database: "Database", slug: object) -> None:
    async with rest(database, mode=TenancyMode.SAAS) as api:
        answer = await api.post(TENANTS, {"name": "x", "slug": slug})
        answer.problem(422)
        assert answer.pointers == ["/slug"]


async def test_tenants_are_listed_in_pages(database: "Database") -> None:
    async with rest(database, mode=TenancyMode.SAAS) as api:
        for slug in ("globex", "acme", "initech"):
            await tenant(api, slug)
        page = (await api.get(f"{TENANTS}?limit=2")).succeeded(200).body
        found = [each["id"] for each in page["items"]]
        while page["next_cursor"] is not None:
            page = (await api.get(f"{TENANTS}?limit=2&cursor={page['next_cursor']}")).succeeded(200).body
            found += [each["id"] for each in page["items"]]
        assert found == ["acme", "default", "globex", "initech"]
        for wrong in ("x", "YWJj", "AAAAAAAAAAAAAAAAAAAAAA=="):
            (await api.get(f"{TENANTS}?cursor={wrong}")).problem(422)


async def test_a_host_belongs_to_one_tenant(database: "Database") -> None:
    async with rest(database, mode=TenancyMode.SAAS, quotas=Quotas(hosts=3)) as api:
        await tenant(api, "acme")
        await tenant(api, "globex")
        spelled = {"hosts": ["ACME.example:8443", "api.acme.example.", "acme.example"]}
        stored = (await api.put(f"{TENANTS}/acme/hosts", spelled)).succeeded(200).body
        assert stored == {"hosts": ["acme.example", "api.acme.example"]}
        assert (await api.get(f"{TENANTS}/acme")).body["hosts"] == stored["hosts"]
        answer = await api.put(f"{TENANTS}/globex/hosts", ["globex.example", "acme.example"])
        problem = answer.problem(409)
        assert answer.pointers == ["/1"]
        assert "acme'" not in problem["detail"]
        repeated = {"hosts": ["globex.example", "GLOBEX.example", "acme.example"]}
        answer = await api.put(f"{TENANTS}/globex/hosts", repeated)
        answer.problem(409)
        assert answer.pointers == ["/hosts/2"]
        assert (await api.get(f"{TENANTS}/globex")).body["hosts"] == []
        for wrong, pointer in (
            ({"hosts": ["*.acme.example"]}, "/hosts/0"),
            ({"hosts": ["a b"]}, "/hosts/0"),
            ([1], "/0"),
            ({"hosts": "acme.example"}, "/hosts"),
            ({}, "/hosts"),
            ([f"h{number}.example" for number in range(4)], ""),
            ({"hosts": [f"h{number}.example" for number in range(4)]}, "/hosts"),
        ):
            answer = await api.put(f"{TENANTS}/globex/hosts", wrong)
            answer.problem(422)
            assert answer.pointers == [pointer], wrong
        (await api.put(f"{TENANTS}/acme/hosts", {"hosts": []})).succeeded(200)
        (await api.put(f"{TENANTS}/globex/hosts", ["acme.example"])).succeeded(200)


async def test_a_bootstrap_key_is_rotated_and_revoked(database: "Database") -> None:
    async with rest(database, mode=TenancyMode.SAAS) as api:
        first = (await tenant(api))["bootstrapKey"]
        robot = {"name": "robot", "scopes": ["policies:read", "audit:read"]}
        child = (await api.post(KEYS, robot, caller="nobody", **presenting(first))).succeeded(201).body
        listed = (await api.get(KEYS, caller="nobody", **presenting(first))).body["items"]
        boot = next(each["id"] for each in listed if each["bootstrap"])
        (await api.delete(f"{KEYS}/{boot}", caller="nobody", **presenting(first))).problem(403)
        rotated = (await api.post(f"{TENANTS}/acme/bootstrap-key")).succeeded(201).body
        (await api.get(RULES, caller="nobody", **presenting(first))).problem(401)
        (await api.get(RULES, caller="nobody", **presenting(rotated["bootstrapKey"]))).succeeded(200)
        (await api.get(RULES, caller="nobody", **presenting(child["key"]))).succeeded(200)
        (await api.delete(f"{TENANTS}/acme/bootstrap-key")).succeeded(204)
        for ended in (rotated["bootstrapKey"], child["key"]):
            (await api.get(RULES, caller="nobody", **presenting(ended))).problem(401)
        (await api.delete(f"{TENANTS}/acme/bootstrap-key")).problem(404)
        (await api.post(f"{TENANTS}/acme/bootstrap-key")).succeeded(201)


async def test_identity_providers_are_written_and_read(database: "Database") -> None:
    path = f"{TENANTS}/acme/identity-providers"
    async with rest(database, mode=TenancyMode.SAAS) as api:
        await tenant(api)
        await tenant(api, "globex")
        created = (await api.post(path, provider())).succeeded(201)
        one = f"{path}/{created.body['id']}"
        assert created.headers["Location"] == one
        assert created.body["active"] is True
        second = provider(issuer_url="https://other.example")
        standby = (await api.post(path, second | {"active": False})).succeeded(201).body
        (await api.post(path.replace("acme", "globex"), provider())).problem(409)
        read = created.body | {"audience": ["mesh", "other"]}
        (await api.put(one, read, If_Match='"999"')).problem(412)
        put = (await api.put(one, read, If_Match=created.headers["ETag"])).succeeded(200).body
        assert put["audience"] == ["mesh", "other"]
        (await api.put(f"{path}/{standby['id']}", second)).succeeded(200)
        (await api.put(f"{path}/{standby['id']}", provider(active=False))).problem(409)
        listed = (await api.get(path)).succeeded(200).body["items"]
        assert [each["id"] for each in listed] == [created.body["id"], standby["id"]]
        for wrong in (one.replace("acme", "globex"), f"{path}/{NO_ID}", f"{path}/x"):
            (await api.put(wrong, provider(issuer_url="https://third.example"))).problem(404)
            (await api.delete(wrong)).problem(404)
        (await api.delete(one)).succeeded(204)
        (await api.put(f"{path}/{standby['id']}", second)).succeeded(200)


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"issuer_url": "login.acme.example"}, "/issuer_url"),
        ({"issuer_url": "ftp://x"}, "/issuer_url"),
        ({"issuer_url": "https://u:p@x"}, "/issuer_url"),
        ({"issuer_url": "https://x/#y"}, "/issuer_url"),
        ({"issuer_url": "https://x/?y"}, "/issuer_url"),
        ({"issuer_url": "https://x:port/"}, "/issuer_url"),
        ({"issuer_url": "https://[x/"}, "/issuer_url"),
        ({"issuer_url": "https://x/\u00e4"}, "/issuer_url"),
        ({"issuer_url": None}, "/issuer_url"),
        ({"issuer_url": "https://x/" + "y" * 2000}, "/issuer_url"),
        ({"jwks_uri": 7}, "/jwks_uri"),
        ({"audience": None}, "/audience"),
        ({"audience": []}, "/audience"),
        ({"audience": ["any", "mesh"]}, "/audience"),
        ({"audience": [""]}, "/audience/0"),
        ({"claim_config": "x"}, "/claim_config"),
        ({"claim_config": {"roles": "x"}}, "/claim_config/roles"),
        ({"claim_config": {"roles_claim": ""}}, "/claim_config/roles_claim"),
        ({"claim_config": {"excluded_roles": "x"}}, "/claim_config/excluded_roles"),
        ({"issuer_url": "https://login.microsoftonline.com/{tenantid}/v2.0"}, "/issuer_url"),
        ({"issuer_url": "https://login.microsoftonline.com/common/v2.0"}, "/issuer_url"),
        ({"issuer_url": "https://x/.well-known/openid-configuration"}, "/issuer_url"),
        ({"jwks_uri": "https://x/{tenantid}/keys"}, "/jwks_uri"),
        ({"jwks_uri": "https://x/.well-known/openid-configuration"}, "/jwks_uri"),
        ({"audience": '"mesh"'}, "/audience"),
        ({"audience": "{client_id}"}, "/audience"),
        ({"audience": ["mesh", "'other'"]}, "/audience/1"),
        ({"claim_config": {"roles_claim": "$.roles"}}, "/claim_config/roles_claim"),
        ({"claim_config": {"roles_claim": "roles[*]"}}, "/claim_config/roles_claim"),
        ({"claim_config": {"domain_claim": "/org"}}, "/claim_config/domain_claim"),
        ({"claim_config": {"admin_domain_claim": "org."}}, "/claim_config/admin_domain_claim"),
        ({"claim_config": {"excluded_roles": ["a", '"b"']}}, "/claim_config/excluded_roles/1"),
        ({"claim_config": {"excluded_roles": ["a", "*"]}}, "/claim_config/excluded_roles/1"),
        ({"claim_config": {"excluded_roles": ['["a"]']}}, "/claim_config/excluded_roles/0"),
        ({"audience": '["mesh"]'}, "/audience"),
        ({"audience": ["mesh", '["other"]']}, "/audience/1"),
        ({"active": "yes"}, "/active"),
        ({"secret": "x"}, "/secret"),
    ],
)
async def test_a_provider_that_is_described_wrongly(database: "Database", change: Any, pointer: str) -> None:
    async with rest(database, mode=TenancyMode.SAAS) as api:
        await tenant(api)
        answer = await api.post(f"{TENANTS}/acme/identity-providers", provider(**change))
        answer.problem(422)
        assert answer.pointers == [pointer]


async def test_a_session_has_the_rights_of_the_admin_key_until_it_ends(database: "Database") -> None:
    now = 1_790_000_000.0
    async with rest(database, mode=TenancyMode.SAAS, clock=lambda: now) as api:

        async def begun() -> dict[str, str]:
            body = (await api.post("/admin/session")).succeeded(201).body
            return {"Authorization": f"Bearer {body['token']}"}

        first, second, third = await begun(), await begun(), await begun()
        (await api.get(TENANTS, caller="nobody", **first)).succeeded(200)
        (await api.post("/admin/session", caller="nobody", **first)).problem(403)
        (await api.get(f"{TENANTS}/default/identity-providers", caller="nobody", **first)).problem(403)
        (await api.get(RULES, caller="nobody", **first)).problem(403)
        (await api.delete("/admin/session", caller="nobody", **first)).succeeded(204)
        assert (await api.get(TENANTS, caller="nobody", **first)).problem(401)["reason"] == "api_key_invalid"
        (await api.get(TENANTS, caller="nobody", **second)).succeeded(200)
        (await api.delete("/admin/session")).succeeded(204)
        for ended in (second, third):
            (await api.get(TENANTS, caller="nobody", **ended)).problem(401)
        fourth = await begun()
        token = fourth["Authorization"]
        for altered in (token[:-1] + ("0" if token[-1] != "0" else "1"), token + "0", token.upper()):
            (await api.get(TENANTS, caller="nobody", Authorization=altered)).problem(401)
        now += session_tokens.LIFETIME_S - 1
        (await api.get(TENANTS, caller="nobody", **fourth)).succeeded(200)
        now += 1
        (await api.get(TENANTS, caller="nobody", **fourth)).problem(401)


async def test_another_admin_key_ends_every_session(database: "Database") -> None:
    async with rest(database, mode=TenancyMode.SAAS) as api:
        token = (await api.post("/admin/session")).succeeded(201).body["token"]
    async with rest(database, mode=TenancyMode.SAAS, admin_api_key=ADMIN_KEY + "x") as api:
        (await api.get(TENANTS, caller="nobody", Authorization=f"Bearer {token}")).problem(401)
    async with rest(database, mode=TenancyMode.SAAS, admin_api_key=None) as api:
        (await api.get(TENANTS, caller="nobody", Authorization=f"Bearer {token}")).problem(401)
    async with rest(database, mode=TenancyMode.SAAS) as api:
        (await api.get(TENANTS, caller="nobody", Authorization=f"Bearer {token}")).succeeded(200)


async def test_in_selfhost_there_are_no_tenants_to_administer(database: "Database") -> None:
    async with rest(database) as api:
        for method, path in (
            ("GET", ""), ("POST", ""), ("GET", "/default"), ("PATCH", "/default"), ("DELETE", "/default"),
            ("PUT", "/default/hosts"), ("POST", "/default/bootstrap-key"),
            ("GET", "/default/identity-providers"),
        ):  # fmt: skip
            for caller in ("key", "nobody", "tenant"):
                (await api.ask(method, f"{TENANTS}{path}", {}, caller=caller)).problem(404)
        token = (await api.post("/admin/session")).succeeded(201).body["token"]
        (await api.get(RULES, caller="nobody", Authorization=f"Bearer {token}")).problem(403)
        (await api.delete("/admin/session", caller="nobody", Authorization=f"Bearer {token}")).succeeded(204)


async def test_a_suspended_tenant_is_refused_with_its_reason(database: "Database") -> None:
    async with firms(database, "acme", "globex") as found:
        api = found.api
        suspended = (await api.patch(f"{TENANTS}/acme", {"status": "suspended"}, caller="session")).succeeded(
            200
        )
        assert suspended.body["status"] == "suspended"
        await found.published("acme", suspended.revision)
        for caller in ("acme/admin", "acme/key"):
            assert (await api.get(RULES, caller=caller)).problem(403)["reason"] == "tenant_suspended"
        for caller in ("globex/admin", "globex/key"):
            (await api.get(RULES, caller=caller)).succeeded(200)
        active = (await api.patch(f"{TENANTS}/acme", {"status": "active"}, caller="session")).succeeded(200)
        await found.published("acme", active.revision)
        (await api.get(RULES, caller="acme/admin")).succeeded(200)


async def test_an_audience_with_a_comma_is_one_audience(database: "Database") -> None:
    async with firms(database, "acme") as found:
        api, acme = found.api, found.firms["acme"]
        path = f"{TENANTS}/acme/identity-providers/{acme.idp}"
        shown = (await api.get(f"{TENANTS}/acme/identity-providers", caller="operator")).body["items"][0]

        def accepts(audiences: tuple[str, ...]) -> bool:
            return api.services.keys.current().issuers[acme.provider.issuer].config.audiences == audiences

        for audience in ("mesh,other", ["mesh,other", "third"]):
            changed = await api.put(path, shown | {"audience": audience}, caller="operator")
            assert changed.succeeded(200).body["audience"] == audience
            expected = (audience,) if isinstance(audience, str) else tuple(audience)
            await until(partial(accepts, expected), what="the audience")
            for named, status in (
                ("mesh,other", 200),
                (["x", "mesh,other"], 200),
                ("mesh", 401),
                ("other", 401),
                (["mesh", "other"], 401),
                ("mesh, other", 401),
            ):
                api.callers["one"] = acme.bearer(adm="*", aud=named)
                assert (await api.get(RULES, caller="one")).status == status, named


async def test_tokens_of_a_removed_provider_are_refused(database: "Database") -> None:
    async with firms(database, "acme") as found:
        api, acme = found.api, found.firms["acme"]
        (await api.get(RULES, caller="acme/admin")).succeeded(200)
        path = f"{TENANTS}/acme/identity-providers/{acme.idp}"
        (await api.delete(path, caller="operator")).succeeded(204)
        issuer = acme.provider.issuer
        await until(lambda: issuer not in found.api.services.keys.current().issuers, what="no issuer")
        answer = await api.get(RULES, caller="acme/admin")
        assert answer.problem(401)["reason"] == "token_unknown_issuer"


async def test_tenants_that_exchange_hosts_at_the_same_time_do_not_block_each_other(
    database: "Database",
) -> None:
    async with rest(database, mode=TenancyMode.SAAS) as api:
        own = {slug: [f"{slug}-{number}.example" for number in range(4)] for slug in ("acme", "globex")}
        for slug in own:
            (await api.post(TENANTS, {"name": slug, "slug": slug})).succeeded(201)
        wanted = [("acme", own["acme"]), ("globex", own["globex"])]
        exchanged = [("acme", own["globex"]), ("globex", own["acme"]), *wanted]
        for turn in range(12):
            answers = await asyncio.gather(
                *(
                    api.put(f"{TENANTS}/{slug}/hosts", {"hosts": hosts})
                    for slug, hosts in (exchanged if turn % 2 else wanted)
                )
            )
            assert {answer.status for answer in answers} <= {200, 409}
