"""The explanation of a decision reaches the verdict of the engine: effect, reason, rule, roles.

Each decision that random requests cause is explained from the same arguments. 300 sets of policies by
default, 5,000 under `EXTAUTHZ_VERIFY=1`, there with new seeds in each run.
"""

import os
import random
from collections import Counter
from typing import Any

import pytest

from extauthz.cases.decision_cases import CaseRunner
from extauthz.compile.snapshot import Snapshot
from extauthz.decide import authorize
from extauthz.decide.authorize import Decision
from extauthz.decide.explained_conditions import ConditionOutcome, ExplainedCondition, failed
from extauthz.decide.explanation import Explanation, explain
from extauthz.domain.policy import All, AnyOf, Condition, Not
from extauthz.domain.principal import Principal
from extauthz.domain.reasons import Effect
from extauthz.domain.request import RequestFacts
from extauthz.domain.verdict import Grant, Target
from tests.property.generators import random_policy_set, random_request
from tests.shipped_model import MODEL

VERIFY = os.environ.get("EXTAUTHZ_VERIFY") == "1"
SETS = 5_000 if VERIFY else 300
REQUESTS = 50
SHARDS = 10
FIRST_SEED = random.SystemRandom().randrange(2**32) if VERIFY else 0

engine = authorize.decide


def core(decision: Decision) -> tuple[bool, object, object]:
    is_allow = isinstance(decision, Grant)
    return is_allow, decision.rule, None if isinstance(decision, Grant) else decision.reason


class Explained:
    """The engine, with every decision explained and compared."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.met: Counter[str] = Counter()

    def decide(
        self,
        snapshot: Snapshot,
        principal: Principal,
        target: Target,
        request: RequestFacts | None,
        method: str | None,
        now: float,
    ) -> tuple[Decision, tuple[str, ...]]:
        arguments = (snapshot, principal, target, request, method, now)
        decision, roles = engine(*arguments)
        explanation = explain(*arguments)
        assert core(explanation.decision) == core(decision)
        assert explanation.certain
        assert tuple(origin.role for origin in explanation.roles) == roles
        self._every_role_has_an_origin(explanation)
        self._the_near_miss_would_be_an_allow(explanation)
        self._nothing_is_guessed(arguments, decision)
        return decision, roles

    def _every_role_has_an_origin(self, explanation: Explanation) -> None:
        for origin in explanation.roles:
            assert origin.from_credential or origin.bindings
            self.met["link"] += bool(origin.links)

    def _the_near_miss_would_be_an_allow(self, explanation: Explanation) -> None:
        miss = explanation.near_miss
        if miss is None:
            return
        assert miss.rule.effect is Effect.ALLOW
        self.met["near miss"] += 1
        self.met["overridden"] += miss.overridden_by is not None
        assert miss.missing or miss.overridden_by is not None
        for candidate in explanation.policies:
            other = failed(candidate.tree)
            if candidate.policy.effect is Effect.ALLOW and not candidate.shadow and other is not None:
                assert miss.missing <= len(other) + 1
            if candidate.policy == miss.rule:
                assert self._turned(candidate.tree, miss.failed)

    def _turned(
        self, tree: ExplainedCondition, turned: tuple[ExplainedCondition, ...], *, wanted: bool = True
    ) -> bool:
        """Return whether a tree is as wanted when these comparisons come out as they are wanted."""
        match tree.node:
            case Condition():
                outcome = ConditionOutcome.TRUE if wanted else ConditionOutcome.FALSE
                return tree.outcome is outcome or any(tree is each for each in turned)
            case Not():
                return self._turned(tree.parts[0], turned, wanted=not wanted)
            case All() | AnyOf():
                parts = [self._turned(part, turned, wanted=wanted) for part in tree.parts]
                return all(parts) if isinstance(tree.node, All) is wanted else any(parts)
            case _:
                return wanted

    def _nothing_is_guessed(self, arguments: tuple[Any, ...], decision: Decision) -> None:
        hidden = self.rng.choice(("user.", "resource.", "request.", "env."))
        partly = explain(*arguments, is_recorded=lambda name: not name.startswith(hidden))
        self.met["uncertain"] += not partly.certain
        if partly.certain:
            assert core(partly.decision) == core(decision)
        everything = explain(*arguments, is_recorded=lambda _name: False)
        if everything.certain:
            assert core(everything.decision) == core(decision)


@pytest.mark.timeout(3600 if VERIFY else 300)
@pytest.mark.parametrize("shard", range(SHARDS))
def test_the_explanation_reaches_the_engines_verdict(shard: int, monkeypatch: pytest.MonkeyPatch) -> None:
    explained = Explained(random.Random(shard))
    monkeypatch.setattr(authorize, "decide", explained.decide)
    for seed in range(FIRST_SEED + shard, FIRST_SEED + SETS, SHARDS):
        rng = random.Random(seed)
        policy_set = random_policy_set(rng)
        runner = CaseRunner.of(policy_set, MODEL)
        for _ in range(REQUESTS):
            runner.answer(random_request(rng, policy_set))
    assert all(explained.met[name] >= 10 for name in ("link", "near miss", "overridden", "uncertain")), (
        explained.met
    )
