"""Which headers `CONDITION_HEADERS` may name."""

import pytest

from extauthz.settings.values import InvalidValueError, headers


@pytest.mark.parametrize("value", ["host", "Host", "x-mode,HOST"])
def test_the_host_is_not_a_header_of_a_check(value: str) -> None:
    with pytest.raises(InvalidValueError, match=r"use request\.host"):
        headers(value)


def test_names_are_read_in_lower_case() -> None:
    assert headers("X-Mode,x-host") == {"x-mode", "x-host"}


@pytest.mark.parametrize(
    "name", ["connection", "Keep-Alive", "proxy-connection", "transfer-encoding", "upgrade"]
)
def test_headers_of_the_connection_are_refused(name: str) -> None:
    with pytest.raises(InvalidValueError, match="Envoy removes before a check"):
        headers(name)
