"""Java and XML in README and docs stand in a source file of the Java SDK, which Maven compiles and tests."""

from functools import cache

import pytest

from tests.docs.samples import ROOT, Sample, samples

_BLOCKS = [pytest.param(sample, id=str(sample)) for sample in samples() if sample.language in {"java", "xml"}]
_SUFFIXES = {"java": "*.java", "xml": "pom.xml"}


@cache
def sources(language: str) -> tuple[str, ...]:
    found = (ROOT / "sdk/java").rglob(_SUFFIXES[language])
    return tuple(without_indentation(file.read_text("utf-8")) for file in found if "target" not in file.parts)


def without_indentation(text: str) -> str:
    return "\n".join(line.strip() for line in text.strip().splitlines())


@pytest.mark.parametrize("sample", _BLOCKS)
def test_block_is_part_of_a_source_file(sample: Sample) -> None:
    block = without_indentation(sample.text)
    assert any(block in source for source in sources(sample.language))


def test_a_block_that_the_sources_lack_is_not_taken_for_theirs() -> None:
    assert not any("class Invented {" in source for source in sources("java"))
    assert any("@Resource(" in source for source in sources("java"))
