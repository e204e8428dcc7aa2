"""The groups of tests that run one after the other, and the number of examples of the property tests."""

import os
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

TESTS = Path(__file__).parent
APART = {"e2e", "faults", "integration", "packaging"}
"""Folders of which one worker of pytest-xdist runs the tests of a module: they share its fixtures."""
SHARED = {"shared_stack", "tenants"}
"""Fixtures too dear for every worker: one runs all the tests that use them."""

# With Envoy and PostgreSQL running, a machine is slow in bursts: examples have no deadline, tests a timeout.
settings.register_profile("test", deadline=None, derandomize=True, database=None)
settings.register_profile(
    "verify",
    deadline=None,
    max_examples=5_000,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("verify" if os.environ.get("EXTAUTHZ_VERIFY") == "1" else "test")

# structlog's own default has rich format tracebacks with all variables: a fifth of a second each.
structlog.configure(
    processors=[
        *structlog.get_config()["processors"][:-1],
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the tests that share processes run one after the other."""
    for item in items:
        folder = item.path.relative_to(TESTS).parts[0]
        shared = SHARED.intersection(getattr(item, "fixturenames", ()))
        if folder in APART:
            item.add_marker(pytest.mark.xdist_group(f"{folder}/{next(iter(shared), item.path.stem)}"))
