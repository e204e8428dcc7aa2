"""Credentials that name, imitate or mix other tenants, through real Envoy, identify their own tenant or none.

As in the matrix, that only what was granted reached the upstream is asserted for every request.
"""

from itertools import permutations, product
from typing import Any

import pytest

from tests.e2e.tenant_doors import DOORS, UNOWNED
from tests.e2e.tenant_firms import FIRMS, NAMING, refused
from tests.e2e.tenant_mesh import TenantMesh
from tests.tokens import SigningKey


@pytest.mark.parametrize("door", DOORS)
def test_claims_choose_no_tenant(tenants: TenantMesh, door: str) -> None:
    for caller, other in permutations(FIRMS, 2):
        firm, named = tenants.firms[caller], tenants.firms[other]
        every: dict[str, Any] = dict.fromkeys(NAMING, other)
        claims: list[dict[str, Any]] = [{name: other} for name in NAMING] + [
            every, every | {"groups": [other], "act": {"iss": named.provider.issuer, "tenant": other}},
            {"tenant": [caller, other]}, {"tenant": {"id": other}}, {"aud": ["extauthz", other, named.host]},
            {"realm_access": {"roles": [other]}}, {"adm": "*", "tenant": other},
        ]  # fmt: skip
        for changes, member in product(claims, ("alice", "bob", "carol")):
            credential = firm.credential(member, **changes)
            assert tenants.ask(firm.host, credential, door=door) == firm.orders(member), (
                caller,
                other,
                changes,
            )
            assert tenants.ask(named.host, credential, door=door) == refused("tenant_mismatch"), changes


@pytest.mark.parametrize("door", DOORS)
def test_headers_choose_no_tenant(tenants: TenantMesh, door: str) -> None:
    for caller, other in permutations(FIRMS, 2):
        firm, named = tenants.firms[caller], tenants.firms[other]
        for name in (
            "x-auth-tenant", "x-tenant", "x-tenant-id", "x-forwarded-host", "x-original-host",
            "x-envoy-original-host", "x-host", "forwarded",
        ):  # fmt: skip
            for value in (other, named.host, f"host={named.host}"):
                line = f"{name}: {value}".encode()
                seen = tenants.ask(firm.host, firm.credential("alice"), line, door=door)
                assert seen == firm.orders("alice"), (caller, line)
                seen = tenants.ask(named.host, firm.credential("alice"), line, door=door)
                assert seen == refused("tenant_mismatch"), (caller, line)
                line = f"{name}: {value.replace(other, caller)}".encode()
                seen = tenants.ask(named.host, firm.credential("alice"), line, door=door)
                assert seen == refused("tenant_mismatch"), (caller, line)


@pytest.mark.parametrize("door", DOORS)
def test_a_tenant_cannot_sign_tokens_of_the_issuer_of_another(tenants: TenantMesh, door: str) -> None:
    for signer, named in permutations(FIRMS, 2):
        firm, other = tenants.firms[signer], tenants.firms[named]
        issuer = other.provider.issuer
        own_kid = SigningKey("of " + signer, firm.signing.algorithm, firm.signing.private)
        forged: dict[str, list[dict[str, Any]]] = {
            # Every tenant's key has the same id: the issuer selects whose is meant.
            "token_bad_signature": [{"iss": issuer}],
            "token_unknown_key": [{"iss": issuer, "signing": own_kid}, {"signing": own_kid}],
            "token_unknown_issuer": [
                {"iss": f"{issuer}/"}, {"iss": issuer.upper()}, {"iss": f" {issuer}"}, {"iss": named},
                {"iss": other.provider.jwks_uri}, {"iss": other.host},
            ],
            "token_claims_invalid": [{"iss": [issuer]}, {"iss": [firm.provider.issuer, issuer]}, {"iss": ""}],
        }  # fmt: skip
        for (reason, tokens), host in product(forged.items(), (firm.host, other.host, UNOWNED)):
            for changes in tokens:
                seen = tenants.ask(host, firm.credential("alice", **changes), door=door)
                assert seen == refused(reason), (signer, named, changes)
            for header in ({"header_jku": firm.provider.jwks_uri}, {"header_jwk": firm.signing.jwk()}):
                credential = firm.credential("alice", iss=issuer, **header)
                assert tenants.ask(host, credential, door=door).status == 401


def test_keys_are_their_tenants_and_whole(tenants: TenantMesh) -> None:
    for caller, other in permutations(FIRMS, 2):
        firm, named = tenants.firms[caller], tenants.firms[other]
        own, foreign = firm.robot.rpartition("_"), named.robot.rpartition("_")
        bad = [
            f"{own[0]}_{foreign[2]}", f"{foreign[0]}_{own[2]}", firm.bootstrap, named.bootstrap,
            firm.robot_id, firm.robot.upper(), f"{firm.robot},{named.robot}",
        ]  # fmt: skip
        for key, door in product(bad, DOORS):
            seen = tenants.ask(firm.host, b"x-service-api-key: " + key.encode(), door=door)
            assert seen == refused("api_key_invalid"), key
        both = (firm.credential("alice"), named.credential("robot"))
        for host, lines in product((firm.host, named.host), (both, both[::-1])):
            assert tenants.ask(host, *lines) == refused("credentials_conflict")
        twice = (firm.credential("robot"), named.credential("robot"))
        for host, lines in product((firm.host, named.host), (twice, twice[::-1])):
            assert tenants.ask(host, *lines) == refused("api_key_invalid")
        as_token = b"authorization: Bearer " + named.robot.encode()
        assert tenants.ask(named.host, as_token) == refused("token_malformed")
