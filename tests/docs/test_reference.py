"""The specification, docs/reference: references have their targets, and its tables agree with the code."""

import argparse
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from prometheus_client.parser import text_string_to_metric_families

from extauthz.commands.arguments import command_parser
from extauthz.decide.record import decision_fields
from extauthz.domain.reasons import Reason
from extauthz.telemetry.counts import Counts
from extauthz.telemetry.exposition import render
from tests.builders import allowed
from tests.docs.samples import ROOT, pages

REFERENCE: Final = ROOT / "docs/reference"
CONTRACT: Final = (REFERENCE / "contract.md").read_text("utf-8")
DESIGN: Final = (REFERENCE / "design.md").read_text("utf-8")

_HEADING: Final = re.compile(r"^#{1,6} (.+)$", re.MULTILINE)
_FENCE: Final = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK: Final = re.compile(r"\]\((?![a-z]+:)(?P<target>[^)#\s]*)(?:#(?P<anchor>[^)\s]+))?\)")
_MENTION: Final = re.compile(r"docs/(?P<page>[A-Za-z0-9_./-]+\.md)(?:#(?P<anchor>[a-z0-9_-]+))?")
_RECORD: Final = re.compile(r"\bADRs? (?P<number>[0-9]+)\b", re.ASCII)
# Documents that are not part of the repository.
_OUTSIDE: Final = re.compile(
    r"\b(?:DESIGN|POLICY|CONTRACT|FACTS|REDESIGN)\.md\b|\b(?:DESIGN|CONTRACT)(?:'s|,| [0-9])", re.ASCII
)
_MCP_METHODS: Final = {"tools/call", "tools/list"}
_PATH: Final = re.compile(
    r"`((?:extauthz|tests|tools|policies|migrations|deploy|envoy)/[A-Za-z0-9_./-]+)(?:::(\w+))?`", re.ASCII
)
_SOURCES: Final = (
    "extauthz",
    "tests",
    "tools",
    "deploy",
    "policies",
    "envoy",
    "migrations",
    "Makefile",
    ".ci",
    ".github",
)


def anchors(page: Path) -> set[str]:
    """Return the anchors that a page's headings have, on GitHub and on the documentation site alike."""
    text = _FENCE.sub("", page.read_text("utf-8"))
    headings = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", each) for each in _HEADING.findall(text))
    return {re.sub(r"[^a-z0-9 _-]", "", each.lower()).strip().replace(" ", "-") for each in headings}


def sources() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *_SOURCES],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    ).stdout
    files = (ROOT / name for name in sorted(set(listed.split("\0"))) if name)
    skipped = {Path(__file__).resolve(), (ROOT / "tests/unit/tools/test_check_words.py").resolve()}
    return [
        each
        for each in files
        if each.is_file()
        and each.suffix in {".py", ".sql", ".yaml", ".md", ".conf", ""}
        and each.resolve() not in skipped
    ]


SOURCES: Final = {file: file.read_text("utf-8", "replace") for file in sources()}


def test_code_refers_to_pages_and_anchors_that_exist() -> None:
    missing = []
    for file, text in SOURCES.items():
        for mention in _MENTION.finditer(text):
            page = ROOT / "docs" / mention["page"]
            if not page.is_file() or (mention["anchor"] and mention["anchor"] not in anchors(page)):
                missing.append(f"{file.relative_to(ROOT)}: {mention[0]}")
    assert missing == []


def test_code_refers_to_nothing_outside_of_the_repository() -> None:
    found = [
        f"{file.relative_to(ROOT)}:{text.count(chr(10), 0, match.start()) + 1}: {match[0]!r}"
        for file, text in SOURCES.items()
        for match in _OUTSIDE.finditer(text)
    ]
    assert found == []


def test_every_decision_record_that_is_named_exists() -> None:
    records = {int(page.name[:4]) for page in (ROOT / "docs/adr").glob("[0-9]*.md")}
    documents = {page: page.read_text("utf-8") for page in pages()}
    named = {
        (str(file.relative_to(ROOT)), int(match["number"]))
        for file, text in {**SOURCES, **documents}.items()
        for match in _RECORD.finditer(text)
    }
    assert sorted(each for each in named if each[1] not in records) == []


