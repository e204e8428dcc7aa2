"""The operator's session tokens, and the budget of failed credentials: pure parts."""

from extauthz.admin.failed_credentials import FailedCredentials, address_group
from extauthz.admin.session_tokens import LIFETIME_S, issue, verify
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
