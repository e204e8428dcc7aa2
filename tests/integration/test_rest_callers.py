"""Invalid credentials of every kind, and the writes that a valid one permits."""

import time
from typing import TYPE_CHECKING, Any

import pytest

from extauthz.decide.identity import TokenPolicy
from extauthz.domain.tenancy import TenancyMode
from tests.integration.rest_harness import ADMIN_KEY, OTHER_KEY, rest, rule

if TYPE_CHECKING:
    from tests.integration.conftest import Database

pytestmark = pytest.mark.anyio
RULES = "/api/v1/resources/policies"
POLICIES = "/api/v1/abac/policies"


async def test_a_caller_without_permission_learns_nothing_from_a_body(database: "Database") -> None:
    async with rest(database) as api:
        (await api.ask("POST", RULES, data=b"{", caller="alice")).problem(403)
        (await api.ask("POST", RULES, data=b"{", caller="nobody")).problem(401)
        (await api.get(f"{RULES}?nothing=1", caller="alice")).problem(403)


async def test_the_admin_key_is_taken_in_both_headers(database: "Database") -> None:
    async with rest(database) as api:
        for headers in (
            {"X-Admin-Api-Key": ADMIN_KEY},
            {"Authorization": f"Bearer {ADMIN_KEY}"},
            {"Authorization": f"bearer  {ADMIN_KEY}"},
        ):
            (await api.get(RULES, caller="nobody", **headers)).succeeded(200)
        for headers in (
            {"X-Admin-Api-Key": ADMIN_KEY[:-1]},
            {"X-Admin-Api-Key": ADMIN_KEY + "x"},
            {"X-Admin-Api-Key": ""},
            {"X-Admin-Api-Key": "\xe9" * 40},
        ):
            answer = await api.get(RULES, caller="nobody", **headers)
            assert answer.problem(401)["reason"] == "api_key_invalid"


async def test_without_a_configured_admin_key_no_admin_key_is_accepted(database: "Database") -> None:
    async with rest(database, admin_api_key=None) as api:
        for value in ("", "None", ADMIN_KEY):
            (await api.get(RULES, caller="nobody", **{"X-Admin-Api-Key": value})).problem(401)
        (await api.get(RULES, caller="tenant")).succeeded(200)


async def test_in_saas_the_admin_key_administers_no_tenant(database: "Database") -> None:
    async with rest(database, mode=TenancyMode.SAAS) as api:
        (await api.get(RULES)).problem(403)
        (await api.get(RULES, caller="nobody", **{"X-Admin-Api-Key": "wrong"})).problem(401)
        (await api.get(RULES, caller="tenant")).succeeded(200)


async def test_an_invalid_token_is_401_with_its_reason(database: "Database") -> None:
    async with rest(database) as api:
        now = int(time.time())
        for token, reason in (
            (api.token(exp=now - 6, iat=now - 60), "token_expired"),
            (api.token(key=OTHER_KEY, adm="*"), "token_unknown_key"),
            (api.token(aud="other"), "token_wrong_audience"),
            (api.token(iss="https://other.test"), "token_unknown_issuer"),
            (api.token(nbf=now + 60), "token_not_yet_valid"),
            (api.token(sub=None), "token_claims_invalid"),
            (api.token(dom=["emea"]), "token_claims_invalid"),
            (api.token()[:-8] + "AAAAAAAA", "token_bad_signature"),
            ("x", "token_malformed"),
            ("", "token_malformed"),
        ):
            answer = await api.get(RULES, caller="nobody", Authorization=f"Bearer {token}")
            assert answer.status == 401, (reason, answer)
            assert answer.problem(401)["reason"] == reason
            assert answer.headers["WWW-Authenticate"].startswith('Bearer realm="extauthz", error="')
        for authorization in ("Basic YTpi", "Bearer", "x"):
            answer = await api.get(RULES, caller="nobody", Authorization=authorization)
            assert answer.problem(401)["reason"] == "token_malformed"


async def test_two_credentials_are_refused(database: "Database") -> None:
    async with rest(database) as api:
        token = api.callers["tenant"]["Authorization"]
        for headers in (
            {"X-Admin-Api-Key": ADMIN_KEY, "Authorization": token},
            {"X-Admin-Api-Key": ADMIN_KEY, "X-Service-Api-Key": "sak_live_x"},
            {"Authorization": token, "X-Service-Api-Key": ""},
        ):
            answer = await api.get(RULES, caller="nobody", **headers)
            assert answer.problem(401)["reason"] == "credentials_conflict"
        answer = await api.get(RULES, caller="nobody", **{"X-Service-Api-Key": "sak_live_x"})
        assert answer.problem(401)["reason"] == "api_key_invalid"


