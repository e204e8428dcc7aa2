"""`POST /api/v1/explain`: questions and lines, on the policies of now and of earlier revisions."""

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.rest_harness import Api, rest, rule
from tests.integration.storage_documents import connected

if TYPE_CHECKING:
    from tests.integration.conftest import Database

pytestmark = pytest.mark.anyio
EXPLAIN = "/api/v1/explain"
RULES = "/api/v1/resources/policies"
POLICIES = "/api/v1/abac/policies"
BINDINGS = "/api/v1/role-bindings"

Document = dict[str, Any]


def condition(attribute: str, operator: str, value: object, **more: object) -> Document:
    return {"type": "CONDITION", "attribute": attribute, "operator": operator, "value": value} | more


def policy(*conditions: Document, **members: object) -> Document:
    return {
        "name": "levels", "resource": "invoice:read", "actions": ["read"], "effect": "allow",
        "rule_data": {"type": "AND", "conditions": list(conditions)},
    } | members  # fmt: skip


def asked(**members: object) -> Document:
    return {"subject": "alice", "domain": "emea", "resource": "invoice:read", "action": "read"} | members


async def written(api: Api, path: str, document: Document) -> tuple[str, int]:
    created = (await api.post(path, document)).succeeded(201)
    assert await api.services.wait_for("default", created.revision, 5)
    return created.body["id"], created.revision


async def explained(api: Api, document: Document, *, caller: str = "key") -> Document:
    body = (await api.post(EXPLAIN, document, caller=caller)).succeeded(200).body
    assert isinstance(body, dict)
    return body


async def line_of(api: Api, question: Document, answered: int, **changes: object) -> Document:
    """Ask for a decision and return its line."""
    (await api.post("/api/v1/check", question)).succeeded(answered)
    assert api.services.recorder.log.flush(5)
    lines = [json.loads(line) for line in api.log.read_text().splitlines()]
    last: Document = [line for line in lines if line["event"] == "decision"][-1]
    return last | changes


async def test_an_allow_names_rule_conditions_and_where_roles_come_from(database: "Database") -> None:
    async with rest(database) as api:
        rule_id, _ = await written(api, RULES, rule(sub="approver"))
        bound, _ = await written(
            api, BINDINGS, {"user": "alice", "user_kind": "user", "role": "clerk", "dom": "emea"}
        )
        link, _ = await written(
            api, BINDINGS, {"user": "clerk", "user_kind": "role", "role": "approver", "dom": "*"}
        )
        own, revision = await written(
            api, POLICIES, policy(condition("user.level", "gte", 3), effect="deny", priority=-5)
        )
        body = await explained(api, asked(attributes={"user": {"level": 2, "roles": ["staff"]}}))
        assert (body["decision"], body["matched_rule_id"]) == ("allow", rule_id)
        assert (body["reason"], body["message"], body["near_miss"]) == (
            "rule_matched", "a rule allows it", None,
        )  # fmt: skip
        roles = {role["role"]: role for role in body["roles"]}
        assert roles["staff"] == {"role": "staff", "from_credential": True, "bindings": []}
        assert [each["id"] for each in roles["clerk"]["bindings"]] == [bound]
        assert [each["id"] for each in roles["approver"]["bindings"]] == [link]
        assert roles["approver"]["bindings"][0]["member_kind"] == "role"
        by_id = {candidate["id"]: candidate for candidate in body["candidates"]}
        assert by_id[rule_id]["matched_by"] == "role:approver"
        assert (by_id[own]["outcome"], by_id[own]["matched"]) == ("false", False)
        assert by_id[own]["condition"]["conditions"] == [
            {
                "type": "CONDITION", "attribute": "user.level", "operator": "gte", "value": 3,
                "outcome": "false", "saw": [{"attribute": "user.level", "state": "value", "value": 2}],
            }
        ]  # fmt: skip
        assert body["policies"]["revision"] == revision
        assert len(body["policies"]["digest"]) == 64


