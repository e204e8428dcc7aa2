"""Snapshots of a few entities, and what they answer a caller named alice."""

from extauthz.compile.snapshot import Snapshot
from extauthz.compile.snapshot_building import build
from extauthz.domain.policy import Always, AttributePolicy, Mode, PolicySet, RoleRule, SubjectKind
from extauthz.domain.principal import Authentication, Principal, PrincipalKind
from extauthz.domain.reasons import Effect
from tests.shipped_model import MODEL


def compiled(policies: PolicySet) -> Snapshot:
    """Compile a policy set without problems, as revision 1 of the default tenant."""
    snapshot = build("default", 1, policies, MODEL)
    assert isinstance(snapshot, Snapshot), snapshot
    return snapshot


def rule(name: str, obj: str = "doc", *, effect: Effect = Effect.ALLOW, sub: str = "reader") -> RoleRule:
    """Return a rule on reading, for every domain."""
    return RoleRule(name, sub, SubjectKind.ROLE, "*", obj, "read", effect)


def policy(name: str, resource: str = "doc", *, enabled: bool = True, priority: int = 0) -> AttributePolicy:
    """Return a policy that denies every action on a resource."""
    return AttributePolicy(
        name, name, resource, ("*",), "*", Effect.DENY, priority, enabled, Mode.ENFORCE, Always()
    )


def alice(*roles: str) -> Principal:
    """Return the caller, with the roles of its token."""
    return Principal(PrincipalKind.USER, "alice", "default", None, roles, Authentication.JWT)


def roles_say(snapshot: Snapshot, *roles: str, obj: str = "doc") -> str | None:
    """Return the effect and the rule of the caller's roles on reading, None where no rule applies."""
    subjects = snapshot.subjects(alice(*roles), 0)
    outcome = snapshot.roles.decide(subjects.names, authenticated=True, dom=None, obj=obj, act="read")
    return None if outcome is None else f"{outcome.effect} {outcome.rule_id}"


def matching(snapshot: Snapshot, name: str = "doc") -> list[str]:
    """Return the ids of the policies on these names."""
    return [found.id for group in snapshot.candidates(name, "read", None).enforced for found in group.all]
