"""`authentication: none`: no credential of the request is looked at, wherever it is."""

import pytest

from extauthz.compile.directory import Directory
from extauthz.decide.bearer_token import TokenPolicy
from extauthz.decide.identity import Keys
from extauthz.decide.judge import CheckPolicy, judge, judge_identified
from extauthz.decide.tokens.cache import VerifiedTokens
from extauthz.decide.tokens.keyring import KeyRing
from extauthz.decide.tokens.reader import Rejected
from extauthz.domain.credential import (
    BearerToken,
    Credential,
    OtherScheme,
    PresentedServiceKey,
    RepeatedHeader,
    VerifiedClaims,
)
from extauthz.domain.path import CanonicalPath
from extauthz.domain.principal import ANONYMOUS
from extauthz.domain.reasons import Reason
from extauthz.domain.request import CheckedRequest
from extauthz.domain.tenancy import DEFAULT_TENANT, TenancyMode, TenantBinding
from extauthz.domain.verdict import Allowed, Denied
from tests.builders import ALICE, request_facts
from tests.real_service import snapshot_of
from tests.tokens import NOW

ANYONE = {"id": "anyone", "sub": "anonymous", "dom": "*", "obj": "open", "act": "access", "effect": "allow"}
POLICIES = {
    "resources": [
        {
            "name": "open",
            "serviceName": "s",
            "routes": [{"methods": ["*"], "path": "/open", "authentication": "none"}],
        }
    ],
    "role_rules": [ANYONE],
}
CREDENTIALS: list[Credential] = [
    BearerToken("a.b.c"),
    BearerToken(""),
    OtherScheme(),
    PresentedServiceKey("sak_live_x"),
    VerifiedClaims({}),
    RepeatedHeader("authorization"),
    RepeatedHeader("x-service-api-key"),
]
KEYS = Keys(KeyRing({}), {}, VerifiedTokens(), verify_first_seen=False)
PATH = CanonicalPath.parse("/open")
assert isinstance(PATH, CanonicalPath)
FACTS = request_facts()._replace(path=PATH)


@pytest.mark.parametrize("credentials", [[], *([one] for one in CREDENTIALS), CREDENTIALS])
@pytest.mark.parametrize("oidc_enabled", [True, False])
def test_each_caller_is_anonymous(credentials: list[Credential], *, oidc_enabled: bool) -> None:
    where = Directory(TenancyMode.SELFHOST, {DEFAULT_TENANT: snapshot_of(POLICIES)}, confirmed_at=NOW)
    policy = CheckPolicy(TokenPolicy(oidc_enabled=oidc_enabled))

    verdict = judge(CheckedRequest(FACTS, credentials, "spiffe://a/b"), where, KEYS, policy, "the-id", NOW)

    assert isinstance(verdict, Allowed)
    assert verdict.principal is ANONYMOUS


def test_a_route_that_only_the_token_leads_to_has_read_the_token() -> None:
    """`TENANT_BINDING=token`: the credential names the tenant, so it is judged, and its principal counts."""
    where = Directory(TenancyMode.SAAS, {DEFAULT_TENANT: snapshot_of(POLICIES)}, confirmed_at=NOW)
    policy = CheckPolicy(binding=TenantBinding.TOKEN)

    refused = judge_identified(FACTS, Rejected(Reason.TOKEN_EXPIRED, ""), where, policy, "the-id", NOW)
    found = judge_identified(FACTS, ALICE, where, policy, "the-id", NOW)

    assert isinstance(refused, Denied)
    assert refused.reason is Reason.TOKEN_EXPIRED
    assert found.principal is ALICE
    assert found.effect == "deny"
