"""AuthZEN Authorization API 1.0 as its certification scenario asks: the levels Basic, Batch and Discovery.

The requests have the shapes of the scenario, in data of our own (`authzen_scenario`). docs/authzen.md says
what is claimed.
"""

from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.authzen_scenario import write_scenario
from tests.integration.rest_harness import Answer, Api, rest

if TYPE_CHECKING:
    from tests.integration.conftest import Database

pytestmark = pytest.mark.anyio
ONE = "/access/v1/evaluation"
MANY = "/access/v1/evaluations"
BASE = "https://pdp.example.com"
ALICE = {"type": "user", "id": "alice"}
BOB = {"type": "user", "id": "bob"}
ADMIN_BOB = BOB | {"properties": {"role": "admin"}}
READ, WRITE = {"name": "read"}, {"name": "write"}
RECORD = {"type": "record", "id": "record-1"}
ACTIVE = RECORD | {"properties": {"status": "active"}}
ARCHIVED = {"type": "record", "id": "record-2", "properties": {"status": "archived"}}
SOFT, HARD = ({"name": "delete", "properties": {"soft": soft}} for soft in (True, False))


def question(subject: Any, action: Any, resource: Any, **more: Any) -> dict[str, Any]:
    return {"subject": subject, "action": action, "resource": resource} | more


DECIDED = [
    ("alice reads", question(ALICE, READ, RECORD), True),
    ("alice writes", question(ALICE, WRITE, RECORD), True),
    ("bob reads", question(BOB, READ, RECORD), True),
    ("bob does not write", question(BOB, WRITE, RECORD), False),
    (
        "context changes nothing",
        question(ALICE, READ, RECORD, context={"time": "2025-06-27T18:03-07:00", "ip": "192.168.1.1"}),
        True,
    ),
    ("archived records are not written", question(ALICE, WRITE, ARCHIVED), False),
    ("but an admin", question(ADMIN_BOB, WRITE, ARCHIVED), True),
    ("a soft deletion", question(ALICE, SOFT, RECORD), True),
    ("a hard deletion", question(ALICE, HARD, RECORD), False),
    (
        "more properties",
        question(
            ALICE | {"properties": {"department": "Sales", "role": "manager"}},
            READ | {"properties": {"method": "GET"}},
            RECORD | {"properties": {"status": "active", "owner": "bob"}},
        ),
        True,
    ),
    ("unknown members", question(ALICE, READ, RECORD, foo="bar", futureField={"nested": True}), True),
    (
        "unknown members inside",
        question(ALICE | {"x": 1}, READ | {"x": [None]}, RECORD | {"x": {}}, options="x", evaluations=1),
        True,
    ),
]
BATCHES: list[tuple[str, dict[str, Any], list[bool]]] = [
    (
        "ordered, with a common subject and resource",
        {"subject": BOB, "resource": RECORD, "evaluations": [{"action": READ}, {"action": WRITE}]},
        [True, False],
    ),
    (
        "properties of resources",
        {"subject": ALICE, "action": WRITE, "evaluations": [{"resource": ACTIVE}, {"resource": ARCHIVED}]},
        [True, False],
    ),
    (
        "properties of subjects",
        {"action": WRITE, "resource": ARCHIVED, "evaluations": [{"subject": ALICE}, {"subject": ADMIN_BOB}]},
        [False, True],
    ),
    (
        "without defaults",
        {"evaluations": [question(ALICE, READ, RECORD), question(BOB, WRITE, RECORD)]},
        [True, False],
    ),
    (
        "a context for all and one of its own",
        {
            "subject": ALICE,
            "action": READ,
            "context": {"time": "2025-06-27T18:03-07:00"},
            "evaluations": [{"resource": RECORD}, {"resource": ARCHIVED, "context": {"source": "x"}}],
        },
        [True, True],
    ),
    (
        "the type of the default completes an entry",
        {
            "subject": ALICE,
            "action": WRITE,
            "resource": {"type": "record"},
            "evaluations": [
                {"resource": {"id": "record-1", "properties": {"status": "active"}}},
                {"resource": ARCHIVED},
            ],
        },
        [True, False],
    ),
    (
        "properties of the default are not those of an entry",
        {
            "subject": ADMIN_BOB,
            "action": WRITE,
            "resource": ARCHIVED,
            "evaluations": [{}, {"subject": BOB}, {"subject": {"id": "bob"}}],
        },
        [True, False, False],
    ),
    (
        "an entry that is wrong",
        {"subject": ALICE, "action": READ, "evaluations": [{"resource": RECORD}, {}, [], None, 1, "x"]},
        [True, False, False, False, False, False],
    ),
    (
        "an entry with a member of another type",
        {
            "subject": ALICE,
            "action": READ,
            "resource": RECORD,
            "evaluations": [
                {"subject": "alice"},
                {"action": {"name": 1}},
                {"context": []},
                {"subject": None},
            ],
        },
        [False, False, False, False],
    ),
    (
        "deny on first deny",
        {
            "subject": BOB,
            "resource": RECORD,
            "options": {"evaluations_semantic": "deny_on_first_deny", "x": 1},
            "evaluations": [{"action": READ}, {"action": WRITE}, {"action": READ}],
        },
        [True, False],
    ),
    (
        "an error is a deny",
        {
            "subject": BOB,
            "resource": RECORD,
            "options": {"evaluations_semantic": "deny_on_first_deny"},
            "evaluations": [{"action": READ}, {}, {"action": READ}],
        },
        [True, False],
    ),
    (
        "permit on first permit",
        {
            "subject": BOB,
            "resource": RECORD,
            "options": {"evaluations_semantic": "permit_on_first_permit"},
            "evaluations": [{"action": WRITE}, {}, {"action": READ}, {"action": WRITE}],
        },
        [False, False, True],
    ),
    (
        "execute all",
        {
            "subject": BOB,
            "resource": RECORD,
            "options": {"evaluations_semantic": "execute_all"},
            "evaluations": [{"action": WRITE}, {"action": READ}],
        },
        [False, True],
    ),
]


