"""Evaluates PromQL over two scrapes of an endpoint by `promtool test rules`.

Prometheus is taken to have scraped for 20 minutes, once a minute. A counter grew in every 5 minutes by the
difference of the two scrapes; a gauge had the value of the later one all the time.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.promql import Series

MINUTES: Final = 20
_MINUTES_APART: Final = 5
_COUNTERS: Final = ("_total", "_bucket", "_count", "_sum")


def promtool() -> str:
    """Return the program; skip the test without it."""
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not on PATH (Debian: package prometheus); no Python package has it")
    return found


def is_not_empty(expression: str) -> str:
    """Return an expression that is 1 where the given one has a result, else 0."""
    return f"(count({expression}) > bool 0) or vector(0)"


def has_nan(expression: str) -> str:
    """Return an expression that is 1 where a value of the given one is not a number, else 0."""
    return f"(count(({expression}) != ({expression})) > bool 0) or vector(0)"


def assert_values(folder: Path, before: Series, after: Series, values: Mapping[str, float]) -> None:
    """Evaluate expressions without labels after 20 minutes; fail with promtool's output where one differs."""
    test = {
        "interval": "1m",
        "input_series": [
            {"series": series, "values": " ".join(map(repr, samples))}
            for series, samples in _input_series(before, after)
        ],
        "promql_expr_test": [
            {
                "expr": expression,
                "eval_time": f"{MINUTES}m",
                "exp_samples": [{"labels": "{}", "value": value}],
            }
            for expression, value in values.items()
        ],
    }
    file = folder / "expressions.yaml"
    document: dict[str, Any] = {"rule_files": [], "evaluation_interval": "1m", "tests": [test]}
    file.write_text(yaml.safe_dump(document, width=1_000))
    done = subprocess.run(
        [promtool(), "test", "rules", file], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _input_series(before: Series, after: Series) -> Iterator[tuple[str, list[float]]]:
    for name, vector in after.items():
        for labels, value in vector.items():
            shown = ",".join(f"{label}={json.dumps(text)}" for label, text in sorted(labels))
            start = before.get(name, {}).get(labels, value) if name.endswith(_COUNTERS) else value
            growth = (value - start) / _MINUTES_APART
            yield f"{name}{{{shown}}}", [start + growth * minute for minute in range(MINUTES + 1)]
