"""Both gRPC servers, for the tests that ask the same of each, and a service that judges one request."""

from pathlib import Path
from typing import Any

import pytest

from extauthz.check.credentials import CredentialSources
from extauthz.decide.judge import CheckPolicy
from tests.builders import Answer, read_answer
from tests.real_service import real_service
from tests.wire.credential_places import EVERYTHING, POLICIES, Ask
from tests.wire.grpc_servers import KINDS


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """The name of a server."""
    return str(request.param)


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    """Judge a request, by default with every place of credentials configured; return answer and log line."""
    count = 0

    def asked(
        raw: bytes, sources: CredentialSources | None = EVERYTHING, policy: CheckPolicy | None = None
    ) -> tuple[Answer, dict[str, Any]]:
        nonlocal count
        count += 1
        folder = tmp_path / str(count)
        folder.mkdir()
        with real_service(folder, POLICIES, sources=sources, policy=policy) as running:
            answer = read_answer(running.service.answer(raw, None))
            (line,) = running.decisions()
        assert answer.allowed is (line["decision"] == "allow")
        return answer, line

    return asked
