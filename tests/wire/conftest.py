"""Both gRPC servers, for the tests that ask the same of each."""

import pytest

from tests.wire.grpc_servers import KINDS


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """The name of a server."""
    return str(request.param)
