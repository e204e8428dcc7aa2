"""Identity: from credentials to a principal, a rejection or the need for a key."""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from extauthz.decide.bearer_token import TokenPolicy
from extauthz.decide.needs import NOT_FETCHED, NeedsKey
from extauthz.decide.tokens.base64url import decode_base64url
from extauthz.decide.tokens.cache import VerifiedTokens
from extauthz.decide.tokens.jwks import KeySet, parse_jwks
from extauthz.decide.tokens.keyring import IssuerConfig, IssuerKeys, KeyRing
from extauthz.decide.tokens.reader import Rejected
from extauthz.domain.claim_readings import DomainClaim
from extauthz.domain.principal import Authentication, Principal, PrincipalKind
from extauthz.domain.reasons import Reason
from extauthz.domain.service_key import IdentityKey, key_text, secret_digest
from tests.asking import Answer, ask_with
from tests.tokens import AUDIENCE, ISSUER, NOW, SigningKey, b64, claims, jwks

RSA = SigningKey.rs256()
EC = SigningKey.es256()
OTHER = SigningKey.es256("other")

CONFIG = IssuerConfig.usual(
    issuer=ISSUER,
    tenant="acme",
    audiences=(AUDIENCE,),
    roles_claim="realm_access.roles",
    domain_claim="dom",
    admin_domain_claim="adm",
    excluded_roles=frozenset({"offline_access"}),
)
POLICY = TokenPolicy(leeway=10.0)
ROBOT_ID, SECRET = "sak_01890a5d-ac96-774b-bcce-b302099a8057", bytes(range(32))
ROBOT = Principal(PrincipalKind.SERVICE, ROBOT_ID, "acme", None, (), Authentication.API_KEY)
ROBOTS_KEY = key_text(ROBOT_ID, SECRET)
KNOWN = {ROBOT_ID: IdentityKey(ROBOT_ID, "acme", secret_digest(SECRET))}


def key_set(*keys: SigningKey) -> KeySet:
    parsed = parse_jwks(jwks(*keys))
    assert isinstance(parsed, KeySet)
    return parsed


KEYS = IssuerKeys(CONFIG, key_set(RSA, EC), fetched_at=NOW - 10, fetch_allowed_at=NOW + 20)
RING = KeyRing.of([KEYS])


def ask(
    authorization: str | None = None,
    *,
    repeated: bool = False,
    service_key: str | None = None,
    service_key_repeated: bool = False,
    ring: KeyRing = RING,
    cache: VerifiedTokens | None = None,
    now: float = NOW,
    policy: TokenPolicy = POLICY,
) -> Answer:
    return ask_with(
        authorization,
        repeated=repeated,
        service_key=service_key,
        service_key_repeated=service_key_repeated,
        ring=ring,
        service_keys=KNOWN,
        cache=cache,
        now=now,
        policy=policy,
    )


def needs_key(kid: str | None) -> NeedsKey:
    return NeedsKey(issuer=ISSUER, kid=kid, otherwise=NOT_FETCHED)


def bearer(signer: SigningKey = EC, /, **changes: object) -> str:
    return f"Bearer {signer.sign(claims(**changes))}"


def reason(answer: Answer) -> Reason | None:
    return answer.reason if isinstance(answer, Rejected) else None


def ring_with(**changes: object) -> KeyRing:
    return KeyRing.of([replace(KEYS, **changes)])  # type: ignore[arg-type]


def replace_window(ring: KeyRing) -> KeyRing:
    """Return the ring within its cool-down."""
    return KeyRing.of(replace(keys, fetch_allowed_at=NOW + 1) for keys in ring.issuers.values())


@pytest.mark.parametrize("signer", [RSA, EC])
def test_a_valid_token_proves_its_subject(signer: SigningKey) -> None:
    answer = ask(bearer(signer, dom="emea", realm_access={"roles": ["b", "offline_access", "a"]}, n=[1.5]))
    assert answer == Principal(
        kind=PrincipalKind.USER,
        id="alice",
        tenant="acme",
        domain="emea",
        roles=("a", "b"),
        authentication=Authentication.JWT,
    )
    assert isinstance(answer, Principal)
    assert answer.claims["sub"] == "alice"
    assert isinstance(answer.claims["n"], tuple)