async def test_a_deny_names_the_allow_that_failed_by_the_fewest_conditions(database: "Database") -> None:
    async with rest(database) as api:
        await written(api, RULES, rule(sub="director"))
        far = policy(condition("user.level", "gte", 9), condition("user.team", "eq", "x"), priority=100)
        near = policy(condition("user.level", "gte", 3), condition("user.team", "eq", "red"))
        await written(api, POLICIES, far)
        near_id, _ = await written(api, POLICIES, near)
        body = await explained(api, asked(attributes={"user": {"level": 5, "team": "blue"}}))
        assert (body["decision"], body["reason"]) == ("deny", "no_matching_rule")
        miss = body["near_miss"]
        assert (miss["id"], miss["failed_conditions"], miss["overridden_by"]) == (near_id, 1, None)
        assert [each["attribute"] for each in miss["failed"]] == ["user.team"]
        assert miss["failed"][0]["saw"] == [{"attribute": "user.team", "state": "value", "value": "blue"}]
        denied, _ = await written(
            api, POLICIES, policy(condition("user.suspended", "eq", True), effect="deny", priority=500)
        )
        body = await explained(api, asked(attributes={"user": {"level": 5, "team": "red"}}))
        assert (body["reason"], body["matched_rule_id"]) == ("condition_unknown", denied)
        assert body["near_miss"]["overridden_by"] == denied
        assert body["near_miss"]["failed_conditions"] == 0
        suspended = {"user": {"level": 5, "team": "red", "suspended": True}}
        by_rule = await explained(api, asked(attributes=suspended))
        assert (by_rule["decision"], by_rule["matched_rule_id"]) == ("deny", denied)
        assert (by_rule["reason"], by_rule["message"]) == ("rule_matched", "a rule denies it")
        (unknown,) = [each for each in body["candidates"] if each["id"] == denied]
        assert unknown["condition"]["conditions"][0]["saw"] == [
            {"attribute": "user.suspended", "state": "unknown"}
        ]


async def test_a_role_that_is_missing_is_a_near_miss(database: "Database") -> None:
    async with rest(database) as api:
        rule_id, _ = await written(api, RULES, rule(sub="director", dom="*"))
        body = await explained(api, asked())
        assert body["near_miss"] == {
            "id": rule_id, "kind": "role", "domain": "*", "failed_conditions": 1, "overridden_by": None,
            "failed": [], "needs_subject": {"subject": "director", "subject_kind": "role"},
        }  # fmt: skip


async def test_an_earlier_revision_is_explained_as_it_was(database: "Database") -> None:
    async with rest(database) as api:
        rule_id, first = await written(api, RULES, rule(sub="clerk"))
        held = {"user": "alice", "user_kind": "user", "role": "clerk", "dom": "emea"}
        binding, second = await written(api, BINDINGS, held)
        gone = (await api.delete(f"{BINDINGS}/{binding}")).succeeded(204)
        assert await api.services.wait_for("default", gone.revision, 5)
        expected = [(first, "deny", None), (second, "allow", rule_id), (gone.revision, "deny", None)]
        for revision, decision, matched in expected:
            body = await explained(api, asked(at=revision))
            assert (body["decision"], body["matched_rule_id"]) == (decision, matched), revision
            policies = body["policies"]
            assert (policies["revision"], policies["matches"]) == (revision, True)
            assert policies["digest"] == policies["stored_digest"]
            by_time = await explained(api, asked(at=policies["written_at"]))
            assert (by_time["decision"], by_time["policies"]) == (decision, policies)
        now = await explained(api, asked(at=datetime.now(UTC).isoformat().replace("+00:00", "Z")))
        assert now["policies"]["revision"] == gone.revision
        for at, detail in (
            (0, f"the history begins with revision {first}"),
            (gone.revision + 1, f"the newest one is {gone.revision}"),
            (2**63 - 1, "newest"),
            ("2001-01-01T00:00:00Z", "the history begins with"),
        ):
            answer = (await api.post(EXPLAIN, asked(at=at))).problem(404)
            assert detail in answer["detail"]


