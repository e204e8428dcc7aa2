"""One request judged: the members of a verdict, and the reasons that come before any rule."""

import time
from collections.abc import Mapping
from dataclasses import replace

import pytest

from extauthz.compile.directory import Directory
from extauthz.decide.bearer_token import TokenPolicy
from extauthz.decide.identity import Keys
from extauthz.decide.judge import CheckPolicy, judge, judge_identified
from extauthz.decide.needs import NeedsKey, NeedsVerification
from extauthz.decide.tokens.cache import VerifiedTokens
from extauthz.decide.tokens.keyring import IssuerKeys, KeyRing
from extauthz.decide.tokens.reader import Rejected
from extauthz.domain.credential import BearerToken
from extauthz.domain.principal import Authentication, Principal, PrincipalKind
from extauthz.domain.reasons import Effect, Reason
from extauthz.domain.request import CheckedRequest, ContextTarget
from extauthz.domain.tenancy import DEFAULT_TENANT, TenancyMode
from extauthz.domain.verdict import Denied, Verdict
from tests.builders import ALICE, request_facts
from tests.real_service import CONFIG, snapshot_of, token
from tests.tokens import NOW

POLICIES = {
    "resources": [
        {
            "name": "invoice:read",
            "serviceName": "billing",
            "routes": [{"methods": ["GET"], "path": "/v1/invoices/{id}", "authentication": "optional"}],
        }
    ],
    "role_rules": [
        {"id": "all", "sub": "anonymous", "dom": "*", "obj": "invoice:read", "act": "read", "effect": "allow"}
    ],
    "attribute_policies": [
        {
            "id": "own",
            "name": "by what it names",
            "resource": "invoice:read",
            "effect": "allow",
            "rule_data": {
                "type": "OR",
                "conditions": [
                    {"type": "CONDITION", "attribute": name, "operator": "eq", "value": "x"}
                    for name in ("resource.id", "user.id", "action", "resource.service")
                ],
            },
        }
    ],
}


def directory(*, age_s: float = 0.0, policies: Mapping[str, object] = POLICIES) -> Directory:
    snapshots = {DEFAULT_TENANT: snapshot_of(policies)}
    return Directory(TenancyMode.SELFHOST, snapshots, confirmed_at=NOW - age_s, epoch="epoch-7")


def verdict(
    found: Principal | Rejected | None = None,
    *,
    where: Directory,
    policy: CheckPolicy | None = None,
    now: float = NOW,
) -> Verdict:
    return judge_identified(request_facts(), found, where, policy or CheckPolicy(), "the-id", now)


ASKED = CheckedRequest(request_facts(), [BearerToken(token())])
NO_KEYS_YET = Keys(KeyRing.of([IssuerKeys(CONFIG)]), {}, VerifiedTokens())


def test_without_policies_nothing_is_judged() -> None:
    judged = judge(ASKED, None, NO_KEYS_YET, CheckPolicy(), "the-id", NOW)

    assert judged == Denied("the-id", Reason.NOT_READY, request_facts())


def test_the_need_of_a_credential_is_returned_before_any_judgement() -> None:
    for keys, needed in (
        (NO_KEYS_YET, NeedsKey),
        (NO_KEYS_YET._replace(verify_first_seen=False), NeedsVerification),
    ):
        now = time.time()
        assert isinstance(judge(ASKED, directory(), keys, CheckPolicy(), "the-id", now), needed)


def test_a_verdict_names_the_policies_it_rests_on() -> None:
    judged = verdict(where=directory(age_s=1.5))

    assert judged.effect is Effect.ALLOW
    assert (judged.tenant, *judged.policies[:3]) == (DEFAULT_TENANT, 1, "epoch-7", 1500)
    (snapshot,) = directory().snapshots.values()
    assert judged.policies.digest is not None
    assert judged.policies.digest.text == snapshot.digest()
    assert judged.roles == ("anonymous",)
    assert judged.target is not None
    assert judged.target.resource == "invoice:read"


@pytest.mark.parametrize("found", [None, ALICE])
def test_whose_target_it_is_must_be_known_and_published(found: Principal | None) -> None:
    nobodys = Directory(TenancyMode.SAAS, {}, confirmed_at=NOW - 5)
    unpublished = Directory(TenancyMode.SAAS, {}, confirmed_at=NOW - 5, hosts={"api.example.com": "default"})

    for where, owner, age_ms in ((nobodys, None, None), (unpublished, "default", 5000)):
        judged = verdict(found, where=where)
        assert (judged.effect, judged.reason) == (Effect.DENY, Reason.UNMAPPED_ROUTE)
        assert (judged.tenant, judged.policies.revision, judged.policies.age_ms) == (owner, None, age_ms)


BELONGS_TO_ACME = Principal(
    PrincipalKind.USER, "bob", "acme", None, (), Authentication.JWT
)  # fmt: skip


@pytest.mark.parametrize("found", [None, BELONGS_TO_ACME])
@pytest.mark.parametrize("named", [True, False])
def test_a_tenant_whose_policies_never_compiled_is_not_ready(found: Principal | None, *, named: bool) -> None:
    where = Directory(
        TenancyMode.SAAS,
        {"globex": snapshot_of(POLICIES)},
        confirmed_at=NOW,
        hosts={"api.example.com": "acme"},
        lagging={"acme": 0.0},
    )
    asked = request_facts(context=ContextTarget(tenant="acme")) if named else request_facts()

    judged = judge_identified(asked, found, where, CheckPolicy(), "the-id", NOW)

    assert (judged.effect, judged.reason) == (Effect.DENY, Reason.NOT_READY)
    assert (judged.tenant, judged.policies.revision, judged.policies.age_ms) == ("acme", None, None)


