"""The findings of doctor about the REST listeners."""

from pathlib import Path

import pytest

from extauthz.commands.doctor.rest import examine_rest
from extauthz.settings import Settings, load_settings
from tests.certificates import Authority

ADMIN = {"ADMIN_API_KEY": "k" * 40}
OPEN = {"HOST": "0.0.0.0"}


def codes(environ: dict[str, str]) -> list[str]:
    settings = load_settings({"OIDC_ENABLED": "false", **environ})
    assert isinstance(settings, Settings), settings
    return [f"{one.severity.value} {one.code}" for one in examine_rest(settings)]


@pytest.fixture
def tls(tmp_path: Path) -> dict[str, str]:
    issued = Authority("ours").issue("control-plane.internal")
    (tmp_path / "tls.crt").write_bytes(issued.chain)
    (tmp_path / "tls.key").write_bytes(issued.key)
    return {"CERT": str(tmp_path / "tls.crt"), "KEY": str(tmp_path / "tls.key")}


def named(prefix: str, tls: dict[str, str]) -> dict[str, str]:
    return {f"{prefix}_TLS_{name}": value for name, value in tls.items()}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, []),
        ({"HOST": "localhost", **ADMIN}, []),
        (OPEN, ["warning rest-in-plaintext"]),
        ({**OPEN, **ADMIN}, ["warning rest-in-plaintext", "info admin-with-api"]),
        ({"HOST": "::", **ADMIN}, ["warning rest-in-plaintext", "info admin-with-api"]),
        (
            {**OPEN, **ADMIN, "ADMIN_PORT": "8081"},
            ["warning rest-in-plaintext", "warning admin-in-plaintext"],
        ),
        ({**OPEN, "ADMIN_PORT": "8081", "ADMIN_HOST": "127.0.0.1"}, ["warning rest-in-plaintext"]),
        ({"ADMIN_PORT": "8081", "ADMIN_HOST": "10.0.0.1"}, ["warning admin-in-plaintext"]),
        ({"ADMIN_PORT": "8081"}, []),
        ({**OPEN, **ADMIN, "POLICY_SOURCE": "files:/policies"}, []),
    ],
)
def test_what_can_be_reached_in_the_clear_is_a_warning(environ: dict[str, str], expected: list[str]) -> None:
    assert codes(environ) == expected


def test_tls_of_the_api_is_that_of_admin_unless_it_has_its_own(tls: dict[str, str]) -> None:
    apart = {**OPEN, **ADMIN, "ADMIN_PORT": "8081"}

    assert codes({**apart, **named("REST", tls)}) == ["warning certificate-expires"]
    found = codes({**apart, **named("ADMIN", tls)})
    assert found == ["warning rest-in-plaintext", "warning certificate-expires"]


@pytest.mark.parametrize("prefix", ["GRPC", "REST"])
def test_a_certificate_that_cannot_be_used_is_an_error(prefix: str, tls: dict[str, str]) -> None:
    Path(tls["KEY"]).write_bytes(Authority("other").issue("x").key)

    assert codes(named(prefix, tls)) == ["error certificate-unusable"]


def test_a_file_that_is_missing_is_reported_elsewhere(tls: dict[str, str]) -> None:
    Path(tls["KEY"]).unlink()

    assert codes(named("REST", tls)) == []
