"""The range of numbers that documents may hold: a double's, exactly."""

import sys
from decimal import Decimal

import pytest

from extauthz.domain.strict_json import JsonRejected, read_json

LARGEST = int(sys.float_info.max)


@pytest.mark.parametrize(
    "literal",
    [
        "1e308", "-1e308", "1.7976931348623157e308", str(LARGEST), f"-{LARGEST}", f"{LARGEST}.0", "5e-324",
        "1e-323", "0", "-0", "0.0", "0e9", "0e99999", "0." + "1" * 300, "1" * 308, "1.5E+3",
    ],
)  # fmt: skip
def test_what_a_double_can_hold_is_read_exactly(literal: str) -> None:
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
def test_what_a_double_cannot_hold_is_refused(literal: str) -> None:
    assert isinstance(read_json(literal.encode()), JsonRejected)
