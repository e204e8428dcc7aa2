"""The Python client for threads against the same scripted servers, with the same cases."""

import logging
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from extauthz_client import SyncExtauthzClient, timing
from tests.conformance import python_client, test_scripted
from tests.conformance.cases import Case


class Blocking:
    """The synchronous client as the runner calls the asynchronous one; the servers have their own threads."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self._client = SyncExtauthzClient(*arguments, **named)

    async def __aenter__(self) -> Self:
        self._client.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def __repr__(self) -> str:
        return f"{self._client!r} {self._client}"

    @property
    def policy_revision(self) -> int | None:
        return self._client.policy_revision

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)

        async def awaited(*arguments: Any, **named: Any) -> Any:
            return call(*arguments, **named)

        return awaited


def pause_blocking(seconds: float) -> None:
    """Take the pause of the case's clock, which waits for nothing."""
    with pytest.raises(StopIteration):
        timing.pause(seconds).send(None)


@pytest.mark.parametrize("case", test_scripted.CASES, ids=[case.id for case in test_scripted.CASES])
def test_case(
    case: Case, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(python_client, "ExtauthzClient", Blocking)
    monkeypatch.setattr(timing, "pause_blocking", pause_blocking)
    test_scripted.test_case(case, monkeypatch, caplog, tmp_path)
