"""AuthZEN: callers and the subjects they may ask about, one engine, tenants, and the decision log."""

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.authzen_scenario import write_scenario
from tests.integration.rest_harness import ADMIN_KEY, Api, rest, rule
from tests.integration.rest_saas import firms

if TYPE_CHECKING:
    from tests.integration.conftest import Database

pytestmark = pytest.mark.anyio
ONE = "/access/v1/evaluation"
MANY = "/access/v1/evaluations"


def question(subject: str = "alice", **properties: Any) -> dict[str, Any]:
    return {
        "subject": {"type": "user", "id": subject, "properties": properties},
        "action": {"name": "read"},
        "resource": {"type": "invoice", "id": "1"},
    }


def logged(api: Api) -> list[dict[str, Any]]:
    assert api.services.recorder.log.flush(5)
    lines = [json.loads(line) for line in api.log.read_text().splitlines()]
    return [line for line in lines if line["event"] == "decision"]


async def allowed_rule(api: Api, **members: Any) -> str:
    created = (await api.post("/api/v1/resources/policies", rule(**members))).succeeded(201)
    assert await api.services.wait_for("default", created.revision, 10)
    return str(created.body["id"])


async def key(api: Api, *scopes: str, caller: str = "key", **members: Any) -> dict[str, str]:
    document = {"name": "+".join(scopes), "scopes": scopes} | members
    made = (await api.post("/api/v1/service-api-keys", document, caller=caller)).succeeded(201).body["key"]
    return {"Authorization": f"Bearer {made}"}


async def test_a_token_evaluates_itself_with_its_own_claims(database: "Database") -> None:
    async with rest(database) as api:
        rule_id = await allowed_rule(api)
        answer = (await api.post(ONE, question(), caller="alice")).succeeded(200)
        assert answer.body["decision"] is True
        assert answer.body["context"]["matched_rule_id"] == rule_id
        api.callers["norole"] = api.bearer(sub="nora", dom="emea", roles=[])
        for other in (
            question("bob"),
            question("nora") | {"subject": {"type": "service", "id": "nora"}},
            question("nora") | {"subject": {"type": "workload", "id": "nora"}},
            question("nora") | {"subject": {"type": "spaceship", "id": "nora"}},
        ):
            for caller in ("norole", "tenant", "emea"):
                asked = other if caller == "norole" else question("bob")
                (await api.post(ONE, asked, caller=caller)).problem(403)
            batch = {**question("nora"), "evaluations": [{}, {"subject": other["subject"]}]}
            entries = (await api.post(MANY, batch, caller="norole")).succeeded(200).body["evaluations"]
            assert [entry["decision"] for entry in entries] == [False, False]
            assert entries[1]["context"]["error"]["status"] == 403
        # What a request says of roles, domain and claims is not evidence for a caller with a token.
        for properties in (
            {"roles": ["finance"]},
            {"roles": "finance", "domain": "emea"},
            {"realm_access": {"roles": ["finance"]}},
            {"id": "alice", "kind": "service", "tenant": "other", "sub": "alice"},
        ):
            answer = (await api.post(ONE, question("nora", **properties), caller="norole")).succeeded(200)
            assert answer.body["decision"] is False
        lines = [line for line in logged(api) if line["entrance"] == "authzen"]
        assert {line["subject"] for line in lines} == {"alice", "nora"}


async def test_reserved_names_never_override_and_never_fail(database: "Database") -> None:
    def same(attribute: str, value: str) -> dict[str, Any]:
        return {"type": "CONDITION", "attribute": attribute, "operator": "eq", "value": value}

    own = {
        "type": "AND",
        "conditions": [
            same("user.id", "alice"),
            same("user.kind", "user"),
            same("user.tenant", "default"),
            same("resource.id", "1"),
            same("resource.name", "invoice:read"),
            same("resource.parameters.name", "x"),
            same("resource.parameters.service", "y"),
            same("action", "read"),
        ],
    }
    async with rest(database) as api:
        policy = {"name": "own", "resource": "invoice:read", "effect": "allow", "rule_data": own}
        revision = (await api.post("/api/v1/abac/policies", policy)).succeeded(201).revision
        assert await api.services.wait_for("default", revision, 10)
        asked = {
            "subject": {
                "type": "user",
                "id": "alice",
                "properties": {"id": "bob", "kind": "service", "tenant": "other", "sub": 1, "properties": {}},
            },
            "action": {"name": "read", "properties": {"name": "write", "properties": 3}},
            "resource": {
                "type": "invoice",
                "id": "1",
                "properties": {"id": "2", "name": "x", "service": "y", "type": 5},
            },
            "context": {"id": 1, "request": {}, "user": {"id": "bob"}},
        }
        assert (await api.post(ONE, asked)).succeeded(200).body["decision"] is True


