"""The example calls of the demo, with the expected and the actual answers through Envoy.

The rule that decided is read from the decision log, under the id that the answer carries. What changes while
the demo runs is in `changes.py`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from extauthz.demo import changes, tenant_changes
from extauthz.demo.calls import DecisionLogReader, send
from extauthz.demo.report import ReportLine
from extauthz.demo.stack import PUBLIC_PATH, Stack
from extauthz.domain.tenancy import TenancyMode


@dataclass(frozen=True, slots=True)
class Example:
    """One example request, and the outcome it should have.

    `caller` names a token, None for no credential. `rule` is the rule that decides, by the name that
    `policies/demo/` gives it, None for no rule.
    `upstream` names headers as the upstream should receive them, None for not at all.
    """

    name: str
    path: str
    status: int
    reason: str | None
    rule: str | None = None
    caller: str | None = None
    method: str = "GET"
    host: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    upstream: Mapping[str, str | None] = field(default_factory=dict)


CALLS: Final = (
    # Allowed by role
    Example("alice reads an invoice: finance may", "/demo/invoices/17", 200, "rule_matched",
         "finance-reads-invoices", caller="alice"),
    Example("bob reads an invoice: no rule lets him", "/demo/invoices/17", 403, "no_matching_rule",
         caller="bob"),
    Example("carol approves an invoice: bound to a role in her domain", "/demo/invoices/17/approval", 200,
         "rule_matched", "auditors-approve-invoices", caller="carol", method="POST"),
    Example("alice approves an invoice: no rule lets her", "/demo/invoices/17/approval", 403,
         "no_matching_rule", caller="alice", method="POST"),
    # Allowed by attribute
    Example("alice reads a sealed invoice: a higher priority denies", "/demo/invoices/sealed-4", 403,
         "rule_matched", "sealed-invoices-stay-shut", caller="alice"),
    Example("bob reads bob's records: they are his", "/demo/people/bob/records", 200, "rule_matched",
         "people-read-their-own-records", caller="bob"),
    Example("alice reads bob's records: they are not hers", "/demo/people/bob/records", 403,
         "no_matching_rule", caller="alice"),
    Example("carol reads a report: clearance 3", "/demo/reports/9", 200, "rule_matched",
         "finance-reads-reports", caller="carol"),
    Example("dave reads a report: clearance 1", "/demo/reports/9", 403, "rule_matched",
         "reports-need-clearance", caller="dave"),
    Example("alice reads a report: clearance unknown, so denied", "/demo/reports/9", 403,
         "condition_unknown", "reports-need-clearance", caller="alice"),
    # Authentication
    Example("no token", "/demo/invoices/17", 401, "token_missing"),
    Example("an expired token", "/demo/invoices/17", 401, "token_expired", caller="expired"),
    Example("a forged token", "/demo/invoices/17", 401, "token_bad_signature", caller="forged"),
    Example("a token for another service", "/demo/invoices/17", 401, "token_wrong_audience",
         caller="wrong_audience"),
    Example("notices are read without a token", PUBLIC_PATH, 200, "rule_matched",
         "anonymous-read-notices", upstream={"x-auth-kind": "anonymous", "x-auth-subject": None}),
    Example("a forged token reads the notices: refused even there", PUBLIC_PATH, 401, "token_bad_signature",
         caller="forged"),
    # Targets
    Example("an ambiguous path: ;", "/demo/invoices/17;x=1", 400, "path_ambiguous", caller="alice"),
    Example("an ambiguous path: encoded twice", "/demo/invoices/%252e%252e/reports", 400, "path_ambiguous",
         caller="alice"),
    Example("a path that no route covers", "/demo/elsewhere", 403, "unmapped_route", caller="alice"),
    # Identity headers
    Example("identity headers of the client never reach the upstream", "/demo/people/bob/records", 200,
         "rule_matched", "people-read-their-own-records", caller="bob",
         headers={"x-auth-subject": "admin", "X-Auth-Roles": "finance", "x-auth-anything": "1"},
         upstream={"x-auth-subject": "bob", "x-auth-roles": None, "x-auth-anything": None}),
    Example("not even where there is no caller", PUBLIC_PATH, 200, "rule_matched", "anonymous-read-notices",
         headers={"x-auth-subject": "admin", "x-auth-tenant": "other"},
         upstream={"x-auth-subject": None, "x-auth-tenant": "default"}),
    Example("nor spelt with underscores: Envoy refuses", PUBLIC_PATH, 400, None,
         headers={"x_auth_subject": "admin"}),
)  # fmt: skip


_ACME, _GLOBEX = "acme.local", "globex.local"
TENANTS_CALLS: Final = (
    # At home: the same names, roles and rules in both, and each its own
    Example("acme's alice reads an invoice at acme", "/demo/invoices/17", 200, "rule_matched",
         "finance-reads-invoices", caller="acme/alice", host=_ACME, upstream={"x-auth-tenant": "acme"}),
    Example("globex's alice reads an invoice at globex", "/demo/invoices/17", 200, "rule_matched",
         "finance-reads-invoices", caller="globex/alice", host=_GLOBEX, upstream={"x-auth-tenant": "globex"}),
    Example("acme's bob reads an invoice at acme: no rule lets him", "/demo/invoices/17", 403,
         "no_matching_rule", caller="acme/bob", host=_ACME),
    Example("globex's alice reads a sealed invoice at globex", "/demo/invoices/sealed-4", 403, "rule_matched",
         "sealed-invoices-stay-shut", caller="globex/alice", host=_GLOBEX),
    Example("acme's bob reads the records of acme's bob", "/demo/people/bob/records", 200, "rule_matched",
         "people-read-their-own-records", caller="acme/bob", host=_ACME),
    Example("a caller without a credential reads globex's notices", PUBLIC_PATH, 200, "rule_matched",
         "anonymous-read-notices", host=_GLOBEX,
         upstream={"x-auth-kind": "anonymous", "x-auth-tenant": "globex"}),
    # At the other's
    Example("acme's alice at globex", "/demo/invoices/17", 403, "tenant_mismatch", caller="acme/alice",
         host=_GLOBEX),
    Example("globex's alice at acme", "/demo/invoices/17", 403, "tenant_mismatch", caller="globex/alice",
         host=_ACME),
    Example("acme's administrator at globex", "/demo/invoices/17", 403, "tenant_mismatch",
         caller="acme/admin", host=_GLOBEX),
    Example("globex's bob at acme, for the records of acme's bob", "/demo/people/bob/records", 403,
         "tenant_mismatch", caller="globex/bob", host=_ACME),
    Example("acme's alice reads globex's public notices: not as alice", PUBLIC_PATH, 403, "tenant_mismatch",
         caller="acme/alice", host=_GLOBEX),
    Example("acme's alice at a path that neither knows", "/demo/elsewhere", 403, "tenant_mismatch",
         caller="acme/alice", host=_GLOBEX),
    # Whose host is it?
    Example("a host in capitals, with port and final dot, is the same host", "/demo/invoices/17", 403,
         "tenant_mismatch", caller="acme/alice", host="GLOBEX.Local.:8080"),
    Example("a host without an owner", "/demo/invoices/17", 403, "unmapped_route", caller="acme/alice",
         host="initech.local"),
    Example("a host below acme's is not acme's", "/demo/invoices/17", 403, "unmapped_route",
         caller="acme/alice", host="a.acme.local"),
    Example("a client that names a tenant is not heard", "/demo/invoices/17", 200, "rule_matched",
         "finance-reads-invoices", caller="acme/alice", host=_ACME,
         headers={"x-auth-tenant": "globex", "x-forwarded-host": "globex.local"},
         upstream={"x-auth-tenant": "acme", "x-auth-subject": "alice"}),
    # Authentication
    Example("no token", "/demo/invoices/17", 401, "token_missing", host=_ACME),
    Example("an expired token", "/demo/invoices/17", 401, "token_expired", caller="globex/expired",
         host=_GLOBEX),
    Example("a forged token", "/demo/invoices/17", 401, "token_bad_signature",
         caller="acme/forged", host=_ACME),
    Example("a forged token at the other's: of an unknown tenant", "/demo/invoices/17", 401,
         "token_bad_signature", caller="acme/forged", host=_GLOBEX),
    Example("a token for another service", "/demo/invoices/17", 401, "token_wrong_audience",
         caller="globex/wrong_audience", host=_GLOBEX),
)  # fmt: skip
"""What two tenants may do at home, and at each other's."""


def outcomes(stack: Stack) -> Iterator[ReportLine]:
    """Make every call, and yield its line as soon as it is known."""
    log = DecisionLogReader(stack.decision_log)
    tokens = stack.tokens()
    saas = stack.mode is TenancyMode.SAAS
    for call in TENANTS_CALLS if saas else CALLS:
        yield outcome(stack, call, tokens, log)
    if saas:
        yield from tenant_changes.outcomes(stack)
    yield from changes.outcomes(stack)


def outcome(stack: Stack, call: Example, tokens: Mapping[str, str], log: DecisionLogReader) -> ReportLine:
    """Make one call."""
    answer = send(
        stack.envoy_port,
        call.path,
        method=call.method,
        host=call.host,
        token=None if call.caller is None else tokens[call.caller],
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
    return ReportLine(
        call.name, expected, _text(answer.status, reason, rule, {n: received.get(n) for n in call.upstream})
    )


def _text(status: int, reason: str | None, rule: str | None, headers: Mapping[str, str | None]) -> str:
    shown = (f"{name}={'absent' if value is None else value}" for name, value in headers.items())
    return " ".join([str(status), *(part for part in (reason, rule) if part is not None), *shown])
