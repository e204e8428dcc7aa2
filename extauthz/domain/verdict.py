"""The verdict on one check: allowed or denied, with the content of the response and the decision log.

There is no default: an allow has the rule that grants it, the principal, and the request that it lets pass.
A preflight, which no rule is about, is an outcome of its own.
These are named tuples: as immutable as frozen dataclasses, and built in half of the time.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple

from extauthz.domain.forwarding import Forwarding
from extauthz.domain.policy import AuthenticationRequirement
from extauthz.domain.policy_digest import PolicyDigest
from extauthz.domain.principal import ANONYMOUS, Principal
from extauthz.domain.reasons import Effect, Reason
from extauthz.domain.request import Malformed, RequestFacts

_NO_ATTRIBUTES: Final[Mapping[str, object]] = MappingProxyType({})


class RuleKind(StrEnum):
    """The list that has the rule of a `matched_rule_id`."""

    ROLE = "role"
    ATTRIBUTE = "attribute"


class Rule(NamedTuple):
    """The rule that decided."""

    id: str
    kind: RuleKind


class ShadowOutcome(NamedTuple):
    """What the overall decision would be if this one shadow policy were enforced."""

    rule_id: str
    would: Effect


class Target(NamedTuple):
    """The target of a request: the owner's resource and action, and the authentication that it needs.

    `parameters` are the route's, decoded once. `service` is None where no registered resource stands
    behind the name (`UNMAPPED=path`). `denied_as` are further names of it that count for denies only.
    `forwarding` and `require_bound` are the resource's (`domain.policy.Resource`). `template` is the path of
    the route that was found, in canonical form; None where the target was named without one.
    `action_properties` and `context` are what a question by name says of the action and of its surroundings;
    a request has none.
    """

    tenant: str
    resource: str
    action: str
    service: str | None
    parameters: Mapping[str, object]
    authentication: AuthenticationRequirement
    denied_as: tuple[str, ...] = ()
    forwarding: Forwarding | None = None
    require_bound: bool = False
    template: str | None = None
    action_properties: Mapping[str, object] = _NO_ATTRIBUTES
    context: Mapping[str, object] = _NO_ATTRIBUTES


class PolicyVersion(NamedTuple):
    """The policies that decided, or would have: None where none were loaded. `age_ms` is since confirmed."""

    revision: int | None = None
    epoch: str | None = None
    age_ms: int | None = None
    digest: PolicyDigest | None = None


NO_POLICIES: Final = PolicyVersion()
# Looked up in its class, a member of an enumeration costs a call.
_ALLOW: Final = Effect.ALLOW
_DENY: Final = Effect.DENY
_RULE_MATCHED: Final = Reason.RULE_MATCHED
_PREFLIGHT: Final = Reason.PREFLIGHT


class Grant(NamedTuple):
    """The decision of rules to allow, with the rule that grants it.

    `attributes_used` maps the attributes that evaluated conditions name to the value the log may show
    (`resource.*` and `action`), None for all others.
    """

    rule: Rule
    shadow: tuple[ShadowOutcome, ...] = ()
    attributes_used: Mapping[str, object] = _NO_ATTRIBUTES


class Denial(NamedTuple):
    """The decision of rules to deny: `rule` denies, or, where it is None, no rule allows; see `Grant`."""

    reason: Reason
    rule: Rule | None = None
    shadow: tuple[ShadowOutcome, ...] = ()
    attributes_used: Mapping[str, object] = _NO_ATTRIBUTES


class Allowed(NamedTuple):
    """A request that a rule lets pass. `roles` are the effective ones: given, bound and inherited, sorted."""

    decision_id: str
    rule: Rule
    principal: Principal
    roles: tuple[str, ...]
    target: Target
    policies: PolicyVersion
    request: RequestFacts
    shadow: tuple[ShadowOutcome, ...] = ()
    attributes_used: Mapping[str, object] = _NO_ATTRIBUTES

    @property
    def effect(self) -> Effect:
        """Allow."""
        return _ALLOW

    @property
    def reason(self) -> Reason:
        """A rule matched."""
        return _RULE_MATCHED

    @property
    def tenant(self) -> str:
        """The owner of the target."""
        return self.target.tenant


class Preflight(NamedTuple):
    """A CORS preflight that passes because the method that it asks about has a route; no rule is involved.

    `target` is that of the request that it asks about.
    """

    decision_id: str
    target: Target
    policies: PolicyVersion
    request: RequestFacts

    @property
    def effect(self) -> Effect:
        """Allow."""
        return _ALLOW

    @property
    def reason(self) -> Reason:
        """It is a preflight."""
        return _PREFLIGHT

    @property
    def rule(self) -> None:
        """No rule decides about a preflight."""
        return None

    @property
    def principal(self) -> Principal:
        """The anonymous principal: a preflight has no credential."""
        return ANONYMOUS

    @property
    def roles(self) -> tuple[str, ...]:
        """The role of the anonymous principal."""
        return ANONYMOUS.roles

    @property
    def tenant(self) -> str:
        """The owner of the target."""
        return self.target.tenant

    @property
    def shadow(self) -> tuple[ShadowOutcome, ...]:
        """No shadow policy is evaluated."""
        return ()

    @property
    def attributes_used(self) -> Mapping[str, object]:
        """No condition is evaluated."""
        return _NO_ATTRIBUTES


class AllowedByName(NamedTuple):
    """An allow for a question by name (`POST /api/v1/check`): no request stands behind it."""

    decision_id: str
    rule: Rule
    principal: Principal
    roles: tuple[str, ...]
    target: Target
    policies: PolicyVersion
    shadow: tuple[ShadowOutcome, ...] = ()
    attributes_used: Mapping[str, object] = _NO_ATTRIBUTES

    @property
    def effect(self) -> Effect:
        """Allow."""
        return _ALLOW

    @property
    def reason(self) -> Reason:
        """A rule matched."""
        return _RULE_MATCHED

    @property
    def tenant(self) -> str:
        """The owner of the target."""
        return self.target.tenant


class Denied(NamedTuple):
    """A denial, with what was known when it was made. `tenant` is the owner of the target.

    `principal` is None when none was identified (a refused credential, a malformed request). `rule` is the
    one that denies, None where none matched. `detail` says more than the reason does about a refused
    credential or request, and never quotes either.
    """

    decision_id: str
    reason: Reason
    request: RequestFacts | Malformed | None = None
    principal: Principal | None = None
    roles: tuple[str, ...] = ()
    target: Target | None = None
    tenant: str | None = None
    policies: PolicyVersion = NO_POLICIES
    rule: Rule | None = None
    shadow: tuple[ShadowOutcome, ...] = ()
    attributes_used: Mapping[str, object] = _NO_ATTRIBUTES
    detail: str | None = None

    def by_rules(self, denial: Denial, roles: tuple[str, ...]) -> "Denied":
        """Return this denial as the one that rules made; `roles` are the effective ones."""
        return self._replace(
            reason=denial.reason,
            roles=roles,
            rule=denial.rule,
            shadow=denial.shadow,
            attributes_used=denial.attributes_used,
        )

    @property
    def effect(self) -> Effect:
        """Deny."""
        return _DENY


Verdict = Allowed | Preflight | Denied
"""The answer to a request."""

NamedVerdict = AllowedByName | Denied
"""The answer to a question by name."""
