"""`AUTHZEN_BASE_URL`: an https URL that has one spelling; without it the metadata name loopback only."""

import socket

import pytest

from extauthz.runtime.control_plane import authzen_base_url
from extauthz.settings import Settings, load_settings
from extauthz.settings.authzen_values import base_url
from extauthz.settings.values import InvalidValueError


def settings(**environ: str) -> Settings:
    found = load_settings({"MODE": "saas", **environ})
    assert isinstance(found, Settings), found
    return found


@pytest.mark.parametrize(
    "value",
    [
        "https://pdp.example.com",
        "https://pdp.example.com:8443",
        "https://pdp.example.com/authz",
        "https://pdp.example.com/a/b-c_d.~e",
        "https://[2001:db8::1]:8443/x",
        "https://192.0.2.1",
    ],
)
def test_https_urls_are_taken_as_they_are(value: str) -> None:
    assert base_url(value) == value


@pytest.mark.parametrize(
    "value",
    [
        "http://pdp.example.com",
        "pdp.example.com",
        "https://",
        "https://pdp.example.com/",
        "https://pdp.example.com?x",
        "https://pdp.example.com/x?y",
        "https://pdp.example.com/x#y",
        "https://pdp.example.com#y",
        "https://a:b@pdp.example.com",
        "https://pdp.example.com//x",
        "https://pdp.example.com/x/",
        "https://pdp.example.com/../x",
        "https://pdp.example.com/.",
        "https://pdp.example.com/%41",
        "https://PDP.example.com",
        "HTTPS://pdp.example.com",
        "https://pdp example.com",
        "https://pdp.example.com/a b",
        "https://pdp.example.com/{tenant}",
        "https://pdp.example.com/caf\u00e9",
        "https://pdp.example.com/" + "x" * 1024,
    ],
)
def test_what_could_be_spelt_differently_is_refused(value: str) -> None:
    with pytest.raises(InvalidValueError):
        base_url(value)


def test_without_the_setting_metadata_name_a_loopback_address_only() -> None:
    for host, family, expected in (
        ("127.0.0.1", socket.AF_INET, "http://127.0.0.1:{}"),
        ("0.0.0.0", socket.AF_INET, None),
    ):
        with socket.create_server((host, 0), family=family) as listener:
            port = listener.getsockname()[1]
            named = None if expected is None else expected.format(port)
            assert authzen_base_url(settings(), listener) == named
            given = settings(AUTHZEN_BASE_URL="https://pdp.example.com")
            assert authzen_base_url(given, listener) == "https://pdp.example.com"
