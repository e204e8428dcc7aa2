"""Casbin's CSV over REST: an export imports as the same rules, and every invalid line is named."""

import csv
import io
from typing import TYPE_CHECKING, Any

import pytest

from extauthz.rest.quotas import Quotas
from tests.integration.rest_harness import Answer, Api, rest, rule

if TYPE_CHECKING:
    from tests.integration.conftest import Database

pytestmark = pytest.mark.anyio
CSV = "/api/v1/casbin/policy"
RULES = "/api/v1/resources/policies"
BINDINGS = "/api/v1/role-bindings"


async def sent(api: Api, text: str | bytes, **headers: str) -> Answer:
    data = text if isinstance(text, bytes) else text.encode()
    return await api.ask("POST", CSV, data=data, **({"Content-Type": "text/csv"} | headers))


async def exported(api: Api) -> str:
    answer = (await api.get(CSV)).succeeded(200)
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    return answer.raw.decode()


async def every_rule(api: Api) -> list[dict[str, Any]]:
    items = (await api.get(RULES)).body["items"]
    return [
        {name: each[name] for name in ("sub", "sub_kind", "dom", "obj", "act", "effect")} for each in items
    ]


async def test_an_export_is_imported_unchanged(database: "Database") -> None:
    async with rest(database) as api:
        for each in (
            rule(),
            rule(sub="user:x"),
            rule(sub="user:x", sub_kind="user"),
            rule(sub="*", dom="*", effect="deny"),
            rule(sub='a "quoted", name', obj="#1, \u00e9"),
            rule(sub="svc", sub_kind="service", effect="deny"),
            rule(sub="any:one", effect="deny"),
            rule(sub="spiffe://mesh/**", sub_kind="workload"),
        ):
            (await api.post(RULES, each)).succeeded(201)
        for user, kind, extra in (
            ("alice", "user", {}),
            ("role:odd", "role", {}),
            ("svc", "service", {"expires_at": "2099-01-31T08:00:00.5Z"}),
            ("spiffe://mesh/a", "workload", {}),
        ):
            binding = {"user": user, "user_kind": kind, "role": "finance", "dom": "emea"} | extra
            (await api.post(BINDINGS, binding)).succeeded(201)
        text = await exported(api)
        assert text.splitlines() == [
            "p,role:finance,emea,invoice:read,read,allow",
            "p,role:user:x,emea,invoice:read,read,allow",
            "p,user:user:x,emea,invoice:read,read,allow",
            "p,*,*,invoice:read,read,deny",
            'p,"role:a ""quoted"", name",emea,"#1, \u00e9",read,allow',
            "p,service:svc,emea,invoice:read,read,deny",
            "p,role:any:one,emea,invoice:read,read,deny",
            "p,user:any:one,emea,invoice:read,read,deny",
            "p,service:any:one,emea,invoice:read,read,deny",
            "p,workload:any:one,emea,invoice:read,read,deny",
            "p,workload:spiffe://mesh/**,emea,invoice:read,read,allow",
            "g,user:alice,role:finance,emea",
            "g,role:role:odd,role:finance,emea",
            "g,service:svc,role:finance,emea,2099-01-31T08:00:00.500000Z",
            "g,workload:spiffe://mesh/a,role:finance,emea",
        ]
        assert text.endswith("\r\n")
        assert [len(row) for row in csv.reader(io.StringIO(text))] == [6] * 11 + [4, 4, 5, 4]
        again = (await sent(api, text)).succeeded(200)
        assert again.body == {"role_rules": 0, "role_bindings": 0, "unchanged": 15}
        before = await api.get("/api/v1/audit?limit=1")
        assert before.body["items"][0]["kind"] == "role_binding"

        for path in (RULES, BINDINGS):
            for each in (await api.get(path)).body["items"]:
                (await api.delete(f"{path}/{each['id']}")).succeeded(204)
        assert await exported(api) == ""
        written = (await sent(api, text)).succeeded(200)
        assert written.body == {"role_rules": 11, "role_bindings": 4, "unchanged": 0}
        assert await exported(api) == text


async def test_the_csv_that_casbin_writes_is_read(database: "Database") -> None:
    lines = [
        "\ufeff# all of finance",
        "p, role:finance, emea, invoice:read, read, allow",
        "",
        '  p, "role:finance",emea , "invoice:pay",pay,allow',
        "p, role:finance, emea, invoice:read, read, allow",
        "g, user:alice, role:finance, emea",
    ]
    async with rest(database) as api:
        for ending in ("\n", "\r\n"):
            answer = (await sent(api, ending.join(lines))).succeeded(200).body
            assert sum(answer.values()) == 4
        assert [each["obj"] for each in await every_rule(api)] == ["invoice:read", "invoice:pay"]
        (await sent(api, "")).problem(400)
        assert (await sent(api, "\n")).succeeded(200).body["unchanged"] == 0


