"""The results of decision cases as JUnit XML, the form that CI systems read.

A file of cases is a `testsuite`, a case a `testcase`. Characters that XML 1.0 cannot hold are written as
`\\uXXXX`.
"""

import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol
from xml.etree import ElementTree  # nosec B405  # nothing is parsed

# XML 1.0 2.2, the complement of Char.
_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class ReportedCase(Protocol):
    """What is reported of a case."""

    @property
    def file(self) -> str: ...  # noqa: D102
    @property
    def line(self) -> int: ...  # noqa: D102
    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def differences(self) -> tuple[str, ...]: ...  # noqa: D102


def write_junit(path: Path, cases: Sequence[ReportedCase], problem: str | None, seconds: float) -> None:
    """Write the report; `problem` is why the run ended early. Raises OSError."""
    text = ElementTree.tostring(_document(cases, problem, seconds), "utf-8", xml_declaration=True)
    # A reader of the file never sees a half of it.
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text + b"\n")
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _document(cases: Sequence[ReportedCase], problem: str | None, seconds: float) -> ElementTree.Element:
    failed = sum(bool(case.differences) for case in cases)
    errors = int(problem is not None)
    root = ElementTree.Element(
        "testsuites",
        name="extauthz policy test",
        tests=str(len(cases) + errors),
        failures=str(failed),
        errors=str(errors),
        time=f"{seconds:.3f}",
    )
    by_file: dict[str, list[ReportedCase]] = {}
    for case in cases:
        by_file.setdefault(case.file, []).append(case)
    for file, own in by_file.items():
        failures = sum(bool(case.differences) for case in own)
        suite = ElementTree.SubElement(
            root, "testsuite", name=xml_text(file), tests=str(len(own)), failures=str(failures), errors="0"
        )
        for case in own:
            _add_case(suite, case)
    if problem is not None:
        suite = ElementTree.SubElement(root, "testsuite", name="the run", tests="1", failures="0", errors="1")
        element = ElementTree.SubElement(suite, "testcase", classname="the run", name="the cases can be run")
        message = xml_text(problem or "see the output of the command")
        ElementTree.SubElement(element, "error", message=message).text = message
    return root


def _add_case(suite: ElementTree.Element, case: ReportedCase) -> None:
    element = ElementTree.SubElement(
        suite,
        "testcase",
        classname=xml_text(case.file),
        name=xml_text(case.name),
        file=xml_text(case.file),
        line=str(case.line),
    )
    if case.differences:
        failure = ElementTree.SubElement(element, "failure", message=xml_text("; ".join(case.differences)))
        failure.text = xml_text("\n".join([f"{case.file}:{case.line}", *case.differences]))


def xml_text(text: str) -> str:
    """Return the text with every character that XML 1.0 cannot hold escaped."""
    return _NOT_XML.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
