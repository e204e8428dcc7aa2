"""Fuzzes claims of every JSON type in every place: nothing raises, no role is dropped, no binding ignored."""

import base64
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st

from extauthz.decide.bearer_token import TokenPolicy, judge_registered, principal_of
from extauthz.decide.tokens.certificate_binding import binding_problem, confirmation
from extauthz.decide.tokens.claims import ClaimRejected, administered_domains
from extauthz.decide.tokens.keyring import IssuerConfig
from extauthz.decide.tokens.reader import Rejected
from extauthz.domain.claim_readings import AdminRole, DomainClaim, RoleClaim, RoleShape, ServiceClaim
from extauthz.domain.claims import ABSENT, claim_at
from extauthz.domain.names import name_problem
from extauthz.domain.principal import Principal
from tests.certificates import Authority, thumbprint
from tests.fuzz.rounds import fuzzing, keep_fuzzing, mutated
from tests.tokens import AUDIENCE, ISSUER, NOW, claims

PATHS = ["a", "a.b", "a.b.c", "b", "sub", "https://x.example/roles", "a.https://x.example/roles"]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.decimals(allow_nan=False, allow_infinity=False).map(Decimal),
    st.text(max_size=6),
    st.sampled_from(["", "*", "admin", "a b", "a,b", " ", "anonymous", "é", "x\n", "\u200b", "n" * 300]),
)
NAMES = st.sampled_from(["a", "b", "c", "a.b", "b.c", "https://x.example/roles", "sub"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=10,
)
DOCUMENTS = st.dictionaries(NAMES, VALUES, max_size=4)
CONFIGS = st.builds(
    lambda roles, domains, subjects, service, admins, bound, audience: IssuerConfig(
        issuer=ISSUER,
        tenant="default",
        audiences=(AUDIENCE,),
        roles=tuple(roles),
        domain_claims=tuple(domains),
        admin_domain_claim="adm",
        excluded_roles=frozenset({"hidden"}),
        subject_claims=tuple(subjects),
        service_claim=service,
        admin_roles=tuple(admins),
        require_bound=bound,
        audience_claim=audience,
    ),
    st.lists(
        st.builds(RoleClaim, st.sampled_from(PATHS), st.sampled_from(RoleShape), st.sampled_from(["", "p:"])),
        max_size=3,
    ),
    st.lists(st.builds(DomainClaim, st.sampled_from(PATHS), st.booleans()), max_size=2),
    st.lists(st.sampled_from(PATHS), min_size=1, max_size=3),
    st.none() | st.builds(ServiceClaim, st.sampled_from(PATHS), st.none() | st.just("admin")),
    st.lists(st.builds(AdminRole, st.just("admin"), st.sampled_from(["*", "emea"])), max_size=1),
    st.booleans(),
    st.sampled_from(["aud", "a"]),
)


def names_of(found: object, shape: RoleShape) -> list[object] | None:
    """Return the roles in a claim, by a plain reading of its shape; None: it has another form."""
    if found is ABSENT:
        return []
    if shape in (RoleShape.LIST, RoleShape.STRING) and isinstance(found, str):
        return [found]
    if shape is RoleShape.LIST and isinstance(found, list):
        return found
    if shape is RoleShape.SPACE and isinstance(found, str):
        return list(found.split(" ")) if found else []
    if shape is RoleShape.COMMA and isinstance(found, str):
        return [each.strip(" ") for each in found.split(",")] if found else []
    if shape is RoleShape.OBJECT_KEYS and isinstance(found, dict):
        return list(found)
    return None


@fuzzing
@given(DOCUMENTS, CONFIGS)
def any_claims_by_any_reading(document: dict[str, Any], config: IssuerConfig) -> None:
    said = claims() | document
    registered = judge_registered(said, config, now=NOW, policy=TokenPolicy())
    if isinstance(registered, Rejected):
        assert registered.detail
        return
    assert name_problem(registered.subject) is None
    found = principal_of(said, registered, config)
    if isinstance(found, ClaimRejected):
        assert found.problem
        return
    assert isinstance(found, Principal)
    assert found.tenant == "default"
    expected: set[str] = set()
    for reading in config.roles:
        names = names_of(claim_at(said, reading.claim), reading.shape)
        # INVARIANT: a role that cannot be read refuses the token.
        assert names is not None
        assert all(isinstance(name, str) and name for name in names)
        expected |= {reading.prefix + str(name) for name in names}
    assert set(found.roles) == expected - {"hidden"}
    assert found.domain is None or (name_problem(found.domain) is None and found.domain != "*")
    assert not config.require_bound
    administers = administered_domains(said, found.roles, "adm", config.admin_roles)
    assert administers <= {each.domain for each in config.admin_roles}
    assert not administers or "admin" in found.roles


AUTHORITY = Authority("fuzz")
OURS, OTHER = AUTHORITY.issue("ours"), AUTHORITY.issue("other")
CERTIFICATES = [quote(OURS.chain.decode()).encode(), OURS.chain, quote(OTHER.chain.decode()).encode(), b""]
OUR_THUMBPRINT = thumbprint(OURS)


@fuzzing
@given(
    mutated(CERTIFICATES, [b"%", b"%0A", b"-----BEGIN CERTIFICATE-----", b"=", b"\0", b"\xff", b"A", b"\n"])
)
def changed_certificates(certificate: bytes) -> None:
    if binding_problem(OUR_THUMBPRINT, certificate) is None:
        # What it holds are exactly the octets of our certificate, in whatever spelling.
        text = OURS.chain.decode()
        inner = "".join(text.split("-----")[2].split())
        assert base64.b64decode(inner)
        assert binding_problem(thumbprint(OTHER), certificate) is not None


@fuzzing
@given(
    st.one_of(
        VALUES,
        st.dictionaries(
            st.sampled_from(["x5t#S256", "jkt", "jwk"]), st.one_of(VALUES, st.just("A" * 43)), max_size=2
        ),
    ),
    st.booleans(),
)
def any_confirmation(found: object, required: bool) -> None:
    read = confirmation({"cnf": found}, required=required)
    if read is None:
        assert found is None
        assert not required
    elif isinstance(read, str):
        assert found == {"x5t#S256": read}
    else:
        assert read.problem


def test_no_claim_is_read_as_fewer_roles_or_as_another_domain() -> None:
    keep_fuzzing(any_claims_by_any_reading)


def test_a_bound_token_is_never_taken_for_a_bearer_token() -> None:
    keep_fuzzing(changed_certificates, any_confirmation)
