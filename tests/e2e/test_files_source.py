"""A sidecar alone, without database and REST API: its policies are files."""

from extauthz.demo.calls import send
from extauthz.demo.report import awaited
from extauthz.demo.stack import Stack

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