async def test_the_admin_domain_claim_is_read_strictly(database: "Database") -> None:
    async with rest(database) as api:
        for adm, status in (
            ("*", 200), (["*"], 200), (["*", "emea"], 200), ("emea", 403), (["emea"], 403), ([], 403),
            (True, 403), ({"*": 1}, 403), (["*", 1], 403), (" *", 403), ("", 403), (["*", "e\u0301"], 403),
        ):  # fmt: skip
            answer = await api.get("/api/v1/audit", caller="nobody", **api.bearer(adm=adm))
            assert answer.status == status, (adm, answer)


async def test_a_role_may_make_its_bearers_administrators(database: "Database") -> None:
    rule = {"sub": "clerk", "dom": "emea", "obj": "order:read", "act": "read", "effect": "allow"}
    async with rest(database) as api:
        for roles, audit, write in (
            (["tenant-admin"], 200, 201), (["emea-admin"], 403, 201), (["clerk"], 403, 403), ([], 403, 403),
        ):  # fmt: skip
            token = api.bearer(roles=roles)
            assert (await api.get("/api/v1/audit", caller="nobody", **token)).status == audit, roles
            own = rule | {"sub": f"clerk-{roles}"}
            assert (await api.post(RULES, own, caller="nobody", **token)).status == write, roles
        elsewhere = rule | {"dom": "apac"}
        (await api.post(RULES, elsewhere, caller="nobody", **api.bearer(roles=["emea-admin"]))).problem(403)


async def test_tokens_are_not_credentials_where_they_are_switched_off(database: "Database") -> None:
    async with rest(database, token_policy=TokenPolicy(oidc_enabled=False)) as api:
        assert (await api.get(RULES, caller="tenant")).problem(401)["reason"] == "token_missing"
        (await api.get(RULES)).succeeded(200)


async def test_domain_admins_bind_roles_in_their_domains_without_inheritance(database: "Database") -> None:
    path = "/api/v1/role-bindings"
    binding = {"user": "alice", "user_kind": "user", "role": "finance", "dom": "emea"}
    inherits = {"user": "boss", "user_kind": "role", "role": "finance", "dom": "emea"}
    async with rest(database) as api:
        own = (await api.post(path, binding, caller="emea")).succeeded(201).body
        assert own == binding | {name: own[name] for name in ("id", "created_at", "updated_at")}
        (await api.post(path, binding | {"dom": "apac"}, caller="emea")).problem(403)
        (await api.post(path, binding | {"dom": "*"}, caller="emea")).problem(403)
        (await api.post(path, inherits, caller="emea")).problem(403)
        (await api.post(path, inherits | {"role": ""}, caller="emea")).problem(422)
        above = (await api.post(path, inherits)).succeeded(201)
        hidden = (await api.post(path, binding | {"dom": "apac"})).succeeded(201).body
        (await api.delete(f"{path}/{above.body['id']}", caller="emea")).problem(403)
        (await api.delete(f"{path}/{hidden['id']}", caller="emea")).problem(404)
        (await api.get(f"{path}/{hidden['id']}", caller="emea")).problem(404)
        assert (await api.get(f"{path}/{above.body['id']}", caller="emea")).headers["ETag"] == (
            above.headers["ETag"]
        )
        seen = (await api.get(f"{path}?role=finance", caller="emea")).body["items"]
        assert [each["id"] for each in seen] == [own["id"], above.body["id"]]
        assert (await api.post(path, binding)).problem(409)["ids"] == [own["id"]]
        (await api.delete(f"{path}/{own['id']}", caller="emea", If_Match='"999"')).problem(412)
        (await api.delete(f"{path}/{own['id']}", caller="emea")).succeeded(204)


ON_ROLES: dict[str, Any] = {"name": "n", "resource": "*", "effect": "deny"}


def on_roles(operator: str, value: object, **members: object) -> dict[str, object]:
    condition = {"type": "CONDITION", "attribute": "user.roles", "operator": operator, "value": value}
    return ON_ROLES | {"rule_data": {"type": "NOT", "condition": condition}} | members


@pytest.mark.parametrize(
    ("path", "deny"),
    [
        (RULES, rule(sub="finance", effect="deny")),
        (RULES, rule(sub="staff", dom="*", effect="deny")),
        (RULES, rule(sub="staff", sub_kind="role", obj="*", effect="deny")),
        (POLICIES, on_roles("has", "staff")),
        (POLICIES, on_roles("hasAny", ["x", "finance"], domain="emea", priority=2000)),
        (POLICIES, on_roles("eq", ["x"])),
        (POLICIES, on_roles("has", {"attribute": "resource.role"})),
        (POLICIES, ON_ROLES | {"format": "casbin", "rule_data": "!(user.groups == user.roles)"}),
    ],
)
async def test_a_domain_admin_takes_away_no_role_through_which_a_tenant_admin_denies(
    database: "Database", path: str, deny: dict[str, object]
) -> None:
    bindings = "/api/v1/role-bindings"
    given = {"user": "alice", "user_kind": "user", "role": "finance", "dom": "emea"}
    async with rest(database) as api:
        above = {"user": "finance", "user_kind": "role", "role": "staff", "dom": "*"}
        (await api.post(bindings, above)).succeeded(201)
        tenants = (await api.post(bindings, given)).succeeded(201).body["id"]
        own = (await api.post(bindings, given | {"user": "bob"}, caller="emea")).succeeded(201).body["id"]
        written = (await api.post(path, deny)).succeeded(201).body["id"]

        refused = await api.delete(f"{bindings}/{tenants}", caller="emea")
        assert "only a tenant admin deletes it" in refused.problem(403)["detail"]
        (await api.get(f"{bindings}/{tenants}", caller="emea")).succeeded(200)
        (await api.delete(f"{bindings}/{own}", caller="emea")).succeeded(204)
        (await api.delete(f"{path}/{written}")).succeeded(204)
        (await api.delete(f"{bindings}/{tenants}", caller="emea")).succeeded(204)