async def test_one_engine_whatever_form_the_question_has(database: "Database") -> None:
    async with rest(database) as api:
        api.callers["pep"] = await key(api, "check")
        await allowed_rule(api)
        await allowed_rule(api, sub="*", obj="invoice:pay", act="pay", dom="*")
        for subject, kind, domain, roles, action in (
            ("bob", "user", "emea", ["finance"], "read"),
            ("bob", "user", "apac", ["finance"], "read"),
            ("bob", "user", None, ["finance"], "read"),
            ("bob", "service", "emea", ["finance"], "read"),
            ("spiffe://x/a", "workload", "emea", [], "pay"),
            ("bob", "user", "emea", ["offline_access"], "read"),
            ("bob", "user", None, [], "pay"),
        ):
            attributes = {"user": {"roles": roles}}
            by_name: dict[str, Any] = {
                "subject": subject,
                "subject_kind": kind,
                "resource": f"invoice:{action}",
                "action": action,
                "attributes": attributes,
            }
            if domain is not None:
                by_name["domain"] = domain
            checked = (await api.post("/api/v1/check", by_name)).body
            properties = {"roles": roles, "domain": domain}
            asked = {
                "subject": {"type": kind, "id": subject, "properties": properties},
                "action": {"name": action},
                "resource": {"type": "invoice", "id": "1"},
            }
            found = (await api.post(ONE, asked, caller="pep")).succeeded(200).body
            assert found["decision"] is (checked["decision"] == "allow"), by_name
            for member in ("reason", "message", "matched_rule_id", "policy_revision"):
                assert found["context"][member] == checked[member], by_name
            line = next(
                each for each in logged(api) if each["decision_id"] == found["context"]["decision_id"]
            )
            assert line["entrance"] == "authzen"
            assert (line["subject"], line["principal_kind"]) == (subject, kind)
            assert (line["resource"], line["action"]) == (f"invoice:{action}", action)


async def test_a_registered_resource_has_the_name_of_the_type(database: "Database") -> None:
    async with rest(database) as api:
        assert await api.services.wait_for("default", await write_scenario(api), 10)
        for kind, resource in (("record", "record"), ("invoice", "invoice:read"), ("/a", "/a:read")):
            asked = question("alice") | {"resource": {"type": kind, "id": "1"}}
            answer = (await api.post(ONE, asked)).succeeded(200).body["context"]
            (line,) = [each for each in logged(api) if each["decision_id"] == answer["decision_id"]]
            assert line["resource"] == resource
            explained = (await api.post("/api/v1/explain", {"line": line})).succeeded(200).body
            assert explained["decision"] == line["decision"]


async def test_a_subject_of_an_unknown_type_may_do_nothing(database: "Database") -> None:
    async with rest(database) as api:
        await allowed_rule(api, sub="*", dom="*")
        for kind, decision in (("user", True), ("spaceship", False), ("anonymous", False), ("role", False)):
            asked = question() | {"subject": {"type": kind, "id": "alice"}}
            answer = (await api.post(ONE, asked)).succeeded(200).body
            assert answer["decision"] is decision, kind
            assert answer["context"]["reason"] == ("rule_matched" if decision else "no_matching_rule")
        line = logged(api)[-1]
        assert (line["decision"], line["principal_kind"], line["subject"]) == ("deny", None, None)
        explained = (await api.post("/api/v1/explain", {"line": line})).succeeded(200).body
        assert explained["candidates"] == []


async def test_lines_do_not_keep_context_so_explanations_do_not_guess(database: "Database") -> None:
    condition = {"type": "CONDITION", "attribute": "context.risk", "operator": "eq", "value": "tiny"}
    async with rest(database) as api:
        policy = {"name": "low risk", "resource": "invoice:read", "effect": "allow", "rule_data": condition}
        written = (await api.post("/api/v1/abac/policies", policy)).succeeded(201)
        assert await api.services.wait_for("default", written.revision, 10)
        allowed = (await api.post(ONE, question() | {"context": {"risk": "tiny"}})).succeeded(200).body
        assert allowed["decision"] is True
        line = logged(api)[-1]
        assert "tiny" not in json.dumps(line)
        body = (await api.post("/api/v1/explain", {"line": line})).succeeded(200).body
        assert (body["certain"], body["agrees"]) == (False, None)
        known = {"line": line, "attributes": {"context": {"risk": "tiny"}, "action": {}}}
        body = (await api.post("/api/v1/explain", known)).succeeded(200).body
        assert (body["certain"], body["agrees"], body["decision"]) == (True, True, "allow")
        deny = policy | {"name": "high risk", "effect": "deny"}
        warned = (await api.post("/api/v1/abac/policies", deny)).succeeded(201).body["warnings"]
        assert "deny_holds_in_mesh" in {each["code"] for each in warned}