def test_a_request_without_credential_has_no_principal() -> None:
    assert ask() is None


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "bEaReR"])
def test_the_scheme_is_compared_without_case(scheme: str) -> None:
    assert isinstance(ask(bearer().replace("Bearer", scheme, 1)), Principal)


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic YTpi",
        "Digest x",
        "Token abc",
        "Bearer\tabc",
        " Bearer abc",
        "Bearer abc, Bearer abc",
        "Bearer \u00e9.\u00e9.\u00e9",
    ],
)
def test_authorization_without_a_bearer_token_is_malformed(authorization: str) -> None:
    assert reason(ask(authorization)) is Reason.TOKEN_MALFORMED


def test_a_joined_or_repeated_authorization_is_malformed() -> None:
    assert reason(ask(f"{bearer()}, {bearer()}")) is Reason.TOKEN_MALFORMED
    assert reason(ask(f"{bearer()},")) is Reason.TOKEN_MALFORMED
    assert reason(ask(bearer(), repeated=True)) is Reason.TOKEN_MALFORMED
    assert reason(ask(None, repeated=True)) is Reason.TOKEN_MALFORMED


def test_trailing_characters_are_malformed() -> None:
    for end in (" ", "\n", "\r\n", "\t", "\x00", "="):
        assert reason(ask(bearer() + end)) is Reason.TOKEN_MALFORMED


def test_two_credentials_are_a_conflict() -> None:
    assert reason(ask(bearer(), service_key=ROBOTS_KEY)) is Reason.CREDENTIALS_CONFLICT
    assert reason(ask("Basic x", service_key="key")) is Reason.CREDENTIALS_CONFLICT
    assert reason(ask(bearer(), service_key="")) is Reason.CREDENTIALS_CONFLICT
    assert reason(ask(bearer(), service_key_repeated=True)) is Reason.CREDENTIALS_CONFLICT


def test_a_service_key_is_looked_up() -> None:
    assert ask(service_key=ROBOTS_KEY) == ROBOT
    assert reason(ask(service_key=key_text(ROBOT_ID, bytes(32)))) is Reason.API_KEY_INVALID
    assert reason(ask(service_key="key")) is Reason.API_KEY_INVALID
    assert reason(ask(service_key="")) is Reason.API_KEY_INVALID
    assert reason(ask(service_key_repeated=True)) is Reason.API_KEY_INVALID


