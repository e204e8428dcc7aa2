"""What the build files of the Java SDK hold: pinned versions, the project's version, no registry."""

import json
import re
from pathlib import Path
from typing import Final

import pytest

from tools.release import ROOT, problems

POMS: Final = sorted(path for path in (ROOT / "sdk/java").rglob("pom.xml") if "target" not in path.parts)
# What is published; the samples are applications, not an API.
SOURCES: Final = sorted((ROOT / "sdk/java").glob("extauthz-*/**/src/main/java/**/*.java"))
_DEPENDENCY: Final = re.compile(r"<(dependency|plugin)>(.*?)</\1>", re.DOTALL)


def named(pom: Path) -> str:
    return str(pom.relative_to(ROOT))


def test_every_java_module_has_its_build_file() -> None:
    assert {named(pom) for pom in POMS} >= {
        "sdk/java/pom.xml",
        "sdk/java/extauthz-client/pom.xml",
        "sdk/java/extauthz-spring-boot-starter/pom.xml",
        "sdk/java/extauthz-quarkus/pom.xml",
    }


@pytest.mark.parametrize("pom", POMS, ids=named)
def test_no_registry_is_named(pom: Path) -> None:
    text = pom.read_text("utf-8")
    addresses = set(re.findall(r"https?://[^\s\"<]+", text))
    assert addresses <= {
        "http://maven.apache.org/POM/4.0.0",
        "http://www.w3.org/2001/XMLSchema-instance",
        "http://maven.apache.org/xsd/maven-4.0.0.xsd",
    }
    assert "epositor" not in re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)


@pytest.mark.parametrize("pom", POMS, ids=named)
def test_every_version_is_one_version(pom: Path) -> None:
    text = pom.read_text("utf-8")
    versions = re.findall(r"<version>([^<]*)</version>", text) + re.findall(
        r"<[a-z.-]+\.version>([^<]*)<", text
    )
    assert [each for each in versions if re.search(r"SNAPSHOT|LATEST|RELEASE|[\[(,]", each)] == []


def test_the_client_depends_on_one_library() -> None:
    text = (ROOT / "sdk/java/extauthz-client/pom.xml").read_text("utf-8")
    dependencies = [body for kind, body in _DEPENDENCY.findall(text) if kind == "dependency"]
    shipped = [each for each in dependencies if "<scope>test</scope>" not in each]
    assert re.findall(r"<artifactId>([^<]*)<", "".join(shipped)) == ["jackson-core"]


def test_the_build_files_have_the_version_of_the_project() -> None:
    assert problems() == []


def test_no_type_of_the_json_library_is_public() -> None:
    sources = sorted((ROOT / "sdk/java/extauthz-client/src/main/java").rglob("*.java"))
    using = [path.name for path in sources if "com.fasterxml" in path.read_text("utf-8")]
    assert using == ["Json.java"]
    assert "\nfinal class Json {" in next(p for p in sources if p.name == "Json.java").read_text("utf-8")


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_every_public_member_is_documented(source: Path) -> None:
    lines = source.read_text("utf-8").splitlines()
    assert [
        f"{source.name}:{number + 1}: {line.strip()}"
        for number, line in enumerate(lines)
        if line.lstrip().startswith("public ") and not documented(lines, number)
    ] == []


def documented(lines: list[str], number: int) -> bool:
    """Tell whether a declaration follows a documentation comment, or overrides a documented one."""
    for above in reversed(lines[:number]):
        text = above.strip()
        if text == "@Override":
            return True
        if not text.startswith("@"):
            return text.endswith("*/")
    return False


def test_the_page_says_what_was_measured() -> None:
    document = json.loads((ROOT / "tests/benchmarks/results/java_client.json").read_text("utf-8"))
    added = document["numbers"]["added_us"]["p50"]
    assert added <= 50
    assert f"A check adds {added:.0f} us" in (ROOT / "docs/java.md").read_text("utf-8")