def without(document: dict[str, Any], *path: str) -> dict[str, Any]:
    member, *rest = path
    kept = {name: value for name, value in document.items() if name != member}
    return kept | {member: without(document[member], *rest)} if rest else kept


ASKED = question(ALICE, READ, RECORD)
WRONG: list[tuple[object, str]] = [
    (without(ASKED, "subject"), "/subject"),
    (without(ASKED, "action"), "/action"),
    (without(ASKED, "resource"), "/resource"),
    (without(ASKED, "subject", "type"), "/subject/type"),
    (without(ASKED, "subject", "id"), "/subject/id"),
    (without(ASKED, "action", "name"), "/action/name"),
    (without(ASKED, "resource", "type"), "/resource/type"),
    (without(ASKED, "resource", "id"), "/resource/id"),
    (question("alice", READ, RECORD), "/subject"),
    (question(None, READ, RECORD), "/subject"),
    (question([ALICE], READ, RECORD), "/subject"),
    (question(ALICE, "read", RECORD), "/action"),
    (question(ALICE, {"name": 123}, RECORD), "/action/name"),
    (question(ALICE, {"name": None}, RECORD), "/action/name"),
    (question(ALICE, {"name": ""}, RECORD), "/action/name"),
    (question(ALICE, {"name": "*"}, RECORD), "/action/name"),
    (question(ALICE, READ, RECORD | {"type": "*"}), "/resource/type"),
    (question(ALICE, READ, RECORD | {"id": 1}), "/resource/id"),
    (question(ALICE, READ, RECORD | {"id": "x" * 1025}), "/resource/id"),
    (question(ALICE, READ, RECORD | {"properties": None}), "/resource/properties"),
    (question(ALICE, READ | {"properties": []}, RECORD), "/action/properties"),
    (question(ALICE | {"properties": "x"}, READ, RECORD), "/subject/properties"),
    (question(ALICE | {"properties": {"roles": 5}}, READ, RECORD), "/subject/properties/roles"),
    (question(ALICE | {"properties": {"roles": ["a", 1]}}, READ, RECORD), "/subject/properties/roles"),
    (question(ALICE | {"properties": {"domain": "*"}}, READ, RECORD), "/subject/properties/domain"),
    (question(ALICE | {"properties": {"domain": ["a"]}}, READ, RECORD), "/subject/properties/domain"),
    (question(ALICE | {"id": "al\u200bice"}, READ, RECORD), "/subject/id"),
    (question(ALICE | {"id": "a" * 257}, READ, RECORD), "/subject/id"),
    (question(ALICE | {"id": " alice"}, READ, RECORD), "/subject/id"),
    (question({"type": "workload", "id": "spiffe://X/y"}, READ, RECORD), "/subject/id"),
    (question(ALICE, READ, RECORD, context="now"), "/context"),
    (question(ALICE, READ, RECORD, context=None), "/context"),
    ([], ""),
    ("x", ""),
    (None, ""),
    (1, ""),
]
SEMANTIC = "/options/evaluations_semantic"
WRONG_BATCHES: list[tuple[object, str]] = [
    (ASKED | {"evaluations": {}}, "/evaluations"),
    (ASKED | {"evaluations": None}, "/evaluations"),
    (ASKED | {"evaluations": "x"}, "/evaluations"),
    (ASKED | {"evaluations": [{}], "options": []}, "/options"),
    (ASKED | {"evaluations": [{}], "options": {"evaluations_semantic": "x"}}, SEMANTIC),
    (ASKED | {"evaluations": [{}], "options": {"evaluations_semantic": None}}, SEMANTIC),
    (ASKED | {"evaluations": [{}], "subject": "alice"}, "/subject"),
    (ASKED | {"evaluations": [{}], "context": 1}, "/context"),
    (ASKED | {"evaluations": [{}] * 1001}, "/evaluations"),
    (ASKED | {"evaluations": [{}] * 10_000}, "/evaluations"),
    (ASKED | {"evaluations": [{}, {}], "resource": RECORD | {"properties": {"x": "y" * 5000}}}, "/resource"),
    (ASKED | {"evaluations": [{}, {}], "subject": ALICE | {"properties": {"x": "y" * 5000}}}, "/subject"),
    ({"evaluations": []}, "/subject"),
    ({}, "/subject"),
]
NOT_JSON = [
    b"",
    b" ",
    b"{",
    b"{}x",
    b"\xff{}",
    b"\xef\xbb\xbf{}",
    b'{"subject": NaN}',
    b'{"a": 1, "a": 1}',
    b"[" * 5000,
    b'{"a":' * 5000 + b"1" + b"}" * 5000,
    b'{"context": {"a": "\\u0000"}}',
    b'{"a": "\\ud800"}',
    b'{"a": 1e999999}',
    b'{"a": ' + b"9" * 500 + b"}",
]


