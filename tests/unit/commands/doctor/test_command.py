"""`extauthz doctor`: the files it examines, its output, and its exit status."""

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from extauthz.commands.doctor.command import diagnose
from extauthz.proxyconfig.findings import DoctorReport, Finding, Severity
from extauthz.shipped import shipped
from tests.command_line import run_extauthz

ROOT = Path(__file__).resolve().parents[4]
ALONE = {"OIDC_ENABLED": "false", "POLICY_SOURCE": f"files:{shipped('policies/demo')}"}
FAIL_OPEN = "failure_mode_allow is on: every request is allowed whenever extauthz does not answer"
BOOTSTRAP = shipped("envoy/bootstrap.yaml")


def doctor(environ: Mapping[str, str], *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return run_extauthz("doctor", *arguments, environ=environ)


def codes(environ: Mapping[str, str], *paths: Path) -> set[tuple[str, str]]:
    report = diagnose(environ, paths)
    assert isinstance(report, DoctorReport)
    return {(one.severity.value, one.code) for one in report.findings}


def test_files_alone_need_no_settings() -> None:
    # A real process, whose environment is exactly this.
    finished = subprocess.run(
        [sys.executable, "-m", "extauthz", "doctor", BOOTSTRAP],
        env={"PATH": os.environ["PATH"], "HOST": "0.0.0.0", "PORT": "80"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert finished.returncode == 0
    assert "only the files were examined" in finished.stdout
    assert finished.stdout.endswith("examined: 1 file\n0 errors, 0 warnings, 1 info\n")


def test_without_files_the_settings_are_examined_even_if_no_variable_is_set() -> None:
    finished = doctor({"POSTGRES_PORT": "1"})

    assert finished.returncode == 1
    assert "OIDC_AUDIENCE is not set" in finished.stdout
    assert "127.0.0.1:1/extauthz cannot be used" in finished.stdout
    assert finished.stderr == ""


def test_valid_settings_and_a_valid_file_exit_0() -> None:
    finished = doctor(ALONE, "--json", BOOTSTRAP)

    assert finished.returncode == 0
    report = json.loads(finished.stdout)
    assert report["ok"] is True
    assert report["examined"] == ["settings", "1 file"]
    assert report["counts"] == {"error": 0, "warning": 0, "info": 1}
    assert [one["code"] for one in report["findings"]] == ["tokens-not-read"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (
            "- name: envoy.filters.http.ext_authz",
            "- disabled: true\n                    name: envoy.filters.http.ext_authz",
        ),
        (
            "failure_mode_allow: false",
            "filter_enabled_metadata: {filter: a, path: [{key: b}], value: {present_match: true}}",
        ),
        (
            "failure_mode_allow: false",
            (
                "filter_enabled: {default_value: {numerator: 1}}\n"
                "                      deny_at_disable: {default_value: false, runtime_key: a}"
            ),
        ),
        (
            "route: { cluster: upstream, timeout: 30s }",
            (
                "route: { cluster: upstream }\n                          typed_per_filter_config:\n"
                "                            envoy.filters.http.ext_authz:\n"
                '                              "@type": type.googleapis.com/envoy.config.route.v3.'
                "FilterConfig\n"
                "                              disabled: true"
            ),
        ),
    ],
    ids=["disabled", "metadata", "share", "FilterConfig"],
)
def test_a_check_that_is_not_in_force_exits_1(tmp_path: Path, old: str, new: str) -> None:
    text = BOOTSTRAP.read_text()
    assert text.count(old) == 1
    (tmp_path / "envoy.yaml").write_text(text.replace(old, new))

    finished = doctor({}, "--json", tmp_path / "envoy.yaml")

    assert finished.returncode == 1
    assert json.loads(finished.stdout)["counts"]["error"] == 1


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("apiVersion: getambassador.io/v2\nkind: AuthService\n", "file-unknown"),
        ("rds: {route_config_name: a}\n", "check-unknown"),
    ],
)
def test_strictly_what_cannot_be_examined_fails(tmp_path: Path, text: str, code: str) -> None:
    if code == "check-unknown":
        document = yaml.safe_load(BOOTSTRAP.read_text())
        manager = document["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0][
            "typed_config"
        ]
        del manager["route_config"]
        manager |= yaml.safe_load(text)
        text = yaml.safe_dump(document)
    (tmp_path / "a.yaml").write_text(text)

    lenient, strict = doctor({}, "--json", tmp_path), doctor({}, "--json", "--strict", tmp_path)

    assert (lenient.returncode, strict.returncode) == (0, 1)
    assert [one["code"] for one in json.loads(lenient.stdout)["findings"]] == [code, "settings-absent"]
    assert json.loads(strict.stdout)["ok"] is False


