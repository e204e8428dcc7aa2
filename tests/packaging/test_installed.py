"""The wheel installed alone, in an empty environment away from the checkout: it is complete and it works."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.installs, pytest.mark.timeout(300)]

CASES = """\
description: Finance reads invoices.
policies:
  resources:
    - name: invoice:read
      serviceName: billing
      routes: [{methods: [GET], path: "/invoices/{invoice}"}]
  role_rules:
    - {id: finance-reads, sub: finance, dom: "*", obj: invoice:read, act: read, effect: allow}
cases:
  - name: finance reads
    request: {method: GET, path: /invoices/7}
    principal: {id: alice, roles: [finance]}
    expect: {decision: allow, reason: rule_matched, rule: finance-reads}
  - name: others do not
    request: {method: GET, path: /invoices/7}
    principal: {id: bob}
    expect: {decision: deny, reason: no_matching_rule, rule: null}
"""

IMPORT_ALL = """\
import importlib, pkgutil
import extauthz
NEEDS_AN_EXTRA = {"extauthz.check.native_server"}
for module in pkgutil.walk_packages(extauthz.__path__, "extauthz."):
    if module.name != "extauthz.__main__" and module.name not in NEEDS_AN_EXTRA:
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            # Of the extra `demo`; `extauthz demo` names the extra.
            if error.name != "psutil" or not module.name.startswith("extauthz.demo."):
                raise
print(extauthz.__file__)
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that holds the wheel and what it declares to need, in the locked versions."""
    folder = tmp_path_factory.mktemp("alone")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    pip = [str(folder / "venv" / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
    constraints = str(ROOT / "constraints.txt")
    subprocess.run([*pip, "install", "--quiet", "--constraint", constraints, str(wheel)], check=True)
    subprocess.run([*pip, "check"], check=True)
    return folder


def run(environment: Path, *words: str) -> str:
    """Run a command of the environment, with no other variable set than PATH."""
    done = subprocess.run(
        [environment / "venv" / "bin" / words[0], *words[1:]],
        cwd=environment,
        env={"PATH": os.defpath},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{words} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout


def test_every_module_imports_with_the_declared_dependencies_alone(environment: Path) -> None:
    imported_from = Path(run(environment, "python", "-c", IMPORT_ALL).splitlines()[-1])

    assert imported_from.is_relative_to(environment)


def test_the_demo_names_the_extra_that_it_needs(environment: Path) -> None:
    command = [str(environment / "venv/bin/extauthz"), "demo", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 2
    assert "install 'extauthz[demo]'" in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_former_place_of_the_client_names_its_distribution(environment: Path) -> None:
    use = "try:\n    from extauthz.client import resource\nexcept ImportError as error:\n    print(error)"

    assert "run: pip install extauthz-client" in run(environment, "python", "-c", use)


@pytest.mark.parametrize(
    "name", ["policies/model.conf", "envoy/bootstrap.yaml", "migrations", "docs/schema/policies.json"]
)
def test_shipped_files_are_found(environment: Path, name: str) -> None:
    find = f"from extauthz.shipped import shipped; print(shipped({name!r}))"

    assert Path(run(environment, "python", "-c", find).strip()).is_relative_to(environment)


def test_the_command_explains_itself(environment: Path) -> None:
    assert "policy" in run(environment, "extauthz", "--help")


def test_cases_are_decided(environment: Path) -> None:
    (environment / "cases.yaml").write_text(CASES, encoding="utf-8")

    printed = run(environment, "extauthz", "policy", "test", "cases.yaml")

    assert len(printed.splitlines()) >= 2
