"""A key id that no cached key has: which requests ask for a fetch."""

from extauthz.decide.needs import NeedsKey
from extauthz.domain.principal import Principal
from extauthz.domain.reasons import Reason
from tests.identity_rings import EC, OTHER, ask, bearer, key_set, needs_key, reason, replace_window, ring_with
from tests.tokens import NOW, SigningKey, claims


class TestUnknownKey:
    """What happens to a token whose key is not in the ring."""

    TOKEN = bearer(OTHER, iat=NOW - 60)

    def test_outside_of_the_cool_down_the_key_is_asked_for(self) -> None:
        ring = ring_with(fetch_allowed_at=NOW)
        answer = ask(self.TOKEN, ring=ring)
        assert answer == needs_key("other")
        assert isinstance(answer, NeedsKey)
        assert answer.otherwise.reason is Reason.KEYS_UNAVAILABLE

    def test_inside_it_a_fetch_later_than_the_token_proves_the_key_unknown(self) -> None:
        assert reason(ask(self.TOKEN, ring=ring_with(fetched_at=NOW - 10))) is Reason.TOKEN_UNKNOWN_KEY

    def test_inside_it_an_earlier_fetch_proves_nothing(self) -> None:
        assert reason(ask(self.TOKEN, ring=ring_with(fetched_at=NOW - 80))) is Reason.KEYS_UNAVAILABLE

    def test_a_key_may_be_published_until_the_token_is_45_seconds_old(self) -> None:
        """Clocks may differ by 30 s, and a provider may sign before it publishes."""
        assert reason(ask(self.TOKEN, ring=ring_with(fetched_at=NOW - 15))) is Reason.TOKEN_UNKNOWN_KEY
        assert reason(ask(self.TOKEN, ring=ring_with(fetched_at=NOW - 15.1))) is Reason.KEYS_UNAVAILABLE

    def test_a_fetch_that_began_after_the_request_proves_the_key_unknown(self) -> None:
        for issued_at in (NOW, NOW - 3600, None):
            token = bearer(OTHER, iat=issued_at)
            assert reason(ask(token, ring=ring_with(fetched_at=NOW + 0.001))) is Reason.TOKEN_UNKNOWN_KEY

    def test_a_fetch_under_way_is_waited_for(self) -> None:
        ring = ring_with(fetching=True, awaited_until=NOW + 0.1)
        assert ask(self.TOKEN, ring=ring) == needs_key("other")
        for until in (NOW, NOW + 3600):
            ring = ring_with(fetching=True, awaited_until=until)
            assert reason(ask(self.TOKEN, ring=ring)) is Reason.KEYS_UNAVAILABLE
        landed = ring_with(fetching=False, awaited_until=NOW + 0.1)
        assert reason(ask(self.TOKEN, ring=landed)) is Reason.TOKEN_UNKNOWN_KEY

    def test_a_key_may_be_replaced_under_its_own_name(self) -> None:
        """Some providers have one key id, or none, for every key that they ever use."""
        other = key_set(SigningKey.es256("ec", serial=1))
        young = ring_with(keys=other, fetch_allowed_at=NOW, fetched_at=NOW - 29.9)
        # A forged token does not delay the fetch that a rotated key waits for.
        assert reason(ask(bearer(), ring=young)) is Reason.TOKEN_BAD_SIGNATURE
        assert ask(f"Bearer {EC.sign(claims(), kid=None)}", ring=young) == needs_key(None)
        ring = ring_with(keys=other, fetch_allowed_at=NOW, fetched_at=NOW - 30)
        answer = ask(bearer(), ring=ring)
        assert answer == needs_key("ec")
        assert isinstance(answer, NeedsKey)
        assert answer.otherwise.reason is Reason.TOKEN_BAD_SIGNATURE
        nameless = ask(f"Bearer {EC.sign(claims(), kid=None)}", ring=ring)
        assert nameless == needs_key(None)
        assert reason(ask(bearer(exp=1), ring=ring)) is Reason.TOKEN_BAD_SIGNATURE
        assert reason(ask(bearer(), ring=replace_window(ring))) is Reason.TOKEN_BAD_SIGNATURE

    def test_a_name_of_two_keys_may_become_a_name_of_one(self) -> None:
        both = key_set(EC, SigningKey.es256("ec", serial=1))
        answer = ask(bearer(), ring=ring_with(keys=both, fetch_allowed_at=NOW))
        assert isinstance(answer, NeedsKey)
        assert answer.otherwise.reason is Reason.TOKEN_UNKNOWN_KEY
        assert reason(ask(bearer(), ring=ring_with(keys=both))) is Reason.TOKEN_UNKNOWN_KEY

    def test_without_iat_no_earlier_fetch_proves_anything(self) -> None:
        ring = ring_with(fetched_at=NOW - 1)
        assert reason(ask(bearer(OTHER, iat=None), ring=ring)) is Reason.KEYS_UNAVAILABLE

    def test_before_any_fetch_keys_are_unavailable(self) -> None:
        ring = ring_with(keys=None, fetched_at=None)
        assert reason(ask(bearer(), ring=ring)) is Reason.KEYS_UNAVAILABLE
        ring = ring_with(keys=None, fetched_at=None, fetch_allowed_at=NOW)
        assert ask(bearer(), ring=ring) == needs_key("ec")

    def test_keys_past_their_staleness_are_not_used(self) -> None:
        ring = ring_with(usable_until=NOW, fetched_at=NOW - 1)
        assert reason(ask(bearer(), ring=ring)) is Reason.KEYS_UNAVAILABLE
        assert isinstance(ask(bearer(), ring=ring_with(usable_until=NOW + 0.001)), Principal)

    def test_a_token_that_no_key_could_save_is_not_worth_a_fetch(self) -> None:
        ring = ring_with(fetch_allowed_at=NOW)
        assert reason(ask(bearer(OTHER, exp=1), ring=ring)) is Reason.TOKEN_EXPIRED
        assert reason(ask(bearer(OTHER, aud="x"), ring=ring)) is Reason.TOKEN_WRONG_AUDIENCE

    def test_a_clock_put_back_does_not_prolong_the_cool_down(self) -> None:
        ring = ring_with(fetch_allowed_at=NOW + 3600)
        assert ask(self.TOKEN, ring=ring) == needs_key("other")
