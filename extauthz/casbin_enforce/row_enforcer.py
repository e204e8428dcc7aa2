"""Enforces any model that pycasbin can run, row by row; what pycasbin leaves open never allows.

What pycasbin does otherwise: an effect that it does not know counts as nothing; without any row a request of
empty strings equals the empty row; rows of equal priority decide by their order; one row that cannot be
evaluated raises for every request.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from extauthz.casbin_enforce.effects import Hit
from extauthz.casbin_enforce.functions import PATTERN_FUNCTIONS, Undecided, time_match
from extauthz.casbin_enforce.matcher import Matcher, MatcherEvaluation, MatcherInvalid, parse_rule
from extauthz.casbin_enforce.model import PlainModel
from extauthz.casbin_enforce.policy_file import Row
from extauthz.casbin_enforce.priorities import hierarchy_ranks, priority_ranks
from extauthz.casbin_enforce.rejected_rows import Suspects
from extauthz.casbin_enforce.roles import Far, RoleGraph
from extauthz.domain.reasons import Effect


@dataclass(frozen=True, slots=True)
class _Line:
    """A usable row: its names in the matcher, its sub rules, and the hit that it is where it matches."""

    number: int
    names: Mapping[str, object]
    rules: Mapping[str, Matcher | MatcherInvalid]
    hit: Hit


def graphs_of(model: PlainModel, rows: Sequence[Row]) -> dict[str, RoleGraph]:
    """Return the graph of every role definition of the model."""
    return {
        kind: RoleGraph(
            (row for row in rows if row.kind == kind and row.problem is None),
            with_domain=role.with_domain,
            parameters=role.parameters,
        )
        for kind, role in model.roles.items()
    }


def evaluation_at(now: datetime, graphs: Mapping[str, RoleGraph], *, far: Far) -> MatcherEvaluation:
    """Return an evaluation of one request with everything that a matcher may call."""

    def has_role(graph: RoleGraph) -> Callable[..., bool]:
        return lambda *arguments: graph.has(arguments, now, far=far)

    roles = {kind: has_role(graph) for kind, graph in graphs.items()}
    return MatcherEvaluation({**PATTERN_FUNCTIONS, "timeMatch": partial(time_match, now=now), **roles})


class GuardedEngine:
    """pycasbin's evaluator and effects over rows that were checked one by one."""

    def __init__(self, model: PlainModel, rows: Sequence[Row]) -> None:
        """Take the rows as they were read, the refused ones too."""
        self._model = model
        self._graphs = graphs_of(model, rows)
        checked = list(_ranked(model, rows))
        self._suspects = Suspects(model, [row for row, _ in checked])
        self._lines = [
            self._line(row, rank)
            for row, rank in checked
            if row.kind == "p" and row.problem is None and self._suspects.has_known_effect(row)
        ]
        self._without_rows = not any(row.kind == "p" or row.problem for row in rows)

    def decide(self, values: Sequence[object], now: datetime) -> bool | str:
        """Return whether the request is allowed, or what leaves it open."""
        request = dict(zip(self._model.request, values, strict=True))
        verdict = self._decide(request, evaluation_at(now, self._graphs, far=Far.ABSENT))
        if verdict is not True:
            return verdict
        return self._decide(request, evaluation_at(now, self._graphs, far=Far.OPEN))

    def _decide(self, request: Mapping[str, object], evaluation: MatcherEvaluation) -> bool | str:
        if self._without_rows:
            return self._model.effect.judge(self._hits_without_rows(evaluation, request))
        verdict = self._model.effect.judge(self._hits(evaluation, request))
        if verdict is not True:
            return verdict
        return self._suspects.complaint(evaluation, request) or True

    def _hits(self, evaluation: MatcherEvaluation, request: Mapping[str, object]) -> Iterator[Hit]:
        for line in self._lines:
            try:
                if evaluation.matches(self._model.matcher, {**request, **line.names}, line.rules):
                    yield line.hit
            except Exception as error:  # noqa: BLE001  # INVARIANT: a row that cannot be evaluated is open
                yield Hit(line.hit.effect, line.hit.rank, f"policy line {line.number}: {error}")

    def _hits_without_rows(self, evaluation: MatcherEvaluation, request: Mapping[str, object]) -> list[Hit]:
        """Let a matcher that does not ask for a row decide (`r.sub == "root"`), as Casbin does."""
        nothing = Undecided("the policy has no rows")
        names = {**request, **dict.fromkeys(self._model.policy, nothing)}
        rules = dict.fromkeys(self._model.matcher.rules, MatcherInvalid("is missing"))
        try:
            matches = evaluation.matches(self._model.matcher, names, rules)
        except Exception:  # noqa: BLE001  # INVARIANT: what cannot be evaluated does not allow
            return []
        return [Hit(Effect.ALLOW, 0)] if matches else []

    def _line(self, row: Row, rank: int) -> _Line:
        names = dict(zip(self._model.policy, row.fields, strict=True))
        rules = {name: parse_rule(names[name]) for name in self._model.matcher.rules if name in names}
        place = self._model.token("p_eft")
        effect = Effect.ALLOW if place is None else Effect(row.fields[place])
        return _Line(row.line, names, rules, Hit(effect, rank))


def _ranked(model: PlainModel, rows: Sequence[Row]) -> Iterator[tuple[Row, int]]:
    """Yield the rows with their ranks; one that has none becomes a refused row."""
    policies = [row for row in rows if row.kind == "p" and row.problem is None]
    ranks = dict(zip(policies, _ranks(model, policies, rows), strict=True))
    for row in rows:
        rank = ranks.get(row, 0)
        if rank is None:
            yield Row(row.line, row.kind, row.fields, "does not rank among the others"), 0
        else:
            yield row, rank


def _ranks(model: PlainModel, policies: Sequence[Row], rows: Sequence[Row]) -> Sequence[int | None]:
    if not model.effect.ranked:
        return [0] * len(policies)
    if model.effect.by_subject:
        links = [row for row in rows if row.kind == "g" and row.problem is None]
        ranks = hierarchy_ranks(links, with_domain=model.roles["g"].with_domain)
        if ranks is None:
            return [None] * len(policies)
        place = model.token("p_dom")
        return [ranks.get(("" if place is None else row.fields[place], row.fields[0]), 0) for row in policies]
    place = model.token("p_priority")
    if place is None:
        return range(len(policies))
    return priority_ranks([row.fields[place] for row in policies])
