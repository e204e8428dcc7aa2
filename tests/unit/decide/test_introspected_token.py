"""Opaque tokens in `judge`: whose provider is asked, and that it is asked only where a token needs it."""

from dataclasses import replace

import pytest

from extauthz.compile.directory import Directory
from extauthz.decide.identity import Keys
from extauthz.decide.introspected_token import read_answer
from extauthz.decide.judge import CheckPolicy, judge
from extauthz.decide.needs import Needs, NeedsIntrospection
from extauthz.decide.tokens.cache import VerifiedTokens
from extauthz.decide.tokens.introspection import Introspected, IntrospectedTokens
from extauthz.decide.tokens.keyring import IntrospectionRule, IssuerConfig, IssuerKeys, KeyRing
from extauthz.domain.credential import BearerToken, PresentedServiceKey, VerifiedClaims
from extauthz.domain.principal import Authentication
from extauthz.domain.reasons import Reason
from extauthz.domain.request import CheckedRequest, ContextTarget
from extauthz.domain.tenancy import TenancyMode, TenantBinding
from extauthz.domain.verdict import Allowed, Denied, Verdict
from tests.builders import request_facts
from tests.real_service import snapshot_of
from tests.tokens import AUDIENCE, NOW

TOKEN = "opaque-token"
TENANTS = ("acme", "globex")
POLICIES = {
    "resources": [
        {
            "name": "invoice:read",
            "serviceName": "billing",
            "routes": [{"methods": ["GET"], "path": "/v1/invoices/{id}"}],
        }
    ],
    "role_rules": [
        {"id": "all", "sub": "*", "dom": "*", "obj": "invoice:read", "act": "read", "effect": "allow"}
    ],
}
REMEMBERED = IntrospectedTokens(b"secret")


def issuer_of(tenant: str, **changes: object) -> IssuerConfig:
    config = IssuerConfig.usual(
        f"https://{tenant}.example", tenant, (AUDIENCE,), "roles", "dom", "adm", frozenset()
    )
    return replace(config, introspection=IntrospectionRule(60.0), **changes)  # type: ignore[arg-type]


RING = KeyRing.of([IssuerKeys(issuer_of(tenant)) for tenant in TENANTS])


def directory(*tenants: str, suspended: frozenset[str] = frozenset()) -> Directory:
    return Directory(
        TenancyMode.SAAS,
        {tenant: replace(snapshot_of(POLICIES), tenant=tenant) for tenant in tenants},
        confirmed_at=NOW,
        hosts={f"{tenant}.local": tenant for tenant in TENANTS},
        suspended=suspended,
    )


def ask(
    host: str,
    *,
    ring: KeyRing = RING,
    answer: Introspected | None = None,
    where: Directory | None = None,
    context: ContextTarget = ContextTarget(),  # noqa: B008 - frozen
    binding: TenantBinding = TenantBinding.HOST,
) -> Verdict | Needs:
    facts = request_facts(context=context)._replace(host=host)
    keys = Keys(ring, {}, VerifiedTokens(), introspected=REMEMBERED, answer=answer)
    policy = CheckPolicy(binding=binding)
    request = CheckedRequest(facts, [BearerToken(TOKEN)])
    return judge(request, where or directory(*TENANTS), keys, policy, "the-id", NOW)


def answered(tenant: str) -> Introspected:
    config = RING.introspecting[tenant]
    said = {"active": True, "sub": "alice", "aud": AUDIENCE, "exp": int(NOW) + 60}
    return read_answer(REMEMBERED.key_of(config.issuer, TOKEN), said, config, NOW)


@pytest.mark.parametrize("tenant", TENANTS)
def test_the_provider_of_the_owner_of_the_target_is_asked(tenant: str) -> None:
    found = ask(f"{tenant}.local")
    assert isinstance(found, NeedsIntrospection)
    assert found.config.tenant == tenant
    allowed = ask(f"{tenant}.local", answer=answered(tenant))
    assert isinstance(allowed, Allowed)
    assert allowed.principal.tenant == tenant
    assert allowed.principal.authentication is Authentication.INTROSPECTION


