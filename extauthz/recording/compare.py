"""What a draft would change: recorded requests, judged by the live and by the draft policies.

Where a request cannot be judged, because of what was not recorded, it counts as unchanged only where both
sides would judge it by the same rules on the same facts. The answer is then the same, whatever it is.
"""

from bisect import bisect_left
from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple

from extauthz.compile.conditions.condition_input import ConditionInput
from extauthz.decide import routes
from extauthz.domain.principal import ANONYMOUS, Principal
from extauthz.domain.reasons import Effect
from extauthz.domain.verdict import Target
from extauthz.recording.changes import PolicyChanges
from extauthz.recording.not_known import TIME, CannotSayError, NotKnown, State
from extauthz.recording.question import Question
from extauthz.recording.recorded_path import FoldedSegment
from extauthz.recording.rejudge import Judge, Outcome
from extauthz.recording.replay_policies import ReplayPolicies

HOUR_S: Final = 3600
_MICROSECOND: Final = 1e-6
_REMEMBERED: Final = 100_000


class DecisionChange(StrEnum):
    """What a draft would make of a request."""

    NEWLY_ALLOWED = "newly_allowed"
    NEWLY_DENIED = "newly_denied"
    RULE_CHANGED = "rule_changed"
    UNCHANGED = "unchanged"
    CANNOT_SAY = "cannot_say"


class Period(NamedTuple):
    """When requests were made: from `start` on and before `end` (POSIX seconds), or at `start` exactly."""

    start: float
    end: float


class Difference(NamedTuple):
    """The change of one request; the outcomes are those at the start of its period, None without a change."""

    change: DecisionChange
    live: Outcome | None = None
    draft: Outcome | None = None
    not_known: NotKnown | None = None


_UNCHANGED: Final = Difference(DecisionChange.UNCHANGED)


