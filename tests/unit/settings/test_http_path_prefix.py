"""`HTTP_AUTHZ_PATH_PREFIX`: which prefixes are taken, and with which other settings."""

import pytest

from extauthz.settings import Settings, load_settings

BARE = {"OIDC_ENABLED": "false", "HTTP_AUTHZ_PORT": "9291"}


@pytest.mark.parametrize("prefix", ["/check", "/ext/authz", "/a.b/~c/-_/..d"])
def test_a_plain_prefix_is_accepted(prefix: str) -> None:
    settings = load_settings(BARE | {"HTTP_AUTHZ_PATH_PREFIX": prefix})
    assert isinstance(settings, Settings), settings
    assert settings.http_authz_path_prefix == prefix


@pytest.mark.parametrize(
    "prefix",
    [
        "/", "check", "/check/", "//check", "/a//b", "/.", "/..", "/a/../b", "/a/.", "/a%2fb", "/a?b", "/a#b",
        "/a;b", "/a b", "/é", "/a\nb", "http://a/b", "/" + "a" * 256,
    ],
)  # fmt: skip
def test_a_prefix_with_two_readings_is_refused(prefix: str) -> None:
    problems = load_settings(BARE | {"HTTP_AUTHZ_PATH_PREFIX": prefix})
    assert isinstance(problems, list), prefix
    assert "HTTP_AUTHZ_PATH_PREFIX" in problems[0]


def test_a_prefix_without_the_listener_is_refused() -> None:
    problems = load_settings({"OIDC_ENABLED": "false", "HTTP_AUTHZ_PATH_PREFIX": "/check"})
    assert isinstance(problems, list)
    assert "HTTP_AUTHZ_PORT is not set" in problems[0]
