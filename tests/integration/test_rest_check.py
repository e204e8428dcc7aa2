"""Decisions over HTTP: which caller may ask about which subject, the answers, and their log lines."""

import json
from typing import TYPE_CHECKING, Any

import pytest

from extauthz.domain.reasons import Reason
from tests.integration.rest_harness import Api, rest, rule

if TYPE_CHECKING:
    from tests.integration.conftest import Database

pytestmark = pytest.mark.anyio
CHECK = "/api/v1/check"
RULES = "/api/v1/resources/policies"
POLICIES = "/api/v1/abac/policies"

OWNER = {
    "type": "CONDITION", "attribute": "resource.owner", "operator": "eq", "value": {"attribute": "user.id"},
}  # fmt: skip


def question(**members: object) -> dict[str, object]:
    return {"resource": "invoice:read", "action": "read"} | members


async def allowed_rule(api: Api, **members: object) -> tuple[str, int]:
    created = (await api.post(RULES, rule(**members))).succeeded(201)
    return created.body["id"], created.revision


def logged(api: Api) -> list[dict[str, Any]]:
    assert api.services.recorder.log.flush(5)
    lines = [json.loads(line) for line in api.log.read_text().splitlines()]
    return [line for line in lines if line["event"] == "decision"]


async def test_a_caller_asks_about_itself(database: "Database") -> None:
    async with rest(database) as api:
        rule_id, revision = await allowed_rule(api)
        asked = question(min_revision=revision)
        answer = (await api.post(CHECK, asked, caller="alice")).succeeded(200)
        body = answer.body
        assert body == {
            "decision": "allow", "matched_rule_id": rule_id, "reason": "rule_matched",
            "message": "a rule allows it", "decision_id": body["decision_id"], "policy_revision": revision,
        }  # fmt: skip
        (await api.post(CHECK, asked | {"subject": "alice", "domain": "emea"}, caller="alice")).succeeded(200)
        denied = (await api.post(CHECK, question(action="write"), caller="alice")).succeeded(403)
        assert denied.headers["Content-Type"] == "application/json"
        assert denied.body | {"decision_id": None} == {
            "decision": "deny", "matched_rule_id": None, "reason": "no_matching_rule",
            "message": "no rule matches", "decision_id": None, "policy_revision": revision,
        }  # fmt: skip


async def test_a_caller_with_a_token_asks_only_about_itself(database: "Database") -> None:
    async with rest(database) as api:
        for caller in ("alice", "tenant"):
            for other in ({"subject": "bob"}, {"domain": "apac"}, {"subject_kind": "service"}):
                (await api.post(CHECK, question(**other), caller=caller)).problem(403)
            for attributes, pointer in (
                ({"user": {"roles": ["finance"]}}, "/attributes/user"),
                ({"resource": {"name": "x"}}, "/attributes/resource/name"),
                ({"env": {}}, "/attributes/env"),
            ):
                answer = await api.post(CHECK, question(attributes=attributes), caller=caller)
                answer.problem(422)
                assert answer.pointers == [pointer]


async def test_route_parameters_are_those_of_the_request(database: "Database") -> None:
    async with rest(database) as api:
        policy = {"name": "own", "resource": "invoice:read", "effect": "allow", "rule_data": OWNER}
        revision = (await api.post(POLICIES, policy)).succeeded(201).revision
        for owner, status in (("alice", 200), ("bob", 403)):
            asked = question(attributes={"resource": {"owner": owner}}, min_revision=revision)
            (await api.post(CHECK, asked, caller="alice")).succeeded(status)
        (await api.post(CHECK, question(), caller="alice")).succeeded(403)


async def test_the_admin_key_asks_about_any_subject(database: "Database") -> None:
    async with rest(database) as api:
        rule_id, revision = await allowed_rule(api)
        asked = question(
            subject="bob",
            domain="emea",
            attributes={"user": {"roles": ["finance"], "department": "it"}},
            min_revision=revision,
        )
        assert (await api.post(CHECK, asked)).succeeded(200).body["matched_rule_id"] == rule_id
        (await api.post(CHECK, asked | {"domain": "apac"})).succeeded(403)
        (await api.post(CHECK, asked | {"attributes": {}})).succeeded(403)
        binding = {"user": "carol", "user_kind": "service", "role": "finance", "dom": "emea"}
        bound = (await api.post("/api/v1/role-bindings", binding)).succeeded(201).revision
        asked = question(subject="carol", domain="emea", min_revision=bound)
        (await api.post(CHECK, asked)).succeeded(403)
        (await api.post(CHECK, asked | {"subject_kind": "service"})).succeeded(200)


async def test_roles_that_never_count_do_not_count_when_asked_about(database: "Database") -> None:
    async with rest(database) as api:
        _, revision = await allowed_rule(api, sub="offline_access")
        asked = question(
            subject="bob",
            domain="emea",
            attributes={"user": {"roles": ["offline_access"]}},
            min_revision=revision,
        )
        (await api.post(CHECK, asked)).succeeded(403)


async def test_null_roles_of_a_check_are_treated_as_absent(database: "Database") -> None:
    async with rest(database) as api:
        _, revision = await allowed_rule(api, sub="finance")
        for roles, status in ((["finance"], 200), (None, 403), ([], 403)):
            asked = question(
                subject="bob",
                domain="emea",
                attributes={"user": {"roles": roles}},
                min_revision=revision,
            )
            (await api.post(CHECK, asked)).succeeded(status)
        answer = await api.post(CHECK, question(subject="b", attributes={"user": {"roles": ["a", None]}}))
        answer.problem(422)
        assert answer.pointers == ["/attributes/user/roles"]