def decisions(answer: Answer) -> list[bool]:
    found = answer.succeeded(200).body
    assert set(found) == {"evaluations"}
    return [each["decision"] for each in found["evaluations"]]


async def ready(api: Api) -> None:
    assert await api.services.wait_for("default", await write_scenario(api), 10)
    document = {"name": "pep", "scopes": ["check"]}
    key = (await api.post("/api/v1/service-api-keys", document)).succeeded(201).body["key"]
    api.callers["pep"] = {"Authorization": f"Bearer {key}"}
    api.callers["header"] = {"X-Service-Api-Key": key}


async def test_basic(database: "Database") -> None:
    async with rest(database) as api:
        await ready(api)
        for name, asked, decision in DECIDED:
            for path in (ONE, MANY):
                # On the endpoint for one, `evaluations` and `options` are unknown members.
                sent = {
                    each: asked[each]
                    for each in asked
                    if path == ONE or each not in {"options", "evaluations"}
                }
                answer = (await api.post(path, sent, caller="pep")).succeeded(200)
                assert answer.headers["Content-Type"] == "application/json"
                assert answer.body["decision"] is decision, name
                context = answer.body["context"]
                assert context["reason"] == ("rule_matched" if decision else context["reason"]), name
                assert set(context) == {
                    "reason",
                    "message",
                    "matched_rule_id",
                    "decision_id",
                    "policy_revision",
                }
        # The same question has the same answer.
        for _ in range(5):
            assert (await api.post(ONE, ASKED, caller="header")).succeeded(200).body["decision"] is True
        empty = ASKED | {"evaluations": []}
        assert (await api.post(MANY, empty, caller="pep")).succeeded(200).body["decision"] is True


async def test_batch(database: "Database") -> None:
    async with rest(database) as api:
        await ready(api)
        for name, asked, expected in BATCHES:
            answer = await api.post(MANY, asked, caller="pep")
            assert decisions(answer) == expected, name
            for entry in answer.body["evaluations"]:
                if "error" in entry["context"]:
                    assert entry["decision"] is False
                    assert entry["context"]["error"]["status"] == 400
        thousand = {
            "subject": ALICE,
            "resource": RECORD,
            "evaluations": [{"action": READ}, {"action": HARD}] * 500,
        }
        assert decisions(await api.post(MANY, thousand, caller="pep")) == [True, False] * 500


