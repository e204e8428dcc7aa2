"""The result of a replay: requests by what a draft would make of them, in groups, with examples.

Counts are exact. Of groups and examples, which may be many, the result shows the first ones and how many
there are.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from extauthz.compile.snapshot import Snapshot
from extauthz.decide.identity import Rejected
from extauthz.decide.record import rfc3339
from extauthz.domain.principal import ANONYMOUS_ROLE, Principal
from extauthz.domain.verdict import Rule
from extauthz.recording import shape as recorded
from extauthz.recording.compare import DecisionChange, Difference
from extauthz.recording.explained import Sees, because
from extauthz.recording.not_known import CannotSayError, NotKnown
from extauthz.recording.question import Question
from extauthz.recording.recorded_path import FoldedPath, FoldedRest, FoldedSegment
from extauthz.recording.rejudge import Outcome

MAX_GROUPS: Final = 100
"""Groups shown of each sort, those with the most requests."""
MAX_EXAMPLES: Final = 20
_KEPT_GROUPS: Final = 10_000
_KEPT_SUBJECTS: Final = 1_000_000

Json = dict[str, Any]
_GROUPS: Final = ("rule", "resource", "route", "role")


@dataclass(slots=True)
class _Group:
    requests: int = 0
    subjects: set[tuple[str, str]] = field(default_factory=set)


class _Changed:
    """The requests of one sort of change."""

    def __init__(self) -> None:
        self.requests = 0
        self._subjects: set[tuple[str, str]] = set()
        self._all_subjects_known = True
        self._groups: dict[str, dict[object, _Group]] = {name: {} for name in _GROUPS}
        self._examples: list[Json] = []
        self._shown: set[object] = set()

    def add(self, one: "_Change") -> None:
        self.requests += one.requests
        subject = one.subject
        if subject is None:
            self._all_subjects_known = self._all_subjects_known and one.has_no_subject
        elif len(self._subjects) < _KEPT_SUBJECTS:
            self._subjects.add(subject)
        else:
            self._all_subjects_known = False
        for name, keys in one.groups().items():
            groups = self._groups[name]
            for key in keys:
                known = groups.get(key)
                if known is None:
                    if len(groups) >= _KEPT_GROUPS:
                        continue
                    known = groups[key] = _Group()
                known.requests += one.requests
                if subject is not None and len(self._subjects) < _KEPT_SUBJECTS:
                    known.subjects.add(subject)
        # An example of another rule or route says more than a second one of the same.
        sort = (one.deciding_rule, one.question.template)
        if len(self._examples) < MAX_EXAMPLES and sort not in self._shown:
            self._shown.add(sort)
            self._examples.append(one.example())

    def result(self) -> Json:
        return {
            "requests": self.requests,
            "subjects": len(self._subjects),
            "subjects_complete": self._all_subjects_known,
            "groups": {name: _shown_groups(name, self._groups[name]) for name in _GROUPS},
            "examples": self._examples,
        }


def _shown_groups(name: str, groups: dict[object, _Group]) -> list[Json]:
    most = sorted(groups.items(), key=lambda item: (-item[1].requests, str(item[0])))[:MAX_GROUPS]
    return [
        {
            name: _rule(key) if isinstance(key, Rule) else key,
            "requests": group.requests,
            "subjects": len(group.subjects),
        }
        for key, group in most
    ]


def _rule(rule: Rule | None) -> Json | None:
    return None if rule is None else {"id": rule.id, "kind": rule.kind.value}


@dataclass(frozen=True, slots=True)
class _Change:
    """One question, how often it was asked, and what changes."""

    question: Question
    difference: Difference
    requests: int
    at: float
    live: Snapshot
    draft: Snapshot
    sees: Sees

    @property
    def _principal(self) -> Principal | None:
        identity = self.question.identity
        return identity if isinstance(identity, Principal) else None

    @property
    def has_no_subject(self) -> bool:
        """Whether it is known that no principal stands behind it."""
        return self._principal is None and self.question.unread is None

    @property
    def subject(self) -> tuple[str, str] | None:
        principal = self._principal
        if principal is None:
            return None
        try:
            return None if principal.id is None else (principal.kind.value, principal.id)
        except CannotSayError:
            return None

    @property
    def deciding_rule(self) -> Rule | None:
        """The rule of the draft that decides; where none does, the live one that decided."""
        draft, live = self.difference.draft, self.difference.live
        if draft is not None and draft.rule is not None:
            return draft.rule
        return None if live is None else live.rule

    def groups(self) -> dict[str, Iterable[object]]:
        return {
            "rule": (self.deciding_rule,),
            "resource": (self._names()[0],),
            "route": (self.question.template,),
            "role": self._roles() or (None,),
        }

    def _names(self) -> tuple[str | None, str | None]:
        """Return resource and action: those of the draft, where it has none the live ones."""
        for outcome in (self.difference.draft, self.difference.live):
            if outcome is not None and outcome.target is not None:
                return outcome.target.resource, outcome.target.action
        named = self.question.named
        return (None, None) if named is None else (named.resource, named.action)

    def _roles(self) -> tuple[str, ...]:
        for outcome in (self.difference.draft, self.difference.live):
            if outcome is not None and outcome.roles:
                return outcome.roles
        principal = self._principal
        if principal is None:
            return () if isinstance(self.question.identity, Rejected) else (ANONYMOUS_ROLE,)
        try:
            return principal.roles
        except CannotSayError:
            return ()

    def example(self) -> Json:
        """Return the request, and why each side answers as it does."""
        shown = self._request()
        for name, outcome, policies in (
            ("live", self.difference.live, self.live),
            ("draft", self.difference.draft, self.draft),
        ):
            if outcome is not None:
                shown[name] = _answer(outcome, policies, self.sees)
        if self.difference.not_known is not None:
            shown["cannot_say"] = _not_known(self.difference.not_known)
        return shown

    def _request(self) -> Json:
        question, principal, subject = self.question, self._principal, self.subject
        facts, (resource, action) = question.facts, self._names()
        return {
            "at": rfc3339(self.at),
            "requests": self.requests,
            "method": None if facts is None else facts.slots.shown(recorded.METHOD),
            "host": None if facts is None else facts.slots.shown(recorded.HOST),
            "path": None if facts is None else _path(facts.path),
            "route": question.template,
            "resource": resource,
            "action": action,
            "kind": None if principal is None else principal.kind.value,
            "subject": None if subject is None else subject[1],
            "domain": question.domain,
            "roles": list(self._roles()),
        }


def _path(path: object) -> str:
    if not isinstance(path, FoldedPath):
        return str(getattr(path, "text", ""))
    shown = (_segment(each) for each in path.segments)
    return "".join(shown)


def _segment(segment: str) -> str:
    if isinstance(segment, FoldedRest):
        return "/**"
    return f"/{segment.not_known.slot}" if isinstance(segment, FoldedSegment) else f"/{segment}"


def _answer(outcome: Outcome, policies: Snapshot, sees: Sees) -> Json:
    return {
        "decision": outcome.effect.value,
        "reason": outcome.reason.value,
        "rule": _rule(outcome.rule),
        "because": because(outcome, policies, sees),
    }


def _not_known(not_known: NotKnown) -> Json:
    return {"slot": not_known.slot, "state": not_known.state.value}


class Report:
    """Collects differences; for one thread."""

    def __init__(self, live: Snapshot, draft: Snapshot, sees: Sees = lambda _domain: True) -> None:
        """Take the policies, to explain examples by; `sees` tells of which domains rules are shown."""
        self._policies = live, draft, sees
        self._shapes = 0
        self._requests = 0
        self._unchanged = 0
        self._not_as_recorded = 0
        self._changed = {
            change: _Changed()
            for change in (
                DecisionChange.NEWLY_ALLOWED,
                DecisionChange.NEWLY_DENIED,
                DecisionChange.RULE_CHANGED,
            )
        }
        self._cannot_say: dict[NotKnown, int] = {}
        self._cannot_say_examples: list[Json] = []

    def begin(self) -> None:
        """Count one shape, or one line."""
        self._shapes += 1

    def add(self, question: Question, difference: Difference, requests: int, at: float) -> None:
        """Count requests; `at` is when the first of them were made (POSIX seconds)."""
        self._requests += requests
        change, live = difference.change, difference.live
        if live is not None and (live.effect, live.rule) != (question.effect, question.rule):
            self._not_as_recorded += requests
        if change is DecisionChange.UNCHANGED:
            self._unchanged += requests
            return
        one = _Change(question, difference, requests, at, *self._policies)
        if change is not DecisionChange.CANNOT_SAY:
            self._changed[change].add(one)
            return
        not_known = difference.not_known
        assert not_known is not None
        if not_known not in self._cannot_say and len(self._cannot_say_examples) < MAX_EXAMPLES:
            self._cannot_say_examples.append(one.example())
        self._cannot_say[not_known] = self._cannot_say.get(not_known, 0) + requests

    @property
    def newly_allowed(self) -> int:
        """How many requests would be allowed and are not."""
        return self._changed[DecisionChange.NEWLY_ALLOWED].requests

    @property
    def newly_denied(self) -> int:
        """How many requests would be denied and are not."""
        return self._changed[DecisionChange.NEWLY_DENIED].requests

    def result(self) -> Json:
        """Return the result as JSON."""
        reasons = sorted(self._cannot_say.items(), key=lambda item: (-item[1], item[0]))[:MAX_GROUPS]
        return {
            "shapes": self._shapes,
            "requests": self._requests,
            "answered_otherwise_then": self._not_as_recorded,
            **{change.value: changed.result() for change, changed in self._changed.items()},
            DecisionChange.UNCHANGED.value: {"requests": self._unchanged},
            DecisionChange.CANNOT_SAY.value: {
                "requests": sum(self._cannot_say.values()),
                "because": [
                    {**_not_known(not_known), "requests": requests} for not_known, requests in reasons
                ],
                "examples": self._cannot_say_examples,
            },
        }
