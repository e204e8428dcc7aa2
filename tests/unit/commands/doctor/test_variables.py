"""A misspelt variable is named, with the variable that may be meant."""

import os
import subprocess
import sys

import pytest

from extauthz.settings import misspelt, variables


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("OIDC_AUDIENCES", "OIDC_AUDIENCE"),
        ("OICD_AUDIENCE", "OIDC_AUDIENCE"),
        ("POSTGRES_PASS", "POSTGRES_PASSWORD"),
        ("POSTGRES_SSL", "POSTGRES_SSLMODE"),
        ("JWKS_URL", "JWKS_URI"),
        ("POLICY_MAX_STALE", "POLICY_MAX_STALENESS"),
        ("ADMIN_KEY", "ADMIN_API_KEY"),
        ("WORKER", "WORKERS"),
        ("oidc_audience", "OIDC_AUDIENCE"),
        ("ADMIN_API_KEYFILE", "ADMIN_API_KEY_FILE"),
    ],
)
def test_a_misspelt_name_is_reported_with_a_suggestion(name: str, meant: str) -> None:
    assert misspelt([name]) == {name: f"did you mean {meant}?"}


@pytest.mark.parametrize(
    "name",
    [
        "HOSTNAME",
        "HOSTS",
        "MODEL",
        "LOG_FILE",
        "TENANT_ID",
        "GRPC_VERBOSITY",
        "GRPC_TRACE",
        "POSTGRES_INITDB_ARGS",
        "POSTGRES_HOST_AUTH_METHOD",
        "POSTGRES_SERVICE_HOST",
        "POSTGRES_PORT_5432_TCP_ADDR",
        "ADMIN_CLIENT_ID",
        "ADMIN_CLIENT_SECRET",
        "PATH",
        "PYTHONPATH",
    ],
)
def test_variables_of_other_programs_are_ignored(name: str) -> None:
    assert misspelt([name]) == {}


def test_all_settings_are_known_and_only_secrets_have_files() -> None:
    ours = {variable.name: variable for variable in variables().values()}
    assert misspelt(ours) == {}
    assert misspelt(f"{name}_FILE" for name, variable in ours.items() if variable.secret) == {}
    assert misspelt(["POSTGRES_USER_FILE"]) == {
        "POSTGRES_USER_FILE": "only secrets are read from files; set POSTGRES_USER"
    }


def started(environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Start a sidecar that ends because of its settings."""
    return subprocess.run(
        [sys.executable, "-m", "extauthz", "sidecar"],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_command_that_cannot_start_reports_it_without_values() -> None:
    environ = {"PATH": os.environ["PATH"], "OIDC_AUDIENCES": "the-value", "POSTGRES_PASS": "hunter2"}
    finished = started(environ)

    assert finished.returncode == 2
    assert "OIDC_AUDIENCES is set: did you mean OIDC_AUDIENCE?" in finished.stderr
    assert "the-value" not in finished.stderr
    assert "hunter2" not in finished.stderr


def test_a_command_that_starts_warns(tmp_path: os.PathLike[str]) -> None:
    environ = {
        "PATH": os.environ["PATH"],
        "OIDC_ENABLED": "false",
        "POLICY_SOURCE": f"files:{tmp_path}/nowhere",
        "LOG_FORMATS": "console",
        "SIDECAR_PORT": "0",
    }
    finished = started(environ)

    assert finished.returncode == 2
    assert "did you mean LOG_FORMAT?" in finished.stderr
    assert "unknown_variable" in finished.stderr
