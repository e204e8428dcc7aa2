"""Values between Python and PostgreSQL: exact, and refused before the database would."""

import random
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from extauthz.domain.names import name_problem
from extauthz.storage.encoding import MAX_DIGITS, array_literal, decode_json, encode_json, unstorable
from tests.integration.storage_documents import connected

if TYPE_CHECKING:
    from tests.integration.conftest import Database


def drawn_value(dice: random.Random, depth: int = 0) -> object:
    match dice.randrange(9 if depth < 4 else 7):
        case 0:
            return dice.choice([True, False, None])
        case 1:
            return dice.randrange(-(10**25), 10**25)
        case 2:
            return dice.randrange(-9, 10)
        case 3:
            return Decimal(dice.randrange(-(10**30), 10**30)).scaleb(dice.randrange(-40, 40))
        case 4:
            return Decimal(dice.choice(["0E-5", "-0", "1E+20", "1.500", "-0.00", "1E-30"]))
        case 5 | 6:
            return "".join(dice.choices("aé漢\U0001f600\"\\\n\t{},'\u2028 ", k=dice.randrange(6)))
        case 7:
            return [drawn_value(dice, depth + 1) for _ in range(dice.randrange(4))]
        case _:
            return {f"k{number}\u00e9": drawn_value(dice, depth + 1) for number in range(dice.randrange(4))}


@pytest.mark.anyio
@pytest.mark.both_servers
async def test_jsonb_returns_the_values_that_the_encoding_predicts(database: "Database") -> None:
    dice = random.Random(3)
    values = [drawn_value(dice) for _ in range(2000)]
    assert all(unstorable(value) == [] for value in values)
    texts = [encode_json(value) for value in values]
    async with connected(database.address) as connection:
        rows = await connection.fetch(
            "SELECT r.v::jsonb::text AS v FROM unnest($1::text[]) WITH ORDINALITY AS r (v, n) ORDER BY n",
            texts,
        )
    for value, text, row in zip(values, texts, rows, strict=True):
        # repr distinguishes 1, 1.0, True, and Decimals of another scale; the order of members differs.
        assert sorted_repr(decode_json(row["v"])) == sorted_repr(decode_json(text))
        assert decode_json(text) == value


def sorted_repr(value: object) -> str:
    match value:
        case dict():
            return repr({name: sorted_repr(value[name]) for name in sorted(value)})
        case list():
            return repr([sorted_repr(entry) for entry in value])
        case _:
            return repr(value)


@pytest.mark.anyio
@pytest.mark.both_servers
async def test_arrays_arrive_entry_by_entry(database: "Database") -> None:
    dice = random.Random(5)
    lists = [
        ["".join(dice.choices("a\"\\{},' NUL\né", k=dice.randrange(5))) for _ in range(dice.randrange(5))]
        for _ in range(300)
    ] + [["NULL", "null", ""]]
    async with connected(database.address) as connection:
        rows = await connection.fetch(
            "SELECT r.v::text[] AS v FROM unnest($1::text[]) WITH ORDINALITY AS r (v, n) ORDER BY n",
            [array_literal(entries) for entries in lists],
        )
    assert [row["v"] for row in rows] == lists


@pytest.mark.anyio
@pytest.mark.both_servers
async def test_the_database_takes_every_name_that_the_parser_takes(database: "Database") -> None:
    dice = random.Random(9)
    candidates = [f"a{chr(point)}b" for point in range(1, 0x3000) if not 0xD800 <= point < 0xE000]
    interesting = "aZ09:/_-.*é漢\u0301\u00a0\u200b\u2800\u3000\ufeff \t\U0001f600{}\"'\\"
    candidates += ["".join(dice.choices(interesting, k=dice.randrange(1, 6))) for _ in range(4000)]
    names = [name for name in candidates if name_problem(name) is None]
    assert len(names) > 5000
    async with connected(database.address) as connection:
        await connection.execute("CREATE TEMPORARY TABLE taken (name canonical_name)")
        await connection.execute("INSERT INTO taken SELECT unnest($1::text[])", names)


def test_unstorable_text_is_reported_with_its_pointer() -> None:
    document = {
        "nul": "a\0b",
        "list": ["fine", "\ud800", {"deep/er": Decimal("1E+1000")}],
        "k\0": 1,
        "small": Decimal("1E-1000"),
        "infinite": float("inf"),
        "huge": 10**MAX_DIGITS,
        "fine": [Decimal("1E+999"), 10 ** (MAX_DIGITS - 200), True, None, 0.5],
    }
    assert [problem.pointer for problem in unstorable(document)] == [
        "/nul", "/list/1", "/list/2/deep~1er", "/k\0", "/small", "/infinite", "/huge"
    ]  # fmt: skip


def test_endless_nesting_is_found_without_recursion_error() -> None:
    value: object = 1
    for _ in range(100_000):
        value = [value]
    (problem,) = unstorable(value)
    assert "nested" in problem.message
