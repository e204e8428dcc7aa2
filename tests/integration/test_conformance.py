"""The conformance cases with `real`: the Python client, the real API, PostgreSQL and an identity provider."""

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

from extauthz_client import ClientCredentials, Credentials
from tests.conformance.cases import Case, cases
from tests.conformance.python_client import Form
from tests.conformance.real_run import real_differences
from tests.integration.client_harness import ControlPlane, control_plane

if TYPE_CHECKING:
    from tests.integration.databases import Database, Databases

pytestmark = pytest.mark.anyio
REAL = [case for case in cases() if "real" in case.document]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def shared(databases: "Databases") -> Iterator["Database"]:
    """One database for all cases: each has names of its own."""
    with databases.migrated() as fresh:
        yield fresh


@pytest.fixture(scope="module")
async def plane(shared: "Database") -> AsyncIterator[ControlPlane]:
    async with control_plane(shared) as served:
        yield served


@pytest.mark.parametrize("form", ["tasks", "threads"])
@pytest.mark.parametrize("case", REAL, ids=[case.id for case in REAL])
async def test_a_case_passes_against_a_real_control_plane(
    case: Case, form: Form, plane: ControlPlane
) -> None:
    async def credentials(real: Mapping[str, Any]) -> Credentials:
        if real["as"] == "admin":
            return ClientCredentials(plane.provider.issuer, "operations", "operations-secret")
        return await plane.service_key(**real["key"])

    assert await real_differences(case, form, plane.url, credentials) == []
