"""Asking by name: a resource and an action instead of a request, read and judged in one way for every caller.

`POST /api/v1/check`, the older role-only check, AuthZEN and `extauthz policy test` ask so. There is no
request to ask attributes of, and no route; the caller says which parameters there are.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, assert_never

from extauthz.compile.directory import Directory
from extauthz.compile.fields import Fields
from extauthz.compile.snapshot import Snapshot
from extauthz.decide import authorize, routes
from extauthz.domain.policy import WILDCARD
from extauthz.domain.principal import Principal
from extauthz.domain.reasons import Reason
from extauthz.domain.verdict import AllowedByName, Denial, Denied, Grant, NamedVerdict, PolicyVersion, Target

AUTHZEN: Final = "authzen"
"""The entrance of questions that may have properties of the action and a context; lines do not keep those."""
ENTRANCES_BY_NAME: Final = frozenset({"rest", AUTHZEN})


@dataclass(frozen=True, slots=True)
class NamedQuestion:
    """Whether a principal may do `action` on `resource`; `roles_only` leaves attribute policies out."""

    resource: str
    action: str
    parameters: Mapping[str, object] = field(default_factory=dict)
    roles_only: bool = False
    action_properties: Mapping[str, object] = field(default_factory=dict)
    context: Mapping[str, object] = field(default_factory=dict)

    def target(self, snapshot: Snapshot) -> Target:
        """Return the target of the question in the policies of a tenant."""
        return routes.target_by_name(
            snapshot,
            self.resource,
            self.action,
            parameters=self.parameters,
            action_properties=self.action_properties,
            context=self.context,
        )


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
    principal: Principal | None,
    question: NamedQuestion,
    *,
    max_staleness: float | None,
    decision_id: str,
    now: float,
) -> NamedVerdict:
    """Decide as a check decides once it knows owner, principal and target; `now` is POSIX seconds.

    `principal` is None for a subject that is of no kind which rules can name: nothing is allowed to it.
    """
    snapshot = directory.snapshots.get(tenant)
    confirmed_at = directory.confirmed(tenant)
    target = None if snapshot is None else question.target(snapshot)
    policies = PolicyVersion(epoch=directory.epoch)
    if snapshot is not None:
        age_ms = max(0, int((now - confirmed_at) * 1000))
        policies = PolicyVersion(snapshot.revision, directory.epoch, age_ms, snapshot.policy_digest)

    def deny(reason: Reason) -> Denied:
        return Denied(
            decision_id, reason, principal=principal, target=target, tenant=tenant, policies=policies
        )

    # INVARIANT: every branch but the last is a denial, and the last is decided by rules.
    if snapshot is None and not directory.awaits_policies(tenant):
        return deny(Reason.UNMAPPED_ROUTE)
    if tenant in directory.suspended:
        return deny(Reason.TENANT_SUSPENDED)
    if snapshot is None or target is None:
        return deny(Reason.NOT_READY)
    if max_staleness is not None and now - confirmed_at > max_staleness:
        return deny(Reason.POLICY_STALE)
    if principal is None:
        return deny(Reason.NO_MATCHING_RULE)
    if question.roles_only:
        decision, roles = authorize.decide_by_roles(snapshot, principal, target, now)
    else:
        decision, roles = authorize.decide(snapshot, principal, target, request=None, method=None, now=now)
    match decision:
        case Denial():
            return deny(decision.reason).by_rules(decision, roles)
        case Grant():
            return AllowedByName(
                decision_id=decision_id,
                rule=decision.rule,
                principal=principal,
                roles=roles,
                target=target,
                policies=policies,
                shadow=decision.shadow,
                attributes_used=decision.attributes_used,
            )
        case _:
            assert_never(decision)
