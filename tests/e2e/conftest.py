"""The whole stack, with real Envoy, real tokens and policies from files."""

from collections.abc import Iterator

import pytest

from extauthz.demo.stack import Stack


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """One stack for all tests that leave it as they found it."""
    with Stack(environ={}) as running:
        running.start()
        yield running


@pytest.fixture
def own_stack() -> Iterator[Stack]:
    """A stack for one test that breaks it."""
    with Stack(environ={}) as running:
        running.start()
        yield running
