"""Evaluates the PromQL that our rules and dashboard use, over two scrapes of an endpoint.

The parser is a real one; the evaluation covers what the shipped expressions need and refuses the rest.
`rate` and `increase` compare the two scrapes, which are taken to lie `apart_s` seconds apart.
"""

import math
import operator
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import promql_parser as promql
from prometheus_client.parser import text_string_to_metric_families

Labels = frozenset[tuple[str, str]]
Vector = dict[Labels, float]
Series = Mapping[str, Vector]
"""Sample name to its values by labels."""

_ARITHMETIC: Final[Mapping[str, Callable[[float, float], float]]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": lambda a, b: a / b if b else (math.nan if a == 0 or math.isnan(a) else math.copysign(math.inf, a)),
}
_COMPARISON: Final[Mapping[str, Callable[[float, float], bool]]] = {
    ">": operator.gt,
    "<": operator.lt,
    "==": operator.eq,
}
_AGGREGATION: Final[Mapping[str, Callable[[list[float]], float]]] = {"sum": sum, "max": max, "min": min}


def read(text: str, target: Mapping[str, str]) -> dict[str, Vector]:
    """Return every sample of an exposition, with the labels that Prometheus adds for the target."""
    found: dict[str, Vector] = defaultdict(dict)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name][frozenset((sample.labels | dict(target)).items())] = sample.value
    return dict(found)


def selectors(expression: str) -> Iterator[promql.VectorSelector]:
    """Yield every selector of an expression; raises ValueError when it does not parse or type-check."""
    yield from _selectors(promql.parse(expression))


def _selectors(node: Any) -> Iterator[promql.VectorSelector]:
    match node:
        case promql.VectorSelector():
            yield node
        case promql.MatrixSelector():
            yield node.vector_selector
        case promql.BinaryExpr():
            yield from _selectors(node.lhs)
            yield from _selectors(node.rhs)
        case promql.AggregateExpr() | promql.ParenExpr():
            yield from _selectors(node.expr)
        case promql.Call():
            for argument in node.args:
                yield from _selectors(argument)
        case promql.NumberLiteral():
            return
        case _:
            raise AssertionError(f"not used so far: {type(node).__name__}")


def selected(selector: promql.VectorSelector, series: Series) -> Vector:
    values = series.get(selector.name or "", {})
    matchers = selector.matchers.matchers
    return {
        labels: value for labels, value in values.items() if all(_fits(m, dict(labels)) for m in matchers)
    }


def _fits(matcher: promql.Matcher, labels: Mapping[str, str]) -> bool:
    value = labels.get(matcher.name, "")
    match matcher.op:
        case promql.MatchOp.Equal:
            return value == matcher.value
        case promql.MatchOp.NotEqual:
            return value != matcher.value
        case promql.MatchOp.Re:
            return re.fullmatch(matcher.value, value) is not None
    raise AssertionError(f"not used so far: {matcher.op}")


@dataclass(frozen=True)
class Evaluation:
    """Two scrapes of the same targets."""

    before: Series
    after: Series
    apart_s: float

    def of(self, expression: str) -> Vector:
        """Return the instant vector of an expression at the later scrape."""
        result = self._value(promql.parse(expression))
        assert isinstance(result, dict), "a vector"
        return result

    def _value(self, node: Any) -> Vector | float:
        match node:
            case promql.NumberLiteral():
                return float(node.val)
            case promql.ParenExpr():
                return self._value(node.expr)
            case promql.VectorSelector():
                return {_unnamed(labels): v for labels, v in selected(node, self.after).items()}
            case promql.Call():
                return self._call(node)
            case promql.AggregateExpr():
                return self._aggregate(node)
            case promql.BinaryExpr():
                return self._binary(str(node.op).split()[0], self._value(node.lhs), self._value(node.rhs))
        raise AssertionError(f"not used so far: {type(node).__name__}")

    def _call(self, node: promql.Call) -> Vector:
        match node.func.name, node.args:
            case ("rate" | "increase") as name, [window]:
                then = selected(window.vector_selector, self.before)
                now = selected(window.vector_selector, self.after)
                length = window.range.total_seconds()
                per = self.apart_s if name == "rate" else self.apart_s / length
                return {
                    labels: (value - then[labels] if value >= then[labels] else value) / per
                    for labels, value in now.items()
                    if labels in then
                }
            case "histogram_quantile", [quantile, buckets]:
                found = self._value(buckets)
                assert isinstance(found, dict)
                return _quantiles(float(quantile.val), found)
        raise AssertionError(f"not used so far: {node.func.name}")

    def _aggregate(self, node: promql.AggregateExpr) -> Vector:
        vector = self._value(node.expr)
        assert isinstance(vector, dict)
        assert node.modifier is None or node.modifier.type == promql.AggModifierType.By
        by = set() if node.modifier is None else set(node.modifier.labels)
        groups: dict[Labels, list[float]] = defaultdict(list)
        for labels, value in vector.items():
            groups[frozenset(pair for pair in labels if pair[0] in by)].append(value)
        combine = _AGGREGATION[str(node.op).split(maxsplit=1)[0]]
        return {labels: combine(values) for labels, values in groups.items()}

    @staticmethod
    def _binary(word: str, left: Vector | float, right: Vector | float) -> Vector | float:
        assert isinstance(left, dict), "the vector is on the left"
        if isinstance(right, float):
            right = dict.fromkeys(left, right)
        match word:
            case "and":
                return {labels: value for labels, value in left.items() if labels in right}
            case "unless":
                return {labels: value for labels, value in left.items() if labels not in right}
            case _ if word in _COMPARISON:
                compare = _COMPARISON[word]
                return {k: v for k, v in left.items() if k in right and compare(v, right[k])}
        compute = _ARITHMETIC[word]
        return {k: compute(v, right[k]) for k, v in left.items() if k in right}


def _unnamed(labels: Labels) -> Labels:
    return frozenset(pair for pair in labels if pair[0] != "__name__")


def _quantiles(quantile: float, buckets: Vector) -> Vector:
    histograms: dict[Labels, list[tuple[float, float]]] = defaultdict(list)
    for labels, count in buckets.items():
        rest = frozenset(pair for pair in labels if pair[0] != "le")
        histograms[rest].append((float(dict(labels)["le"]), count))
    return {labels: _quantile(quantile, sorted(found)) for labels, found in histograms.items()}


def _quantile(quantile: float, buckets: list[tuple[float, float]]) -> float:
    """Interpolate as Prometheus does: linearly inside the bucket that holds the rank."""
    total = buckets[-1][1]
    if not total:
        return math.nan
    rank, lower, below = quantile * total, 0.0, 0.0
    for bound, count in buckets:
        if count >= rank:
            if math.isinf(bound):
                return lower
            return lower + (bound - lower) * (rank - below) / (count - below)
        lower, below = bound, count
    return math.nan
