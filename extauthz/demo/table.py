"""The demo's example calls: what each should get, and what it got through real Envoy.

The rule that decided is read from the decision log, under the id that the answer carries. What changes while
the demo runs is in `changes.py`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from extauthz.demo import changes
from extauthz.demo.calls import DecisionLogReader, send
from extauthz.demo.lines import Line
from extauthz.demo.stack import PUBLIC_PATH, Stack


@dataclass(frozen=True, slots=True)
class Call:
    """One example request, and the outcome it should have.

    `who` names a token, None for no credential. `rule` is the rule that decides, by the name that
    `policies/demo/` gives it, None for no rule.
    `upstream` names headers as the upstream should receive them, None for not at all.
    """

    name: str
    path: str
    status: int
    reason: str | None
    rule: str | None = None
    who: str | None = None
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    upstream: Mapping[str, str | None] = field(default_factory=dict)


CALLS: Final = (
    # Who may, by role
    Call("alice reads an invoice: finance may", "/demo/invoices/17", 200, "rule_matched",
         "finance-reads-invoices", who="alice"),
    Call("bob reads an invoice: no rule lets him", "/demo/invoices/17", 403, "no_matching_rule", who="bob"),
    Call("carol approves an invoice: bound to a role in her domain", "/demo/invoices/17/approval", 200,
         "rule_matched", "auditors-approve-invoices", who="carol", method="POST"),
    Call("alice approves an invoice: no rule lets her", "/demo/invoices/17/approval", 403,
         "no_matching_rule", who="alice", method="POST"),
    # Who may, by attribute
    Call("alice reads a sealed invoice: a higher priority denies", "/demo/invoices/sealed-4", 403,
         "rule_matched", "sealed-invoices-stay-shut", who="alice"),
    Call("bob reads bob's records: they are his", "/demo/people/bob/records", 200, "rule_matched",
         "people-read-their-own-records", who="bob"),
    Call("alice reads bob's records: they are not hers", "/demo/people/bob/records", 403,
         "no_matching_rule", who="alice"),
    Call("carol reads a report: clearance 3", "/demo/reports/9", 200, "rule_matched",
         "finance-reads-reports", who="carol"),
    Call("dave reads a report: clearance 1", "/demo/reports/9", 403, "rule_matched",
         "reports-need-clearance", who="dave"),
    Call("alice reads a report: clearance unknown, so denied", "/demo/reports/9", 403,
         "condition_unknown", "reports-need-clearance", who="alice"),
    # Who are you?
    Call("no token", "/demo/invoices/17", 401, "token_missing"),
    Call("an expired token", "/demo/invoices/17", 401, "token_expired", who="expired"),
    Call("a forged token", "/demo/invoices/17", 401, "token_bad_signature", who="forged"),
    Call("a token for somebody else's service", "/demo/invoices/17", 401, "token_wrong_audience",
         who="wrong_audience"),
    Call("anybody reads the notices", PUBLIC_PATH, 200, "rule_matched",
         "nobody-in-particular-reads-notices", upstream={"x-auth-kind": "anonymous", "x-auth-subject": None}),
    Call("a forged token reads the notices: refused even there", PUBLIC_PATH, 401, "token_bad_signature",
         who="forged"),
    # What is it that you want?
    Call("an ambiguous path: ;", "/demo/invoices/17;x=1", 400, "path_ambiguous", who="alice"),
    Call("an ambiguous path: encoded twice", "/demo/invoices/%252e%252e/reports", 400, "path_ambiguous",
         who="alice"),
    Call("a path that no route covers", "/demo/elsewhere", 403, "unmapped_route", who="alice"),
    # Who says so?
    Call("identity headers of the client never reach the upstream", "/demo/people/bob/records", 200,
         "rule_matched", "people-read-their-own-records", who="bob",
         headers={"x-auth-subject": "admin", "X-Auth-Roles": "finance", "x-auth-anything": "1"},
         upstream={"x-auth-subject": "bob", "x-auth-roles": None, "x-auth-anything": None}),
    Call("not even for nobody", PUBLIC_PATH, 200, "rule_matched", "nobody-in-particular-reads-notices",
         headers={"x-auth-subject": "admin", "x-auth-tenant": "other"},
         upstream={"x-auth-subject": None, "x-auth-tenant": "default"}),
    Call("nor spelt with underscores: Envoy refuses", PUBLIC_PATH, 400, None,
         headers={"x_auth_subject": "admin"}),
)  # fmt: skip


def outcomes(stack: Stack) -> Iterator[Line]:
    """Make every call, and yield its line as soon as it is known."""
    log = DecisionLogReader(stack.decision_log)
    tokens = stack.people.named()
    for call in CALLS:
        yield outcome(stack, call, tokens, log)
    yield from changes.outcomes(stack)


def outcome(stack: Stack, call: Call, tokens: Mapping[str, str], log: DecisionLogReader) -> Line:
    """Make one call."""
    answer = send(
        stack.envoy_port,
        call.path,
        method=call.method,
        token=None if call.who is None else tokens[call.who],
        headers=call.headers,
    )
    expected = _text(call.status, call.reason, call.rule, call.upstream)
    reason, rule = answer.reason, None
    if answer.decision_id is not None:
        line = log.line(answer.decision_id)
        logged = (None, "no log line") if line is None else (line["reason"], line["matched_rule_id"])
        reason, rule = (None if part is None else str(part) for part in logged)
    if rule is not None:
        # The REST API gave the ids.
        rule = stack.rule_names.get(rule, rule)
    received = answer.received or {}
    return Line(
        call.name, expected, _text(answer.status, reason, rule, {n: received.get(n) for n in call.upstream})
    )


def _text(status: int, reason: str | None, rule: str | None, headers: Mapping[str, str | None]) -> str:
    shown = (f"{name}={'absent' if value is None else value}" for name, value in headers.items())
    return " ".join([str(status), *(part for part in (reason, rule) if part is not None), *shown])
