"""Holds every line that a decision log of the tests has to docs/schema/decision-log.json."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import jsonschema_rs
import orjson

SCHEMA: Final = Path(__file__).parent.parent / "docs" / "schema" / "decision-log.json"
_SHOWN: Final = 5
_NAMES: Final = ("decisions.jsonl*", "log", "log.*")
"""What tests call the files that a decision log writes. Those that they edit have other names."""

VALIDATOR: Final[Any] = jsonschema_rs.Draft202012Validator(
    json.loads(SCHEMA.read_text("utf-8")), validate_formats=True
)


def problems_of(line: object) -> list[str]:
    """Return what the schema says of a line."""
    return [str(error.message) for error in VALIDATOR.iter_errors(line)]


def problems_in(file: Path) -> Iterator[str]:
    """Yield what the schema says of the lines of a file; what a killed writer cut off is left out."""
    with file.open("rb") as lines:
        for number, raw in enumerate(lines, 1):
            try:
                line = orjson.loads(raw)
            except orjson.JSONDecodeError:
                continue
            if isinstance(line, dict) and "event" in line and not VALIDATOR.is_valid(line):
                yield f"{file}:{number}: {'; '.join(problems_of(line))}"


def assert_lines_fit(*files: Path) -> None:
    """Fail with the first lines that do not fit."""
    found = [problem for file in files if file.is_file() for problem in problems_in(file)]
    assert not found, "\n".join(found[:_SHOWN])


def log_files(folder: Path) -> list[Path]:
    """Return the decision logs below a folder of tests."""
    return sorted({each for name in _NAMES for each in folder.rglob(name) if each.is_file()})