@pytest.mark.parametrize(
    ("found", "suspended", "reason"),
    [
        (Rejected(Reason.TOKEN_EXPIRED, "exp has passed"), (), Reason.TOKEN_EXPIRED),
        (ALICE, (), Reason.TENANT_MISMATCH),
        (BELONGS_TO_ACME, ("acme",), Reason.TENANT_SUSPENDED),
    ],
)
def test_reasons_that_need_no_policies_come_before_not_ready(
    found: Principal | Rejected, suspended: tuple[str, ...], reason: Reason
) -> None:
    where = Directory(
        TenancyMode.SAAS,
        {},
        confirmed_at=NOW,
        hosts={"api.example.com": "acme"},
        suspended=frozenset(suspended),
        lagging={"acme": 0.0},
    )

    assert verdict(found, where=where).reason is reason


def test_the_one_tenant_of_selfhost_is_not_ready_while_it_is_not_there() -> None:
    empty = Directory(TenancyMode.SELFHOST, {}, confirmed_at=NOW)

    assert verdict(ALICE, where=empty).reason is Reason.NOT_READY
    other = request_facts(context=ContextTarget(tenant="acme"))
    judged = judge_identified(other, ALICE, empty, CheckPolicy(), "the-id", NOW)
    assert judged.reason is Reason.UNMAPPED_ROUTE


def test_an_unknown_tenant_of_the_proxy_is_unmapped_and_not_named() -> None:
    asked = request_facts(context=ContextTarget(tenant="initech"))

    judged = judge_identified(asked, ALICE, directory(), CheckPolicy(), "the-id", NOW)

    assert (judged.reason, judged.tenant, judged.policies.age_ms) == (Reason.UNMAPPED_ROUTE, None, None)


def test_a_clock_that_was_put_back_makes_no_negative_age() -> None:
    assert verdict(where=directory(age_s=-60)).policies.age_ms == 0


def test_policies_may_be_fifteen_minutes_old_unless_configured() -> None:
    assert verdict(where=directory(age_s=900)).effect is Effect.ALLOW
    assert verdict(where=directory(age_s=900.5)).reason is Reason.POLICY_STALE


@pytest.mark.parametrize(
    ("oidc_enabled", "authentication"), [(True, Authentication.NONE), (False, Authentication.DISABLED)]
)
def test_the_anonymous_principal_has_the_state_of_token_authentication(
    *, oidc_enabled: bool, authentication: Authentication
) -> None:
    policy = CheckPolicy(token=TokenPolicy(oidc_enabled=oidc_enabled))

    judged = verdict(where=directory(), policy=policy)

    assert judged.effect is Effect.ALLOW
    assert judged.principal is not None
    assert judged.principal.authentication is authentication
    assert judged.principal.roles == ("anonymous",)


def test_an_invalid_credential_is_refused_even_where_none_is_needed() -> None:
    judged = verdict(Rejected(Reason.TOKEN_EXPIRED, "exp has passed"), where=directory())

    assert (judged.effect, judged.reason) == (Effect.DENY, Reason.TOKEN_EXPIRED)
    assert judged.principal is None


def test_values_are_shown_of_what_the_request_names_and_of_nothing_else() -> None:
    used = verdict(ALICE, where=directory()).attributes_used

    assert used == {"resource.id": "42", "user.id": None, "action": "read", "resource.service": "billing"}


def test_only_names_are_logged_where_conditions_read_only_the_principal() -> None:
    condition = {"type": "CONDITION", "attribute": "user.id", "operator": "eq", "value": ALICE.id}
    person = {"id": "person", "name": "p", "resource": "*", "effect": "deny", "rule_data": condition}

    used = verdict(ALICE, where=directory(policies=POLICIES | {"attribute_policies": [person]}))

    assert used.rule is not None
    assert used.rule.id == "person"
    assert used.attributes_used == {"user.id": None}


@pytest.mark.parametrize(
    ("authentication", "confirmation", "reason"),
    [
        (Authentication.JWT, None, Reason.TOKEN_CLAIMS_INVALID),
        (Authentication.METADATA, None, Reason.TOKEN_CLAIMS_INVALID),
        (Authentication.JWT, "thumbprint", Reason.NO_MATCHING_RULE),
        (Authentication.METADATA, "thumbprint", Reason.NO_MATCHING_RULE),
        (Authentication.API_KEY, None, Reason.NO_MATCHING_RULE),
        (Authentication.MTLS, None, Reason.NO_MATCHING_RULE),
    ],
)
def test_a_resource_may_require_bound_tokens(
    authentication: Authentication, confirmation: str | None, reason: Reason
) -> None:
    routes = [{"methods": ["GET"], "path": "/v1/invoices/{id}"}]
    invoices = {"name": "invoice:read", "serviceName": "billing", "routes": routes, "require_bound": True}
    policies = {"resources": [invoices]}
    principal = replace(ALICE, authentication=authentication, confirmation=confirmation)
    named = ContextTarget(resource="invoice:read", action="read")
    for facts in (request_facts(), request_facts(context=named)):
        found = judge_identified(facts, principal, directory(policies=policies), CheckPolicy(), "", NOW)
        assert isinstance(found, Denied)
        assert found.reason is reason