def test_without_oidc_tokens_are_not_read_at_all() -> None:
    policy = TokenPolicy(oidc_enabled=False)
    assert ask(bearer(), policy=policy) is None
    assert ask("garbage", policy=policy, repeated=True) is None
    assert ask(bearer(), service_key=ROBOTS_KEY, policy=policy) == ROBOT


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"iss": "https://other.example.test"}, Reason.TOKEN_UNKNOWN_ISSUER),
        ({"iss": ISSUER + "/"}, Reason.TOKEN_UNKNOWN_ISSUER),
        ({"iss": ISSUER.upper()}, Reason.TOKEN_UNKNOWN_ISSUER),
        ({"iss": None}, Reason.TOKEN_CLAIMS_INVALID),
        ({"iss": ""}, Reason.TOKEN_CLAIMS_INVALID),
        ({"iss": [ISSUER]}, Reason.TOKEN_CLAIMS_INVALID),
        ({"sub": None}, Reason.TOKEN_CLAIMS_INVALID),
        ({"sub": ""}, Reason.TOKEN_CLAIMS_INVALID),
        ({"sub": 7}, Reason.TOKEN_CLAIMS_INVALID),
        ({"sub": "alice\r\nx-auth-subject: root"}, Reason.TOKEN_CLAIMS_INVALID),
        ({"sub": "alice\u200b"}, Reason.TOKEN_CLAIMS_INVALID),
        ({"aud": None}, Reason.TOKEN_WRONG_AUDIENCE),
        ({"aud": "other"}, Reason.TOKEN_WRONG_AUDIENCE),
        ({"aud": []}, Reason.TOKEN_WRONG_AUDIENCE),
        ({"aud": ["other", "another"]}, Reason.TOKEN_WRONG_AUDIENCE),
        ({"aud": AUDIENCE.upper()}, Reason.TOKEN_WRONG_AUDIENCE),
        ({"aud": {AUDIENCE: 1}}, Reason.TOKEN_CLAIMS_INVALID),
        ({"aud": [AUDIENCE, 1]}, Reason.TOKEN_CLAIMS_INVALID),
        ({"aud": 1}, Reason.TOKEN_CLAIMS_INVALID),
        ({"exp": None}, Reason.TOKEN_CLAIMS_INVALID),
        ({"exp": str(int(NOW) + 600)}, Reason.TOKEN_CLAIMS_INVALID),
        ({"exp": True}, Reason.TOKEN_CLAIMS_INVALID),
        ({"exp": -1}, Reason.TOKEN_CLAIMS_INVALID),
        ({"exp": 10**15}, Reason.TOKEN_CLAIMS_INVALID),
        ({"exp": 10**300}, Reason.TOKEN_CLAIMS_INVALID),
        ({"exp": 1e300}, Reason.TOKEN_CLAIMS_INVALID),
        ({"exp": [NOW + 600]}, Reason.TOKEN_CLAIMS_INVALID),
        ({"exp": math.inf}, Reason.TOKEN_MALFORMED),
        ({"exp": math.nan}, Reason.TOKEN_MALFORMED),
        ({"nbf": "0"}, Reason.TOKEN_CLAIMS_INVALID),
        ({"iat": "0"}, Reason.TOKEN_CLAIMS_INVALID),
        ({"iat": False}, Reason.TOKEN_CLAIMS_INVALID),
        ({"exp": NOW - 10}, Reason.TOKEN_EXPIRED),
        ({"exp": 0}, Reason.TOKEN_EXPIRED),
        ({"nbf": NOW + 10.5}, Reason.TOKEN_NOT_YET_VALID),
        ({"iat": NOW + 10.5}, Reason.TOKEN_NOT_YET_VALID),
        ({"dom": "*"}, Reason.TOKEN_CLAIMS_INVALID),
        ({"dom": ["emea"]}, Reason.TOKEN_CLAIMS_INVALID),
        ({"realm_access": {"roles": {"a": 1}}}, Reason.TOKEN_CLAIMS_INVALID),
    ],
)
def test_claims_that_do_not_hold_are_refused(changes: dict[str, object], expected: Reason) -> None:
    assert reason(ask(bearer(**changes))) is expected


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": ["other", AUDIENCE]},
        {"exp": NOW - 9.5},
        {"exp": NOW + 0.25},
        {"nbf": NOW + 10},
        {"iat": NOW + 10},
        {"iat": None},
        {"nbf": 0},
    ],
)
def test_claims_that_just_hold_are_accepted(changes: dict[str, object]) -> None:
    assert isinstance(ask(bearer(**changes)), Principal)


def test_any_audience_is_accepted_only_where_the_operator_wrote_it_out() -> None:
    ring = ring_with(config=replace(CONFIG, audiences=None))
    assert isinstance(ask(bearer(aud=None), ring=ring), Principal)
    assert isinstance(ask(bearer(aud="other"), ring=ring), Principal)
    assert reason(ask(bearer(aud=1), ring=ring)) is Reason.TOKEN_CLAIMS_INVALID
    assert reason(ask(bearer(), ring=ring_with(config=replace(CONFIG, audiences=())))) is (
        Reason.TOKEN_WRONG_AUDIENCE
    )


def test_a_maximum_lifetime_needs_iat_and_is_kept() -> None:
    policy = replace(POLICY, max_lifetime=660.0)
    assert isinstance(ask(bearer(), policy=policy), Principal)
    assert reason(ask(bearer(exp=NOW + 601), policy=policy)) is Reason.TOKEN_CLAIMS_INVALID
    assert reason(ask(bearer(iat=None), policy=policy)) is Reason.TOKEN_CLAIMS_INVALID