@pytest.mark.parametrize("page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in pages()])
def test_links_lead_to_headings(page: Path) -> None:
    missing = []
    for link in _LINK.finditer(_FENCE.sub("", page.read_text("utf-8"))):
        target = page if not link["target"] else page.parent / link["target"]
        if link["anchor"] and target.suffix == ".md" and link["anchor"] not in anchors(target):
            missing.append(link[0])
    assert missing == []


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=page.name)
        for page in sorted([*REFERENCE.glob("*.md"), *(ROOT / "docs/adr").glob("003[1-9]*.md")])
    ],
)
def test_files_and_tests_that_the_specification_names_exist(page: Path) -> None:
    missing = []
    for match in _PATH.finditer(page.read_text("utf-8")):
        file = ROOT / match[1]
        if match[1] in _MCP_METHODS:
            continue
        if not file.exists() or (match[2] and f"def {match[2]}(" not in file.read_text("utf-8")):
            missing.append(match[0])
    assert missing == []


def rows(section: str) -> Iterator[list[str]]:
    """Yield the cells of a section's tables, head and rule left out."""
    text = CONTRACT.split(f"\n{section}\n", 1)[1]
    text = re.split(rf"\n#{{1,{section.count('#')}}} ", text, maxsplit=1)[0]
    for line in text.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("| "))]
        if line.startswith("| ") and not cells[0].startswith("---"):
            yield cells


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_the_contract_lists_every_command() -> None:
    listed = {
        " ".join(
            word for word in name.split()[1:] if re.fullmatch(r"[a-z-]+", word) and not word.startswith("-")
        )
        for cells in rows("## Commands")
        for name in names(cells[0])
        if name.startswith("extauthz ")
    }
    assert {each.replace("demo saas", "demo") for each in listed} == set(_commands(command_parser()))


def _commands(parser: argparse.ArgumentParser, before: str = "") -> Iterator[str]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                below = list(_commands(inner, f"{before}{name} "))
                yield from below or [f"{before}{name}"]


def test_the_contract_lists_every_reason_with_its_statuses() -> None:
    listed = {
        reason: (int(cells[1].split(",")[0].split()[0]), int(cells[2]))
        for cells in rows("### Reasons")
        if cells[0] != "reason"
        for reason in names(cells[0])
    }
    assert listed == {reason.value: (reason.http_status, reason.grpc_code) for reason in Reason}


def test_the_contract_lists_every_field_of_a_decision() -> None:
    listed = [name for cells in rows("## Decision log") for name in names(cells[0])]
    assert sorted(listed) == sorted(decision_fields(allowed(), ts=0.0, entrance="grpc", duration_us=1))


def test_the_contract_lists_every_metric() -> None:
    text = render(Counts("a").snapshot(), ready=True, worker_restarts={"hung": 0}).decode()
    kept = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in text_string_to_metric_families(text)
    }
    assert {name for cells in rows("## Metrics") for name in names(cells[0])} == kept


def test_the_contract_lists_the_routes_of_the_rest_page() -> None:
    page = (ROOT / "docs/rest.md").read_text("utf-8")
    documented = {
        f"{verb} {path}" for verb, path in re.findall(r"^\| `([A-Z]+) (/[^`]+)` \|", page, re.MULTILINE)
    }
    listed = set()
    for cells in rows("## REST"):
        verbs: list[str] = []
        for name in names(cells[0]):
            verb, _, path = name.partition(" ")
            verbs.append(verb)
            if path:
                listed |= {f"{each} {path}" for each in verbs}
                verbs = []
    assert listed | {"GET /openapi.json", "GET /docs"} == documented


def test_the_design_has_the_layers_that_are_checked() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    layers = next(each["layers"] for each in settings if each["type"] == "layers")
    drawn = re.search(r"```text\n(__main__ .*?)```", DESIGN, re.DOTALL)
    assert drawn is not None
    assert [re.split(r"\s*\|\s*", each.strip()) for each in drawn[1].split(">")] == [
        re.split(r"\s*\|\s*", each) for each in layers
    ]


def test_the_design_describes_every_package() -> None:
    section = DESIGN.split("\n## Packages\n", 1)[1].split("\n## ", 1)[0]
    described = set(re.findall(r"^\| `([a-z_]+)` \|", section, re.MULTILINE))
    kept = {each.stem for each in (ROOT / "extauthz").iterdir() if each.is_dir() or each.suffix == ".py"}
    assert described == kept - {"__init__", "__main__", "__pycache__"}


def test_the_site_has_every_page_in_its_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text("utf-8").split("\nnav:\n", 1)[1]
    listed = re.findall(r"([A-Za-z0-9_./-]+\.md)$", navigation, re.MULTILINE)
    kept = [str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")]
    assert sorted(listed) == sorted(kept)
