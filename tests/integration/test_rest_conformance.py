"""schemathesis over the served description: no server error, no answer that is not described."""

import asyncio
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from extauthz.domain.tenancy import TenancyMode
from extauthz.storage.failed_credentials import FailedCredentials
from tests.integration.rest_harness import Api, rest
from tests.integration.rest_saas import firms

if TYPE_CHECKING:
    from tests.integration.conftest import Database

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.timeout(1800),
]
COMMAND: Final = Path(sys.executable).with_name("schemathesis")
# `make verify` sets it; four callers then ask well over 20,000 times.
LONG: Final = os.environ.get("EXTAUTHZ_VERIFY") == "1"
SECONDS: Final = 150 if LONG else 5
# A change is judged by the same questions as the one before it; `make verify` asks others each time.
SEED: Final = "1"
# The number of requests depends on the machine; that there was one does not.
AT_LEAST: Final = 5000 if LONG else 10
# The parsers refuse more than schemas can: names in NFC, domains of the caller, rules that contradict others.
EXCLUDED: Final = "positive_data_acceptance"


def unlimited() -> FailedCredentials:
    """Return a budget that schemathesis, which sends bad credentials all the time, does not use up."""
    return FailedCredentials(burst=10**9)


async def conforms(api: Api, folder: Path, caller: str, *options: str) -> None:
    """Run schemathesis as a caller, and show its output when it finds something."""
    sent = [f"{name}: {value}" for name, value in api.callers[caller].items()]
    headers = [part for header in sent for part in ("--header", header)]
    output = ""
    # On a busy machine the time may end before a question is asked; the second time is long enough.
    for seconds in (SECONDS,) if LONG else (SECONDS, 8 * SECONDS):
        command = [
            str(COMMAND), "run", f"{api.url}/openapi.json", *headers, *options,
            "--exclude-checks", EXCLUDED, "--max-time", str(seconds),
            "--max-examples", "2000" if LONG else "10", "--no-color", *(() if LONG else ("--seed", SEED)),
        ]  # fmt: skip
        process = await asyncio.create_subprocess_exec(
            *command, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        output = (await process.communicate())[0].decode()
        if counted := re.search(r"(\d+) generated, (\d+) passed", output):
            assert process.returncode == 0, output
            assert counted[1] == counted[2], output
            if int(counted[1]) >= AT_LEAST:
                return
        else:
            assert "No test cases were generated" in output, output
    raise AssertionError(output)


@pytest.mark.parametrize("caller", ["key", "emea"])
async def test_answers_in_selfhost_conform_to_the_description(
    database: "Database", tmp_path: Path, caller: str
) -> None:
    async with rest(database, failures=unlimited()) as api:
        await conforms(api, tmp_path, caller)


async def test_answers_to_an_operator_conform_to_the_description(
    database: "Database", tmp_path: Path
) -> None:
    async with rest(database, mode=TenancyMode.SAAS, failures=unlimited()) as api:
        await conforms(api, tmp_path, "key", "--include-path-regex", "^/admin")


async def test_answers_to_a_bootstrap_key_conform_to_the_description(
    database: "Database", tmp_path: Path
) -> None:
    async with firms(database, "acme", failures=unlimited()) as found:
        await conforms(found.api, tmp_path, "acme/key", "--exclude-path-regex", "^/admin")
