"""What differs between two policy sets, and which requests a difference may concern."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from extauthz.compile.roles.role_model import RoleModel
from extauthz.compile.snapshot import Snapshot
from extauthz.domain.policy import WILDCARD, AttributePolicy, Mode, RoleBinding, RoleRule
from extauthz.domain.verdict import Target

_Entity = TypeVar("_Entity")
_MISSING: Final = object()


@dataclass(frozen=True, slots=True)
class PolicyChanges:
    """The rules, policies and bindings that two sets do not share; `resources` tells of any resource.

    A rule that was changed is there as it was and as it is.
    """

    model: RoleModel
    resources: bool
    rules: tuple[RoleRule, ...]
    policies: tuple[AttributePolicy, ...]
    bindings: tuple[RoleBinding, ...]

    @classmethod
    def between(cls, one: Snapshot, other: Snapshot) -> "PolicyChanges":
        """Return what differs between two snapshots."""
        return cls(
            model=one.roles.model,
            resources=bool(_different(one.resources_by_name, other.resources_by_name)),
            rules=_different(one.role_rules_by_id, other.role_rules_by_id),
            policies=tuple(filter(_decides, _different(one.policies_by_id, other.policies_by_id))),
            bindings=_different(one.bindings_by_id, other.bindings_by_id),
        )

    @property
    def is_empty(self) -> bool:
        """Whether both sets decide alike."""
        return not (self.resources or self.rules or self.policies or self.bindings)

    def concern(self, domain: str | None) -> bool:
        """Tell whether a rule, policy or binding that differs may hold for a principal of the domain."""
        domains = _domains(domain)
        return (
            any(rule.dom in domains for rule in self.rules)
            or any(policy.domain in domains for policy in self.policies)
            or self.concern_roles(domain)
        )

    def concern_roles(self, domain: str | None) -> bool:
        """Tell whether a binding that differs may hold for a principal of the domain."""
        domains = _domains(domain)
        return any(binding.dom in domains for binding in self.bindings)

    def concern_target(self, target: Target, domain: str | None) -> bool:
        """Tell whether a rule or policy that differs is a candidate for a target."""
        domains = _domains(domain)
        names = {target.resource, WILDCARD, *target.denied_as}
        objects = {*self.model.objects(target.resource), *target.denied_as}
        actions = {*self.model.actions(target.action)}
        return any(
            rule.obj in objects and rule.act in actions and rule.dom in domains for rule in self.rules
        ) or any(
            policy.resource in names
            and policy.domain in domains
            and (target.action in policy.actions or WILDCARD in policy.actions)
            for policy in self.policies
        )


def _domains(domain: str | None) -> frozenset[str]:
    return frozenset((WILDCARD,) if domain is None else (domain, WILDCARD))


def _decides(policy: AttributePolicy) -> bool:
    return policy.enabled and policy.mode is not Mode.SHADOW


def _different(one: Mapping[str, _Entity], other: Mapping[str, _Entity]) -> tuple[_Entity, ...]:
    return (*_unlike(one, other), *_unlike(other, one))


def _unlike(one: Mapping[str, _Entity], other: Mapping[str, _Entity]) -> Iterable[_Entity]:
    for key, entity in one.items():
        found = other.get(key, _MISSING)
        if found is not entity and found != entity:
            yield entity
