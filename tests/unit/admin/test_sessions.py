"""The operator's session tokens, prefixes of registrars, and the budget of bad credentials: pure parts."""

import pytest

from extauthz.admin.failed_credentials import FailedCredentials, address_group
from extauthz.admin.session_tokens import LIFETIME_S, issue, verify
from extauthz.compile.route_prefixes import RoutePrefix
from extauthz.domain.policy import AuthenticationRequirement, Route
from extauthz.domain.reasons import Reason

KEY = "an operator's key of more than 32 bytes"
ID = "01900000-0000-7000-8000-000000000000"
NOW = 1_790_000_000.0


def test_a_session_is_valid_for_its_lifetime_and_its_admin_key() -> None:
    token, session = issue(KEY, ID, NOW)
    assert str(session.id) == ID
    assert verify(KEY, token, NOW) == session
    assert verify(KEY, token, NOW + LIFETIME_S - 1) == session
    assert verify(KEY, token, NOW + LIFETIME_S) is None
    assert verify(KEY + "x", token, NOW) is None


def test_nothing_of_a_token_can_be_changed() -> None:
    token, _ = issue(KEY, ID, NOW)
    for position in range(len(token)):
        other = "0" if token[position] != "0" else "1"
        assert verify(KEY, token[:position] + other + token[position + 1 :], NOW) is None
    for other in ("", "eas_", token + "\n", " " + token, token.upper(), token.replace("_", "-")):
        assert verify(KEY, other, NOW) is None


def route(path: str, host: str | None = None) -> Route:
    return Route(host, ("GET",), path, "read", AuthenticationRequirement.REQUIRED)


@pytest.mark.parametrize(
    ("prefix", "host", "path", "covered"),
    [
        ("/invoices", None, "/invoices", True),
        ("/invoices", None, "/invoices/", True),
        ("/invoices", None, "/invoices/{id}", True),
        ("/invoices", None, "/invoices/**", True),
        ("/invoices/", "a.example", "/invoices/x", True),
        ("/invoices", None, "/invoices-old", False),
        ("/invoices", None, "/{any}", False),
        ("/invoices", None, "/**", False),
        ("/invoices", None, "/Invoices", False),
        ("/", None, "/**", True),
        ("/", None, "/", True),
        ("a.example/x", "a.example", "/x/y", True),
        ("a.example/x", None, "/x/y", False),
        ("a.example/x", "b.example", "/x/y", False),
        ("a.example/x", "*.a.example", "/x/y", False),
        ("a.example/x", "*.example", "/x/y", False),
        ("*.example/x", "a.example", "/x", True),
        ("*.example/x", "*.a.example", "/x", True),
        ("*.example/x", "*.example", "/x", True),
        ("*.example/x", "example", "/x", False),
        ("*.example/x", "notexample", "/x", False),
        ("*.example/x", "*.com", "/x", False),
        ("*.example/x", None, "/x", False),
        ("/a%20b", None, "/a%20b/c", True),
    ],
)
def test_prefixes_are_compared_as_whole_literal_segments(
    prefix: str, host: str | None, path: str, covered: bool
) -> None:
    found = RoutePrefix.parse(prefix)
    assert isinstance(found, RoutePrefix)
    assert found.covers_route(route(path, host)) is covered


@pytest.mark.parametrize(
    "text",
    ["", "a.example", "a b/x", "/a//b", "/a/./b", "/a;b", "/a/*", "/**", "/{id}", "*./x", "a/b?c", "/%2f"],
)
def test_malformed_prefixes_are_refused(text: str) -> None:
    assert isinstance(RoutePrefix.parse(text), str)


def test_a_prefix_has_one_spelling() -> None:
    for spelled in ("API.example:443/%41/", "api.example/A", "api.example./A"):
        found = RoutePrefix.parse(spelled)
        assert isinstance(found, RoutePrefix)
        assert found.text == "api.example/A"


def test_an_address_with_too_many_invalid_credentials_has_to_wait() -> None:
    failures = FailedCredentials(burst=3, per_second=0.5)

    def count(address: str, now: float) -> int | None:
        return failures.count(address, Reason.API_KEY_INVALID, now)

    assert [count("192.0.2.1", NOW) for _ in range(5)] == [None, None, None, 2, 2]
    assert count("192.0.2.2", NOW) is None
    assert count("192.0.2.1", NOW + 1) == 1
    assert count("192.0.2.1", NOW + 2) is None
    assert count("192.0.2.1", NOW + 2) == 2
    assert count("192.0.2.1", NOW - 100) == 2


def test_memory_is_bounded() -> None:
    failures = FailedCredentials(burst=1, max_addresses=10)
    for number in range(1000):
        assert failures.count(f"10.0.{number // 256}.{number % 256}", Reason.TOKEN_EXPIRED, NOW) is None
    assert len(failures._budgets) == 10
    assert len(failures._noted) <= 101


def test_addresses_are_grouped_to_clients() -> None:
    assert address_group("192.0.2.1") == "192.0.2.1"
    assert address_group("::ffff:192.0.2.1") == "192.0.2.1"
    assert address_group("2001:db8:1:2::1") == address_group("2001:db8:1:2:ffff::2") == "2001:db8:1:2::/64"
    assert address_group(None) == address_group("testclient") == "unknown"


def test_the_derivation_is_that_of_rfc_5869() -> None:
    """Computed once with HMAC alone: sessions survive a change of the code that derives their key."""
    token, _ = issue("an-admin-key-of-a-test", "01890a5d-ac96-774b-bcce-b302099a8057", 1_763_917_200.0)
    assert token == (
        "eas_01890a5dac96774bbcceb302099a8057_1763918100_"
        "3d55fbdc90f298d0d353549705e3316def0b8e1e06bb77d43b1e0a44f635ca89"
    )
