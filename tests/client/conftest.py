"""What the client logs."""

import logging
from collections.abc import Callable

import pytest


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    """The warnings of the client that have been logged by now, a line each."""
    caplog.set_level(logging.WARNING, "extauthz_client")
    return lambda: "\n".join(record.getMessage() for record in caplog.records)
