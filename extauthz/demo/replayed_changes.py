"""What changes would do to the requests so far: recorded, drafted, replayed, explained. None becomes live."""

import http.client
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from extauthz.demo.calls import send
from extauthz.demo.first_policies import ATTRIBUTE_POLICIES, ROLE_RULES
from extauthz.demo.processes import LOOPBACK, ProcessFailedError
from extauthz.demo.report import ReportLine, awaited
from extauthz.demo.stack import Stack
from extauthz.demo.tenants import Tenant

DIFFERENT_IDS: Final = 5_000
RECORDED_WITHIN_S: Final = 60.0
_REPLAYED_WITHIN_S: Final = 30.0
_DRAFTS: Final = "/api/v1/drafts"
_BINDINGS: Final = "/api/v1/role-bindings"
_RESOURCES: Final = "/api/v1/resources"
_ZOES: Final = "/demo/people/zoe/records"
_GUARD: Final = "/api/v1/change-guard"
_BOB_APPROVES: Final = {
    "sub": "bob", "sub_kind": "user", "dom": "*", "obj": "invoice:approve", "act": "*", "effect": "allow",
}  # fmt: skip
_NONE: Final = {"requests": 0, "examples": [], "because": []}
_NOTHING: Final = dict.fromkeys(("newly_allowed", "newly_denied", "cannot_say"), _NONE)


@dataclass(frozen=True, slots=True)
class Asked:
    """The requests of the story: what was recorded before them, how many they are, the id of a denial."""

    before: int
    requests: int
    denied: str | None


def ask(stack: Stack) -> Asked:
    """Send the requests that the drafts are tried on."""
    tenant = stack.tenants[0]
    before = _recordings(tenant)["requests"]
    sent, denied = _traffic(stack, tenant)
    return Asked(before, sent + _many_ids(stack, tenant), denied)


def outcomes(stack: Stack, asked: Asked) -> Iterator[ReportLine]:
    """Wait until the requests are recorded, and replay drafts on them."""
    tenant = stack.tenants[0]

    def are_recorded() -> str:
        recorded = _recordings(tenant)["requests"] - asked.before
        return "recorded" if recorded >= asked.requests else "not yet"

    name = f"{asked.requests:,} requests are recorded"
    yield awaited(name, "recorded", are_recorded, within_s=RECORDED_WITHIN_S)
    yield _bounded(tenant)
    yield from _drafted(tenant)
    yield from _guarded(tenant)
    yield _test_of(tenant, asked.denied)
    reply = tenant.rest.ask("GET", f"/api/v1/decisions/{asked.denied}")
    found = reply.document if isinstance(reply.document, dict) else {}
    yield ReportLine(
        "a past decision is explained on its policies: no rule lets bob",
        "200 deny no_matching_rule",
        f"{reply.status} {found.get('decision')} {found.get('reason')}",
    )


def _traffic(stack: Stack, tenant: Tenant) -> tuple[int, str | None]:
    """Send requests whose answers the drafts would change; return how many, and the id of a denial."""
    bob, carol = tenant.people.token("bob"), tenant.people.token("carol")
    denied: str | None = None
    for number in range(31, 37):
        path = f"/demo/invoices/{number}/approval"
        answer = send(stack.envoy_port, path, host=tenant.host, method="POST", token=bob)
        denied = answer.decision_id
    for _ in range(4):
        send(stack.envoy_port, _ZOES, host=tenant.host)
    for number in range(41, 44):
        path = f"/demo/invoices/{number}/approval"
        send(stack.envoy_port, path, host=tenant.host, method="POST", token=carol)
    return 6 + 4 + 3, denied


def _many_ids(stack: Stack, tenant: Tenant) -> int:
    """Ask for as many reports, over one connection."""
    headers = {"Authorization": f"Bearer {tenant.people.token('dave')}"}
    if tenant.host is not None:
        headers["Host"] = tenant.host
    connection = http.client.HTTPConnection(LOOPBACK, stack.envoy_port, timeout=10)
    try:
        for number in range(DIFFERENT_IDS):
            connection.request("GET", f"/demo/reports/report-{number}", headers=headers)
            connection.getresponse().read()
    finally:
        connection.close()
    return DIFFERENT_IDS


def _bounded(tenant: Tenant) -> ReportLine:
    folded = [
        slot["template"] for day in _recordings(tenant)["days"] for slot in day["folded"] if not slot["whole"]
    ]
    route = "/demo/reports/{report}"
    return ReportLine(
        f"{DIFFERENT_IDS:,} different ids stay bounded: those beyond 1,000 are folded",
        f"{route} folded",
        f"{route} folded" if route in folded else f"folded: {folded}",
    )


