"""`doctor` about checks over HTTP: the printed configuration is right, and each change of it is found."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from extauthz.proxyconfig.envoy import envoy_yaml
from extauthz.proxyconfig.files import examine_files
from extauthz.proxyconfig.findings import Severity
from extauthz.proxyconfig.http_services import HttpSettings
from extauthz.settings import Settings, load_settings

ENVIRON = {
    "OIDC_ENABLED": "false",
    "HTTP_AUTHZ_PORT": "9291",
    "HTTP_AUTHZ_PATH_PREFIX": "/check",
    "TOKEN_HEADER": "x-my-token",
    "CONDITION_HEADERS": "x-a",
    "CLAIM_HEADERS": "x-user-email",
    "WORKERS": "2",
}
SET = HttpSettings("/check", "x-my-token")


def document() -> Any:
    settings = load_settings(ENVIRON)
    assert isinstance(settings, Settings), settings
    text = envoy_yaml(settings, over_http=True)
    assert isinstance(text, str), text
    return yaml.safe_load(text)


def check_in(found: Any) -> Any:
    manager = found["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    (check,) = [each for each in manager["http_filters"] if each["name"].endswith("ext_authz")]
    return check["typed_config"]


def errors(found: Any, folder: Path, http: HttpSettings | None = SET) -> list[str]:
    file = folder / "envoy.yaml"
    file.write_text(yaml.safe_dump(found))
    findings = examine_files([file], frozenset({"x-a"}), claims=frozenset({"x-user-email"}), http=http)
    assert isinstance(findings, list)
    return [finding.code for finding in findings if finding.severity is Severity.ERROR]


def test_the_printed_configuration_has_no_error(tmp_path: Path) -> None:
    found = document()
    assert errors(found, tmp_path) == []
    check = check_in(found)
    assert check["http_service"]["path_prefix"] == "/check"
    listed = check["allowed_headers"]["patterns"]
    for name in ("authorization", "x-service-api-key", "x-my-token", "x-a", "x-user-email"):
        assert {"exact": name} in listed
    assert {"prefix": "x-auth-"} in listed
    spellings = [re.compile(each["safe_regex"]["regex"]) for each in listed if "safe_regex" in each]
    for name in ("x.auth.subject", "x-auth!roles", "x_user.email"):
        assert any(spelling.fullmatch(name) for spelling in spellings)


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"path_prefix": "/other"}, "http-path"),
        ({"path_prefix": "/check/"}, "http-path"),
        ({"path_prefix": ""}, "http-path"),
        ({"path_override": "/always"}, "http-path"),
    ],
)
def test_an_http_service_with_another_path_is_an_error(
    tmp_path: Path, changed: dict[str, str], code: str
) -> None:
    found = document()
    check_in(found)["http_service"] |= changed
    assert code in errors(found, tmp_path)


def test_a_prefix_that_the_service_does_not_expect_is_found_only_where_it_is_known(tmp_path: Path) -> None:
    assert errors(document(), tmp_path, HttpSettings("", "x-my-token")) == ["http-path"]
    assert errors(document(), tmp_path, None) == []


def test_a_withheld_token_header_is_found(tmp_path: Path) -> None:
    found = document()
    patterns = check_in(found)["allowed_headers"]["patterns"]
    patterns[:] = [each for each in patterns if each.get("exact") != "x-my-token"]
    assert errors(found, tmp_path) == ["headers-withheld"]


def test_without_the_port_there_is_nothing_to_print() -> None:
    settings = load_settings({"OIDC_ENABLED": "false"})
    assert isinstance(settings, Settings)
    assert envoy_yaml(settings, over_http=True) == ["checks over HTTP need HTTP_AUTHZ_PORT, which is not set"]