async def test_bad_requests_are_400_with_each_place(database: "Database") -> None:
    async with rest(database) as api:
        await ready(api)
        for asked, pointer in WRONG:
            for path in (ONE, MANY):
                data = None if asked is not None else b"null"
                answer = await api.ask("POST", path, asked, caller="pep", data=data, X_Request_ID="req 1")
                assert answer.problem(400)["detail"], asked
                assert pointer in answer.pointers, (asked, answer.raw)
                assert answer.headers["X-Request-ID"] == "req 1"
        for asked, pointer in WRONG_BATCHES:
            answer = await api.post(MANY, asked, caller="pep")
            answer.problem(400)
            assert pointer in answer.pointers, (str(asked)[:200], answer.raw)
        for data in NOT_JSON:
            for path in (ONE, MANY):
                (await api.ask("POST", path, data=data, caller="pep")).problem(400)
        for media_type in (
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/problem+json",
            "json",
            "",
        ):
            (await api.post(ONE, ASKED, caller="pep", Content_Type=media_type)).problem(400)
        # None of it was a decision.
        assert api.services.recorder.log.flush(5)
        assert '"entrance":"authzen"' not in api.log.read_text()
        for media_type in ("application/json; charset=utf-8", "Application/JSON"):
            (await api.post(ONE, ASKED, caller="pep", Content_Type=media_type)).succeeded(200)
        (await api.ask("POST", ONE, data=b" " * (2**20 + 1), caller="pep")).problem(413)
        (await api.ask("POST", MANY, data=b" " * (2**21 + 1), caller="pep")).problem(413)
        (await api.get(ONE, caller="pep")).problem(405)
        absent = await api.post("/access/v1/search/resource", ASKED, caller="pep", X_Request_ID="r")
        absent.problem(404)
        assert absent.headers["X-Request-ID"] == "r"


async def test_request_identifiers_are_repeated(database: "Database") -> None:
    async with rest(database) as api:
        await ready(api)
        for caller, status in (("pep", 200), ("nobody", 401), ("alice", 200)):
            for repeated in ("bfe9eb29-ab87-4ca3-be83-a1d5d8305716", 'a "b"; c=d', "x" * 256):
                answer = await api.post(ONE, ASKED, caller=caller, X_Request_ID=repeated)
                assert answer.status == status
                assert answer.headers["X-Request-ID"] == repeated
            for ignored in ("", "x" * 257, "caf\u00e9", "a\tb"):
                answer = await api.post(ONE, ASKED, caller=caller, X_Request_ID=ignored)
                assert answer.status == status
                assert "X-Request-ID" not in answer.headers
        answer = await api.get("/.well-known/authzen-configuration", X_Request_ID="meta")
        assert answer.headers["X-Request-ID"] == "meta"


async def test_discovery(database: "Database") -> None:
    async with rest(database, authzen_base_url=BASE) as api:
        for caller in ("nobody", "alice"):
            answer = (await api.get("/.well-known/authzen-configuration", caller=caller)).succeeded(200)
            assert answer.headers["Content-Type"] == "application/json"
            assert answer.headers["Cache-Control"] == "public, max-age=3600"
            assert answer.body == {
                "policy_decision_point": BASE,
                "access_evaluation_endpoint": f"{BASE}/access/v1/evaluation",
                "access_evaluations_endpoint": f"{BASE}/access/v1/evaluations",
                "search_subject_endpoint": f"{BASE}/access/v1/search/subject",
                "search_action_endpoint": f"{BASE}/access/v1/search/action",
            }
        (await api.get("/.well-known/authzen-configuration/default")).problem(404)
    async with rest(database, authzen_base_url=f"{BASE}/pdp") as api:
        found = (await api.get("/.well-known/authzen-configuration/pdp")).succeeded(200).body
        assert found["policy_decision_point"] == f"{BASE}/pdp"
        assert found["access_evaluation_endpoint"] == f"{BASE}/pdp/access/v1/evaluation"
        (await api.get("/.well-known/authzen-configuration")).problem(404)
    async with rest(database) as api:
        refused = (await api.get("/.well-known/authzen-configuration")).problem(404)
        assert "AUTHZEN_BASE_URL" in refused["detail"]
