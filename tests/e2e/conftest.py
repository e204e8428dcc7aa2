"""The whole stack, with real Envoy, real tokens and real policies."""

from collections.abc import Iterator

import pytest

from extauthz.demo.stack import PolicyStore, Stack
from tests.e2e.demo_servers import DemoServers, demo_servers
from tests.e2e.patient_stack import PatientStack
from tests.e2e.tenant_mesh import TenantMesh, tenant_mesh
from tests.light_processes import LIGHT
from tests.log_schema import assert_lines_fit


@pytest.fixture(scope="session")
def shared_stack() -> Iterator[Stack]:
    """One stack for all tests that leave it as they found it."""
    with PatientStack(environ={**LIGHT, "WORKERS": "2"}) as running:
        running.start()
        yield running
        assert_lines_fit(running.decision_log)


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def tenants(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TenantMesh]:
    """Five tenants in one mesh, which each test leaves as it found it."""
    with tenant_mesh(tmp_path_factory.mktemp("tenants")) as running:
        yield running


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoServers]:
    """An upstream and an identity provider for the tests that start only a sidecar and Envoy themselves."""
    with demo_servers(tmp_path_factory.mktemp("servers")) as running:
        yield running