async def test_every_problem_of_a_question_is_named_at_once(database: "Database") -> None:
    async with rest(database) as api:
        bad = {
            "resource": "*", "action": "", "domain": "*", "subject_kind": "role", "min_revision": -1, "x": 1,
            "attributes": {
                "user": {"id": "x", "kind": "user", "tenant": "t", "domain": "d"},
                "resource": {"name": "n", "service": "s"},
                "request": {},
                "env": {},
            },
        }  # fmt: skip
        answer = await api.post(CHECK, bad)
        answer.problem(422)
        assert sorted(answer.pointers) == [
            "/action", "/attributes/env", "/attributes/request", "/attributes/resource/name",
            "/attributes/resource/service", "/attributes/user/domain", "/attributes/user/id",
            "/attributes/user/kind", "/attributes/user/tenant", "/domain", "/min_revision", "/resource",
            "/subject", "/subject_kind", "/x",
        ]  # fmt: skip
        for roles in ("*\n", [1], [""], {"a": 1}):
            answer = await api.post(CHECK, question(subject="b", attributes={"user": {"roles": roles}}))
            answer.problem(422)
            assert answer.pointers == ["/attributes/user/roles"]
        misfits: list[object] = [None, [], "x", {"resource": None}, {"user": []}]
        for misfit in misfits:
            (await api.post(CHECK, question(subject="b", attributes=misfit))).problem(422)
        for min_revision in (2**63, 1.5, "1", None, True):
            (await api.post(CHECK, question(subject="b", min_revision=min_revision))).problem(422)


async def test_a_revision_that_is_not_there_is_waited_for_and_then_503(database: "Database") -> None:
    async with rest(database) as api:
        answer = await api.post(CHECK, question(min_revision=10_000), caller="alice")
        answer.problem(503)
        assert answer.headers["Retry-After"] == "1"


async def test_policies_that_are_too_old_decide_nothing(database: "Database") -> None:
    async with rest(database, max_staleness=-1.0) as api:
        answer = await api.post(CHECK, question(), caller="alice")
        assert answer.problem(503)["reason"] == Reason.POLICY_STALE
        (await api.post("/resources/access/check", {"name": "invoice:read"}, caller="alice")).problem(503)


async def test_decisions_are_logged(database: "Database") -> None:
    async with rest(database) as api:
        rule_id, revision = await allowed_rule(api)
        allowed = (await api.post(CHECK, question(min_revision=revision), caller="alice")).body
        await api.post(CHECK, question(subject="bob", subject_kind="service"))
        await api.post(CHECK, question(subject="bob"), caller="alice")
        first, second = logged(api)
        expected = {
            "entrance": "rest", "decision_id": allowed["decision_id"], "decision": "allow",
            "reason": "rule_matched", "matched_rule_id": rule_id, "tenant": "default", "domain": "emea",
            "subject": "alice", "principal_kind": "user", "authentication": "jwt", "roles": ["finance"],
            "resource": "invoice:read", "action": "read", "policy_revision": revision, "status": 200,
        }  # fmt: skip
        assert {name: first[name] for name in expected} == expected
        assert (second["decision"], second["subject"], second["principal_kind"]) == ("deny", "bob", "service")
        assert (second["authentication"], second["status"]) == ("api_key", 403)
        counted = api.services.recorder.counts.snapshot()
        assert counted["decisions"]["allow,rule_matched,rest"] == 1
        assert counted["checks_in_flight"] == 0


async def test_the_older_check_decides_by_role_rules_only(database: "Database") -> None:
    async with rest(database) as api:
        _, revision = await allowed_rule(api)
        await api.post(CHECK, question(min_revision=revision), caller="alice")
        for path in ("/api/v1/resources/access/check", "/resources/access/check"):
            answer = (await api.post(path, {"name": "invoice:read"}, caller="alice")).succeeded(200)
            assert answer.body == {"authorized": True}
            assert (await api.post(path, {"name": "other"}, caller="alice")).body == {"authorized": False}
            (await api.post(path, {"name": "*"}, caller="alice")).problem(422)
            (await api.post(path, {}, caller="alice")).problem(422)
            (await api.post(path, {"name": "invoice:read"})).problem(403)
            (await api.post(path, {"name": "invoice:read"}, caller="nobody")).problem(401)


async def test_checks_are_answered_while_the_database_is_unreachable(database: "Database") -> None:
    async with rest(database) as api:
        _, revision = await allowed_rule(api)
        asked = question(min_revision=revision)
        (await api.post(CHECK, asked, caller="alice")).succeeded(200)
        database.server.stop()
        try:
            (await api.post(CHECK, asked, caller="alice")).succeeded(200)
            for method, path, document in (
                ("GET", RULES, None), ("POST", RULES, rule(act="x")), ("GET", "/api/v1/audit", None),
                ("DELETE", f"{RULES}/01900000-0000-7000-8000-000000000000", None),
                ("GET", "/api/v1/resources/01900000-0000-7000-8000-000000000000", None),
            ):  # fmt: skip
                answer = await api.ask(method, path, document)
                answer.problem(503)
                assert answer.headers["Retry-After"] == "1"
        finally:
            database.server.start()
        (await api.get(RULES)).succeeded(200)
