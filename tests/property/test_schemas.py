"""The published schemas accept whatever the readers accept."""

import copy
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from extauthz.compile.documents.policy_documents import parse_policy_set
from extauthz.domain.policy import PolicySet
from extauthz.folders.cases import check_cases
from extauthz.folders.reading import CaseSection, Folder
from extauthz.folders.texts import section_problems
from tests.docs.samples import ROOT
from tests.shipped_model import MODEL
from tests.unit.folders.test_schemas import CASES, POLICIES, READING, documents


def all_policies() -> list[Any]:
    found = [document for path in (ROOT / "policies/demo").glob("*.yaml") for document in documents(path)]
    sections = [each for path in (ROOT / "tests/cases").glob("*.yaml") for each in documents(path)]
    found += [
        section["policies"]
        for section in sections
        if "refused" not in section and "mode" not in section.get("settings", {}) and section.get("policies")
    ]
    return found


MEMBERS = st.sampled_from(
    [
        *(
            "id",
            "name",
            "sub_kind",
            "dom",
            "effect",
            "priority",
            "format",
            "rule_data",
            "type",
            "as",
            "value",
        ),
        *("routes", "methods", "host", "path", "public", "headers", "conditions", "condition", "attribute"),
        *("expires_at", "deleted_at", "created_at", "warnings", "createdAt", "version", "mode", "x"),
        *("principal", "token", "request", "expect", "decision", "reason", "now", "claims", "workload"),
    ]
)
PIECES = st.sampled_from(
    [
        *(
            None,
            True,
            0,
            -1,
            5,
            1001,
            "",
            "*",
            "a",
            "/a",
            "GET",
            "HEAD",
            "allow",
            "deny",
            "casbin",
            "user",
            "ip",
        ),
        *(
            "2026-01-01T00:00:00Z",
            [],
            ["*"],
            ["GET"],
            ["a", 1],
            {},
            {"type": "ALWAYS"},
            {"attribute": "user.id"},
        ),
        *({"octets": "a"}, {"decision": "deny"}, {"id": "a"}, "anonymous", "time", {"x-mail": "user.email"}),
    ]
)


@st.composite
def changed(draw: st.DrawFn, originals: list[Any]) -> Any:
    """Return a document with some members replaced, added, moved or left out."""
    document = copy.deepcopy(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(1, 3))):
        here = document
        while True:
            inner = [each for each in (here.values() if isinstance(here, dict) else here) if each]
            inner = [each for each in inner if isinstance(each, dict | list)]
            if not inner or draw(st.integers(0, 4)) == 0:
                break
            here = draw(st.sampled_from(inner))
        if isinstance(here, dict):
            name = draw(st.one_of(MEMBERS, st.sampled_from(sorted(here) or ["x"])))
            if draw(st.booleans()):
                here[name] = copy.deepcopy(draw(PIECES))
            else:
                here.pop(name, None)
        elif draw(st.booleans()) or not here:
            here.append(copy.deepcopy(draw(PIECES)))
        else:
            here.pop()
    return document


POLICY_DOCUMENTS = all_policies()
SECTIONS = [section for path in sorted((ROOT / "tests/cases").glob("*.yaml")) for section in documents(path)]


@given(changed(POLICY_DOCUMENTS))
def test_the_schema_accepts_every_policy_file_that_the_reader_accepts(document: Any) -> None:
    if isinstance(parse_policy_set(document, READING), PolicySet):
        assert [error.message for error in POLICIES.iter_errors(document)] == []


@given(changed(SECTIONS))
def test_the_schema_accepts_every_section_of_cases_that_the_reader_accepts(section: Any) -> None:
    folder = Folder(Path(), cases=[CaseSection("cases.yaml", "", section)])
    check_cases(folder, MODEL)
    if not folder.problems and not section_problems([section]):
        assert [error.message for error in CASES.iter_errors(section)] == []
