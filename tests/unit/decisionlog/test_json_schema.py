"""The published JSON Schema of a line: it is current, and it names the fields that the contract names."""

import json

import jsonschema
import pytest

from extauthz.decide.record import decision_fields
from extauthz.decisionlog.chain import Chain
from extauthz.decisionlog.json_schema import json_schema
from extauthz.decisionlog.lines import LineForm, Lines
from tests.builders import allowed, denied
from tests.command_line import run_extauthz
from tests.decision_logs import INSTANCE
from tests.log_schema import SCHEMA, problems_of


def test_the_published_schema_is_what_the_command_prints() -> None:
    printed = run_extauthz("logs", "schema").stdout
    assert SCHEMA.read_text("utf-8") == printed, "extauthz logs schema > docs/schema/decision-log.json"
    jsonschema.Draft202012Validator.check_schema(json.loads(printed))


def members(event: str) -> set[str]:
    schema = json_schema()
    [found] = [each for each in schema["oneOf"] if each["title"] == event]
    return set(schema["properties"]) | set(found["properties"])


def test_the_schema_has_the_fields_of_a_decision() -> None:
    fields = decision_fields(allowed(), ts=1.0, entrance="grpc", duration_us=1)
    assert members("decision") - {"chain", "mcp_method", "mcp_name"} == set(fields)


@pytest.mark.parametrize("key", [None, "k" * 32])
def test_lines_of_every_event_fit(key: str | None) -> None:
    lines = Lines(INSTANCE, 0, LineForm(chain=Chain(key)))
    for line in (
        lines.started(1.0),
        lines.decision((allowed(), 1.0, "grpc", 3)),
        lines.decision((denied(), 1.0, "http", 3)),
        lines.heartbeat(2.0, 3),
        lines.stopped(3.0, 3),
    ):
        assert problems_of(json.loads(line)) == []
