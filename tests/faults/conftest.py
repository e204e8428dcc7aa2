"""Fault tests: the number of requests for each fault, and the table that `make faults` prints.

`FAULT_REQUESTS` is the number of requests for each phase of a fault; `make faults` sets a large one, and the
load then has no pauses.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.faults.mesh import FaultyStack, faulty_stack
from tests.faults.oracle import standing_load
from tests.faults.report import Row, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.oracle import Question

ROWS = pytest.StashKey[list[Row]]()


@pytest.fixture(scope="session")
def requests_per_phase() -> int:
    """How many answers each phase of a fault waits for."""
    return int(os.environ.get("FAULT_REQUESTS", "100"))


@pytest.fixture(scope="session")
def pause_s() -> float:
    """The pause of each client of the load between requests: tests on other workers need the CPUs too."""
    return 0.0 if "FAULT_REQUESTS" in os.environ else 0.08


@pytest.fixture(scope="module")
def stack() -> Iterator[FaultyStack]:
    """One stack for the faults of a module; each test leaves it recovered."""
    with faulty_stack() as running:
        yield running


@pytest.fixture(scope="module")
def questions(stack: FaultyStack) -> tuple[Question, ...]:
    """Return what the standing load asks."""
    return tuple(standing_load(stack.tokens()))


@pytest.fixture
def fault_rows(request: pytest.FixtureRequest) -> Iterator[list[Row]]:
    """The rows of this test, shown in the table at the end of the run."""
    rows: list[Row] = []
    yield rows
    request.node.user_properties.extend(("fault", json.dumps(row.document())) for row in rows)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table of all faults, also when workers of pytest-xdist ran them."""
    rows = [
        Row.of(json.loads(str(value)))
        for reports in terminalreporter.stats.values()
        for report in reports
        if isinstance(report, pytest.TestReport) and report.when == "teardown"
        for name, value in report.user_properties
        if name == "fault"
    ]
    if rows:
        terminalreporter.write_sep("=", "faults")
        terminalreporter.write_line(table(rows))
    if rows and (place := os.environ.get("FAULT_TABLE")):
        Path(place).write_text(json.dumps([row.document() for row in rows], indent=2) + "\n")
