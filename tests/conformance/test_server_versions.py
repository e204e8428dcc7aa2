"""The server versions that the SDKs say they are for."""

import re
import xml.etree.ElementTree as ET

import pytest

import extauthz
import extauthz_client
from tests.conformance.cases import FOLDER

SDK = FOLDER.parent
MINOR = extauthz.__version__.rpartition(".")[0]


def test_both_sdks_have_the_version_of_the_server() -> None:
    project = ET.parse(SDK / "java/pom.xml").getroot()
    java = project.findtext("{http://maven.apache.org/POM/4.0.0}version")
    assert {extauthz.__version__} == {extauthz_client.__version__, java}


@pytest.mark.parametrize(
    "page", ["sdk/python/README.md", "sdk/java/README.md", "docs/client.md", "docs/java.md"]
)
def test_each_page_names_the_version_of_servers(page: str) -> None:
    text = " ".join((SDK.parent / page).read_text("utf-8").split())
    assert re.findall(r"Version ([0-9.]+) is for servers of version ([0-9]+\.[0-9]+)", text) == [
        (MINOR, MINOR)
    ]


def test_the_readme_of_the_cases_says_how_it_was_tested() -> None:
    assert f"| {MINOR} | {MINOR} | " in (FOLDER / "README.md").read_text("utf-8")
