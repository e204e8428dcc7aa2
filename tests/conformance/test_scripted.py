"""The Python client against a scripted API and a scripted identity provider."""

import asyncio
import base64
import logging
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote_plus

import pytest

from extauthz_client import timing
from tests.conformance.cases import Case, Variables, cases
from tests.conformance.client_assertions import Assertions
from tests.conformance.comparison import differences, failure_differences
from tests.conformance.python_client import Form, Hooks, Outcome, credentials_of, run
from tests.conformance.scripted_servers import Script, scripted
from tests.secret_traces import found

SERVICE_KEY: Final = "sak_live_0123456789"
NOW: Final = datetime(2026, 1, 5, 10, tzinfo=UTC).timestamp()
_SHORTEST_SECRET: Final = 8
CASES: Final = cases()


class Clock:
    """A clock that only `advance` and the client's pauses move."""

    def __init__(self, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
        self.passed = 0.0
        self.waits: list[float] = []
        self._script = script
        monkeypatch.setattr(timing, "wall_clock", lambda: NOW + self.passed)
        monkeypatch.setattr(timing, "elapsed", lambda: self.passed)
        monkeypatch.setattr(timing, "pause", self._pause)
        monkeypatch.setattr(timing, "pause_blocking", self._waited)

    async def _pause(self, seconds: float) -> None:
        self._waited(seconds)

    def _waited(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.passed += seconds
        self._script.paused()


@pytest.mark.parametrize("form", ["tasks", "threads"])
@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_a_scripted_case_passes_in_each_form_of_the_client(
    case: Case, form: Form, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    script = Script([])
    clock = Clock(script, monkeypatch)
    script.assertions = Assertions(tmp_path, lambda: NOW + clock.passed)
    variables = Variables(
        {"RUN": "run1"} | case.document.get("variables", {}),
        {"FILE": lambda name: str(tmp_path / name), "KEY_FILE": script.assertions.key_file},
    )
    for name, content in case.document.get("files", {}).items():
        (tmp_path / name).write_text(variables.fill(content), "utf-8")
    with scripted(script) as addresses:
        variables.values |= addresses
        steps = variables.fill(list(case.steps))
        script.exchanges = [exchange for step in steps for exchange in step.get("exchanges", [])]
        document = variables.fill(case.document.get("credentials", {"service_key": SERVICE_KEY}))
        script.service_key = _service_key(document)

        def before(number: int) -> None:
            clock.passed += float(steps[number].get("advance", 0))
            clock.waits.clear()
            script.begin_step(len(steps[number].get("exchanges", [])))

        def after(number: int, outcome: Outcome) -> None:
            script.end_step()
            script.problems += [
                f"step {number}: {each}" for each in _differences(steps[number], outcome, clock)
            ]

        client = {"url": addresses["API"]} | variables.fill(case.document.get("client", {}))
        done = asyncio.run(
            run(
                form, lambda: credentials_of(document), client, steps, Hooks(before, after, lambda each: each)
            )
        )
    assert script.problems == []
    assert len(done.outcomes) == len(steps)
    places = {"log": caplog.text.encode(), "said": "\n".join(done.said).encode()}
    assert found(_secrets(document, script), places) == []


def _service_key(credentials: dict[str, Any]) -> str | None:
    environ = credentials.get("environment", {})
    file = environ.get("EXTAUTHZ_SERVICE_API_KEY_FILE")
    if file and Path(file).exists():
        return Path(file).read_text("utf-8").rstrip("\r\n")
    key: str | None = credentials.get("service_key", environ.get("EXTAUTHZ_SERVICE_API_KEY"))
    return key


def _differences(step: dict[str, Any], outcome: Outcome, clock: Clock) -> list[str]:
    problems: list[str] = []
    if "error" in step:
        if outcome.failure is None:
            return [f"no error was raised, the result is {outcome.result!r:.500}"]
        problems += failure_differences(step["error"], outcome.failure)
    elif outcome.failure is not None:
        problems.append(f"an error was raised: {outcome.failure}")
    else:
        problems += differences(step["result"], outcome.result)
    if "revision" in step and step["revision"] != outcome.revision:
        problems.append(f"the revision is {outcome.revision}, not {step['revision']}")
    bounds = step.get("waits", [])
    if len(bounds) != len(clock.waits) or not all(
        shortest <= Decimal(wait) <= longest
        for (shortest, longest), wait in zip(bounds, clock.waits, strict=True)
    ):
        problems.append(f"the waits are {clock.waits}, not {bounds}")
    return problems


def _secrets(credentials: dict[str, Any], script: Script) -> dict[str, str]:
    """Return every secret of a case that is long enough to be found by its text."""
    secrets = {f"token {number}": token for number, token in enumerate(script.tokens)}
    if script.service_key is not None:
        secrets["key"] = script.service_key
    members = credentials.get("client_credentials", {})
    environ = credentials.get("environment", {})
    client_id = members.get("client_id", environ.get("ADMIN_CLIENT_ID", ""))
    secret = members.get("client_secret", environ.get("ADMIN_CLIENT_SECRET"))
    if secret:
        pair = f"{quote_plus(client_id)}:{quote_plus(secret)}"
        secrets |= {"secret": secret, "basic": base64.b64encode(pair.encode()).decode()}
    return {name: text for name, text in secrets.items() if len(text) >= _SHORTEST_SECRET}
