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


def test_both_distributions_are_installed_by_one_command() -> None:
    """So that no index is asked for extauthz-client."""
    made = (ROOT / "Makefile").read_text("utf-8")
    (line,) = [each for each in made.splitlines() if "pip install --editable" in each]
    assert "EXTRAS := demo,dev,native\n" in made
    assert "--editable '.[$(EXTRAS)]' --editable ./sdk/python" in line
    assert "sync --locked --all-packages" in made
    tested = (ROOT / "tools/test_pythons.py").read_text("utf-8")
    assert tested.count("./sdk/python") == 2
    assert "extauthz-client" not in (ROOT / "constraints.txt").read_text("utf-8")


IN_ALL_FORMS = """\
import importlib.metadata, importlib.util, json, sys
import extauthz_client
from extauthz_client import ExtauthzClient, ServiceKey, SyncExtauthzClient, resource

@resource("bill:read", default_roles=["finance"], require_bound=True)
def read_bill(number: str) -> str:
    return number

assert read_bill("7") == "7"
with SyncExtauthzClient("http://127.0.0.1:9", ServiceKey("k"), attempts=1) as client:
    try:
        client.check(resource="bill:read", action="read")
    except extauthz_client.Unreachable as error:
        print(error)
frameworks = ("starlette", "fastapi", "flask", "django", "extauthz", "aiohttp")
print(json.dumps([name for name in frameworks if importlib.util.find_spec(name)]))
print(extauthz_client.__file__)
"""


@pytest.mark.installs
@pytest.mark.timeout(300)
def test_the_wheel_works_alone_and_installs_nothing_of_the_server(wheel: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = str(tmp_path / "venv/bin/python")
    pip = [python, "-m", "pip", "--disable-pip-version-check"]
    install = [*pip, "install", "--quiet", "--constraint", str(ROOT / "constraints.txt"), str(wheel)]
    subprocess.run(install, check=True)
    subprocess.run([*pip, "check"], check=True, capture_output=True)
    listed = subprocess.run(
        [*pip, "list", "--format", "freeze"], check=True, capture_output=True, text=True
    ).stdout
    print(listed)
    installed = {line.partition("==")[0].lower() for line in listed.splitlines()}
    # The second set depends on the interpreter.
    assert installed - {"pip", "setuptools", "typing_extensions"} == {
        "anyio", "cffi", "cryptography", "extauthz-client", "h11", "httpcore2", "idna", "pycparser",
        "truststore",
    }  # fmt: skip
    assert [word for word in SERVERS if any(word in name for name in installed)] == []
    done = subprocess.run(
        [python, "-I", "-W", "error", "-c", IN_ALL_FORMS],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    unreachable, frameworks, place = done.stdout.splitlines()
    assert unreachable.startswith("POST http://127.0.0.1:9/api/v1/check: ")
    assert frameworks == "[]"
    assert Path(place).is_relative_to(tmp_path)
