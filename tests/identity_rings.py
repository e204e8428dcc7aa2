"""Key rings of one issuer, and what the identity tests ask them."""

from dataclasses import replace

from extauthz.decide.bearer_token import TokenPolicy
from extauthz.decide.needs import NOT_FETCHED, NeedsKey
from extauthz.decide.tokens.cache import VerifiedTokens
from extauthz.decide.tokens.jwks import KeySet, parse_jwks
from extauthz.decide.tokens.keyring import IssuerConfig, IssuerKeys, KeyRing
from extauthz.decide.tokens.reader import Rejected
from extauthz.domain.principal import Authentication, Principal, PrincipalKind
from extauthz.domain.reasons import Reason
from extauthz.domain.service_key import IdentityKey, key_text, secret_digest
from tests.asking import Answer, ask_with
from tests.tokens import AUDIENCE, ISSUER, NOW, SigningKey, claims, jwks

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
