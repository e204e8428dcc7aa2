"""One request judged, from facts to outcome: pure, synchronous, free of clocks and I/O.

The order is DESIGN's: malformed is 400; a bad credential 401; owner and tenant 403; no credential where one
is required 401; unmapped 403; then the rules. Nothing starts as allowed.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from extauthz.compile.directory import Directory, TenantBinding, UnmappedPolicy
from extauthz.decide import authorize, routes
from extauthz.decide.identity import NeedsKey, Rejected, TokenPolicy
from extauthz.domain.decision import Outcome, Target, denied
from extauthz.domain.principal import ANONYMOUS, ANONYMOUS_ROLE, Authentication, Principal, PrincipalKind
from extauthz.domain.reasons import Reason
from extauthz.domain.request import Malformed, RequestFacts

_TOKENS_NOT_READ: Final = Principal(
    kind=PrincipalKind.ANONYMOUS,
    id=None,
    tenant=None,
    domain=None,
    roles=(ANONYMOUS_ROLE,),
    authentication=Authentication.DISABLED,
)

_UNDECIDED: Final = denied(Reason.INTERNAL_ERROR)
"""INVARIANT: an outcome begins as a denial, so that one which nobody finished is one."""

Identify = Callable[[RequestFacts, float], Principal | Rejected | NeedsKey | None]
"""Judges the credentials of a request at a time: the principal, None for no credential, or why not."""


@dataclass(frozen=True, slots=True)
class CheckPolicy:
    """What the operator set for every check.

    Past `max_staleness` (seconds since the policies were last confirmed) everything is denied; None serves
    the last good policies however old they are.
    """

    token: TokenPolicy = field(default_factory=TokenPolicy)
    unmapped: UnmappedPolicy = UnmappedPolicy.DENY
    binding: TenantBinding = TenantBinding.HOST
    max_staleness: float | None = 900.0


def judge(
    request: RequestFacts | Malformed,
    *,
    directory: Directory | None,
    identify: Identify,
    policy: CheckPolicy,
    decision_id: str,
    now: float,
) -> Outcome | NeedsKey:
    """Judge one request; `now` is POSIX seconds and the only clock that anything below sees."""
    if isinstance(request, Malformed):
        return Outcome(denied(request.reason), decision_id, request)
    if directory is None:
        return Outcome(denied(Reason.NOT_READY), decision_id, request)
    identity = identify(request, now)
    if isinstance(identity, NeedsKey):
        return identity
    principal = None if isinstance(identity, Rejected) else identity
    owner = routes.owner_of(
        directory,
        request.context,
        request.host,
        binding=policy.binding,
        token_tenant=None if principal is None else principal.tenant,
    )
    snapshot = None if owner is None else directory.snapshots.get(owner)
    target = None if snapshot is None else routes.resolve(snapshot, request, policy.unmapped)

    confirmed_at = now if owner is None else directory.confirmed(owner)
    outcome = Outcome(
        decision=_UNDECIDED,
        decision_id=decision_id,
        request=request,
        principal=principal,
        target=target if isinstance(target, Target) else None,
        tenant=owner,
        revision=None if snapshot is None else snapshot.revision,
        epoch=directory.epoch,
        age_ms=None if owner is None else max(0, int((now - confirmed_at) * 1000)),
    )
    if isinstance(identity, Rejected):
        return _denied(outcome, identity.reason)
    if snapshot is None or owner is None:
        return _denied(outcome, Reason.UNMAPPED_ROUTE)
    if principal is not None and principal.tenant is not None and principal.tenant != owner:
        return _denied(outcome, Reason.TENANT_MISMATCH)
    if owner in directory.suspended:
        return _denied(outcome, Reason.TENANT_SUSPENDED)
    if principal is None:
        if not isinstance(target, Target) or not target.authentication_optional:
            return _denied(outcome, Reason.TOKEN_MISSING)
        principal = ANONYMOUS if policy.token.oidc_enabled else _TOKENS_NOT_READ
        outcome = outcome._replace(principal=principal)
    if not isinstance(target, Target):
        return _denied(outcome, Reason.UNMAPPED_ROUTE if target is None else target.reason)
    if policy.max_staleness is not None and now - confirmed_at > policy.max_staleness:
        return _denied(outcome, Reason.POLICY_STALE)
    decision, roles = authorize.decide(
        snapshot, principal, target, request=request, method=routes.decided_method(request.method), now=now
    )
    return outcome._replace(decision=decision, roles=roles)


def _denied(outcome: Outcome, reason: Reason) -> Outcome:
    return outcome._replace(decision=denied(reason))