async def test_a_domain_admin_takes_away_a_role_that_no_tenant_admin_denies(database: "Database") -> None:
    bindings = "/api/v1/role-bindings"
    given = {"user": "alice", "user_kind": "user", "role": "finance", "dom": "emea"}
    denies = [
        rule(sub="finance"),
        rule(sub="finance", dom="apac", effect="deny"),
        rule(sub="finance", sub_kind="user", effect="deny"),
        rule(sub="alice", effect="deny"),
        rule(sub="*", effect="deny", act="x"),
    ]
    policies = [
        on_roles("has", "other"),
        on_roles("exists", True),
        on_roles("has", "finance", domain="apac"),
        on_roles("has", "finance", priority=-1),
        on_roles("has", "finance", enabled=False),
        on_roles("has", "finance", mode="shadow"),
        on_roles("has", "finance", effect="allow"),
        ON_ROLES | {"rule_data": {"type": "ALWAYS"}},
    ]
    async with rest(database) as api:
        for path, documents in ((RULES, denies), (POLICIES, policies)):
            for document in documents:
                (await api.post(path, document)).succeeded(201)
        (await api.post(RULES, rule(sub="finance", effect="deny"), caller="emea")).succeeded(201)
        gone = (await api.post(POLICIES, on_roles("has", "finance"))).succeeded(201).body["id"]
        (await api.delete(f"{POLICIES}/{gone}")).succeeded(204)
        tenants = (await api.post(bindings, given)).succeeded(201).body["id"]

        (await api.delete(f"{bindings}/{tenants}", caller="emea")).succeeded(204)


async def test_roles_that_would_inherit_in_a_cycle_are_a_conflict_naming_it(database: "Database") -> None:
    path = "/api/v1/role-bindings"
    async with rest(database) as api:
        for lower, upper in (("a", "b"), ("b", "c")):
            line = {"user": lower, "user_kind": "role", "role": upper, "dom": "*"}
            (await api.post(path, line)).succeeded(201)
        problem = (
            await api.post(path, {"user": "c", "user_kind": "role", "role": "a", "dom": "emea"})
        ).problem(409)
        assert problem["errors"][0]["message"].endswith("the roles inherit in a cycle: a -> b -> c -> a")
        assert problem["ids"] == []
        itself = await api.post(path, {"user": "a", "user_kind": "role", "role": "a", "dom": "*"})
        assert itself.problem(409)["errors"][0]["message"] == "the roles inherit in a cycle: a -> a"
        (await api.post(path, {"user": "a", "user_kind": "role", "role": "a", "dom": "", "x": 1})).problem(
            422
        )
        assert len((await api.get(path)).body["items"]) == 2


async def test_a_binding_ends_at_its_expiry(database: "Database") -> None:
    path = "/api/v1/role-bindings"
    binding = {"user": "alice", "user_kind": "user", "role": "finance", "dom": "emea"}
    async with rest(database) as api:
        timed = binding | {"expires_at": "2031-01-31T08:00:00.5+01:00"}
        created = (await api.post(path, timed)).succeeded(201).body
        assert created["expires_at"] == "2031-01-31T07:00:00.500000Z"
        for bad in ("2031-01-31", "soon", 12, "9999-99-99T00:00:00Z", "2031-01-31T08:00:00"):
            (await api.post(path, binding | {"expires_at": bad})).problem(422)


async def test_a_change_of_rules_is_seen_by_the_next_question(database: "Database") -> None:
    async with rest(database) as api:
        created = (await api.post(RULES, rule())).succeeded(201)
        asked = {"resource": "invoice:read", "action": "read", "min_revision": created.revision}
        (await api.post("/api/v1/check", asked, caller="alice")).succeeded(200)
        gone = (await api.delete(f"{RULES}/{created.body['id']}")).succeeded(204)
        asked["min_revision"] = gone.revision
        (await api.post("/api/v1/check", asked, caller="alice")).succeeded(403)