def _drafted(tenant: Tenant) -> Iterator[ReportLine]:
    rest = tenant.rest
    allowed = _replay(tenant, "bob approves invoices", "POST", ROLE_RULES, _BOB_APPROVES)["newly_allowed"]
    yield ReportLine(
        "a draft would let bob approve invoices: the replay names his requests",
        "6 requests of bob",
        f"{allowed['requests']} requests of {' '.join(sorted(_subjects(allowed)))}",
    )
    (records,) = (
        each["id"] for each in rest.ask("GET", _RESOURCES).document["items"] if each["name"] == "record:read"
    )
    path = f"{_RESOURCES}/{records}"
    routes = [{"methods": ["GET"], "path": "/demo/people/{owner}/records", "authentication": "optional"}]
    opened = {"public": True, "routes": routes}
    public = _replay(tenant, "records are public", "PATCH", path, opened)["newly_allowed"]
    without = sum(each["requests"] for each in public["examples"] if each["subject"] is None)
    yield ReportLine(
        "a draft makes records public: requests without a credential flip",
        "4 requests without a credential",
        f"{without} requests without a credential",
    )
    (binding,) = (
        each["id"] for each in rest.ask("GET", _BINDINGS).document["items"] if each["user"] == "carol"
    )
    newly_denied = _replay(tenant, "carol does not audit", "DELETE", f"{_BINDINGS}/{binding}")["newly_denied"]
    yield ReportLine(
        "a draft without carol's binding: her approvals would be denied",
        "carol",
        " ".join(sorted(_subjects(newly_denied))),
    )
    policy = {
        "name": "Approvals need a level",
        "resource": "invoice:approve",
        "effect": "deny",
        "priority": 60,
        "rule_data": {"type": "CONDITION", "attribute": "user.level", "operator": "lt", "value": 3},
    }
    because = _replay(tenant, "approvals need a level", "POST", ATTRIBUTE_POLICIES, policy)["cannot_say"]
    yield ReportLine(
        "a draft reads an attribute that was never recorded: it cannot be said",
        "user.level not recorded",
        " ".join(f"{each['slot']} {each['state']}" for each in because["because"]),
    )


def _subjects(part: dict[str, Any]) -> set[str]:
    return {str(each["subject"]) for each in part["examples"]}


def _replay(tenant: Tenant, title: str, method: str, path: str, document: object = None) -> Any:
    """Make one change in a draft, replay it, and return the result; the draft is deleted."""
    draft = f"{_DRAFTS}/{tenant.rest.create(_DRAFTS, {'title': title}).id}"
    try:
        _change(tenant, draft, method, path, document)
        return _replayed(tenant, draft)
    finally:
        tenant.rest.ask("DELETE", draft)


def _change(tenant: Tenant, draft: str, method: str, path: str, document: object) -> None:
    changed = tenant.rest.ask(method, f"{path}?draft={draft.rpartition('/')[2]}", document)
    if changed.status not in {200, 201, 204}:
        raise ProcessFailedError(f"{method} {path} in a draft was answered {changed.status}")


def _replayed(tenant: Tenant, draft: str) -> Any:
    """Replay a draft on all that is recorded, and return the result."""
    job = f"{draft}/replay/{tenant.rest.ask('POST', f'{draft}/replay', {}).id}"
    deadline = time.monotonic() + _REPLAYED_WITHIN_S
    while True:
        found = tenant.rest.ask("GET", job).document
        if found["status"] in {"done", "failed"} or time.monotonic() > deadline:
            return found["result"] or _NOTHING
        time.sleep(0.1)


def _guarded(tenant: Tenant) -> Iterator[ReportLine]:
    """Set a guard, and publish past it only with an approval, which an edit voids."""
    rest, admin = tenant.rest, tenant.people.token("admin")
    draft = f"{_DRAFTS}/{rest.create(_DRAFTS, {'title': 'bob approves invoices'}).id}"

    def published() -> str:
        reply = rest.ask("POST", f"{draft}/publish", {})
        return " ".join([str(reply.status), *([reply.document["reason"]] if reply.status == 409 else [])])

    _change(tenant, draft, "POST", ROLE_RULES, _BOB_APPROVES)
    rest.put(_GUARD, {"max_newly_allowed": 0})
    try:
        direct = rest.ask("POST", ROLE_RULES, _BOB_APPROVES)
        yield ReportLine(
            "a guard allows nothing new: rules are written in drafts",
            "409 draft_required",
            f"{direct.status} {direct.document.get('reason')}",
        )
        _replayed(tenant, draft)
        yield ReportLine("publishing needs an approval", "409 approval_required", published())
        approved = rest.ask("POST", f"{draft}/approve", {"comment": "bob is an auditor now"}, token=admin)
        yield ReportLine("another administrator approves", "200", str(approved.status))
        _change(tenant, draft, "POST", ROLE_RULES, _BOB_APPROVES | {"sub": "dave"})
        yield ReportLine("an edit voids the replay and the approval", "409 replay_required", published())
    finally:
        rest.put(_GUARD, {})
        rest.ask("DELETE", draft)


def _test_of(tenant: Tenant, denied: str | None) -> ReportLine:
    made = tenant.rest.ask("POST", f"/api/v1/decisions/{denied}/test", {"name": "bob approves nothing"})
    found = made.document if isinstance(made.document, dict) else {}
    if made.status == 201:
        tenant.rest.ask("DELETE", f"/api/v1/policy-tests/{made.id}")
    return ReportLine(
        "a policy test is made of a recorded decision",
        "201 deny",
        f"{made.status} {found.get('expect', {}).get('decision')}",
    )


def _recordings(tenant: Tenant) -> Any:
    return tenant.rest.ask("GET", "/api/v1/recordings").document
