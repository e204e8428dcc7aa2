"""Decisions that Envoy asked for, explained afterwards from their lines on the policies that made them."""

from typing import Any

from extauthz.demo.calls import DecisionLogReader, send
from extauthz.demo.first_policies import ROLE_RULES
from extauthz.demo.stack import Stack
from tests.waiting import await_true

INVOICE = "/demo/invoices/17"
BOB_READS = {
    "sub": "bob", "sub_kind": "user", "dom": "*", "obj": "invoice:read", "act": "read", "effect": "allow",
}  # fmt: skip


def test_past_decisions_are_explained_on_the_policies_that_made_them(stack: Stack) -> None:
    tenant = stack.tenants[0]
    log = DecisionLogReader(stack.decision_log)
    bob = tenant.people.token("bob")

    def decided(status: int) -> dict[str, Any]:
        """Ask through Envoy until the answer has the status, and return its line."""
        found: list[dict[str, Any]] = []

        def asked() -> bool:
            answer = send(stack.envoy_port, INVOICE, host=tenant.host, token=bob)
            assert answer.decision_id is not None
            line = log.line(answer.decision_id)
            assert line is not None
            found.append(dict(line))
            return answer.status == status

        await_true(asked, what=f"status {status}")
        return found[-1]

    def explained(document: object) -> dict[str, Any]:
        reply = tenant.rest.ask("POST", "/api/v1/explain", document)
        assert reply.status == 200, reply
        body: dict[str, Any] = reply.document
        return body

    before = decided(403)
    created = tenant.rest.create(ROLE_RULES, BOB_READS)
    allowed = decided(200)
    tenant.rest.ask("DELETE", f"{ROLE_RULES}/{created.id}")
    after = decided(403)

    for line, rule_id in ((before, None), (allowed, created.id), (after, None)):
        body = explained({"line": line})
        assert (body["matched_rule_id"], body["agrees"], body["certain"]) == (rule_id, True, True)
        assert body["policies"]["revision"] == line["policy_revision"]
        assert body["policies"]["digest"] == line["policy_digest"]
        assert body["policies"]["matches"] is True
        assert body["target"]["parameters"] == {"invoice": "17"}
    assert before["policy_digest"] == after["policy_digest"] != allowed["policy_digest"]
    miss = explained({"line": before})["near_miss"]
    assert (miss["failed_conditions"], miss["overridden_by"]) == (1, None)
    assert explained({"line": before, "at": allowed["policy_revision"]})["decision"] == "allow"


def test_a_decision_is_found_by_its_id_once_it_is_recorded(stack: Stack) -> None:
    tenant = stack.tenants[0]
    answer = send(stack.envoy_port, INVOICE, host=tenant.host, token=tenant.people.token("bob"))
    assert answer.status == 403
    path = f"/api/v1/decisions/{answer.decision_id}"
    await_true(lambda: tenant.rest.ask("GET", path).status == 200, within=60, what="the recording")
    body = tenant.rest.ask("GET", path).document
    assert (body["decision"], body["agrees"], body["certain"]) == ("deny", True, True)
    assert body["recorded"]["decision_id"] == answer.decision_id
    assert (body["principal"]["id"], body["target"]["parameters"]) == ("bob", {"invoice": "17"})
    assert body["policies"]["matches"] is True
    assert body["near_miss"]["needs_subject"] == {"subject": "finance", "subject_kind": "role"}
