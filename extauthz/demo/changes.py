"""What changes while the demo runs: keys, rules, policies, the database. Nothing restarts.

All of it happens in the first tenant; what it means to the other is in `tenant_changes.py`.
"""

import time
from collections.abc import Iterator
from typing import Final

from extauthz.demo.calls import CallResult, send
from extauthz.demo.first_policies import ATTRIBUTE_POLICIES, ROLE_RULES
from extauthz.demo.postgres import EmbeddedPostgres
from extauthz.demo.report import ReportLine, awaited
from extauthz.demo.rest import RestReply
from extauthz.demo.stack import Stack

INVOICE: Final = "/demo/invoices/17"
_SEALED_INVOICE: Final = "/demo/invoices/sealed-4"
_SEALED: Final = "sealed-invoices-stay-shut"
BOB_READS: Final = {
    "sub": "bob", "sub_kind": "user", "dom": "*", "obj": "invoice:read", "act": "read", "effect": "allow",
}  # fmt: skip
_RECONNECTED_WITHIN_S: Final = 10.0
_ROTATED_KEY_WITHIN_S: Final = 3.0
"""Within which a new key is known, also where another token had keys fetched just before (ADR 20)."""


def keys_rotated(stack: Stack) -> ReportLine:
    """Rotate the provider's keys while requests go on: all pass, with new ones once they are fetched."""
    tenant = stack.tenants[0]
    old = [tenant.people.token("alice", algorithm=algorithm) for algorithm in ("RS256", "ES256")]
    tenant.people.rotate_keys()
    new = [tenant.people.token("alice", algorithm=algorithm) for algorithm in ("RS256", "ES256")]
    tokens = [*new, *old] * 5
    deadline = time.monotonic() + _ROTATED_KEY_WITHIN_S
    answers = [_known_by(deadline, stack, tenant.host, token) for token in tokens]
    failed = [f"{answer.status} {answer.reason}" for answer in answers if answer.status != 200]
    name = "the provider rotates its keys: old tokens and new ones pass"
    got = " ".join([f"{len(failed)} of {len(tokens)} failed", *sorted(set(failed))])
    return ReportLine(name, f"0 of {len(tokens)} failed", got)


def _known_by(deadline: float, stack: Stack, host: str | None, token: str) -> CallResult:
    """Return the answer to a token; until the deadline, not one that says to try again for the keys."""
    answer = send(stack.envoy_port, INVOICE, host=host, token=token)
    while answer.reason == "keys_unavailable" and time.monotonic() < deadline:
        time.sleep(0.02)
        answer = send(stack.envoy_port, INVOICE, host=host, token=token)
    return answer


def rules_changed(stack: Stack) -> Iterator[ReportLine]:
    """Create a role rule, turn it round, delete it; ask for a decision that is no older than the writes."""
    tenant = stack.tenants[0]
    bob, alice = tenant.people.token("bob"), tenant.people.token("alice")

    def reads() -> str:
        answer = send(stack.envoy_port, INVOICE, host=tenant.host, token=bob)
        return " ".join([str(answer.status), *([answer.reason] if answer.reason else [])])

    created = tenant.rest.create(ROLE_RULES, BOB_READS)
    path = f"{ROLE_RULES}/{created.id}"
    yield awaited("a rule is created through REST: bob may read", "200", reads)
    tenant.rest.ask("PUT", path, BOB_READS | {"effect": "deny"})
    yield awaited("the rule is changed to a deny: bob may not", "403 rule_matched", reads)
    tenant.rest.ask("PUT", path, BOB_READS)
    deleted = tenant.rest.ask("DELETE", path)
    # No waiting here: the answer is under that revision or a later one.
    checked = _check(stack, "bob", bob, deleted)
    yield ReportLine(
        "the rule is deleted; a check asks for that revision", "403 deny no_matching_rule", _shown(checked)
    )
    checked = _check(stack, "alice", alice, deleted)
    yield ReportLine("a check by alice, at that revision", "200 allow rule_matched", _shown(checked))
    yield awaited("bob reads an invoice: no rule lets him", "403 no_matching_rule", reads)


def deny_lifted(stack: Stack) -> Iterator[ReportLine]:
    """Delete an attribute policy, which is soft, and restore it."""
    tenant = stack.tenants[0]
    alice = tenant.people.token("alice")
    listed = tenant.rest.ask("GET", ATTRIBUTE_POLICIES).document["items"]
    (sealed,) = (each["id"] for each in listed if stack.rule_names[each["id"]] == _SEALED)
    path = f"{ATTRIBUTE_POLICIES}/{sealed}"

    def reads() -> str:
        return str(send(stack.envoy_port, _SEALED_INVOICE, host=tenant.host, token=alice).status)

    tenant.rest.ask("DELETE", path)
    yield awaited("the deny on sealed invoices is deleted: alice may read", "200", reads)
    tenant.rest.ask("POST", f"{path}/restore")
    yield awaited("the deny is restored: alice may not", "403", reads)


def database_away(stack: Stack, postgres: EmbeddedPostgres) -> Iterator[ReportLine]:
    """Stop PostgreSQL and start it again: decisions never notice."""
    tenant = stack.tenants[0]
    alice, bob = tenant.people.token("alice"), tenant.people.token("bob")

    def decisions() -> str:
        # Keys may have been rotated just before.
        deadline = time.monotonic() + _ROTATED_KEY_WITHIN_S
        answers = [_known_by(deadline, stack, tenant.host, token) for token in (alice, bob)]
        failed = [f"({answer.reason})" for answer in answers if answer.status not in {200, 403}]
        return " ".join([" and ".join(str(answer.status) for answer in answers), *failed])

    def readiness() -> str:
        reply = stack.rest.ask("GET", "/healthz/ready")
        checks = reply.document.get("checks", {}) if isinstance(reply.document, dict) else {}
        return f"{reply.status} database {checks.get('database')}"

    postgres.stop()
    yield awaited("PostgreSQL is stopped: readiness says so", "503 database unavailable", readiness)
    yield ReportLine("alice may read and bob may not, as before", "200 and 403", decisions())
    listed = tenant.rest.ask("GET", ROLE_RULES)
    yield ReportLine("the rules cannot be listed now", "503", str(listed.status))
    postgres.start()
    yield awaited(
        "PostgreSQL is started: readiness says so",
        "200 database ok",
        readiness,
        within_s=_RECONNECTED_WITHIN_S,
    )
    created = tenant.rest.create(ROLE_RULES, BOB_READS)
    yield awaited("changes flow again: a new rule lets bob read", "200 and 200", decisions)
    tenant.rest.ask("DELETE", f"{ROLE_RULES}/{created.id}")
    yield awaited("the rule is deleted: bob may not", "200 and 403", decisions)


def outcomes(stack: Stack) -> Iterator[ReportLine]:
    """Make every change that this stack has the parts for."""
    yield keys_rotated(stack)
    if stack.postgres is not None:
        yield from rules_changed(stack)
        yield from deny_lifted(stack)
        yield from database_away(stack, stack.postgres)


def _check(stack: Stack, subject: str, token: str, after: RestReply) -> RestReply:
    question = {
        "subject": subject,
        "resource": "invoice:read",
        "action": "read",
        "min_revision": after.revision,
    }
    return stack.rest.ask("POST", "/api/v1/check", question, token=token)


def _shown(reply: RestReply) -> str:
    found = reply.document if isinstance(reply.document, dict) else {}
    return " ".join([str(reply.status), *(str(found.get(name)) for name in ("decision", "reason"))])
