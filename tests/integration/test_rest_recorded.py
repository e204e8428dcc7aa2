"""Every recorded request has the answer that the recording has: status, type, title, pointers and headers.

`EXTAUTHZ_RECORD=1 pytest tests/integration/test_rest_recorded.py` writes the recording anew. The diff of the
recording shows each change of an answer.
"""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.recorded.every import every_request
from tests.integration.recorded.replay import answer_of, send, shown_request
from tests.integration.recorded.stage import staged

if TYPE_CHECKING:
    from tests.integration.conftest import Database

RECORDING = Path(__file__).parent / "recorded/answers.jsonl"
RECORD = os.environ.get("EXTAUTHZ_RECORD") == "1"
MOST_SHOWN = 40


def recorded() -> dict[str, dict[str, Any]]:
    lines = RECORDING.read_text("ascii").splitlines()
    return {answer["name"]: answer for answer in map(json.loads, lines)}


def difference(octets: bytes, before: dict[str, Any] | None, after: dict[str, Any]) -> str:
    was = "the recording does not have it" if before is None else json.dumps(before)
    return f"{shown_request(octets)}\nrecorded: {was}\nnow:      {json.dumps(after)}\n"


@pytest.mark.anyio
@pytest.mark.timeout(600)
async def test_every_recorded_request_has_its_recorded_answer(database: "Database") -> None:
    answers: list[dict[str, Any]] = []
    differences: list[str] = []
    expected = {} if RECORD else recorded()
    async with staged(database) as stage:
        for number, request in enumerate(every_request()):
            try:
                octets, received = await send(stage, request, number)
            except Exception as error:
                error.add_note(f"the request: {request.name}")
                raise
            answer = answer_of(request.name, received)
            answers.append(answer)
            if answer != expected.get(request.name):
                differences.append(difference(octets, expected.get(request.name), answer))
    if RECORD:
        RECORDING.write_text("".join(f"{json.dumps(answer)}\n" for answer in answers), "ascii")
        return
    gone = sorted(expected.keys() - {answer["name"] for answer in answers})
    assert not gone, f"recorded requests that are not sent any more: {gone[:MOST_SHOWN]}"
    assert not differences, f"{len(differences)} answers differ\n\n" + "\n".join(differences[:MOST_SHOWN])


def test_the_recording_has_hostile_and_valid_requests() -> None:
    statuses = [answer["status"] for answer in recorded().values()]
    assert sum(status >= 400 for status in statuses) > 3_500
    assert sum(200 <= status < 300 for status in statuses) > 300
    assert not {0, 500} & set(statuses)
    assert RECORDING.stat().st_size < 2_000_000
