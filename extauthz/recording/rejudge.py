"""Judges recorded requests again, on any policies, by the engine that judges requests.

What was not recorded raises when it is read; then the answer is `NotKnown`, and names it.
"""

from dataclasses import replace
from typing import Final, NamedTuple

from extauthz.decide.by_name import NamedQuestion, judge_by_name
from extauthz.decide.identity import Rejected
from extauthz.decide.judge import judge_identified
from extauthz.domain.policy import AuthenticationRequirement
from extauthz.domain.principal import Principal
from extauthz.domain.reasons import Effect, Reason
from extauthz.domain.verdict import Rule, Target
from extauthz.recording.not_known import CannotSayError, NotKnown
from extauthz.recording.question import Question
from extauthz.recording.replay_policies import ReplayPolicies

_NONE: Final = AuthenticationRequirement.NONE


class Outcome(NamedTuple):
    """The answer of policies to a question; `roles` are the ones that counted."""

    effect: Effect
    reason: Reason
    rule: Rule | None
    target: Target | None = None
    roles: tuple[str, ...] = ()

    @property
    def verdict(self) -> tuple[Effect, Reason, Rule | None]:
        """What decided, without what it was about."""
        return self[:3]


class Judge:
    """Answers questions on one set of policies."""

    def __init__(self, policies: ReplayPolicies) -> None:
        """Take the policies."""
        self.policies = policies
        self._directory = policies.directory
        self.depends_on_time = False
        """Whether the last answer may be another one at another time."""

    def answer(self, question: Question, now: float) -> Outcome | NotKnown:
        """Judge one question as of `now` (POSIX seconds)."""
        noticed = self.policies.noticed
        noticed.time = False
        try:
            return self._judged(question, now)
        except CannotSayError as error:
            return error.not_known
        finally:
            self.depends_on_time = noticed.time

    def _judged(self, question: Question, now: float) -> Outcome:
        if question.lacks is not None:
            raise CannotSayError(question.lacks)
        if question.named is not None:
            return self._by_name(question, now)
        if question.facts is None:
            return Outcome(question.effect, question.reason, question.rule)
        if question.maybe_preflight is not None:
            raise CannotSayError(question.maybe_preflight)
        verdict = judge_identified(
            question.facts, question.identity, self._directory, question.policy, "", now
        )
        target = verdict.target
        if question.unread is not None and (target is None or target.authentication is not _NONE):
            raise CannotSayError(question.unread)
        return Outcome(verdict.effect, verdict.reason, verdict.rule, target, verdict.roles)

    def _by_name(self, question: Question, now: float) -> Outcome:
        named, principal = question.named, question.identity
        assert named is not None
        if principal is None or isinstance(principal, Rejected):
            return Outcome(question.effect, question.reason, question.rule)
        outcome = self._named(question.tenant, principal, named, now)
        if question.maybe_by_roles is not None:
            by_roles = self._named(question.tenant, principal, replace(named, roles_only=True), now)
            if by_roles.verdict != outcome.verdict:
                raise CannotSayError(question.maybe_by_roles)
        return outcome

    def _named(self, tenant: str, principal: Principal, named: NamedQuestion, now: float) -> Outcome:
        verdict = judge_by_name(
            self._directory, tenant, principal, named, max_staleness=None, decision_id="", now=now
        )
        return Outcome(verdict.effect, verdict.reason, verdict.rule, verdict.target, verdict.roles)
