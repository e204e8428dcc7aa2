"""Write the tables of operators and attributes in docs/reference/policy-language.md, or check them.

python tools/generate_policy_tables.py            write the tables
python tools/generate_policy_tables.py --check    exit 1 if they differ
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from extauthz.compile.conditions.attributes import ATTRIBUTES, Attribute
from extauthz.compile.conditions.operators import OPERATORS
from extauthz.compile.conditions.readings import READINGS
from extauthz.compile.conditions.values import Kind

PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "reference" / "policy-language.md"
_BEGIN: Final = "<!-- {}: written by tools/generate_policy_tables.py -->\n"
_END: Final = "<!-- end of {} -->\n"
_JSON: Final = frozenset({Kind.TEXT, Kind.NUMBER, Kind.BOOLEAN, Kind.LIST})


def page(text: str) -> str:
    """Return the page with its tables as the code has them."""
    for name, rows in (("operators", _operators()), ("attributes", _attributes()), ("readings", _readings())):
        before, begin, rest = text.partition(_BEGIN.format(name))
        _, end, after = rest.partition(_END.format(name))
        if not begin or not end:
            raise SystemExit(f"{PAGE.name} has no table of {name}")
        table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
        text = f"{before}{begin}{table}{end}{after}"
    return text


def _operators() -> Iterator[tuple[str, ...]]:
    yield "operator", "true when", "types"
    yield "---", "---", "---"
    for row in OPERATORS.values():
        yield f"`{row.name}`", row.meaning, row.types


def _attributes() -> Iterator[tuple[str, ...]]:
    yield "name", "type", "source"
    yield "---", "---", "---"
    for row in ATTRIBUTES.values():
        yield f"`{row.name}{row.variable}`", _type(row), row.source


def _readings() -> Iterator[tuple[str, ...]]:
    yield "`as`", "becomes", "strings"
    yield "---", "---", "---"
    for row in READINGS.values():
        yield f"`{row.name}`", row.kind.value, row.forms


def _type(row: Attribute) -> str:
    if row.kinds == _JSON:
        return "any of JSON"
    return " or ".join(kind.value for kind in Kind if kind in row.kinds)


def main() -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(description="Write the tables of operators and attributes.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the page differs")
    text = PAGE.read_text(encoding="utf-8")
    current = page(text)
    if not parser.parse_args().check:
        PAGE.write_text(current, encoding="utf-8")
        return 0
    if text == current:
        return 0
    print(f"docs/reference/{PAGE.name} is out of date: run tools/generate_policy_tables.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
