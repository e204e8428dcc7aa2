"""The order of tests, temporary files, starts by forks, property examples, and garbage collection."""

import contextlib
import gc
import os
import shutil
import tempfile
from typing import TYPE_CHECKING

import pytest
import structlog
from hypothesis import HealthCheck, settings

from tests.command_line import logging_as_before
from tests.fork_server import ForkServerOnDemand
from tests.log_schema import assert_lines_fit, log_files
from tests.memory_folder import folder_in_memory
from tests.scheduling import ByModule, folder, long_first

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from xdist.remote import Producer

# With Envoy and PostgreSQL running, a machine is slow in bursts: examples have no deadline, tests a timeout.
settings.register_profile("test", deadline=None, derandomize=True, database=None)
settings.register_profile(
    "verify",
    deadline=None,
    max_examples=5_000,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("verify" if os.environ.get("EXTAUTHZ_VERIFY") == "1" else "test")

# Modules and tests stay until the end: a search for cyclic garbage among them finds nothing.
gc.set_threshold(100_000, 50, 50)

# structlog's own default has rich format tracebacks with all variables: a fifth of a second each.
structlog.configure(
    processors=[
        *structlog.get_config()["processors"][:-1],
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)


FORKING = {"client", "e2e", "faults", "integration", "wire"}
"""The folders whose tests start extauthz by forks; those of `unit`, `docs` and `packaging` execute it."""
_fork_server = pytest.StashKey[ForkServerOnDemand]()


@pytest.fixture(autouse=True)
def _logging_as_before() -> "Iterator[None]":
    """Undo what a command that a test calls configures for its process."""
    with logging_as_before():
        yield


def pytest_configure(config: pytest.Config) -> None:
    """Keep what tests create with `tempfile` in memory, unless TMPDIR is set; pytest's own folders stay.

    Prepare a fork server.
    """
    config.stash[_fork_server] = ForkServerOnDemand()
    config.add_cleanup(config.stash[_fork_server].close)
    # Workers of pytest-xdist inherit TMPDIR.
    in_memory = None if "TMPDIR" in os.environ else folder_in_memory()
    if in_memory is None:
        return
    # pytest keeps the folders of the last three runs: too much for a memory.
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    os.environ["TMPDIR"] = tempfile.tempdir = str(in_memory)
    config.add_cleanup(lambda: shutil.rmtree(in_memory, ignore_errors=True))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> "Generator[None, object, object]":
    """Start extauthz by forks, its fixtures included, where starts by themselves are not the subject."""
    forks = folder(item.nodeid) in FORKING and item.get_closest_marker("executed") is None
    with item.config.stash[_fork_server].used() if forks else contextlib.nullcontext():
        return (yield)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: "Producer") -> ByModule | None:
    """Give each worker of pytest-xdist a module at a time, unless the command line says otherwise."""
    return ByModule(config, log) if config.getvalue("dist") == "loadscope" else None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Start with the long modules where several workers share the tests."""
    if hasattr(config, "workerinput"):
        items[:] = long_first(items)


def pytest_collection_finish() -> None:
    """Leave what was collected out of the searches for cyclic garbage: a sixth of the time of the tests."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


@pytest.fixture(scope="session", autouse=True)
def every_line_of_a_decision_log_fits_its_schema(
    tmp_path_factory: pytest.TempPathFactory,
) -> "Iterator[None]":
    """Validate, at the end, every line that the services of the tests have written."""
    yield
    assert_lines_fit(*log_files(tmp_path_factory.getbasetemp()))
