"""The budget of failed credentials of an address, and the bounds of what is kept of them."""

from extauthz.domain.reasons import Reason
from extauthz.storage.failed_credentials import FailedCredentials, address_group

NOW = 1_790_000_000.0


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


def test_a_thousand_addresses_keep_to_the_bound_of_addresses() -> None:
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
