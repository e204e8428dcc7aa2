"""The client's own distribution: what is inside, what it needs, and that it works installed alone."""

import email
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from packaging.requirements import Requirement

import extauthz
import extauthz_client
from tools.release import ROOT

CLIENT: Final = ROOT / "sdk/python"
SERVERS: Final = ("grpcio", "casbin", "asyncpg")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("wheel"))


def built(folder: Path) -> Path:
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=CLIENT, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture
def archive(wheel: Path) -> Iterator[zipfile.ZipFile]:
    with zipfile.ZipFile(wheel) as opened:
        yield opened


def test_the_wheel_holds_the_package_and_nothing_else(archive: zipfile.ZipFile) -> None:
    inside = {name for name in archive.namelist() if ".dist-info/" not in name}
    committed = {
        str(path.relative_to(CLIENT))
        for path in (CLIENT / "extauthz_client").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert inside == committed
    assert "extauthz_client/py.typed" in inside
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in archive.namelist())


def test_the_wheel_needs_nothing_of_the_server(archive: zipfile.ZipFile) -> None:
    (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = email.message_from_bytes(archive.read(name))
    needed = [Requirement(line) for line in metadata.get_all("Requires-Dist", [])]
    assert {each.name for each in needed if each.marker is None} == NEEDED
    assert set(metadata.get_all("Provides-Extra", [])) == {"django", "fastapi", "flask", "starlette"}
    assert metadata["Version"] == extauthz.__version__


NEEDED: Final = {"anyio", "cryptography", "httpcore2"}


def test_the_project_file_names_nothing_of_the_server() -> None:
    text = (CLIENT / "pyproject.toml").read_text("utf-8").lower()
    assert [word for word in SERVERS if word in text] == []


def test_both_distributions_have_one_version_and_one_license() -> None:
    assert extauthz_client.__version__ == extauthz.__version__
    assert (CLIENT / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_the_server_does_not_need_the_client() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    assert "extauthz-client" not in {Requirement(line).name for group in groups for line in group}
    for file in ("requirements.txt", "build-requirements.txt"):
        assert "extauthz" not in (ROOT / "deploy/image" / file).read_text("utf-8").replace("extauthz_", "")