async def test_policies_that_were_changed_behind_the_history_do_not_match(database: "Database") -> None:
    async with rest(database) as api:
        _, first = await written(api, RULES, rule(sub="clerk"))
        await written(api, RULES, rule(sub="other"))
        async with connected(database.superuser) as superuser:
            await superuser.execute("ALTER TABLE role_rules DISABLE TRIGGER USER")
            await superuser.execute("UPDATE role_rules SET sub = 'everyone' WHERE sub = 'clerk'")
            await superuser.execute("UPDATE policy_revisions SET policy_digest = repeat('0', 64)")
        body = await explained(api, asked(at=first))
        assert body["policies"]["matches"] is False
        assert any("not those of the digest" in note for note in body["notes"])


async def test_a_line_is_explained_on_the_policies_that_decided_it(database: "Database") -> None:
    async with rest(database) as api:
        rule_id, _ = await written(api, RULES, rule(sub="clerk"))
        question = asked(attributes={"user": {"roles": ["clerk"], "level": 4}})
        line = await line_of(api, question, 200)
        gone = (await api.delete(f"{RULES}/{rule_id}")).succeeded(204)
        assert await api.services.wait_for("default", gone.revision, 5)
        body = await explained(api, {"line": line})
        assert (body["decision"], body["matched_rule_id"], body["agrees"]) == ("allow", rule_id, True)
        assert body["recorded"]["decision_id"] == line["decision_id"]
        assert body["policies"]["matches"] is True
        assert body["policies"]["line_digest"] == line["policy_digest"] == body["policies"]["digest"]
        assert body["principal"] == {"id": "alice", "kind": "user", "domain": "emea", "roles": ["clerk"]}
        today = await explained(api, {"line": line, "at": gone.revision})
        assert (today["decision"], today["agrees"]) == ("deny", False)
        other = await explained(api, {"line": line | {"policy_digest": "1" * 64, "policy_epoch": "other"}})
        assert other["policies"]["matches"] is False
        assert len([note for note in other["notes"] if "epoch" in note]) == 1


async def test_what_a_line_does_not_have_is_not_guessed(database: "Database") -> None:
    async with rest(database) as api:
        own, _ = await written(
            api,
            POLICIES,
            policy(condition("user.level", "gte", 3), condition("resource.owner", "eq", "bob")),
        )
        attributes = {"user": {"level": 4}, "resource": {"owner": "bob"}}
        line = await line_of(api, asked(attributes=attributes), 200)
        body = await explained(api, {"line": line})
        assert (body["certain"], body["agrees"]) == (False, None)
        assert body["recorded"]["decision"] == "allow"
        (candidate,) = body["candidates"]
        assert (candidate["outcome"], candidate["matched"]) == ("not_recorded", False)
        level, owner = candidate["condition"]["conditions"]
        assert level["saw"] == [{"attribute": "user.level", "state": "not_recorded"}]
        # The log shows the parameters of resources.
        assert (owner["outcome"], owner["saw"][0]["value"]) == ("true", "bob")
        known = await explained(api, {"line": line, "attributes": {"user": {"level": 4}}})
        assert (known["certain"], known["agrees"], known["matched_rule_id"]) == (True, True, own)


