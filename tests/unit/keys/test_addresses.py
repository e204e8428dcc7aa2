"""The permitted addresses and times of key fetches: the parts that need no network."""

import socket

import pytest

from extauthz.keys.addresses import PrivateAddressError, is_public, public_socket
from extauthz.keys.schedule import Schedule, max_age
from extauthz.keys.source import AddressRejected, FetchUrl


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.255.255.254",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "192.0.0.1",
        "192.0.0.8",
        "192.88.99.1",
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "239.1.2.3",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fec0::1",
        "feff::1",
        "3fff::1",
        "5f00::1",
        "fd12:3456::1",
        "ff02::1",
        "2001:db8::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "::127.0.0.1",
        "::ffff:0:10.0.0.1",
        "::ffff:0:a9fe:a9fe",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::7f00:1",
        "2002:7f00:1::",
        "2002:a9fe:a9fe::1",
        "2001:0:7f00:1::",
        "2001:0:4136:e378:8000:63bf:80ff:fffe",
        # Public for some releases of Python, private for others.
        "192.0.0.9",
        "192.0.0.10",
        "192.0.0.170",
        "64:ff9b:1::808:808",
        "2001:1::1",
        "2001:2::1",
        "2001:3::1",
        "2001:4:112::1",
        "2001:10::1",
        "2001:20::1",
        "2001:30::1",
        "2002:808:808::1",
        "::8.8.8.8",
        "::ffff:0:8.8.8.8",
        "100::1",
        "4000::1",
        "localhost",
        "127.1",
        "2130706433",
        "",
    ],
)
def test_addresses_that_a_tenant_must_not_make_the_service_fetch_are_refused(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "8.8.8.8", "93.184.215.14", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"],
)
def test_public_addresses_may_be_fetched_from(address: str) -> None:
    assert is_public(address)


def test_the_address_is_judged_where_the_socket_is_made() -> None:
    with pytest.raises(PrivateAddressError):
        public_socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 443)))
    public_socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("1.1.1.1", 443))).close()


@pytest.mark.parametrize(
    ("text", "allowed", "private"),
    [
        ("https://idp.example.com/jwks", True, False),
        ("HTTPS://IDP.example.com/jwks", True, False),
        ("http://idp.example.com/jwks", False, False),
        ("http://localhost:8080/jwks", True, False),
        ("http://127.0.0.1/jwks", True, False),
        ("http://[::1]:8080/jwks", True, False),
        ("http://[::ffff:127.0.0.1]:8080/jwks", True, False),
        ("http://[::ffff:10.0.0.1]:8080/jwks", False, False),
        ("http://localhost.evil.test/jwks", False, False),
        ("http://127.0.0.1.evil.test/jwks", False, False),
        ("http://keycloak:8080/jwks", True, True),
        ("http://KEYCLOAK:8080/jwks", True, True),
        ("https://keycloak:8080/jwks", True, True),
        ("http://keycloak:8081/jwks", False, False),
        ("https://keycloak/jwks", True, False),
        ("https://[fd00::1]:8443/jwks", True, True),
        ("https://h\\@evil.test/jwks", False, False),
        ("gopher://localhost/", False, False),
        ("https://", False, False),
        ("https:/jwks", False, False),
        ("https://[::1/jwks", False, False),
    ],
)
def test_a_url_needs_tls_loopback_or_an_allowed_host(text: str, *, allowed: bool, private: bool) -> None:
    allow_hosts = frozenset({"keycloak:8080", "[fd00::1]:8443"})
    tenants = FetchUrl.parse(text, operator_configured=False, allow_hosts=allow_hosts)
    operators = FetchUrl.parse(text, operator_configured=True, allow_hosts=allow_hosts)
    if not allowed:
        assert isinstance(tenants, AddressRejected)
        assert isinstance(operators, AddressRejected)
        return
    assert isinstance(tenants, FetchUrl)
    assert tenants.private_allowed is private
    assert isinstance(operators, FetchUrl)
    assert operators.private_allowed


@pytest.mark.parametrize(
    ("header", "age"),
    [
        (None, None),
        ("", None),
        ("public", None),
        ("max-age=120", 120.0),
        ('MAX-AGE="120"', 120.0),
        ("public, max-age=600, must-revalidate", 600.0),
        ("max-age=600, max-age=60", 60.0),
        ("no-store", 0.0),
        ("max-age=600, no-cache", 0.0),
        ("max-age=-5", None),
        ("max-age=1e9", None),
        ("max-age=\u0661", None),
        ("max-age=" + "9" * 5000, None),
        ("s-maxage=60", None),
    ],
)
def test_cache_control_gives_the_max_age(header: str | None, age: float | None) -> None:
    assert max_age(header) == age


def test_refreshing_stays_within_bounds_and_before_the_end_of_the_lifetime() -> None:
    schedule = Schedule()
    for header, lifetime in ((None, 300.0), ("max-age=0", 60.0), ("max-age=99999999", 3600.0)):
        for chance in (0.0, 0.5, 0.999):
            assert 0.65 * lifetime < schedule.refresh_after(header, chance) <= 0.9 * lifetime


def test_retries_back_off_with_jitter_up_to_a_bound() -> None:
    schedule = Schedule()
    assert [schedule.retry_after(failures, 0.0) for failures in (1, 2, 3, 7, 10_000)] == [1, 2, 4, 60, 60]
    assert schedule.retry_after(1, 0.999) == pytest.approx(0.5, abs=0.01)
