"""The groups of tests that run one after the other, and the number of examples of the property tests."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

TESTS = Path(__file__).parent
ONE_WORKER = {"e2e", "faults"}
"""Folders of which one worker of pytest-xdist runs all tests: a whole stack is measured or broken."""
MODULES_APART = {"integration"}
"""Folders of which one worker runs the tests of a module: they share its fixtures."""

# With Envoy and PostgreSQL running, a machine is slow in bursts: examples have no deadline, tests a timeout.
settings.register_profile("test", deadline=None, derandomize=True, database=None)
settings.register_profile(
    "verify",
    deadline=None,
    max_examples=5_000,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("verify" if os.environ.get("EXTAUTHZ_VERIFY") == "1" else "test")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the tests that share processes run one after the other."""
    for item in items:
        folder = item.path.relative_to(TESTS).parts[0]
        if folder in ONE_WORKER:
            item.add_marker(pytest.mark.xdist_group(folder))
        elif folder in MODULES_APART:
            item.add_marker(pytest.mark.xdist_group(f"{folder}/{item.path.stem}"))