async def test_a_line_of_a_request_finds_its_route_again(database: "Database") -> None:
    async with rest(database) as api:
        resource = {
            "name": "invoice:read", "displayName": "invoices", "serviceName": "billing",
            "routes": [{"methods": ["GET"], "path": "/invoices/{id}"}],
        }  # fmt: skip
        created = (await api.post("/api/v1/resources", resource)).succeeded(201)
        await written(api, POLICIES, policy(condition("resource.id", "eq", "17")))
        line = await line_of(
            api, asked(), 403, entrance="grpc", method="HEAD", host="a.local", path="/invoices/17"
        )
        body = await explained(api, {"line": line})
        assert (body["decision"], body["certain"], body["agrees"]) == ("allow", True, False)
        assert body["target"] == {
            "resource": "invoice:read", "action": "read", "parameters": {"id": "17"},
        }  # fmt: skip
        unmapped = await explained(api, {"line": line | {"path": "/elsewhere"}})
        assert unmapped["target"]["parameters"] == {}
        assert any("no route of this revision" in note for note in unmapped["notes"])
        assert created.revision < body["policies"]["revision"]


async def test_a_decision_before_the_rules_has_no_candidates(database: "Database") -> None:
    async with rest(database) as api:
        await written(api, RULES, rule(sub="clerk"))
        line = await line_of(api, asked(), 403, reason="token_expired", status=401)
        body = await explained(api, {"line": line})
        assert (body["decision"], body["reason"], body["candidates"]) == ("deny", "token_expired", [])
        assert any("before rules" in note for note in body["notes"])


async def test_another_tenants_line_is_not_there(database: "Database") -> None:
    async with rest(database) as api:
        await written(api, RULES, rule())
        line = await line_of(api, asked(), 403)
        for tenant in ("acme", None, ""):
            (await api.post(EXPLAIN, {"line": line | {"tenant": tenant}})).problem(404)


async def test_domain_admins_see_their_domains_only(database: "Database") -> None:
    async with rest(database) as api:
        everywhere, _ = await written(api, POLICIES, policy(condition("user.level", "gte", 3)))
        here, _ = await written(api, POLICIES, policy(condition("user.team", "eq", "red"), domain="emea"))
        await written(api, BINDINGS, {"user": "alice", "user_kind": "user", "role": "clerk", "dom": "*"})
        body = await explained(api, asked(), caller="emea")
        by_id = {candidate["id"]: candidate for candidate in body["candidates"]}
        assert "condition" in by_id[here]
        assert not {"condition", "name"} & by_id[everywhere].keys()
        assert body["roles"][0]["bindings"][0].keys() == {"id", "domain"}
        for caller in ("tenant", "key"):
            whole = await explained(api, asked(), caller=caller)
            assert all("condition" in candidate for candidate in whole["candidates"])
        (await api.post(EXPLAIN, asked(domain="apac"), caller="emea")).problem(403)
        without = asked()
        del without["domain"]
        (await api.post(EXPLAIN, without, caller="emea")).problem(403)
        line = await line_of(api, asked(), 403)
        await explained(api, {"line": line}, caller="emea")
        for domain in ("apac", None, "*"):
            (await api.post(EXPLAIN, {"line": line | {"domain": domain}}, caller="emea")).problem(404)
        for caller in ("alice", "nobody"):
            (await api.post(EXPLAIN, asked(), caller=caller)).problem(401 if caller == "nobody" else 403)


async def test_a_caller_with_a_token_may_ask_about_itself(database: "Database") -> None:
    async with rest(database) as api:
        await written(api, RULES, rule(sub="root", sub_kind="user", dom="*"))
        question = {"resource": "invoice:read", "action": "read"}
        body = await explained(api, question, caller="tenant")
        assert (body["principal"]["id"], body["decision"]) == ("root", "allow")
        for more, pointer in (
            ({"domain": "emea"}, "/domain"),
            ({"attributes": {"user": {"x": 1}}}, "/attributes/user"),
            ({"subject_kind": "service"}, "/subject_kind"),
        ):
            answer = await api.post(EXPLAIN, question | more, caller="tenant")
            answer.problem(422)
            assert answer.pointers == [pointer]


