"""The whole stack, with real Envoy, real tokens and real policies.

What the tests of this folder share ends with the last of them that this process runs: while other tests run,
stacks that nothing asks would take a twentieth of the CPU time.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from extauthz.demo.stack import PolicyStore, Stack
from tests.e2e.demo_servers import DemoServers, demo_servers
from tests.e2e.patient_stack import PatientStack
from tests.e2e.shared_servers import SharedServers
from tests.e2e.tenant_mesh import TenantMesh, tenant_mesh
from tests.light_processes import LIGHT
from tests.log_schema import assert_lines_fit
from tests.scheduling import folder

_SHARED = pytest.StashKey[SharedServers]()


@pytest.fixture(scope="session")
def shared(pytestconfig: pytest.Config) -> Iterator[SharedServers]:
    """What several modules share."""
    servers = pytestconfig.stash[_SHARED] = SharedServers()
    yield servers
    servers.end()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """End what is shared when the next test is one of another folder."""
    leaves = nextitem is None or folder(nextitem.nodeid) != folder(item.nodeid)
    if leaves and _SHARED in item.config.stash:
        item.config.stash[_SHARED].end()


@contextmanager
def patient_stack() -> Iterator[Stack]:
    """Run a stack of two workers."""
    with PatientStack(environ={**LIGHT, "WORKERS": "2"}) as running:
        running.start()
        yield running
        assert_lines_fit(running.decision_log)


@pytest.fixture(scope="module")
def shared_stack(shared: SharedServers) -> Stack:
    """One stack for all tests that leave it as they found it."""
    return shared.running("stack", patient_stack)


@pytest.fixture(scope="module")
def stack(shared_stack: Stack) -> Stack:
    """The same; a module may run its tests with another one too."""
    return shared_stack


@pytest.fixture
def own_stack() -> Iterator[Stack]:
    """A stack for one test that breaks it."""
    with Stack(environ=LIGHT) as running:
        running.start()
        yield running
        assert_lines_fit(running.decision_log)


@pytest.fixture
def files_stack() -> Iterator[Stack]:
    """A sidecar alone, its policies from files, for one test that breaks or changes it."""
    with Stack(environ=LIGHT, store=PolicyStore.FILES) as running:
        running.start()
        yield running
        assert_lines_fit(running.decision_log)


@pytest.fixture(scope="module")
def tenants(shared: SharedServers, tmp_path_factory: pytest.TempPathFactory) -> TenantMesh:
    """Five tenants in one mesh, which each test leaves as it found it."""
    return shared.running("tenants", lambda: tenant_mesh(tmp_path_factory.mktemp("tenants")))


@pytest.fixture(scope="module")
def servers(shared: SharedServers, tmp_path_factory: pytest.TempPathFactory) -> DemoServers:
    """An upstream and an identity provider for the tests that start only a sidecar and Envoy themselves."""
    return shared.running("servers", lambda: demo_servers(tmp_path_factory.mktemp("servers")))
