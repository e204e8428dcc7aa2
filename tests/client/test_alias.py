"""`extauthz.client`, the former place of the client: the same names, the same objects, for one release."""

import importlib
import pkgutil
import subprocess
import sys

import pytest

import extauthz_client

NAMES = [
    "ApiError", "AssertionRejected", "AssertionVerifier", "AttributePolicy", "CheckResult",
    "ClientCredentials", "ClientError", "Credentials", "ExtauthzClient", "Resource",
    "RoleBinding", "RoleRule", "Route", "ServiceKey", "UnexpectedAnswer", "Unreachable",
    "VerifiedAssertion", "credentials_from", "protect", "resource",
]  # fmt: skip
MODULES = [each.name for each in pkgutil.iter_modules(extauthz_client.__path__)]
BEFORE = [
    "answers", "api", "assertions", "credentials", "declare", "errors", "http", "models", "paths",
    "route_discovery",
]  # fmt: skip
WARNED = "import extauthz_client instead"
WITHOUT_THE_CLIENT = """
import sys
sys.modules["extauthz_client"] = None
import extauthz.client
for statement in ("extauthz.client.resource", "from extauthz.client import protect",
                  "import extauthz.client.errors", "from extauthz.client.models import Route",
                  "from extauthz.client import *"):
    try:
        exec(statement)
    except ImportError as error:
        print(error)
"""
SILENT = """
import sys, warnings
warnings.simplefilter("error")
import extauthz.client
assert "extauthz_client" not in sys.modules
"""


@pytest.mark.parametrize("name", NAMES)
def test_every_name_of_the_alias_is_the_object_of_the_client_and_warns(name: str) -> None:
    alias = importlib.import_module("extauthz.client")
    with pytest.warns(DeprecationWarning, match=WARNED) as warned:
        assert getattr(alias, name) is getattr(extauthz_client, name)
    assert warned[0].filename == __file__


def test_the_alias_lists_the_names_that_it_had() -> None:
    alias = importlib.import_module("extauthz.client")
    assert sorted(alias.__all__) == sorted(NAMES) == dir(alias)
    namespace: dict[str, object] = {}
    with pytest.warns(DeprecationWarning, match=WARNED):
        exec("from extauthz.client import *", namespace)
    assert {name: namespace[name] for name in NAMES} == {
        name: getattr(extauthz_client, name) for name in NAMES
    }


@pytest.mark.parametrize("name", sorted({*MODULES, *BEFORE}))
def test_every_module_of_the_alias_is_the_module_of_the_client(name: str) -> None:
    sys.modules.pop(f"extauthz.client.{name}", None)
    with pytest.warns(DeprecationWarning, match=WARNED):
        module = importlib.import_module(f"extauthz.client.{name}")
    assert module is importlib.import_module(f"extauthz_client.{name}")
    assert module.__spec__ is not None
    assert module.__name__ == module.__spec__.name == f"extauthz_client.{name}"


def test_unknown_names_and_modules_are_unknown() -> None:
    alias = importlib.import_module("extauthz.client")
    with (
        pytest.warns(DeprecationWarning, match=WARNED),
        pytest.raises(AttributeError, match=r"extauthz\.client.*'nothing'"),
    ):
        _ = alias.nothing
    with (
        pytest.warns(DeprecationWarning, match=WARNED),
        pytest.raises(ModuleNotFoundError, match=r"extauthz\.client\.nothing"),
    ):
        importlib.import_module("extauthz.client.nothing")


def test_importing_the_alias_imports_nothing_and_is_silent() -> None:
    subprocess.run([sys.executable, "-c", SILENT], check=True, timeout=60)


def test_without_the_distribution_the_alias_says_what_to_install() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_THE_CLIENT], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == ""
    said = done.stdout.splitlines()
    assert len(said) == 5
    assert all(line.endswith("run: pip install extauthz-client") for line in said), said
