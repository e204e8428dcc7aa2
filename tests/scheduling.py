"""The order in which the workers of pytest-xdist get tests: a module at a time, the long modules first.

`--dist=loadgroup` of pytest-xdist 3.8 groups nothing: it writes the group into `_nodeid`, which pytest 9.2
no longer reads. Each test then goes to the next free worker, and each sets up every module's fixtures.
"""

from typing import Final

import pytest
from xdist.scheduler import LoadScopeScheduling

FOLDERS: Final = (
    "faults", "e2e", "property", "integration", "packaging", "fuzz", "docs", "wire", "client", "unit",
)  # fmt: skip
"""The folders of tests, longest modules first: the short ones at the end keep all workers busy."""
SINGLY: Final = {"property", "fuzz"}
"""Folders in which a test runs for long and shares no fixture with its module."""


class ByModule(LoadScopeScheduling):  # type: ignore[misc]  # pytest-xdist has no types
    """Gives the tests of a module to one worker, because they share its fixtures."""

    def _split_scope(self, nodeid: str) -> str:
        return scope(nodeid)


def scope(nodeid: str) -> str:
    """Return what the tests that one worker runs together have in common."""
    module = nodeid.partition("::")[0]
    return nodeid if folder(nodeid) in SINGLY else module


def folder(nodeid: str) -> str:
    """Return the folder below `tests`."""
    parts = nodeid.partition("::")[0].split("/")
    return parts[1] if len(parts) > 2 else ""


def long_first(items: list[pytest.Item]) -> list[pytest.Item]:
    """Return the tests in the order of `FOLDERS`; a folder that is not named there comes first."""
    ranks = {name: rank for rank, name in enumerate(FOLDERS)}
    return sorted(items, key=lambda item: ranks.get(folder(item.nodeid), -1))
