"""How the tests run: which of them share the machine, and how hard the property tests look."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

TESTS = Path(__file__).parent
GROUPS = {"e2e": "meshes", "faults": "faults", "integration": "services"}
"""The folders that start processes, by the one worker of pytest-xdist that runs them."""

# Beside Envoy and PostgreSQL a machine is slow in bursts: examples have no deadline, tests have a timeout.
settings.register_profile("test", deadline=None, derandomize=True, database=None)
settings.register_profile(
    "verify",
    deadline=None,
    max_examples=5_000,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("verify" if os.environ.get("EXTAUTHZ_VERIFY") == "1" else "test")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the tests that start processes of one group run one after the other."""
    for item in items:
        folder = item.path.relative_to(TESTS).parts[0]
        if folder in GROUPS:
            item.add_marker(pytest.mark.xdist_group(GROUPS[folder]))