def test_an_answer_of_one_provider_does_not_count_for_another_tenant() -> None:
    found = ask("globex.local", answer=answered("acme"))
    assert isinstance(found, NeedsIntrospection)
    assert found.config.tenant == "globex"


def test_a_remembered_answer_counts_at_its_own_tenant_alone() -> None:
    REMEMBERED.remember(answered("acme"))
    assert isinstance(ask("acme.local"), Allowed)
    assert isinstance(ask("globex.local"), NeedsIntrospection)


def test_the_proxy_may_name_the_owner() -> None:
    found = ask("elsewhere.local", context=ContextTarget(tenant="globex"))
    assert isinstance(found, NeedsIntrospection)
    assert found.config.tenant == "globex"


@pytest.mark.parametrize("binding", TenantBinding)
def test_without_an_owner_no_provider_is_asked(binding: TenantBinding) -> None:
    found = ask("elsewhere.local", binding=binding)
    assert isinstance(found, Denied)
    assert found.reason is Reason.TOKEN_MALFORMED


def test_without_an_introspecting_provider_of_the_owner_no_other_is_asked() -> None:
    ring = KeyRing.of([IssuerKeys(issuer_of("acme"))])
    found = ask("globex.local", ring=ring)
    assert isinstance(found, Denied)
    assert found.reason is Reason.TOKEN_MALFORMED


def test_a_suspended_owner_stays_suspended() -> None:
    where = directory(*TENANTS, suspended=frozenset({"acme"}))
    found = ask("acme.local", answer=answered("acme"), where=where)
    assert isinstance(found, Denied)
    assert found.reason is Reason.TENANT_SUSPENDED


def test_two_credentials_are_a_conflict_before_any_question() -> None:
    keys = Keys(RING, {}, VerifiedTokens(), introspected=REMEMBERED)
    facts = request_facts()._replace(host="acme.local")
    request = CheckedRequest(facts, [BearerToken(TOKEN), PresentedServiceKey("x")])
    found = judge(request, directory(*TENANTS), keys, CheckPolicy(), "the-id", NOW)
    assert isinstance(found, Denied)
    assert found.reason is Reason.CREDENTIALS_CONFLICT


def test_claims_of_the_proxy_do_not_replace_an_introspection() -> None:
    config = issuer_of("acme")
    config = replace(config, introspection=IntrospectionRule(60.0, every_token=True))
    keys = Keys(KeyRing.of([IssuerKeys(config)]), {}, VerifiedTokens(), introspected=REMEMBERED)
    said = {"iss": config.issuer, "sub": "alice", "aud": AUDIENCE, "exp": int(NOW) + 60}
    request = CheckedRequest(request_facts()._replace(host="acme.local"), [VerifiedClaims(said)])
    found = judge(request, directory(*TENANTS), keys, CheckPolicy(), "the-id", NOW)
    assert isinstance(found, Denied)
    assert found.reason is Reason.TOKEN_MALFORMED


def test_remembered_answers_are_bounded_and_floods_replace_no_active_one() -> None:
    tokens = IntrospectedTokens(b"secret", max_active=10, max_refused=10, max_bytes=100_000)
    config = RING.introspecting["acme"]
    active = answered("acme")
    tokens.remember(replace(active, key=b"active"))
    refusal = read_answer(b"", {"active": False}, config, NOW)
    for number in range(1000):
        tokens.remember(replace(refusal, key=str(number).encode()))
    assert len(tokens) <= 11
    assert tokens.find(b"active", config, NOW) is active.found
    for number in range(1000):
        tokens.remember(replace(active, key=str(number).encode()))
    assert len(tokens) <= 20
    small = IntrospectedTokens(b"secret", max_bytes=1_000)
    small.remember(replace(active, key=b"active"))
    assert len(small) == 0