def test_the_condition_headers_of_the_environment_count(tmp_path: Path) -> None:
    joining = tmp_path / "envoy.yaml"
    joining.write_text(BOOTSTRAP.read_text().replace("encode_raw_headers: true", "encode_raw_headers: false"))

    assert ("error", "headers-joined") in codes(ALONE | {"CONDITION_HEADERS": "x-mode"}, joining)
    assert ("info", "headers-joined") in codes(ALONE, joining)
    # Another variable is invalid; this one can be read all the same.
    broken = ALONE | {"CONDITION_HEADERS": "x-mode", "WORKERS": "many"}
    assert ("error", "headers-joined") in codes(broken, joining)
    assert ("error", "headers-joined") not in codes(ALONE | {"CONDITION_HEADERS": "x-mode"}, BOOTSTRAP)


def test_an_error_names_the_place_the_remedy_and_the_documentation(tmp_path: Path) -> None:
    bad = tmp_path / "envoy.yaml"
    bad.write_text(BOOTSTRAP.read_text().replace("failure_mode_allow: false", "failure_mode_allow: true"))
    line = next(n for n, text in enumerate(bad.read_text().splitlines(), 1) if "allow: true" in text)

    finished = doctor(ALONE, bad)
    assert finished.returncode == 1
    assert finished.stdout.splitlines()[:3] == [
        f"ERROR    {bad}:{line}: {FAIL_OPEN} [fail-open]",
        "         fix: set failure_mode_allow: false",
        "         read: docs/doctor.md#fail-open",
    ]

    (finding, *_) = json.loads(doctor(ALONE, "--json", bad).stdout)["findings"]
    assert {name: finding[name] for name in ("severity", "code", "file", "line", "fix", "read")} == {
        "severity": "error",
        "code": "fail-open",
        "file": str(bad),
        "line": line,
        "fix": "set failure_mode_allow: false",
        "read": "docs/doctor.md#fail-open",
    }


@pytest.mark.parametrize("arguments", [["/nowhere.yaml"], ["--yaml"]])
def test_wrong_usage_exits_2(arguments: list[str]) -> None:
    finished = doctor(ALONE, *arguments)

    assert finished.returncode == 2
    assert finished.stdout == ""
    assert "Traceback" not in finished.stderr


def test_no_secret_is_shown(tmp_path: Path) -> None:
    secret = tmp_path / "key"
    secret.write_text("hunter2")
    manifest = tmp_path / "map.yaml"
    manifest.write_text("apiVersion: v1\nkind: ConfigMap\ndata:\n  ADMIN_API_KEY: hunter2\n  a: [hunter2")
    environ = {
        **ALONE,
        "ADMIN_API_KEY_FILE": str(secret),
        "POSTGRES_PASS": "hunter2",
        "JWKS_URI": "https://me:hunter2@idp.example.com/jwks",
    }

    finished = doctor(environ, manifest)

    assert finished.returncode == 1
    assert "ADMIN_API_KEY is a value; it must be a secret of 32 bytes or more" in finished.stdout
    assert "hunter2" not in finished.stdout + finished.stderr


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"OIDC_AUDIENCES": "x"}, ("warning", "variable-unknown")),
        ({"WORKERS": "many"}, ("error", "setting")),
        ({"POLICY_STALE_ACTION": "serve"}, ("warning", "policies-served-stale")),
        ({"GRPC_HOST": "0.0.0.0"}, ("warning", "checks-in-plaintext")),
        ({"CASBIN_MODEL_PATH": "/nowhere"}, ("error", "model-unusable")),
        ({"POLICY_SOURCE": "files:/nowhere"}, ("error", "policies-unusable")),
        ({"DECISION_LOG": "/nowhere/log"}, ("error", "file-missing")),
        ({"GRPC_TLS_CERT": "/nowhere", "GRPC_TLS_KEY": "/nowhere"}, ("error", "file-missing")),
        ({"OIDC_CA_FILE": "/nowhere"}, ("error", "file-missing")),
        ({"ASSERTION_ISSUER": "m", "ASSERTION_KEY_FILE": "/nowhere"}, ("error", "file-missing")),
        ({"ASSERTION_ISSUER": "m", "ASSERTION_KEY_FILE": str(BOOTSTRAP)}, ("error", "assertion-key")),
        ({"GRPC_UDS_DIR": "/nowhere"}, ("error", "file-missing")),
    ],
)
def test_a_setting_that_weakens_or_breaks_is_found(
    environ: dict[str, str], expected: tuple[str, str]
) -> None:
    assert expected in codes(ALONE | environ)


