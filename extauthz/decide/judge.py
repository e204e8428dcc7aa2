"""One request judged, from facts to outcome: pure, synchronous, free of clocks and I/O.

The order is DESIGN's: malformed is 400; a bad credential 401; owner and tenant 403; policies that could not
be compiled yet 503; no credential where one is required 401; unmapped 403; then the rules. Nothing starts as
allowed.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from extauthz.compile.directory import Directory, TenantBinding, UnmappedPolicy
from extauthz.decide import authorize, routes
from extauthz.decide.identity import NeedsKey, Rejected, TokenPolicy
from extauthz.decide.routes import Unmapped
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

_new: Final = tuple.__new__  # what a named tuple's own constructor calls, at half the cost (ADR 6)

Identify = Callable[[Directory, RequestFacts, float], Principal | Rejected | NeedsKey | None]
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
    directory: Directory | None,
    identify: Identify,
    policy: CheckPolicy,
    decision_id: str,
    now: float,
) -> Outcome | NeedsKey:
    """Judge one request; `now` is POSIX seconds and the only clock that anything below sees."""
    if isinstance(request, Malformed):
        return Outcome(denied(request.reason), decision_id, request, detail=request.detail)
    if directory is None:
        return Outcome(denied(Reason.NOT_READY), decision_id, request)
    identity = identify(directory, request, now)
    if isinstance(identity, NeedsKey):
        return identity
    principal = None if isinstance(identity, Rejected) else identity
    token_tenant = None if principal is None else principal.tenant
    owner = routes.owner_of(directory, request.context, request.host, policy.binding, token_tenant)
    snapshot = None if owner is None else directory.snapshots.get(owner)
    method = routes.decided_method(request.method)
    target = None if snapshot is None else routes.resolve(snapshot, request, method, policy.unmapped)
    mapped = target if isinstance(target, Target) else None
    confirmed_at = now if owner is None else directory.confirmed(owner)
    roles: tuple[str, ...] = ()

    # INVARIANT: every branch but the last is a denial, and the last is decided by rules.
    if isinstance(identity, Rejected):
        decision = denied(identity.reason)
    elif owner is None or (snapshot is None and not directory.awaits_policies(owner)):
        decision = denied(Reason.UNMAPPED_ROUTE)
    elif token_tenant is not None and token_tenant != owner:
        decision = denied(Reason.TENANT_MISMATCH)
    elif owner in directory.suspended:
        decision = denied(Reason.TENANT_SUSPENDED)
    elif snapshot is None:
        # Whether the route needs a credential is not known before its policies are.
        decision = denied(Reason.NOT_READY)
    elif principal is None and (mapped is None or not mapped.authentication_optional):
        decision = denied(Reason.TOKEN_MISSING)
    else:
        principal = principal or _nobody(policy)
        if mapped is None:
            decision = denied(target.reason if isinstance(target, Unmapped) else Reason.UNMAPPED_ROUTE)
        elif policy.max_staleness is not None and now - confirmed_at > policy.max_staleness:
            decision = denied(Reason.POLICY_STALE)
        else:
            decision, roles = authorize.decide(snapshot, principal, mapped, request, method, now)
    revision = None if snapshot is None else snapshot.revision
    if owner is None or (snapshot is None and owner in directory.lagging):
        age_ms = None
    else:
        age_ms = int((now - confirmed_at) * 1000) if now > confirmed_at else 0
    return _new(
        Outcome,
        (
            decision,
            decision_id,
            request,
            principal,
            roles,
            mapped,
            owner,
            revision,
            directory.epoch,
            age_ms,
            identity.detail if isinstance(identity, Rejected) else None,
        ),
    )


def _nobody(policy: CheckPolicy) -> Principal:
    """Return who asks without a credential, where the route lets rules decide about that."""
    return ANONYMOUS if policy.token.oidc_enabled else _TOKENS_NOT_READ
