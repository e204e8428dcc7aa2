import pytest

from extauthz.domain.loopback import is_loopback


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST", "127.0.0.1", "127.255.255.254", "::1", "0:0:0:0:0:0:0:1", "::ffff:127.0.0.1"],
)
def test_addresses_of_this_machine_are_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        "", "localhost.example", "127.example.com", "127.1", "0.0.0.0", "::", "10.0.0.1", "128.0.0.1", "::2",
        "::ffff:10.0.0.1", "::127.0.0.1", "[::1]", "fe80::1", "/var/run/postgresql",
    ],
)  # fmt: skip
def test_addresses_of_other_hosts_are_not_loopback(host: str) -> None:
    assert not is_loopback(host)
