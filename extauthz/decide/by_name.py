"""Asking by name: a resource and an action instead of a request, read and judged in one way for every caller.

`POST /api/v1/check`, the older role-only check and `extauthz policy test` ask so. There is no request to ask
attributes of, and no route; the caller says which parameters there are.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from extauthz.compile.directory import Directory
from extauthz.compile.fields import Fields
from extauthz.decide import authorize, routes
from extauthz.domain.decision import Outcome, denied
from extauthz.domain.policy import WILDCARD
from extauthz.domain.principal import Principal
from extauthz.domain.reasons import Reason


@dataclass(frozen=True, slots=True)
class NamedQuestion:
    """Whether a principal may do `action` on `resource`; `roles_only` leaves attribute policies out."""

    resource: str
    action: str
    parameters: Mapping[str, object] = field(default_factory=dict)
    roles_only: bool = False


def read_one_name(fields: Fields, name: str, *, required: bool = True) -> str | None:
    """Return a canonical name that is not the wildcard, None with a problem noted, or when it is left out."""
    value = fields.text(name, required=required)
    if value == WILDCARD:
        fields.note(name, "found '*', one name is needed")
        return None
    return value


def judge_by_name(
    directory: Directory,
    tenant: str,
    principal: Principal,
    question: NamedQuestion,
    *,
    max_staleness: float | None,
    decision_id: str,
    now: float,
) -> Outcome:
    """Decide as a check decides once it knows owner, principal and target; `now` is POSIX seconds."""
    snapshot, target, roles = directory.snapshots.get(tenant), None, tuple[str, ...]()
    confirmed_at = directory.confirmed(tenant)
    if snapshot is not None:
        target = routes.target_by_name(
            snapshot, question.resource, question.action, parameters=question.parameters
        )

    # INVARIANT: every branch but the last two is a denial, and those are decided by rules.
    if snapshot is None and not directory.awaits_policies(tenant):
        decision = denied(Reason.UNMAPPED_ROUTE)
    elif tenant in directory.suspended:
        decision = denied(Reason.TENANT_SUSPENDED)
    elif snapshot is None or target is None:
        decision = denied(Reason.NOT_READY)
    elif max_staleness is not None and now - confirmed_at > max_staleness:
        decision = denied(Reason.POLICY_STALE)
    elif question.roles_only:
        decision, roles = authorize.decide_by_roles(snapshot, principal, target, now)
    else:
        decision, roles = authorize.decide(snapshot, principal, target, request=None, method=None, now=now)
    return Outcome(
        decision=decision,
        decision_id=decision_id,
        principal=principal,
        roles=roles,
        target=target,
        tenant=tenant,
        revision=None if snapshot is None else snapshot.revision,
        epoch=directory.epoch,
        age_ms=None if snapshot is None else max(0, int((now - confirmed_at) * 1000)),
    )
