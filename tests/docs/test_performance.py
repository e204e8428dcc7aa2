"""docs/performance.md and its charts agree with the committed results."""

import re

from tests.docs.samples import ROOT
from tools import generate_performance
from tools.performance.results import Results
from tools.performance.tables import TABLES

PAGE = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")


def test_the_page_and_the_charts_agree_with_the_results() -> None:
    differing = [
        path.name
        for path, text in generate_performance.generated().items()
        if path.read_text("utf-8") != text
    ]

    assert differing == [], "run: python tools/generate_performance.py"


def test_every_chart_of_the_page_exists_and_every_chart_is_shown() -> None:
    shown = set(re.findall(r"\]\(performance/([a-z0-9-]+)\.svg\)", PAGE))

    assert shown == {path.stem for path in generate_performance.CHARTS.glob("*.svg")}


def test_every_table_is_on_the_page() -> None:
    assert set(re.findall(r"<!-- begin ([a-z-]+) -->", PAGE)) == set(TABLES)


def test_a_changed_number_changes_the_page() -> None:
    results = Results.read(generate_performance.RESULTS)
    ((build, document), *_) = results.builds("requests")
    numbers = document["numbers"]
    slower = numbers | {"4x1": numbers["4x1"] | {"native": numbers["4x1"]["native"] | {"cpu_us": 98_765.4}}}
    changed = Results({**results.documents, f"requests-{build}": {**document, "numbers": slower}})

    assert "98,765" not in TABLES["servers"](results)
    assert "98,765" in TABLES["servers"](changed)
    assert TABLES["reach"](changed) != TABLES["reach"](results)
    assert "**not reached**" in TABLES["reach"](changed)


def test_each_result_of_the_request_path_names_its_interpreter() -> None:
    results = Results.read(generate_performance.RESULTS)

    for _, document in (*results.builds("requests"), *results.builds("check")):
        assert {"version", "optimised", "build"} <= set(document["interpreter"])
        assert "cores_that_others_took" in document["load"]
