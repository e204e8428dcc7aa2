"""A sidecar alone, without database and REST API: its policies are files."""

import json
import os
import shutil
from pathlib import Path

from extauthz.demo.calls import DecisionLogReader, send
from extauthz.demo.command import facts
from extauthz.demo.example_calls import CALLS
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


def test_a_revocation_that_keeps_size_and_times_of_its_file_takes_effect(files_stack: Stack) -> None:
    stack = files_stack
    alice = stack.people.token("alice")
    file = stack.policies / "role-rules.yaml"
    text, before = file.read_text(), file.stat()

    def reads() -> str:
        return str(send(stack.envoy_port, "/demo/invoices/17", token=alice).status)

    assert reads() == "200"
    # In place, as `cp -p` and `rsync -a --inplace` write files of archives with fixed times.
    with file.open("r+") as opened:
        opened.write(text.replace("sub: finance\n", "sub: nothing\n"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert awaited("the rule is of another role", "403", reads).agrees
    file.write_text(text)
    assert awaited("the rule is back", "200", reads).agrees


def test_what_envoy_asked_is_replayed_on_a_draft_from_the_decision_log(
    files_stack: Stack, tmp_path: Path
) -> None:
    stack = files_stack
    path = "/demo/invoices/17?from=a-replay"
    log = stack.decision_log
    logged = DecisionLogReader(log)
    tokens = {200: stack.people.token("alice"), 403: stack.people.token("bob"), 401: None}
    answers = [send(stack.envoy_port, path, token=token) for token in tokens.values()]
    assert [answer.status for answer in answers] == [*tokens]
    assert all(logged.line(str(answer.decision_id)) for answer in answers)
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


def test_an_exported_folder_decides_what_the_server_decides_with_the_same_rules(
    stack: Stack, files_stack: Stack, tmp_path: Path
) -> None:
    known = facts(stack)
    environ = {"EXTAUTHZ_URL": str(known["rest_url"]), "ADMIN_API_KEY": str(known["admin_api_key"])}
    exported = run_extauthz("policy", "export", tmp_path / "exported", environ=environ)
    assert exported.returncode == 0, exported
    for file in (tmp_path / "exported").iterdir():
        put(files_stack, f"new-{file.name}", file.read_text())
    for file in files_stack.policies.iterdir():
        if not file.name.startswith("new-"):
            file.unlink()

    def answers(asked: Stack) -> list[tuple[int, str | None, object]]:
        log = DecisionLogReader(asked.decision_log)
        found = []
        for call in CALLS:
            if call.caller not in {None, "alice", "bob", "carol", "dave"}:
                continue
            token = None if call.caller is None else asked.people.token(call.caller)
            answer = send(asked.envoy_port, call.path, method=call.method, token=token, headers=call.headers)
            line = None if answer.decision_id is None else log.line(answer.decision_id)
            found.append((answer.status, answer.reason, None if line is None else line["matched_rule_id"]))
        return found

    expected = answers(stack)
    assert len({rule for _, _, rule in expected if rule is not None}) > 5
    await_true(lambda: answers(files_stack) == expected, within=20, what="the same decisions")