@pytest.mark.parametrize("leeway", [-1.0, 30.5, math.inf, math.nan])
def test_a_leeway_beyond_thirty_seconds_cannot_be_configured(leeway: float) -> None:
    with pytest.raises(ValueError, match="leeway"):
        TokenPolicy(leeway=leeway)


def test_a_changed_token_has_a_bad_signature() -> None:
    header, payload, signature = bearer().removeprefix("Bearer ").split(".")
    other = bearer(sub="root").removeprefix("Bearer ").split(".")
    assert reason(ask(f"Bearer {header}.{other[1]}.{signature}")) is Reason.TOKEN_BAD_SIGNATURE
    assert reason(ask(f"Bearer {header}.{payload}.AAAA")) is Reason.TOKEN_BAD_SIGNATURE


def test_the_claims_of_a_forged_token_are_not_judged() -> None:
    forger = SigningKey.es256("ec", serial=1)
    assert reason(ask(bearer(forger, exp=1, aud="other", sub=""))) is Reason.TOKEN_BAD_SIGNATURE


def test_the_algorithm_must_be_the_keys() -> None:
    assert reason(ask(f"Bearer {EC.sign(claims(), kid='rsa')}")) is Reason.TOKEN_ALGORITHM
    assert reason(ask(f"Bearer {EC.sign(claims(), alg='RS256')}")) is Reason.TOKEN_ALGORITHM


def test_key_headers_of_a_token_are_ignored() -> None:
    embedded = OTHER.jwk()
    header = {"jwk": embedded, "jku": "https://evil.test/jwks", "x5u": "https://evil.test/x", "x5c": ["AA"]}
    assert reason(ask(f"Bearer {OTHER.sign(claims(), kid='ec', **header)}")) is Reason.TOKEN_BAD_SIGNATURE
    assert isinstance(ask(f"Bearer {EC.sign(claims(), **header)}"), Principal)


def test_a_token_without_kid_needs_exactly_one_key_that_fits() -> None:
    compact = f"Bearer {EC.sign(claims(), kid=None)}"
    assert isinstance(ask(compact), Principal)
    two = ring_with(keys=key_set(EC, OTHER))
    assert reason(ask(compact, ring=two)) is Reason.TOKEN_UNKNOWN_KEY
    none = ring_with(keys=key_set(RSA), fetch_allowed_at=NOW)
    assert ask(compact, ring=none) == needs_key(None)


def test_a_kid_never_falls_back_to_another_key() -> None:
    nameless = key_set(SigningKey(None, "ES256", EC.private))
    assert reason(ask(bearer(), ring=ring_with(keys=nameless))) is Reason.TOKEN_UNKNOWN_KEY
    assert reason(ask(f"Bearer {EC.sign(claims(), kid='')}")) is Reason.TOKEN_UNKNOWN_KEY


def test_keys_of_one_issuer_never_verify_for_another() -> None:
    other = replace(CONFIG, issuer="https://other.example.test", tenant="globex")
    ring = KeyRing.of([KEYS, replace(KEYS, config=other, keys=key_set(OTHER))])
    crossed = bearer(EC, iss=other.issuer)
    assert reason(ask(crossed, ring=ring)) is Reason.TOKEN_UNKNOWN_KEY
    same_kid = SigningKey("other", "ES256", EC.private)
    assert reason(ask(bearer(same_kid, iss=other.issuer), ring=ring)) is Reason.TOKEN_BAD_SIGNATURE
    answer = ask(bearer(OTHER, iss=other.issuer), ring=ring)
    assert isinstance(answer, Principal)
    assert answer.tenant == "globex"


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
    def test_a_changed_registration_is_judged_anew(self, changed: KeyRing, expected: Reason) -> None:
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

    def test_bytes_are_bounded(self) -> None:
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


def test_an_overlong_token_is_refused_before_it_is_read() -> None:
    policy = replace(POLICY, max_bytes=100)
    assert reason(ask("Bearer " + "a" * 101, policy=policy)) is Reason.TOKEN_MALFORMED
    assert reason(ask(bearer(), policy=policy)) is Reason.TOKEN_MALFORMED


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