class Comparison:
    """Compares live and draft policies over recorded requests."""

    def __init__(self, live: ReplayPolicies, draft: ReplayPolicies) -> None:
        """Take both sides, of one tenant."""
        self.live, self.draft = Judge(live), Judge(draft)
        self._changed = PolicyChanges.between(live, draft)
        self._instants = sorted({*live.instants, *draft.instants})
        self._alike: dict[tuple[object, ...], bool] = {}
        self.depends_on_time = False
        """Whether the last difference may be another one at another time."""

    def difference(self, question: Question, period: Period) -> Difference:
        """Judge a question on both sides, at every time in the period that may make a difference."""
        first = self._at(question, period.start)
        self.depends_on_time = self.live.depends_on_time or self.draft.depends_on_time
        if (
            not self.depends_on_time
            or period.end <= period.start
            or first.change is DecisionChange.CANNOT_SAY
        ):
            return first
        unchanged = first.change is DecisionChange.UNCHANGED
        for moment in self._moments(question, period, first):
            other = self._at(question, moment)
            if other.change is DecisionChange.CANNOT_SAY:
                return other
            if not (unchanged and other.change is DecisionChange.UNCHANGED) and not _same(first, other):
                return Difference(DecisionChange.CANNOT_SAY, not_known=NotKnown(TIME, State.WITHIN_THE_HOUR))
        return first

    def _at(self, question: Question, now: float) -> Difference:
        live = self.live.answer(question, now)
        if isinstance(live, Outcome) and self._decides_alike(live, question):
            return Difference(DecisionChange.UNCHANGED, live, live)
        draft = self.draft.answer(question, now)
        if isinstance(live, NotKnown) or isinstance(draft, NotKnown):
            # The draft's side is named first: it is the one whose author can do something about it.
            not_known = draft if isinstance(draft, NotKnown) else live
            if self._same_rules(question):
                return _UNCHANGED
            assert isinstance(not_known, NotKnown)
            return Difference(DecisionChange.CANNOT_SAY, not_known=not_known)
        if live.verdict == draft.verdict:
            return Difference(DecisionChange.UNCHANGED, live, draft)
        if live.effect is draft.effect:
            return Difference(DecisionChange.RULE_CHANGED, live, draft)
        if draft.effect is Effect.ALLOW:
            return Difference(DecisionChange.NEWLY_ALLOWED, live, draft)
        return Difference(DecisionChange.NEWLY_DENIED, live, draft)

    def _decides_alike(self, live: Outcome, question: Question) -> bool:
        """Tell whether the draft has the same target and candidate rules, so that its answer is the same.

        Most drafts change few rules: then most requests are judged once.
        """
        target = live.target
        if target is None:
            return self._changed.is_empty
        domain = question.domain
        key = (target.resource, target.action, target.denied_as, domain)
        alike = self._alike.get(key)
        if alike is None:
            if len(self._alike) >= _REMEMBERED:
                self._alike.clear()
            concerned = self._changed.concern_target(target, domain) or self._changed.concern_roles(domain)
            alike = self._alike[key] = not concerned
        return alike and (not self._changed.resources or self._has_target(question, target))

    def _has_target(self, question: Question, target: Target) -> bool:
        """Tell whether a request has the same target in the draft."""
        if question.is_preflight:
            return False
        try:
            found = self._target(question, self.draft)
        except CannotSayError:
            return False
        return isinstance(found, Target) and _comparable(found) == _comparable(target)

    def _moments(self, question: Question, period: Period, first: Difference) -> Iterator[float]:
        """Yield the times at which an answer may begin to be another one, with those just before and after.

        INVARIANT: between two of them every comparison with the time, and every binding, stays as it is.
        """
        start, end = period
        turns = set(self._instants[bisect_left(self._instants, start) : bisect_left(self._instants, end)])
        turns.update(turn for turn in self._compared(question, first) if start <= turn < end)
        for turn in sorted(turns):
            for moment in (turn - _MICROSECOND, turn, turn + _MICROSECOND):
                if start <= moment < end:
                    yield moment

    def _compared(self, question: Question, first: Difference) -> Iterator[float]:
        """Yield the times among the values of this request that conditions compare the time with."""
        principal = question.identity if isinstance(question.identity, Principal) else ANONYMOUS
        for side, outcome in ((self.live, first.live), (self.draft, first.draft)):
            if outcome is None or outcome.target is None:
                continue
            facts = ConditionInput(principal, (), outcome.target, question.facts, None, 0.0)
            for read in side.policies.resolvers():
                try:
                    value = read(facts)
                except CannotSayError:
                    # A condition that reads it raises as well.
                    continue
                if isinstance(value, datetime):
                    yield value.timestamp()

    def _same_rules(self, question: Question) -> bool:
        """Tell whether both sides have the same candidate rules for a request that cannot be judged."""
        domain = question.domain
        if self._changed.is_empty:
            return True
        if question.lacks is not None:
            return False
        try:
            live, draft = self._target(question, self.live), self._target(question, self.draft)
        except CannotSayError:
            # Which target it has depends on what is not known: it may be any.
            return not self._changed.resources and not self._changed.concern(domain)
        if isinstance(live, Target) != isinstance(draft, Target) or question.is_preflight:
            return not self._changed.resources and not self._changed.concern(domain)
        if not isinstance(live, Target) or not isinstance(draft, Target):
            return live == draft
        return (
            _comparable(live) == _comparable(draft)
            and not self._changed.concern_target(live, domain)
            and not self._changed.concern_roles(domain)
        )

    def _target(self, question: Question, side: Judge) -> object:
        """Return where a request leads on one side."""
        if question.named is not None:
            named = question.named
            return routes.target_by_name(side.policies, named.resource, named.action)
        assert question.facts is not None
        method = routes.decided_method(question.facts.method)
        return routes.resolve(side.policies, question.facts, method, question.policy.unmapped)


def _same(one: Difference, other: Difference) -> bool:
    if one.change is not other.change or one.live is None or one.draft is None:
        return False
    if other.live is None or other.draft is None:
        return False
    return one.live.verdict == other.live.verdict and one.draft.verdict == other.draft.verdict


def _comparable(target: Target) -> tuple[object, ...]:
    """Return all of a target that decides; of parameters that are folded, the names of their slots."""
    parameters = target.parameters and tuple(
        (name, (value.not_known.slot,) if isinstance(value, FoldedSegment) else value)
        for name, value in target.parameters.items()
    )
    return (*target[:4], parameters, target.authentication, target.denied_as, target.require_bound)
