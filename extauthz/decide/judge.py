"""Judges one request: from facts and credentials to the verdict, without clock and I/O.

The order (docs/reference/design.md#order-of-judgement): malformed is 400; a bad credential 401; owner and
tenant 403; policies that could not be compiled yet 503; no credential where one is required 401; unmapped
403; then the rules. Nothing starts as allowed.

Owner and route are found first, because a route may say that no credential is read (`authentication: none`).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, assert_never

from extauthz.compile.directory import Directory
from extauthz.compile.snapshot import Snapshot
from extauthz.decide import authorize, routes
from extauthz.decide.identity import Keys, Needs, Rejected, TokenPolicy, identify
from extauthz.decide.routes import Place, Unmapped
from extauthz.domain.policy import AuthenticationRequirement
from extauthz.domain.principal import ANONYMOUS, ANONYMOUS_ROLE, Authentication, Principal, PrincipalKind
from extauthz.domain.reasons import Reason
from extauthz.domain.request import CheckedRequest, RequestFacts
from extauthz.domain.tenancy import TenantBinding, UnmappedPolicy
from extauthz.domain.verdict import Allowed, Denial, Denied, Grant, PolicyVersion, Preflight, Target, Verdict

# Looked up in its class, a member of an enumeration costs a call.
_REQUIRED: Final = AuthenticationRequirement.REQUIRED
_NONE: Final = AuthenticationRequirement.NONE

_TOKENS_NOT_READ: Final = Principal(
    kind=PrincipalKind.ANONYMOUS,
    id=None,
    tenant=None,
    domain=None,
    roles=(ANONYMOUS_ROLE,),
    authentication=Authentication.DISABLED,
)


_WITHOUT_TOKEN: Final = frozenset(
    (Authentication.API_KEY, Authentication.MTLS, Authentication.NONE, Authentication.DISABLED)
)
"""How principals are authenticated without a token. Every other way is a bearer token unless it is bound."""


@dataclass(frozen=True, slots=True)
class CheckPolicy:
    """The settings of every check.

    Past `max_staleness` (seconds since the policies were last confirmed) everything is denied; None serves
    the last good policies however old they are.
    """

    token: TokenPolicy = field(default_factory=TokenPolicy)
    unmapped: UnmappedPolicy = UnmappedPolicy.DENY
    binding: TenantBinding = TenantBinding.HOST
    max_staleness: float | None = 900.0


def judge(
    request: CheckedRequest,
    directory: Directory | None,
    keys: Keys,
    policy: CheckPolicy,
    decision_id: str,
    now: float,
    identified: Callable[[], object] | None = None,
) -> Verdict | Needs:
    """Judge one request; `now` is POSIX seconds and the only clock that anything below sees.

    `identified` is called when the credentials have been judged, for a trace of this request.
    """
    if directory is None:
        return Denied(decision_id, Reason.NOT_READY, request.facts)
    place = routes.locate(directory, request.facts, policy.binding, policy.unmapped)
    owner, _, _, found = place
    if routes.is_unauthenticated(found):
        return _judge_at(place, request.facts, None, directory, policy, decision_id, now)
    # An opaque token does not say whose it is, so the target does.
    identity = identify(
        request.credentials, request.peer, keys, now, policy.token, request.certificate, owner
    )
    if identified is not None:
        identified()
    if isinstance(identity, Needs):
        return identity
    return _judge_at(place, request.facts, identity, directory, policy, decision_id, now)


def judge_identified(
    request: RequestFacts,
    identity: Principal | Rejected | None,
    directory: Directory,
    policy: CheckPolicy,
    decision_id: str,
    now: float,
) -> Verdict:
    """Judge a request whose credential has been judged; `identity` is None without a credential."""
    place = routes.locate(directory, request, policy.binding, policy.unmapped)
    read = None if routes.is_unauthenticated(place[3]) else identity
    return _judge_at(place, request, read, directory, policy, decision_id, now)


def _judge_at(
    place: Place,
    request: RequestFacts,
    identity: Principal | Rejected | None,
    directory: Directory,
    policy: CheckPolicy,
    decision_id: str,
    now: float,
) -> Verdict:
    """Judge a request at the place that configuration names, or, where it names none, its token."""
    principal = identity if isinstance(identity, Principal) else None
    token_tenant = None if principal is None else principal.tenant
    owner, snapshot, method, found = place
    if owner is None and token_tenant is not None:
        owner, snapshot, method, found = routes.locate(
            directory, request, policy.binding, policy.unmapped, token_tenant
        )
    target = found if isinstance(found, Target) else None
    policies = _version(directory, snapshot, owner, now)

    def deny(reason: Reason, detail: str | None = None) -> Denied:
        return Denied(
            decision_id=decision_id,
            reason=reason,
            request=request,
            principal=principal,
            target=target,
            tenant=owner,
            policies=policies,
            detail=detail,
        )

    # INVARIANT: every branch but two is a denial. The last is decided by rules; a preflight passes only where
    # it has no credential, and configuration has a route for what it asks about.
    if isinstance(identity, Rejected):
        return deny(identity.reason, identity.detail)
    if owner is None or (snapshot is None and not directory.awaits_policies(owner)):
        return deny(Reason.UNMAPPED_ROUTE)
    if token_tenant is not None and token_tenant != owner:
        return deny(Reason.TENANT_MISMATCH)
    if owner in directory.suspended:
        return deny(Reason.TENANT_SUSPENDED)
    if snapshot is None:
        # Whether the route needs a credential is not known before its policies are.
        return deny(Reason.NOT_READY)
    is_stale = policy.max_staleness is not None and now - directory.confirmed(owner) > policy.max_staleness
    if request.preflight is not None and identity is None:
        asked = routes.preflight_target(snapshot, request, request.preflight)
        if asked is not None:
            passed = Preflight(decision_id, asked, policies, request)
            return deny(Reason.POLICY_STALE) if is_stale else passed
    if principal is None:
        if target is None or target.authentication is _REQUIRED:
            return deny(Reason.TOKEN_MISSING)
        reads_tokens = policy.token.oidc_enabled or target.authentication is _NONE
        principal = ANONYMOUS if reads_tokens else _TOKENS_NOT_READ
    if target is None:
        return deny(found.reason if isinstance(found, Unmapped) else Reason.UNMAPPED_ROUTE)
    if (
        target.require_bound
        and principal.confirmation is None
        and (principal.authentication not in _WITHOUT_TOKEN)
    ):
        return deny(Reason.TOKEN_CLAIMS_INVALID, "cnf is missing, and the resource needs bound tokens")
    if is_stale:
        return deny(Reason.POLICY_STALE)
    decision, roles = authorize.decide(snapshot, principal, target, request, method, now)
    match decision:
        case Denial():
            return deny(decision.reason).by_rules(decision, roles)
        case Grant():
            # By position: with names it takes twice the time.
            return Allowed(
                decision_id,
                decision.rule,
                principal,
                roles,
                target,
                policies,
                request,
                decision.shadow,
                decision.attributes_used,
            )
        case _:
            assert_never(decision)


def _version(directory: Directory, snapshot: Snapshot | None, owner: str | None, now: float) -> PolicyVersion:
    revision, digest = (None, None) if snapshot is None else (snapshot.revision, snapshot.policy_digest)
    if owner is None or (snapshot is None and owner in directory.lagging):
        return PolicyVersion(revision, directory.epoch, None, digest)
    confirmed_at = directory.confirmed(owner)
    age_ms = int((now - confirmed_at) * 1000) if now > confirmed_at else 0
    return PolicyVersion(revision, directory.epoch, age_ms, digest)