async def test_callers_of_every_kind(database: "Database") -> None:
    async with rest(database) as api:
        await allowed_rule(api)
        for scope in ("identity", "policies:read", "audit:read", "keys:write"):
            api.callers[scope] = await key(api, scope)
            for path in (ONE, MANY):
                (await api.post(path, question(), caller=scope)).problem(403)
        for headers, status in (
            ({"Authorization": "Bearer sak_live_" + "0" * 32 + "_" + "0" * 64}, 401),
            ({"Authorization": "Bearer sak_x"}, 401),
            ({"Authorization": "Basic YTpi"}, 401),
            (api.callers["alice"] | {"X-Service-Api-Key": "sak_live_x"}, 401),
            ({"X-Admin-Api-Key": ADMIN_KEY}, 200),
            ({"Authorization": f"Bearer {ADMIN_KEY}"}, 200),
        ):
            api.callers["other"] = headers
            assert (await api.post(ONE, question(), caller="other")).status == status, headers
        api.callers["pep"] = await key(api, "check")
        # Elsewhere a service key is in its own header only.
        asked = {"subject": "alice", "resource": "invoice:read", "action": "read"}
        (await api.post("/api/v1/check", asked, caller="pep")).problem(401)


async def test_bad_credentials_are_slowed_down_and_good_ones_are_not(database: "Database") -> None:
    async with rest(database) as api:
        api.callers["pep"] = await key(api, "check")
        api.callers["bad"] = {"Authorization": "Bearer sak_live_bad"}
        statuses = [(await api.post(ONE, question(), caller="bad")).status for _ in range(62)]
        assert statuses[:60] == [401] * 60
        refused = await api.post(ONE, question(), caller="bad", X_Request_ID="r")
        assert refused.problem(429)
        assert refused.headers["X-Request-ID"] == "r"
        (await api.post(ONE, question(), caller="pep")).succeeded(200)


async def test_each_tenant_has_a_decision_point_of_its_own(database: "Database") -> None:
    base = "https://pdp.example.com"
    async with firms(database, "acme", "globex", authzen_base_url=base) as found:
        api = found.api
        api.callers["nobody"] = {}
        for tenant in ("acme", "globex", "no-such-tenant"):
            metadata = (await api.get(f"/.well-known/authzen-configuration/{tenant}", caller="nobody")).body
            assert metadata["policy_decision_point"] == f"{base}/{tenant}"
            assert metadata["search_action_endpoint"] == f"{base}/{tenant}/access/v1/search/action"
            assert "search_resource_endpoint" not in metadata
        for path in ("", "/", "/A", "/acme/", "/acme/x", "/..%2facme", "/-"):
            answer = await api.get(f"/.well-known/authzen-configuration{path}", caller="nobody")
            answer.problem(404)
        made = await api.post(
            "/api/v1/resources/policies", rule(dom="*", sub="*", sub_kind="any"), caller="acme/key"
        )
        await found.published("acme", made.succeeded(201).revision)
        await found.published("globex", 0)
        api.callers["acme/pep"] = await key(api, "check", caller="acme/key")
        for caller in ("acme/pep", "acme/key", "acme/alice"):
            for path in (ONE, f"/acme{ONE}"):
                answer = await api.post(path, question(), caller=caller)
                assert answer.succeeded(200).body["decision"] is True, (caller, path, answer.raw)
            for tenant in ("globex", "no-such-tenant", "*", "%61cme%2f"):
                for path in (ONE, MANY):
                    answer = await api.post(f"/{tenant}{path}", question(), caller=caller)
                    assert answer.status in {403, 404}
                    if answer.status == 403:
                        assert answer.body["reason"] == "tenant_mismatch"
        # The rule is acme's: the same question of another tenant is not allowed.
        answer = (await api.post(ONE, question("root"), caller="globex/admin")).succeeded(200)
        assert answer.body["decision"] is False
        (await api.post(ONE, question(), caller="operator")).problem(403)
        (await api.post(f"/acme{ONE}", question(), caller="session")).problem(403)


async def test_without_policies_of_now_nothing_is_decided(database: "Database") -> None:
    async with rest(database, max_staleness=-1.0) as api:
        batch = question() | {"evaluations": [{}, {"subject": 1}, {}]}
        for path, asked in (
            (ONE, question()),
            (MANY, question()),
            (MANY, batch),
            ("/access/v1/search/action", question()),
            ("/access/v1/search/subject", question()),
        ):
            refused = await api.post(path, asked)
            assert refused.problem(503)["reason"] == "policy_stale"
            assert refused.headers["Retry-After"]
