"""Strict JSON: numbers in the range of a double are exact, others are refused; nesting is bounded."""

import json
import random
import sys
from decimal import Decimal

import pytest

from extauthz.domain import strict_json
from extauthz.domain.strict_json import JsonRejected, read_json

LARGEST = int(sys.float_info.max)


@pytest.mark.parametrize(
    "literal",
    [
        "1e308", "-1e308", "1.7976931348623157e308", str(LARGEST), f"-{LARGEST}", f"{LARGEST}.0", "5e-324",
        "1e-323", "0", "-0", "0.0", "0e9", "0e99999", "0." + "1" * 300, "1" * 308, "1.5E+3",
    ],
)  # fmt: skip
def test_numbers_in_the_range_of_a_double_are_read_exactly(literal: str) -> None:
    value = read_json(literal.encode())

    assert isinstance(value, int | Decimal)
    assert value == Decimal(literal)


@pytest.mark.parametrize(
    "literal",
    [
        "1e309", "-1e309", "1.8e308", str(LARGEST + 1), f"{LARGEST}.1", "1E400", "1e-324", "-1e-400",
        "9" * 309,
        "9" * 5000, "1e99999", "1e999999999999", "0." + "0" * 400 + "1", "NaN", "Infinity", "-Infinity",
    ],
)  # fmt: skip
def test_numbers_beyond_the_range_of_a_double_are_refused(literal: str) -> None:
    assert isinstance(read_json(literal.encode()), JsonRejected)


@pytest.mark.parametrize("part", [1, 2, 3, 7])
def test_depth_is_counted_across_the_parts_of_a_long_text(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # A large text is looked at in parts, which must not begin inside of an escape.
    monkeypatch.setattr(strict_json, "_PART", part)
    rng = random.Random(part)
    for _ in range(3_000):
        document = nested(rng, 4)
        text = json.dumps(document, indent=rng.choice([None, 1])).encode()
        assert read_json(text, max_depth=depth_of(document)) == document
        refused = read_json(text, max_depth=depth_of(document) - 1)
        assert isinstance(refused, JsonRejected) is (depth_of(document) > 0), text


def nested(rng: random.Random, depth: int) -> object:
    """Draw a document whose strings hold brackets, quotes and backslashes."""
    if depth == 0 or rng.random() < 0.3:
        return "".join(rng.choices('[]{}"\\a', k=rng.randint(0, 5)))
    children = [nested(rng, depth - 1) for _ in range(rng.randint(0, 2))]
    return children if rng.random() < 0.5 else {f"\\{number}[": each for number, each in enumerate(children)}


def depth_of(document: object) -> int:
    if isinstance(document, dict):
        document = list(document.values())
    return 1 + max(map(depth_of, document), default=0) if isinstance(document, list) else 0
