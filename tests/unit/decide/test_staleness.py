"""Policies past `POLICY_MAX_STALENESS` decide nothing, unless the operator configures it."""

import pytest

from extauthz.compile.directory import Directory
from extauthz.compile.documents.policy_documents import Reading, parse_policy_set
from extauthz.compile.roles.role_model import RoleModel
from extauthz.compile.snapshot import Snapshot
from extauthz.compile.snapshot_building import build
from extauthz.decide.judge import CheckPolicy, judge_identified
from extauthz.domain.policy import PolicySet
from extauthz.domain.reasons import Effect, Reason
from extauthz.domain.tenancy import TenancyMode
from tests.builders import request_facts
from tests.tokens import NOW

PUBLIC = {
    "resources": [
        {
            "name": "invoice:read",
            "serviceName": "billing",
            "routes": [{"methods": ["GET"], "path": "/v1/invoices/{id}", "authentication": "optional"}],
        }
    ],
    "role_rules": [
        {"id": "all", "sub": "anonymous", "dom": "*", "obj": "invoice:read", "act": "read", "effect": "allow"}
    ],
}


def decision_at_age(age_s: float, *, max_staleness: float | None) -> tuple[Effect, Reason]:
    parsed = parse_policy_set(PUBLIC, Reading())
    assert isinstance(parsed, PolicySet)
    snapshot = build("default", 1, parsed, RoleModel())
    assert isinstance(snapshot, Snapshot)
    directory = Directory(TenancyMode.SELFHOST, {"default": snapshot}, confirmed_at=NOW - age_s)
    policy = CheckPolicy(max_staleness=max_staleness)
    verdict = judge_identified(request_facts(), None, directory, policy, "id", NOW)
    return verdict.effect, verdict.reason


@pytest.mark.parametrize("age_s", [0, 900])
def test_policies_decide_until_they_are_too_old(age_s: float) -> None:
    assert decision_at_age(age_s, max_staleness=900) == (Effect.ALLOW, Reason.RULE_MATCHED)


def test_policies_that_are_too_old_allow_nothing() -> None:
    assert decision_at_age(900.001, max_staleness=900) == (Effect.DENY, Reason.POLICY_STALE)


def test_the_operator_may_have_old_policies_served() -> None:
    assert decision_at_age(86400, max_staleness=None) == (Effect.ALLOW, Reason.RULE_MATCHED)
