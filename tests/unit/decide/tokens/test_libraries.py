"""Every flaw that a token library accepts is refused; the first row of the table is a valid token."""

import pytest

from tests.token_libraries import Row, extauthz_accepts, rows
from tests.tokens import NOW

TABLE = rows(NOW)


def test_the_token_without_a_flaw_is_accepted() -> None:
    assert extauthz_accepts(TABLE[0], NOW)


@pytest.mark.parametrize("row", [pytest.param(row, id=row.flaw) for row in TABLE[1:]])
def test_a_token_with_a_flaw_is_refused(row: Row) -> None:
    assert not extauthz_accepts(row, NOW)
