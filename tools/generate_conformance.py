"""Write sdk/conformance/TABLE.md from the JUnit files of both SDKs; exit 1 if a case failed or did not run.

python tools/generate_conformance.py            write the table
python tools/generate_conformance.py --check    compare it with the JUnit files, write nothing

The files are build/conformance/python.xml and those of Maven's surefire in sdk/java/extauthz-client/target;
the README of the cases says how to make them. A cell is `yes` when the case passed.
"""

import re
import sys
import xml.etree.ElementTree as ET  # files that the tests of this checkout wrote
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.conformance.cases import Case, cases

ROOT: Final = Path(__file__).resolve().parent.parent
TABLE: Final = ROOT / "sdk/conformance/TABLE.md"
PYTHON: Final = ROOT / "build/conformance/python.xml"
JAVA: Final = ROOT / "sdk/java/extauthz-client/target/surefire-reports"

# How a test is named in its JUnit file, by the column of its result.
COLUMNS: Final = {
    "Python, tasks": re.compile(r"test_case\[(.*)-tasks\]"),
    "Python, threads": re.compile(r"test_case\[(.*)-threads\]"),
    "Java": re.compile(r"scripted\(Case\) (.*)"),
    "Python, real API": re.compile(r"test_real_case\[embedded-(.*)-(?:tasks|threads)\]"),
    "Java, real API": re.compile(r"real\(Case\) (.*)"),
}
_REAL: Final = "real API"
_INTRODUCTION: Final = """# Conformance of the SDKs

Each case of [this folder](README.md), and whether an SDK passes it with the scripted server and the real API.
`tools/generate_conformance.py` writes this from the tests' JUnit files; a test compares it with the cases.
"""


def results(files: Sequence[Path]) -> dict[tuple[str, str], bool]:
    """Return whether a case passed, by column and case; a case in none of the files is left out."""
    found: dict[tuple[str, str], bool] = {}
    for file in files:
        for test in ET.parse(file).iter("testcase"):  # noqa: S314  # tests of this checkout wrote it
            if test.find("skipped") is None:
                passed = test.find("failure") is None and test.find("error") is None
                for column, name in COLUMNS.items():
                    if (case := name.fullmatch(test.attrib["name"])) is not None:
                        found[column, case[1]] = passed and found.get((column, case[1]), True)
    return found


def table(listed: Sequence[Case], found: Mapping[tuple[str, str], bool]) -> Iterator[str]:
    """Yield the lines of the table, a section for each file of cases."""
    yield _INTRODUCTION
    file = None
    for case in listed:
        if case.file != file:
            file = case.file
            yield f"\n## {file}\n"
            yield f"| case | {' | '.join(COLUMNS)} |"
            yield f"| --- |{' --- |' * len(COLUMNS)}"
        yield f"| {case.document['name']} | {' | '.join(_cell(case, column, found) for column in COLUMNS)} |"


def _cell(case: Case, column: str, found: Mapping[tuple[str, str], bool]) -> str:
    if column.endswith(_REAL) and "real" not in case.document:
        return ""
    passed = found.get((column, case.id))
    return "did not run" if passed is None else "yes" if passed else "no"


def main() -> int:
    """Write or check the table; say which cases keep it from being complete."""
    files = [PYTHON, *sorted(JAVA.glob("TEST-*.Conformance*.xml"))]
    missing = [str(file.relative_to(ROOT)) for file in files if not file.exists()]
    if missing or len(files) == 1:
        sys.stderr.write(f"there are no test reports {', '.join(missing) or JAVA.relative_to(ROOT)}\n")
        return 1
    lines = list(table(cases(), results(files)))
    failed = [line for line in lines if "| no |" in line or "| did not run |" in line]
    for line in failed:
        sys.stderr.write(f"{line}\n")
    text = "\n".join(lines) + "\n"
    if "--check" not in sys.argv[1:]:
        TABLE.write_text(text, "utf-8")
    elif TABLE.read_text("utf-8") != text:
        sys.stderr.write("sdk/conformance/TABLE.md differs from the reports\n")
        return 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
