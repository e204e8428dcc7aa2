"""A sidecar alone, without database and REST API: its policies are files."""

import json
import shutil
from pathlib import Path

from extauthz.demo.calls import send
from extauthz.demo.report import awaited
from extauthz.demo.stack import Stack
from tests.command_line import run_extauthz
from tests.waiting import await_true

NEW_RULE = """\
role_rules:
  - {id: today, sub: bob, sub_kind: user, dom: "*", obj: invoice:read, act: read, effect: allow}
"""


def put(stack: Stack, name: str, text: str) -> None:
    """Write a policy file as a deployment would: a reader sees all of it or none."""
    draft = stack.folder / name
    draft.write_text(text)
    draft.rename(stack.policies / name)


def test_changed_files_take_effect_and_an_invalid_one_keeps_the_last_good_policies(
    files_stack: Stack,
) -> None:
    stack = files_stack
    alice, bob = stack.people.token("alice"), stack.people.token("bob")

    def reads(token: str) -> str:
        return str(send(stack.envoy_port, "/demo/invoices/17", token=token).status)

    assert (reads(alice), reads(bob)) == ("200", "403")

    put(stack, "today.yaml", NEW_RULE)
    assert awaited("the rule is added", "200", lambda: reads(bob)).agrees
    (stack.policies / "today.yaml").unlink()
    assert awaited("the rule is taken away", "403", lambda: reads(bob)).agrees

    put(stack, "bad.yaml", "role_rules: [{id: bad, effect: perhaps}]")
    extauthz = stack.child("extauthz")
    extauthz.wait_ready(lambda: "bad.yaml" in extauthz.last_lines(), timeout_s=5)
    assert (reads(alice), reads(bob)) == ("200", "403")


def test_what_envoy_asked_is_replayed_on_a_draft_from_the_decision_log(
    files_stack: Stack, tmp_path: Path
) -> None:
    stack = files_stack
    path = "/demo/invoices/17?from=a-replay"
    for person, status in (("alice", 200), ("bob", 403)):
        assert send(stack.envoy_port, path, token=stack.people.token(person)).status == status
    assert send(stack.envoy_port, path).status == 401
    log = stack.decision_log
    await_true(lambda: log.read_text().count('"decision"') >= 3, within=10, what="the lines of the checks")
    draft = tmp_path / "draft"
    shutil.copytree(stack.policies, draft)
    (draft / "today.yaml").write_text(NEW_RULE)

    given = ("--log", log, "--policies", stack.policies, "--draft", draft)
    ended = run_extauthz("policy", "replay", *given, "--max-newly-allowed", "0", "--json")

    assert ended.returncode == 1
    assert "newly allowed; at most 0 may be" in ended.stderr
    result = json.loads(ended.stdout)
    allowed = result["newly_allowed"]
    assert allowed["subjects"] == 1
    assert [each["rule"]["id"] for each in allowed["groups"]["rule"]] == ["today"]
    assert {each["subject"] for each in allowed["examples"]} == {"bob"}
    assert result["newly_denied"]["requests"] == result["cannot_say"]["requests"] == 0