def test_tls_without_client_certificates_is_found() -> None:
    files = {"GRPC_TLS_CERT": str(BOOTSTRAP), "GRPC_TLS_KEY": str(BOOTSTRAP)}

    assert ("warning", "checks-from-anybody") in codes(ALONE | files | {"GRPC_HOST": "10.0.0.1"})
    assert ("warning", "checks-from-anybody") not in codes(ALONE | files)


@pytest.mark.parametrize("variable", ["ADMIN_API_KEY_FILE", "ASSERTION_KEY_FILE"])
def test_a_secret_file_that_other_users_can_read_is_found(tmp_path: Path, variable: str) -> None:
    secret = tmp_path / "key"
    secret.write_text("k" * 32)
    environ = ALONE | {"ADMIN_API_KEY_FILE": str(secret)}
    if variable == "ASSERTION_KEY_FILE":
        environ = ALONE | {"ASSERTION_ISSUER": "m", variable: str(secret)}

    secret.chmod(0o644)
    assert ("warning", "secret-file-open") in codes(environ)
    secret.chmod(0o400)
    assert ("warning", "secret-file-open") not in codes(environ)


def test_a_policy_file_that_cannot_be_used_is_found(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("role_rules: [{id: bad, effect: perhaps}]")
    report = diagnose(ALONE | {"POLICY_SOURCE": f"files:{tmp_path}"}, [])

    assert isinstance(report, DoctorReport)
    assert any("bad.yaml" in one.message for one in report.findings if one.code == "policies-unusable")


def test_policy_files_that_a_sidecar_would_not_read_are_found(tmp_path: Path) -> None:
    (tmp_path / "large.yaml").write_text("# " + "x" * 2_000 + "\n{}\n")
    files = ALONE | {"POLICY_SOURCE": f"files:{tmp_path}"}
    assert ("error", "policies-unusable") not in codes(files)
    report = diagnose(files | {"POLICY_MAX_BYTES": "2000"}, [])
    assert isinstance(report, DoctorReport)
    (said,) = [one.message for one in report.findings if one.code == "policies-unusable"]
    assert "the policies have 2006 bytes, POLICY_MAX_BYTES allows 2000" in said


def test_a_policy_with_a_probable_mistake_has_a_warning(tmp_path: Path) -> None:
    (tmp_path / "odd.yaml").write_text(
        "resources: [{name: r, serviceName: s, routes: [{methods: [GET], path: '/a/:id'}]}]"
    )
    report = diagnose(ALONE | {"POLICY_SOURCE": f"files:{tmp_path}"}, [])

    assert isinstance(report, DoctorReport)
    (found,) = [one for one in report.findings if one.code == "policies-likely-mistaken"]
    assert found.severity is Severity.WARNING
    assert "odd.yaml /resources/0/routes/0/path: the segment ':id' is literal" in found.message


def test_the_most_severe_comes_first() -> None:
    found = [
        Finding(severity=severity, code=severity.value, subject="settings", message="m", fix="f")
        for severity in reversed(Severity)
    ]

    report = DoctorReport.of(["settings"], found * 2)

    assert [one.severity for one in report.findings] == list(Severity)


def test_every_code_has_its_section_in_the_documentation() -> None:
    page = (ROOT / "docs" / "doctor.md").read_text()
    sections = set(re.findall(r"^### ([a-z0-9-]+)$", page, re.MULTILINE))

    assert sections == set(written_codes())


def written_codes() -> set[str]:
    """Every code that the source can report: the second argument of error, warning, info and finding."""
    found: set[str] = set()
    folders = [ROOT / "extauthz" / "proxyconfig", ROOT / "extauthz" / "commands" / "doctor"]
    for file in (file for folder in folders for file in folder.glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Call):
                continue
            given = [*node.args[1:3], *(one.value for one in node.keywords if one.arg == "code")]
            is_finding = re.search(
                r"(?:advice\.(?:error|warning|info)|Finding|finding|^at|^error|\))$", ast.unparse(node.func)
            )
            found |= {
                str(one.value)
                for one in given
                if is_finding and isinstance(one, ast.Constant) and re.fullmatch(r"[a-z-]+", str(one.value))
            }
    return found
