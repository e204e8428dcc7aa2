"""`extauthz policy replay`: a decision log and two folders in, what the draft would change out."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from extauthz.decide.judge import CheckPolicy, judge_identified
from extauthz.decide.record import decision_fields
from extauthz.domain.ids import uuid7
from extauthz.domain.path import CanonicalPath
from extauthz.domain.principal import Authentication, Principal, PrincipalKind
from extauthz.recording.replay_policies import ReplayPolicies
from tests.builders import request_facts
from tests.command_line import run_extauthz
from tests.recorded_requests import CLERKS, HOUR, ORDERS, Document, condition, policy, snapshot_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from subprocess import CompletedProcess

    Replay = Callable[..., CompletedProcess[str]]

LIVE: dict[str, list[Document]] = {"resources": [ORDERS], "role_rules": [CLERKS]}
SELLERS = LIVE | {"role_rules": [CLERKS, CLERKS | {"id": "sellers", "sub": "seller"}]}
PUBLIC = LIVE | {
    "resources": [ORDERS | {"routes": [ORDERS["routes"][0] | {"authentication": "none"}]}],
    "role_rules": [CLERKS, CLERKS | {"id": "everyone", "sub": "anonymous"}],
}
Line = dict[str, Any]


def line(
    *roles: str, subject: str | None = "alice", path: str = "/orders/17", at: float = HOUR, **changes: object
) -> Line:
    """Return the line of a GET on the live policies; without a subject the request has no credential."""
    found = CanonicalPath.parse(path)
    assert isinstance(found, CanonicalPath)
    identity = None
    if subject is not None:
        identity = Principal(PrincipalKind.USER, subject, "default", None, roles, Authentication.JWT)
    directory = ReplayPolicies.of(snapshot_of(**LIVE)).directory
    facts = request_facts()._replace(path=found)
    facts = facts._replace(context=facts.context.__class__("default"))
    verdict = judge_identified(
        facts, identity, directory, CheckPolicy(max_staleness=None), uuid7(1, bytes(10)), at
    )
    fields = decision_fields(verdict, ts=at, entrance="grpc", duration_us=33)
    rendered: Line = json.loads(json.dumps(fields, default=list))
    return rendered | changes


@pytest.fixture
def replay(tmp_path: Path) -> "Replay":
    def run(
        lines: list[Line] | bytes,
        draft: dict[str, list[Document]],
        *options: str,
        environ: dict[str, str] | None = None,
    ) -> "CompletedProcess[str]":
        for name, documents in (("live", LIVE), ("draft", draft)):
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / "policies.json").write_text(json.dumps(documents))
        log = tmp_path / "decisions.log"
        text = (
            lines if isinstance(lines, bytes) else "".join(json.dumps(one) + "\n" for one in lines).encode()
        )
        log.write_bytes(text)
        folders = "--policies", str(tmp_path / "live"), "--draft", str(tmp_path / "draft")
        return run_extauthz("policy", "replay", "--log", str(log), *folders, *options, environ=environ)

    return run


def found(ended: "CompletedProcess[str]") -> Any:
    assert ended.stderr == ""
    return json.loads(ended.stdout)


def test_the_requests_that_would_be_newly_allowed_are_named(
    replay: "Replay",
) -> None:
    lines = [line("seller"), line("seller", subject="bob"), line("clerk"), line("other")]
    ended = replay(lines, SELLERS, "--json")
    assert ended.returncode == 0
    result = found(ended)
    assert (result["requests"], result["unchanged"]["requests"]) == (4, 2)
    allowed = result["newly_allowed"]
    assert (allowed["requests"], allowed["subjects"]) == (2, 2)
    assert allowed["groups"]["rule"][0]["rule"] == {"id": "sellers", "kind": "role"}
    assert allowed["examples"][0]["path"] == "/orders/17"
    words = replay(lines, SELLERS)
    assert "2 would be newly allowed, of 2 subjects" in words.stdout
    assert "role rule sellers" in words.stdout


@pytest.mark.parametrize(("most", "status"), [("1", 1), ("2", 0), ("0", 1)])
def test_more_newly_allowed_requests_than_may_be_fail_the_step(
    replay: "Replay", most: str, status: int
) -> None:
    ended = replay([line("seller"), line("seller")], SELLERS, "--max-newly-allowed", most)
    assert ended.returncode == status
    assert ("2 requests would be newly allowed" in ended.stderr) is (status == 1)
    in_json = replay([line("seller"), line("seller")], SELLERS, "--max-newly-allowed", most, "--json")
    assert in_json.returncode == status
    assert next(iter(json.loads(in_json.stdout).items())) == ("ok", status == 0)


def test_cases_in_a_folder_are_passed_over_and_leave_the_output_alone(
    replay: "Replay", tmp_path: Path
) -> None:
    for name in ("live", "draft"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cases.yaml").write_text("cases: []\n")
    assert found(replay([line("seller")], SELLERS, "--json"))["newly_allowed"]["requests"] == 1


def test_a_public_route_allows_the_requests_without_a_credential(
    replay: "Replay",
) -> None:
    result = found(replay([line(subject=None)], PUBLIC, "--json"))
    assert result["newly_allowed"]["requests"] == 1


def test_a_replay_without_the_rules_is_newly_denied(replay: "Replay") -> None:
    result = found(replay([line("clerk")], LIVE | {"role_rules": []}, "--json"))
    assert result["newly_denied"]["requests"] == 1


@pytest.mark.parametrize(
    ("draft", "changes", "slot", "state"),
    [
        (
            LIVE | {"attribute_policies": [policy("l", "allow", condition("user.level", "gte", 3))]},
            {},
            "user.level",
            "not recorded",
        ),
        (
            LIVE | {"attribute_policies": [policy("q", "deny", condition("request.query.q", "eq", "1"))]},
            {},
            "request.query.q",
            "not recorded",
        ),
        (
            LIVE | {"role_rules": [CLERKS, CLERKS | {"id": "b", "sub": "bob", "sub_kind": "user"}]},
            {"subject": "***"},
            "subject",
            "masked",
        ),
        (SELLERS, {"token_roles": "[masked]"}, "token_roles", "masked"),
        (
            LIVE | {"attribute_policies": [policy("i", "allow", condition("resource.id", "eq", "17"))]},
            {"path": "/orders/***"},
            "path",
            "masked",
        ),
        (
            LIVE
            | {
                "attribute_policies": [
                    policy("a", "allow", condition("request.source.address", "cidr", "10.0.0.0/8"))
                ]
            },
            {"source_address": "REDACTED"},
            "request.source.address",
            "masked",
        ),
    ],
)
def test_values_that_a_line_does_not_have_are_named(
    replay: "Replay",
    draft: dict[str, list[Document]],
    changes: Line,
    slot: str,
    state: str,
) -> None:
    result = found(replay([line("other", **changes)], draft, "--json"))
    assert result["cannot_say"]["because"] == [{"slot": slot, "state": state, "requests": 1}]


HASH = "hmac:" + "5f" * 32
BOB = LIVE | {"role_rules": [CLERKS, CLERKS | {"id": "b", "sub": "bob", "sub_kind": "user"}]}
BY_ID = LIVE | {"attribute_policies": [policy("i", "allow", condition("resource.id", "eq", "17"))]}


@pytest.mark.parametrize(
    ("draft", "changes", "slot"),
    [
        (BOB, {"subject": HASH, "masked": ["subject"]}, "subject"),
        (BOB, {"subject": None, "masked": ["subject"]}, "subject"),
        (SELLERS, {"token_roles": [HASH], "masked": ["token_roles"]}, "token_roles"),
        (SELLERS, {"token_roles": [], "masked": ["token_roles"]}, "token_roles"),
        (BY_ID, {"path": f"/orders/{HASH}", "masked": ["path", "subject"]}, "path"),
        (SELLERS, {"path": f"/{HASH}", "masked": ["path"]}, "path"),
        (SELLERS, {"path": None, "masked": ["path"]}, "path"),
        (SELLERS, {"resource": None, "masked": ["resource"]}, "resource"),
        (SELLERS, {"action": HASH, "masked": ["action"]}, "action"),
        (SELLERS, {"domain": HASH, "masked": ["domain"]}, "domain"),
        (SELLERS, {"method": HASH, "masked": ["method"]}, "request.method"),
        (SELLERS, {"method": None, "masked": ["method"]}, "request.method"),
    ],
)
def test_what_the_log_itself_masked_is_named_without_an_option(
    replay: "Replay", draft: dict[str, list[Document]], changes: Line, slot: str
) -> None:
    masked = line("seller") | changes
    result = found(replay([masked], draft, "--json"))
    assert result["cannot_say"]["because"] == [{"slot": slot, "state": "masked", "requests": 1}]
    unchanged = found(replay([masked], LIVE, "--json"))
    assert unchanged["unchanged"]["requests"] == 1


TOOL: Document = {
    "name": "read-invoice:call",
    "serviceName": "shop",
    "routes": [
        {"methods": ["POST"], "path": "/mcp", "mcp": {"method": "tools/call", "tool": "read-invoice"}}
    ],
}
CALLERS = CLERKS | {"id": "callers", "obj": "read-invoice:call"}
TOOLS = {"resources": [ORDERS, TOOL], "role_rules": [CLERKS, CALLERS]}
CALL = {"mcp_method": "tools/call", "mcp_name": "read-invoice"}


@pytest.mark.parametrize(
    ("changes", "slot", "state"),
    [
        (CALL, None, None),
        ({}, "mcp.method", "not recorded"),
        (CALL | {"mcp_name": HASH, "masked": ["mcp_name"]}, "mcp.name", "masked"),
        (CALL | {"mcp_name": "r" * 256}, "mcp.name", "not recorded"),
    ],
)
def test_a_message_of_mcp_is_judged_by_its_fields(
    replay: "Replay", changes: Line, slot: str | None, state: str | None
) -> None:
    """The live policies have no route for it."""
    called = line("clerk", path="/mcp", method="POST") | changes
    assert called["reason"] == "unmapped_route"
    result = found(replay([called], TOOLS, "--json"))
    assert result["newly_allowed"]["requests"] == (slot is None)
    because = result["cannot_say"]["because"]
    assert because == ([] if slot is None else [{"slot": slot, "state": state, "requests": 1}])


def test_masked_attributes_of_a_question_by_name_are_named(replay: "Replay") -> None:
    for value in (HASH, None):
        by_name = {"entrance": "rest", "path": None, "method": None, "host": None}
        asked = line("clerk") | by_name | {"attributes_used": {"resource.id": value}}
        asked["masked"] = ["attributes_used"]
        result = found(replay([asked], BY_ID, "--json"))
        assert result["cannot_say"]["because"] == [{"slot": "resource.id", "state": "masked", "requests": 1}]


def test_the_number_of_allows_that_sampling_left_out_is_told(replay: "Replay") -> None:
    beat = {"event": "log_heartbeat", "sampled_out_since_last": 40}
    lines = [line("clerk", sampled_out_since_last=2), beat]
    assert found(replay(lines, LIVE, "--json"))["lines"]["sampled_out"] == 42
    assert "42 more allows, of all tenants, have no line" in replay(lines, LIVE).stdout


def test_a_line_of_a_version_without_token_roles_names_them(
    replay: "Replay",
) -> None:
    older = line("seller")
    del older["token_roles"]
    result = found(replay([older], SELLERS, "--json"))
    assert result["cannot_say"]["because"] == [
        {"slot": "token_roles", "state": "not recorded", "requests": 1}
    ]


def test_a_field_can_be_declared_masked(replay: "Replay") -> None:
    bob = LIVE | {"role_rules": [CLERKS, CLERKS | {"id": "b", "sub": "bob", "sub_kind": "user"}]}
    pseudonym = [line("other", subject="4f2c9a")]
    assert found(replay(pseudonym, bob, "--json"))["unchanged"]["requests"] == 1
    result = found(replay(pseudonym, bob, "--json", "--masked", "subject"))
    assert result["cannot_say"]["because"][0]["slot"] == "subject"


def test_a_binding_is_judged_at_the_time_of_the_request(
    replay: "Replay",
) -> None:
    binding = {"id": "b", "user": "alice", "user_kind": "user", "role": "clerk", "dom": "*"}
    draft = LIVE | {"role_bindings": [binding | {"expires_at": "2026-01-05T10:30:00Z"}]}
    result = found(replay([line(at=HOUR + 1799.5), line(at=HOUR + 1800)], draft, "--json"))
    assert (result["newly_allowed"]["requests"], result["unchanged"]["requests"]) == (1, 1)


def test_lines_of_other_tenants_and_of_the_log_itself_are_passed_over(
    replay: "Replay",
) -> None:
    lines = [{"event": "log_started"}, line("seller", tenant="acme"), line("seller")]
    result = found(replay(lines, SELLERS, "--json"))
    assert (result["requests"], result["lines"]) == (
        1,
        {"of_other_tenants": 1, "unusable": 0, "sampled_out": 0},
    )
    only = replay([line("seller", tenant="acme")], SELLERS)
    assert only.returncode == 2
    assert "--tenant" in only.stderr


@pytest.mark.parametrize("torn", [b'{"event": "decision", "tenant": "default"', b"[]", b"\xff\xfe", b""])
def test_a_line_that_is_none_is_left_out_and_named(replay: "Replay", torn: bytes) -> None:
    whole = json.dumps(line("seller")).encode()
    ended = replay(whole + b"\n" + torn + b"\n" + whole, SELLERS, "--json")
    assert ended.returncode == 0
    assert json.loads(ended.stdout)["requests"] == 2
    assert "1 lines are left out; the first is line 2: is not a JSON object" in ended.stderr


@pytest.mark.parametrize(
    "changes",
    [
        {"reason": "because"},
        {"decision": None},
        {"path": "//a"},
        {"ts": "yesterday"},
        {"principal_kind": "robot"},
        {"authentication": 7},
        {"matched_rule_kind": "x", "matched_rule_id": "y"},
        {"attributes_used": {"resource.x": {}}, "domain": [1], "entrance": None, "path": None},
    ],
)
def test_a_line_with_other_values_ends_nothing(replay: "Replay", changes: Line) -> None:
    ended = replay([line("seller") | changes, line("seller")], SELLERS, "--json")
    assert ended.returncode == 0
    assert json.loads(ended.stdout)["lines"]["unusable"] == 1


def test_an_empty_log_is_a_clear_answer(replay: "Replay") -> None:
    ended = replay([], SELLERS)
    assert ended.returncode == 2
    assert "has no decision of the tenant 'default'" in ended.stderr


def test_a_draft_that_does_not_parse_is_named_with_its_file(
    replay: "Replay",
) -> None:
    ended = replay([line("seller")], LIVE | {"role_rules": [CLERKS | {"effect": "permit"}]})
    assert ended.returncode == 2
    assert "policies.json /role_rules/0/effect" in ended.stderr


def test_settings_of_the_service_are_read(replay: "Replay") -> None:
    draft = LIVE | {
        "attribute_policies": [policy("h", "allow", condition("request.headers.x-region", "eq", "eu"))]
    }
    assert replay([line("seller")], draft).returncode == 2
    ended = replay([line("seller")], draft, "--json", environ={"CONDITION_HEADERS": "x-region"})
    assert found(ended)["cannot_say"]["because"][0]["slot"] == "request.headers.x-region"
    wrong = replay([line("seller")], draft, environ={"UNMAPPED": "maybe"})
    assert wrong.returncode == 2
    assert "UNMAPPED" in wrong.stderr


def test_the_log_and_the_folders_must_be_there(tmp_path: Path) -> None:
    arguments = ("--log", tmp_path / "none", "--policies", tmp_path, "--draft", tmp_path)
    ended = run_extauthz("policy", "replay", *arguments)
    assert ended.returncode == 2
    assert "has no .yaml, .yml or .json file" in ended.stderr
