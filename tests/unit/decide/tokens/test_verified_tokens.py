"""The cache of verified tokens: it changes the cost of an answer, never the answer."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from extauthz.decide.tokens.base64url import decode_base64url
from extauthz.decide.tokens.cache import VerifiedTokens
from extauthz.decide.tokens.keyring import KeyRing
from extauthz.decide.tokens.reader import Rejected
from extauthz.domain.claim_readings import DomainClaim
from extauthz.domain.principal import Principal
from extauthz.domain.reasons import Reason
from tests.identity_rings import CONFIG, EC, OTHER, RSA, ask, bearer, key_set, reason, ring_with
from tests.tokens import NOW, SigningKey, b64, claims


class TestVerifiedTokens:
    """The cache never changes an answer, only what it costs."""

    def test_the_second_time_is_a_hit(self) -> None:
        cache = VerifiedTokens()
        first = ask(bearer_once := bearer(), cache=cache)
        assert (cache.hits, cache.misses) == (0, 1)
        assert ask(bearer_once, cache=cache) is first
        assert ask(bearer_once.replace("Bearer", "bearer"), cache=cache) is first
        assert (cache.hits, cache.misses) == (2, 1)

    def test_refused_tokens_are_not_remembered(self) -> None:
        cache = VerifiedTokens()
        for token in (bearer(exp=1), bearer(aud="x"), bearer(OTHER), "Bearer a.b.c", bearer(dom="*")):
            assert isinstance(ask(token, cache=cache), Rejected)
        assert len(cache) == 0

    @pytest.mark.parametrize(
        ("changes", "now", "expected"),
        [
            ({}, NOW + 609.5, None),
            ({}, NOW + 610, Reason.TOKEN_EXPIRED),
            ({"nbf": NOW}, NOW - 11, Reason.TOKEN_NOT_YET_VALID),
            ({"nbf": NOW}, NOW - 10, None),
            ({}, NOW - 71, Reason.TOKEN_NOT_YET_VALID),
        ],
    )
    def test_dates_are_judged_on_every_hit(
        self, changes: dict[str, object], now: float, expected: Reason | None
    ) -> None:
        cache, token = VerifiedTokens(), bearer(**changes)
        assert isinstance(ask(token, cache=cache), Principal)
        assert reason(ask(token, cache=cache, now=now)) is expected

    def test_removing_a_key_from_the_ring_ends_its_remembered_tokens(self) -> None:
        cache, token = VerifiedTokens(), bearer()
        ask(token, cache=cache)
        rotated = ring_with(keys=key_set(RSA), fetched_at=NOW)
        assert reason(ask(token, cache=cache, ring=rotated)) is Reason.TOKEN_UNKNOWN_KEY
        assert len(cache) == 0

    def test_another_key_of_the_same_name_does_not_keep_them(self) -> None:
        cache, token = VerifiedTokens(), bearer()
        ask(token, cache=cache)
        replaced = ring_with(keys=key_set(SigningKey.es256("ec", serial=1)))
        assert reason(ask(token, cache=cache, ring=replaced)) is Reason.TOKEN_BAD_SIGNATURE

    def test_a_refetched_set_with_the_same_key_keeps_them(self) -> None:
        cache, token = VerifiedTokens(), bearer()
        first = ask(token, cache=cache)
        for _ in range(2):
            assert ask(token, cache=cache, ring=ring_with(keys=key_set(EC), fetched_at=NOW)) is first
        assert cache.hits == 2

    @pytest.mark.parametrize(
        ("changed", "expected"),
        [
            (KeyRing(), Reason.TOKEN_UNKNOWN_ISSUER),
            (ring_with(config=replace(CONFIG, audiences=("new",))), Reason.TOKEN_WRONG_AUDIENCE),
            (ring_with(usable_until=NOW), Reason.KEYS_UNAVAILABLE),
            (ring_with(keys=None, fetched_at=None), Reason.KEYS_UNAVAILABLE),
        ],
    )
    def test_a_changed_issuer_is_judged_anew(self, changed: KeyRing, expected: Reason) -> None:
        cache, token = VerifiedTokens(), bearer()
        ask(token, cache=cache)
        assert reason(ask(token, cache=cache, ring=changed)) is expected

    def test_a_changed_tenant_or_claim_path_gives_another_principal(self) -> None:
        cache, token = VerifiedTokens(), bearer(dom="emea", region="apac")
        ask(token, cache=cache)
        moved = ring_with(config=replace(CONFIG, tenant="globex", domain_claims=(DomainClaim("region"),)))
        answer = ask(token, cache=cache, ring=moved)
        assert isinstance(answer, Principal)
        assert (answer.tenant, answer.domain) == ("globex", "apac")

    def test_entries_are_bounded_and_the_ones_in_use_survive(self) -> None:
        cache = VerifiedTokens(max_entries=20)
        precious = bearer(sub="precious")
        ask(precious, cache=cache)
        for number in range(100):
            ask(bearer(sub=f"user-{number}"), cache=cache)
            assert isinstance(ask(precious, cache=cache), Principal)
            assert len(cache) <= 20
        assert cache.hits == 100

    def test_tokens_beyond_the_byte_bound_are_dropped(self) -> None:
        cache = VerifiedTokens(max_bytes=100_000)
        for number in range(50):
            ask(bearer(sub=f"user-{number}", filler="x" * 4000), cache=cache)
        assert 2 <= len(cache) <= 12
        ask(bearer(filler="x" * 10_000, more=["y"] * 500), cache=VerifiedTokens(max_bytes=10_000))

    def test_the_twin_of_a_signature_selects_no_entry_of_another_token(self) -> None:
        order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
        cache, compact = VerifiedTokens(), EC.sign(claims())
        signed, _, tail = compact.rpartition(".")
        signature = decode_base64url(tail.encode())
        assert signature is not None
        twin = signature[:32] + (order - int.from_bytes(signature[32:], "big")).to_bytes(32, "big")
        ask(f"Bearer {compact}", cache=cache)
        assert isinstance(ask(f"Bearer {signed}.{b64(twin)}", cache=cache), Principal)
        assert (cache.hits, len(cache)) == (0, 2)


def test_tokens_with_random_key_ids_evict_no_valid_entry() -> None:
    cache, token = VerifiedTokens(max_entries=4), bearer()
    ask(token, cache=cache)
    for number in range(100):
        unknown = f"Bearer {EC.sign(claims(), kid=f'random-{number}')}"
        assert reason(ask(unknown, cache=cache)) is Reason.TOKEN_UNKNOWN_KEY
    assert isinstance(ask(token, cache=cache), Principal)
    assert cache.hits == 1


def test_threads_share_the_cache_and_each_token_gets_its_own_principal() -> None:
    cache = VerifiedTokens(max_entries=8)
    tokens = {f"user-{number}": bearer(sub=f"user-{number}") for number in range(12)}

    def every_token(_: int) -> bool:
        answers = {subject: ask(token, cache=cache) for subject, token in tokens.items()}
        return all(
            isinstance(answer, Principal) and answer.id == subject for subject, answer in answers.items()
        )

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(every_token, range(20)))
    assert len(cache) <= 8
    assert cache.hits + cache.misses == 240
