"""`doctor` with `CORS_PREFLIGHT=policy`: whether a body of OPTIONS is visible."""

from pathlib import Path

import pytest

from extauthz.proxyconfig.envoy import envoy_yaml
from extauthz.proxyconfig.files import examine_files
from extauthz.settings import Settings, load_settings


def codes(text: str, folder: Path, *, preflights: bool) -> list[str]:
    file = folder / "envoy.yaml"
    file.write_text(text)
    findings = examine_files([file], frozenset(), claims=frozenset(), preflights=preflights)
    assert isinstance(findings, list)
    return [finding.code for finding in findings]


@pytest.mark.parametrize(("setting", "found"), [("off", ["preflight-body"]), ("policy", [])])
def test_the_printed_configuration_shows_a_body_where_it_matters(
    tmp_path: Path, setting: str, found: list[str]
) -> None:
    settings = load_settings({"OIDC_ENABLED": "false", "CORS_PREFLIGHT": setting})
    assert isinstance(settings, Settings)
    text = envoy_yaml(settings)
    assert isinstance(text, str)
    assert codes(text, tmp_path, preflights=True) == found
    assert codes(text, tmp_path, preflights=False) == []