async def test_every_invalid_line_is_named_with_its_number(database: "Database") -> None:
    lines = [
        "p, role:finance, emea, invoice:read, read, allow",
        "p, finance, emea, invoice:read, read, allow",
        "p, role:finance, emea, invoice:read, read",
        "p, role:finance, emea, invoice:read, read, permit",
        "p2, role:finance, emea, invoice:read, read, allow",
        "g, alice, finance, emea",
        "g, user:alice, user:finance, emea",
        "g, user:alice, role:finance",
        "g, user:alice, role:finance, emea, tomorrow",
        'p, "role:finance, emea, invoice:read, read, allow',
        "p, role:, emea, invoice:read, read, allow",
        "p, role:e\u0301, emea, invoice:read, read, allow",
        "g, role:a, role:a, emea",
        "g, user:*, role:a, emea",
        "p, any:x, emea, invoice:read, read, deny",
        "p, role:a\u0000b, emea, invoice:read, read, allow",
        "p, role:a, emea, \u202einvoice, read, allow",
        "g, workload:spiffe://X, role:a, emea",
        "p, role:a\rb, emea, invoice:read, read, allow",
    ]
    async with rest(database) as api:
        answer = await sent(api, "\n".join(lines))
        errors = answer.problem(422)["errors"]
        assert [each["line"] for each in errors] == list(range(2, len(lines) + 1))
        assert all(each["message"] for each in errors)
        assert await exported(api) == ""
        (await sent(api, b"\xff")).problem(400)
        (await sent(api, "p", Content_Type="application/json")).problem(415)
        many = "\n".join(["x"] * 500)
        assert len((await sent(api, many)).problem(422)["errors"]) == 500


async def test_a_cycle_or_a_clash_stores_nothing(database: "Database") -> None:
    async with rest(database) as api:
        cycle = "p,role:a,*,x:read,read,allow\ng,role:a,role:b,*\ng,role:b,role:c,*\ng,role:c,role:a,emea\n"
        problem = (await sent(api, cycle)).problem(409)
        assert "a -> b -> c -> a" in problem["errors"][0]["message"]
        assert await exported(api) == ""
        (await sent(api, "g,user:alice,role:a,emea\n")).succeeded(200)
        problem = (await sent(api, "\ng,user:alice,role:a,emea,2099-01-01T00:00:00Z\n")).problem(409)
        assert problem["errors"][0]["line"] == 2
        assert await exported(api) == "g,user:alice,role:a,emea\r\n"


async def test_a_tenant_has_no_more_than_it_may(database: "Database") -> None:
    quotas = Quotas(role_rules=3, role_bindings=1, resources=2, attribute_policies=1)
    policy = {"name": "p", "resource": "*", "effect": "deny", "rule_data": {"type": "ALWAYS"}}
    async with rest(database, quotas=quotas) as api:
        (await api.post(RULES, rule())).succeeded(201)
        three = "".join(f"p,role:{name},*,x:read,read,allow\n" for name in "abc")
        assert "limit" in (await sent(api, three)).problem(422)["errors"][0]["message"]
        (await sent(api, three[: len(three) // 3 * 2])).succeeded(200)
        (await api.post(RULES, rule(sub="x"))).problem(422)
        binding = {"user": "alice", "user_kind": "user", "role": "finance", "dom": "emea"}
        (await api.post(BINDINGS, binding)).succeeded(201)
        (await api.post(BINDINGS, binding | {"user": "bob"})).problem(422)
        (await api.post("/api/v1/abac/policies", policy)).succeeded(201)
        (await api.post("/api/v1/abac/policies", policy)).problem(422)
        listed = [{"name": f"{name}:read", "serviceName": "s"} for name in "abc"]
        (await api.post("/api/v1/resources/list", listed)).problem(422)
        roles = {"name": "a:read", "serviceName": "s", "defaultRoles": ["r"]}
        (await api.post("/api/v1/resources", roles)).problem(422)
        (await api.post("/api/v1/resources/list", listed[:2])).succeeded(201)
        (await api.post("/api/v1/resources/list", listed[:2])).succeeded(200)
        (await api.post("/api/v1/resources", listed[2])).problem(422)
