"""Explains the decision about a recorded request: what of it was not recorded is named, and never guessed."""

from collections.abc import Callable
from dataclasses import dataclass

from extauthz.compile.conditions.attribute_names import presence, resolver
from extauthz.compile.conditions.condition_input import ConditionInput
from extauthz.compile.snapshot import Snapshot
from extauthz.decide import routes
from extauthz.decide.explanation import Explanation, explain
from extauthz.decide.line_question import BY_RULES
from extauthz.domain.principal import ANONYMOUS, Principal
from extauthz.domain.reasons import Effect
from extauthz.domain.request import RequestFacts
from extauthz.domain.verdict import Target
from extauthz.recording.not_known import CannotSayError, NotKnown
from extauthz.recording.question import Question, question_of
from extauthz.recording.rejudge import Judge, Outcome
from extauthz.recording.replay_policies import ReplayPolicies
from extauthz.recording.shape import Shape


@dataclass(frozen=True, slots=True)
class ExplainedShape:
    """The answer of policies to a recorded request, or what they would have had to read, and why.

    `explanation` is None where rules were not asked, or a value that was not recorded decides which rules
    are candidates.
    """

    answer: Outcome | NotKnown
    principal: Principal | None
    target: Target | None
    explanation: Explanation | None


def explain_shape(shape: Shape, snapshot: Snapshot, now: float) -> ExplainedShape:
    """Explain a recorded request on policies, as of `now` (POSIX seconds)."""
    question = question_of(shape)
    policies = ReplayPolicies.of(snapshot)
    answer = Judge(policies).answer(question, now)
    principal = question.identity if isinstance(question.identity, Principal) else None
    if isinstance(answer, Outcome) and answer.reason not in BY_RULES:
        return ExplainedShape(answer, principal, answer.target, None)
    if not isinstance(question.identity, Principal | None):
        return ExplainedShape(answer, None, None, None)
    principal = ANONYMOUS if principal is None else principal
    try:
        target = answer.target if isinstance(answer, Outcome) else _target(question, policies)
        if target is None:
            return ExplainedShape(answer, principal, None, None)
        method = None if question.facts is None else routes.decided_method(question.facts.method)
        is_recorded = _reader(principal, target, question.facts, method, now)
        explanation = explain(
            snapshot, principal, target, question.facts, method, now, is_recorded=is_recorded
        )
    except CannotSayError as error:
        known = answer if isinstance(answer, Outcome) else error.not_known
        return ExplainedShape(known, _with_known_id(principal), None, None)
    return ExplainedShape(answer, principal, _readable(target, shape), explanation)


def _with_known_id(principal: Principal) -> Principal:
    """Return a principal whose id can be read: None where it was not recorded."""
    try:
        _ = principal.id
    except CannotSayError:
        return Principal(
            principal.kind,
            None,
            principal.tenant,
            principal.domain,
            principal.roles,
            principal.authentication,
        )
    return principal


def _readable(target: Target, shape: Shape) -> Target:
    """Return the target with the parameters that were recorded."""
    named = {name.removeprefix("resource.") for name, _ in shape.slots if name.startswith("resource.")}
    parameters: dict[str, object] = {}
    for name in sorted({*target.parameters, *named}):
        try:
            value = target.parameters.get(name)
        except CannotSayError:
            continue
        if value is not None:
            parameters[name] = value
    return target._replace(parameters=parameters)


def _target(question: Question, policies: ReplayPolicies) -> Target | None:
    """Return the target of a question that could not be answered. Raises CannotSayError."""
    if question.named is not None:
        return question.named.target(policies)
    if question.facts is None:
        return None
    policy, owner = question.policy, policies.tenant
    found = routes.locate(policies.directory, question.facts, policy.binding, policy.unmapped, owner)[3]
    return found if isinstance(found, Target) else None


def _reader(
    principal: Principal, target: Target, facts: RequestFacts | None, method: str | None, now: float
) -> Callable[[str], bool]:
    """Return what tells whether an attribute can be read."""
    given = ConditionInput(principal, (), target, facts, method, now)

    def is_recorded(attribute: str) -> bool:
        try:
            resolver(attribute, Effect.DENY)(given)
            presence(attribute)(given)
        except CannotSayError:
            return False
        return True

    return is_recorded
