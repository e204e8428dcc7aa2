"""The product's recorder: its shapes, judged on the policies that decided, give what was decided.

Requests, policies and states of credentials are those of the test of replay, whose shapes are made apart from
the recorder.
"""

import os
import random
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from extauthz.cases.decision_cases import CaseRunner
from extauthz.compile.conditions.compiled_policy import attribute_names
from extauthz.compile.snapshot import Snapshot
from extauthz.domain.reasons import Reason
from extauthz.domain.verdict import Denied
from extauthz.recording.counter import ShapeCounter
from extauthz.recording.documents import BatchWriter, Counted, context_of, shape_of, texts_of
from extauthz.recording.not_known import NotKnown
from extauthz.recording.question import question_of
from extauthz.recording.rejudge import Judge
from extauthz.recording.replay_policies import ReplayPolicies
from extauthz.recording.shape import ABSENT, BODY, CLAIMS, HEADERS, QUERY, CredentialState, path_of
from tests.property.generators import random_policy_set
from tests.property.test_replay import Stage
from tests.shipped_model import MODEL

EXAMPLES = 3_000 if os.environ.get("EXTAUTHZ_VERIFY") == "1" else 60
DECISION = "01931f3c-8d5a-7c3e-9a51-0f6f2f5b7c11"
NOT_BY_POLICIES = {Reason.TENANT_SUSPENDED}


def counter_of(stage: Stage, lost: list[int]) -> ShapeCounter:
    policy = stage.runner._policy
    return ShapeCounter(
        lambda: stage.directory,
        unmapped=policy.unmapped,
        binding=policy.binding,
        attributes=(),
        max_shapes=20_000,
        max_octets=16 << 20,
        on_loss=lost.append,
    )


def read_by(snapshot: Snapshot) -> set[str]:
    """Return the attributes that policies which are on read."""
    return {
        name
        for policy in snapshot.policies_by_id.values()
        if policy.enabled
        for name in attribute_names(policy.condition)
    }


def taken(counter: ShapeCounter) -> list[Counted]:
    counter.close()
    found = counter.take()
    return [] if found is None else list(found)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_shape_of_the_recorder_judged_again_gives_what_was_decided(seed: int) -> None:
    rng = random.Random(seed)
    policy_set = random_policy_set(rng)
    stage = Stage(CaseRunner.of(policy_set, MODEL))
    lost: list[int] = []
    counter = counter_of(stage, lost)
    judges: dict[str, Judge] = {}
    for asked in stage.requests(rng, policy_set):
        verdict: Any = asked.verdict._replace(decision_id=DECISION)
        counter.count(verdict, asked.now, "grpc")
        (counted,) = taken(counter)
        shape = counted.shape
        assert counted == (shape, int(asked.now // 3600), 1, 1, 1, ((DECISION, 1),))
        assert shape_of(context_of(shape), texts_of(shape)) == shape
        if verdict.reason in NOT_BY_POLICIES:
            continue
        tenant = asked.snapshot.tenant
        judge = judges.setdefault(tenant, Judge(ReplayPolicies.of(asked.snapshot)))
        answer = judge.answer(question_of(shape), asked.now)
        if isinstance(answer, NotKnown):
            # Bodies are never recorded.
            assert answer.slot.startswith(BODY), (answer, asked)
        else:
            assert answer.verdict == (shape.effect, shape.reason, shape.rule), (shape, asked)
    assert lost == []


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_recorder_reads_what_the_plain_reading_reads(seed: int) -> None:
    rng = random.Random(seed)
    policy_set = random_policy_set(rng)
    stage = Stage(CaseRunner.of(policy_set, MODEL))
    counter = counter_of(stage, [])
    for asked in stage.requests(rng, policy_set):
        verdict: Any = asked.verdict._replace(decision_id=DECISION)
        counter.count(verdict, asked.now, "grpc")
        ((shape, *_),) = taken(counter)
        plain = stage.shape(asked, read_by(asked.snapshot))
        if isinstance(verdict, Denied) and verdict.target is None:
            # The plain reading names the template of a path whose method has no route.
            plain = plain._replace(template=shape.template, slots=shape.slots)
        elif plain.template != shape.template:
            assert path_of(plain) == path_of(shape)
            plain = plain._replace(template=shape.template, slots=shape.slots)
        if shape.credential is not CredentialState.VERIFIED:
            # Of a credential that was not read, or was refused, nothing is recorded.
            plain = plain._replace(
                kind=None,
                authentication=None,
                bound=False,
                token_tenant=None,
                domain=None,
                own_roles=(),
                slots=shape.slots,
            )
            assert not any(name.startswith(CLAIMS) and text != ABSENT for name, text in shape.slots)
        assert shape == plain, asked


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_nothing_that_no_rule_names_is_recorded(seed: int) -> None:
    rng = random.Random(seed)
    policy_set = random_policy_set(rng)
    stage = Stage(CaseRunner.of(policy_set, MODEL))
    counter = counter_of(stage, [])
    writer = BatchWriter(DECISION)
    secret = "s3cret-of-the-request"
    for asked in stage.requests(rng, policy_set):
        names = read_by(asked.snapshot)
        facts = asked.facts._replace(
            query=f"unnamed={secret}", headers={**asked.facts.headers, "x-unnamed": secret}
        )
        verdict: Any = asked.verdict._replace(decision_id=DECISION)
        if verdict.request is not None:
            verdict = verdict._replace(request=facts)
        if verdict.principal is not None:
            claims = {**verdict.principal.claims, "unnamed": secret}
            verdict = verdict._replace(principal=replace(verdict.principal, claims=claims))
        counter.count(verdict, asked.now, "grpc")
        for counted in taken(counter):
            writer.add(counted)
            own = {name for name, _ in counted.shape.slots if name.startswith((QUERY, HEADERS))}
            assert own <= names
    assert secret not in repr(writer.finish())
