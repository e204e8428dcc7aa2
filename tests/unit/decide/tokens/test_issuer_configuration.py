"""The effect of the configuration of an issuer on the judgement of its tokens."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from extauthz.decide.bearer_token import TokenPolicy
from extauthz.decide.identity import Keys, identify
from extauthz.decide.tokens.cache import VerifiedTokens
from extauthz.decide.tokens.jwks import ALGORITHMS, KeySet, parse_jwks
from extauthz.decide.tokens.keyring import IssuerConfig, IssuerKeys, KeyRing
from extauthz.decide.tokens.reader import Rejected
from extauthz.domain.claim_readings import DomainClaim, RoleClaim, RoleShape, ServiceClaim
from extauthz.domain.credential import VerifiedClaims
from extauthz.domain.principal import Principal, PrincipalKind
from extauthz.domain.reasons import Reason
from tests.asking import Answer, ask_with
from tests.tokens import AUDIENCE, ISSUER, NOW, SigningKey, claims, jwks

USUAL = IssuerConfig.usual(ISSUER, "acme", (AUDIENCE,), "roles", "dom", "adm", frozenset({"hidden"}))
KEY = SigningKey.rs256()


def ring_of(config: IssuerConfig, *keys: SigningKey) -> KeyRing:
    parsed = parse_jwks(jwks(*(keys or (KEY,))), algorithms=config.algorithms)
    assert isinstance(parsed, KeySet)
    return KeyRing.of([IssuerKeys(config, parsed, fetched_at=NOW - 10, fetch_allowed_at=NOW + 20)])


def judged(
    config: IssuerConfig,
    said: Mapping[str, object],
    *,
    key: SigningKey = KEY,
    cache: VerifiedTokens | None = None,
    now: float = NOW,
    **header: object,
) -> Answer:
    ring = ring_of(config, key)
    token = f"Bearer {key.sign(said, **header)}"
    policy = TokenPolicy(leeway=10.0)
    return ask_with(token, ring=ring, service_keys={}, cache=cache, now=now, policy=policy)


def principal(config: IssuerConfig, **said: object) -> Principal:
    answer = judged(config, claims(**said))
    assert isinstance(answer, Principal), answer
    return answer


def refused(config: IssuerConfig, **said: object) -> str:
    answer = judged(config, claims(**said))
    assert isinstance(answer, Rejected), answer
    assert answer.reason is Reason.TOKEN_CLAIMS_INVALID
    return answer.detail


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_an_algorithm_is_accepted_only_where_it_is_configured(algorithm: str) -> None:
    key = SigningKey.of(algorithm)
    config = replace(USUAL, algorithms=frozenset({algorithm}))
    assert isinstance(judged(config, claims(), key=key), Principal)
    others = replace(USUAL, algorithms=ALGORITHMS - {algorithm})
    answer = judged(others, claims(), key=key)
    assert isinstance(answer, Rejected)
    assert answer.reason is Reason.TOKEN_ALGORITHM


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS - {"RS256", "ES256"}))
def test_rs256_and_es256_alone_are_accepted_by_default(algorithm: str) -> None:
    answer = judged(USUAL, claims(), key=SigningKey.of(algorithm))
    assert isinstance(answer, Rejected)
    assert answer.detail == f"alg is neither RS256 nor ES256 but {algorithm}"


def test_an_algorithm_of_another_issuer_is_refused() -> None:
    other = replace(USUAL, issuer="https://other.test", algorithms=frozenset({"PS256"}))
    keys = parse_jwks(jwks(KEY))
    assert isinstance(keys, KeySet)
    ring = KeyRing.of([IssuerKeys(USUAL, keys), IssuerKeys(other, keys)])
    token = f"Bearer {SigningKey.of('PS256').sign(claims())}"
    answer = ask_with(token, ring=ring, service_keys={}, cache=None, now=NOW, policy=TokenPolicy())
    assert isinstance(answer, Rejected)
    assert answer.reason is Reason.TOKEN_ALGORITHM


def test_a_changed_signature_never_verifies() -> None:
    for algorithm in sorted(ALGORITHMS):
        key, other = SigningKey.of(algorithm), SigningKey.of(algorithm, serial=1)
        config = replace(USUAL, algorithms=frozenset({algorithm}))
        ring = ring_of(config, key)
        forged = f"Bearer {other.sign(claims())}"
        answer = ask_with(forged, ring=ring, service_keys={}, cache=None, now=NOW, policy=TokenPolicy())
        assert isinstance(answer, Rejected), algorithm
        assert answer.reason is Reason.TOKEN_BAD_SIGNATURE


@pytest.mark.parametrize(
    ("entry", "algorithms", "problem"),
    [
        (KEY.jwk(alg=None), {"PS256", "PS512"}, "alg is missing, and PS256, PS512 fit"),
        (KEY.jwk(), {"ES256"}, "no algorithm of the provider is for a key of this kind"),
        (KEY.jwk(alg="RS512"), {"RS256", "PS256"}, "alg is none of RS256, PS256"),
        (SigningKey.of("ES384").jwk(alg="ES256"), {"ES256", "ES384"}, "alg is not ES384"),
        (SigningKey.of("ES384").jwk(), {"ES256", "ES512"}, "crv is not P-256 or P-521"),
        (SigningKey.of("EdDSA").jwk(crv="Ed448"), {"EdDSA"}, "crv is not Ed25519"),
        (SigningKey.of("EdDSA").jwk(x="AAAA"), {"EdDSA"}, "x is not 32 octets in base64url"),
        (SigningKey.of("EdDSA").jwk(), {"RS256"}, "kty is neither RSA nor EC"),
        ({"kty": "oct", "k": "AAAA", "alg": "HS256"}, ALGORITHMS, "kty is neither RSA nor EC"),
    ],
)
def test_a_key_without_one_algorithm_is_ignored(
    entry: dict[str, object], algorithms: set[str], problem: str
) -> None:
    parsed = parse_jwks(jwks(entry), algorithms=algorithms)
    assert isinstance(parsed, KeySet)
    assert [key.problem for key in parsed.ignored] == [problem]


def test_an_rsa_key_without_alg_is_for_rs256_where_that_is_configured() -> None:
    parsed = parse_jwks(jwks(KEY.jwk(alg=None)), algorithms={"RS256", "PS256"})
    assert isinstance(parsed, KeySet)
    assert [key.algorithm for key in parsed.keys] == ["RS256"]


def test_an_alias_is_the_same_issuer() -> None:
    config = replace(USUAL, aliases=("idp.example",))
    assert principal(config, iss="idp.example").id == "alice"
    answer = judged(USUAL, claims(iss="idp.example"))
    assert isinstance(answer, Rejected)
    assert answer.reason is Reason.TOKEN_UNKNOWN_ISSUER


def test_a_remembered_token_of_an_alias_is_refused_after_the_alias_is_removed() -> None:
    cache = VerifiedTokens()
    said = claims(iss="idp.example")
    assert isinstance(judged(replace(USUAL, aliases=("idp.example",)), said, cache=cache), Principal)
    assert isinstance(judged(USUAL, said, cache=cache), Rejected)


def test_the_audience_may_be_in_another_claim() -> None:
    config = replace(USUAL, audience_claim="client_id")
    assert principal(config, aud=None, client_id=AUDIENCE).id == "alice"
    answer = judged(config, claims(client_id="another"))
    assert isinstance(answer, Rejected)
    assert answer.detail == "client_id does not contain the expected audience"


def test_the_subject_is_the_first_claim_that_is_there() -> None:
    config = replace(USUAL, subject_claims=("oid", "sub", "azp"))
    assert principal(config, oid="o-1").id == "o-1"
    assert principal(config, oid=None).id == "alice"
    assert principal(config, sub=None, azp="client").id == "client"
    assert refused(config, sub=None) == "oid and sub and azp are missing"
    assert refused(config, oid=["o-1"]) == "oid is a list, not a string"
    assert refused(config, oid="") == "oid is empty"


@pytest.mark.parametrize(
    ("service", "said", "kind"),
    [
        (ServiceClaim("client_id"), {"client_id": "batch"}, PrincipalKind.SERVICE),
        (ServiceClaim("client_id"), {}, PrincipalKind.USER),
        (ServiceClaim("idtyp", "app"), {"idtyp": "app"}, PrincipalKind.SERVICE),
        (ServiceClaim("idtyp", "app"), {"idtyp": "user"}, PrincipalKind.USER),
        (ServiceClaim("idtyp", "app"), {"idtyp": ["app"]}, PrincipalKind.USER),
        (None, {"client_id": "batch"}, PrincipalKind.USER),
    ],
)
def test_a_claim_makes_the_principal_a_service(
    service: ServiceClaim | None, said: dict[str, object], kind: PrincipalKind
) -> None:
    assert principal(replace(USUAL, service_claim=service), **said).kind is kind


@pytest.mark.parametrize(
    ("shape", "value", "roles"),
    [
        (RoleShape.LIST, ["b", "a"], ("a", "b")),
        (RoleShape.LIST, "a", ("a",)),
        (RoleShape.LIST, [], ()),
        (RoleShape.LIST, {"a": 1}, "claim 'roles' is an object, not a list of roles"),
        (RoleShape.LIST, ["a", ""], "claim 'roles' holds a role that is empty"),
        (RoleShape.STRING, "a", ("a",)),
        (RoleShape.STRING, ["a"], "claim 'roles' is a list, not one string"),
        (RoleShape.SPACE, "read write", ("read", "write")),
        (RoleShape.SPACE, "", ()),
        (RoleShape.SPACE, "a  b", "claim 'roles' holds a role that is empty"),
        (RoleShape.SPACE, ["a"], "claim 'roles' is a list, not a string of roles separated by spaces"),
        (RoleShape.COMMA, "a, b", ("a", "b")),
        (RoleShape.COMMA, "a,,b", "claim 'roles' holds a role that is empty"),
        (RoleShape.COMMA, 7, "claim 'roles' is a number, not a string of roles separated by commas"),
        (RoleShape.OBJECT_KEYS, {"b": {}, "a": {"org": "x"}}, ("a", "b")),
        (RoleShape.OBJECT_KEYS, {}, ()),
        (RoleShape.OBJECT_KEYS, {"a": False}, "claim 'roles' holds a role whose value is a boolean"),
        (RoleShape.OBJECT_KEYS, {"a": None}, "claim 'roles' holds a role whose value is null"),
        (RoleShape.OBJECT_KEYS, ["a"], "claim 'roles' is a list, not an object whose member names are roles"),
    ],
)
def test_roles_are_read_by_their_shape(shape: RoleShape, value: object, roles: tuple[str, ...] | str) -> None:
    config = replace(USUAL, roles=(RoleClaim("roles", shape),))
    if isinstance(roles, str):
        assert refused(config, roles=value) == roles
    else:
        assert principal(config, roles=value).roles == roles


def test_roles_of_several_claims_are_joined_and_prefixed() -> None:
    readings = (RoleClaim("roles"), RoleClaim("scope", RoleShape.SPACE, "scope:"))
    config = replace(USUAL, roles=readings, excluded_roles=frozenset({"scope:openid", "hidden"}))
    said = {"roles": ["clerk", "hidden"], "scope": "openid read"}
    assert principal(config, **said).roles == ("clerk", "scope:read")


@pytest.mark.parametrize(
    ("value", "domain"),
    [
        ("emea", "emea"),
        (["emea"], "emea"),
        ({"emea": {"id": "1"}}, "emea"),
        ([], None),
        ({}, None),
        (["emea", "apac"], "claim 'org' holds 2 domains, not one"),
        ({"emea": {}, "apac": {}}, "claim 'org' holds 2 domains, not one"),
        (["*"], "claim 'org' is the wildcard"),
        ([7], "claim 'org' is a number, not one string"),
    ],
)
def test_a_domain_may_be_the_only_entry_of_a_collection(value: object, domain: str | None) -> None:
    config = replace(USUAL, domain_claims=(DomainClaim("org", in_collection=True), DomainClaim("dom")))
    if domain is not None and domain.startswith("claim"):
        assert refused(config, org=value) == domain
    else:
        assert principal(config, org=value).domain == domain


def test_the_first_domain_claim_that_is_there_counts() -> None:
    config = replace(USUAL, domain_claims=(DomainClaim("org"), DomainClaim("dom")))
    assert principal(config, dom="emea").domain == "emea"
    assert principal(config, org="acme", dom="emea").domain == "acme"


def test_a_required_type_is_compared_as_a_media_type() -> None:
    config = replace(USUAL, required_type="at+jwt")
    assert isinstance(judged(config, claims(), typ="application/AT+jwt"), Principal)
    for typ in ("JWT", None):
        answer = judged(config, claims(), typ=typ)
        assert isinstance(answer, Rejected)
        assert answer.detail == "header: typ is not at+jwt"


def test_the_proxy_s_metadata_is_refused_where_a_type_is_required() -> None:
    """The metadata has the claims alone: whether the token was an access token is not known."""
    said = VerifiedClaims(claims())
    for config, accepted in ((USUAL, True), (replace(USUAL, required_type="at+jwt"), False)):
        keys = Keys(ring_of(config), {}, VerifiedTokens())
        answer = identify([said], None, keys, NOW, TokenPolicy())
        assert isinstance(answer, Principal) is accepted, answer


def test_leeway_and_lifetime_of_an_issuer_win_over_the_settings() -> None:
    strict = replace(USUAL, leeway=0.0, max_lifetime=300.0)
    said = claims(iat=int(NOW) - 10, exp=int(NOW))
    assert isinstance(judged(USUAL, said), Principal)
    answer = judged(strict, said)
    assert isinstance(answer, Rejected)
    assert answer.reason is Reason.TOKEN_EXPIRED
    assert "more than 300 s" in refused(strict, iat=int(NOW) - 10, exp=int(NOW) + 600)


def test_a_remembered_token_ends_by_the_leeway_of_its_issuer() -> None:
    cache, config = VerifiedTokens(), replace(USUAL, leeway=0.0)
    said = claims(iat=int(NOW) - 10, exp=int(NOW) + 1)
    assert isinstance(judged(config, said, cache=cache), Principal)
    answer = judged(config, said, cache=cache, now=NOW + 2)
    assert isinstance(answer, Rejected)
    assert answer.reason is Reason.TOKEN_EXPIRED
