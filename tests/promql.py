"""Reads scrapes and PromQL expressions: which series an expression selects. `promtool` evaluates them."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import promql_parser as promql
from prometheus_client.parser import text_string_to_metric_families

Labels = frozenset[tuple[str, str]]
Vector = dict[Labels, float]
Series = Mapping[str, Vector]
"""Sample name to its values by labels."""


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
