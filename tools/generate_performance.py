"""Fill docs/performance.md with the numbers of tests/benchmarks/results/, and draw its charts.

python tools/generate_performance.py            write the page's tables and docs/performance/*.svg
python tools/generate_performance.py --check    exit 1 if the committed ones differ

Text between `<!-- begin NAME -->` and `<!-- end NAME -->` is generated; the rest is written by hand.
"""

import argparse
import re
import sys
from pathlib import Path
from typing import Final

from tools.performance import charts, tables
from tools.performance.results import Results

ROOT: Final = Path(__file__).resolve().parent.parent
PAGE: Final = ROOT / "docs" / "performance.md"
CHARTS: Final = ROOT / "docs" / "performance"
RESULTS: Final = ROOT / "tests" / "benchmarks" / "results"
_BLOCK: Final = re.compile(r"(<!-- begin ([a-z-]+) -->\n).*?(<!-- end \2 -->)", re.DOTALL)


def generated() -> dict[Path, str]:
    """Return every generated file with its text."""
    results = Results.read(RESULTS)
    page = _BLOCK.sub(
        lambda block: f"{block[1]}\n{tables.TABLES[block[2]](results)}\n{block[3]}", PAGE.read_text("utf-8")
    )
    return {PAGE: page} | {CHARTS / f"{name}.svg": text for name, text in charts.drawn(results).items()}


def main() -> int:
    """Write the files, or compare them."""
    parser = argparse.ArgumentParser(description="Fill docs/performance.md.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file differs")
    files = generated()
    if parser.parse_args().check:
        differing = [
            str(path.relative_to(ROOT))
            for path, text in files.items()
            if not path.exists() or path.read_text("utf-8") != text
        ]
        differing += [str(path.relative_to(ROOT)) for path in CHARTS.glob("*.svg") if path not in files]
        for name in differing:
            print(
                f"{name} differs from the results; run: python tools/generate_performance.py", file=sys.stderr
            )
        return 1 if differing else 0
    CHARTS.mkdir(exist_ok=True)
    for path, text in files.items():
        path.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