HOSTILE: list[tuple[Document, list[str]]] = [
    ({}, ["/resource", "/action", "/subject"]),
    (asked(at=-1), ["/at"]),
    (asked(at=True), ["/at"]),
    (asked(at=2**63), ["/at"]),
    (asked(at=1.5), ["/at"]),
    (asked(at="yesterday"), ["/at"]),
    (asked(at=[1]), ["/at"]),
    (asked(at={}), ["/at"]),
    (asked(subject="a\u0000b"), ["/subject"]),
    (asked(resource="*"), ["/resource"]),
    (asked(line={}), ["/subject", "/domain", "/resource", "/action", "/line/event"]),
    ({"line": 3}, ["/line"]),
    ({"line": None}, ["/line"]),
    ({"line": []}, ["/line"]),
    ({"line": {"event": "log_started"}}, ["/line/event"]),
    ({"line": {}, "attributes": {"user": {"id": "x"}}}, ["/line/event", "/attributes/user/id"]),
    (asked(attributes={"user": {"roles": 3}}), ["/attributes/user/roles"]),
    (asked(attributes={"resource": {"name": "x"}}), ["/attributes/resource/name"]),
    (asked(more=1), ["/more"]),
]


@pytest.mark.parametrize(("document", "pointers"), HOSTILE)
async def test_a_malformed_question_is_refused_with_pointers(
    database: "Database", document: Document, pointers: list[str]
) -> None:
    async with rest(database) as api:
        answer = await api.post(EXPLAIN, document)
        answer.problem(422)
        assert answer.pointers == pointers


async def test_a_malformed_line_is_refused_with_pointers(database: "Database") -> None:
    async with rest(database) as api:
        await written(api, RULES, rule())
        line = await line_of(api, asked(), 403)
        refused: list[tuple[str, object]] = [
            ("ts", "2026-13-01T00:00:00.000000Z"),
            ("reason", "because"),
            ("roles", "x"),
            ("roles", [3]),
            ("policy_revision", 2**63),
            ("policy_revision", None),
            ("policy_digest", "x"),
            ("attributes_used", []),
            ("path", "no/slash"),
            ("principal_kind", "robot"),
            ("token", "eyJhbGciOi"),
        ]
        for member, value in refused:
            answer = await api.post(EXPLAIN, {"line": line | {member: value}})
            answer.problem(422)
            assert answer.pointers == [f"/line/{member}"], answer.body
            assert "eyJhbGciOi" not in answer.raw.decode()
        masked = {"subject": "hmac:" + "0" * 64, "masked": ["subject"]}
        answer = await api.post(EXPLAIN, {"line": line | masked})
        answer.problem(422)
        assert answer.pointers == ["/line/masked"]
        (await api.post(EXPLAIN, {"line": line | {"request_id": None, "masked": ["request_id"]}})).succeeded(
            200
        )
        odd: list[tuple[str, object]] = [
            ("path", "/a/../b"),
            ("path", "/a%00b"),
            ("host", "ä" * 300),
            ("subject", "x\u0000y"),
            ("resource", "/a;b"),
            ("domain", "*"),
            ("roles", ["\u0000"]),
            ("token_roles", ["a"] * 1000),
            ("attributes_used", {"resource.x": {"y": [1, None, {"z": 2}]}, "resource.": 1, "user.": None}),
            ("source_principal", "spiffe://x/../y"),
            ("source_address", "not an address"),
            ("subject", "\ud800"),
            ("roles", ["\udfff"]),
            ("attributes_used", {"resource.\ud800": "x"}),
            ("attributes_used", {"resource.deep": json.loads("[" * 60 + "]" * 60)}),
            ("attributes_used", {"resource.huge": 10**400, "resource.fraction": 1e300}),
            ("duration_us", 10**400),
        ]
        for member, value in odd:
            answer = await api.post(EXPLAIN, {"line": line | {member: value, "method": "GET"}})
            assert answer.status in {200, 400, 422}, (member, answer.body)
