"""The answer: allow or deny, with its reason, its rule and the revision it was made under.

What is made anew for every request is a named tuple: as immutable as a frozen dataclass, and built in a third
of the time.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple

from extauthz.domain.principal import Principal
from extauthz.domain.reasons import Effect, Reason
from extauthz.domain.request import Malformed, RequestFacts


class RuleKind(StrEnum):
    """Which list a `matched_rule_id` is to be looked up in."""

    ROLE = "role"
    ATTRIBUTE = "attribute"


@dataclass(frozen=True, slots=True)
class ShadowOutcome:
    """What the overall decision would be if this one shadow policy were enforced."""

    rule_id: str
    would: Effect


_NO_ATTRIBUTES: Final[Mapping[str, object]] = MappingProxyType({})


class Decision(NamedTuple):
    """Allow or deny. There is no default effect: every decision names one.

    `attributes_used` maps the attributes that evaluated conditions name to the value the log may show
    (`resource.*` and `action`), None for all others.
    """

    effect: Effect
    reason: Reason
    rule_id: str | None = None
    rule_kind: RuleKind | None = None
    shadow: tuple[ShadowOutcome, ...] = ()
    attributes_used: Mapping[str, object] = _NO_ATTRIBUTES

    @property
    def allowed(self) -> bool:
        """True only for an explicit allow."""
        return self.effect is Effect.ALLOW


def denied(reason: Reason) -> Decision:
    """Return a denial that no rule made."""
    return Decision(Effect.DENY, reason)


class Target(NamedTuple):
    """What is asked for: the owner's resource and action, and how the route wants to be authenticated.

    `parameters` are the route's, decoded once. `service` is None where no registered resource stands
    behind the name (`UNMAPPED=path`). `denied_as` are further names of it that count for denies only.
    """

    tenant: str
    resource: str
    action: str
    service: str | None
    parameters: Mapping[str, object]
    authentication_optional: bool
    denied_as: tuple[str, ...] = ()


class Outcome(NamedTuple):
    """One judged request: the decision, and everything that the answer and the decision log say of it.

    `principal` is None when nobody was identified (a refused credential, a malformed request). `roles` are
    the effective roles: the credential's, bound and inherited, sorted. `tenant` is the owner of the target.
    `revision`, `epoch` and `age_ms` name the policies that decided; None when none were loaded. `detail` says
    more than the reason does about a refused credential or request, and never quotes either.
    """

    decision: Decision
    decision_id: str
    request: RequestFacts | Malformed | None = None
    principal: Principal | None = None
    roles: tuple[str, ...] = ()
    target: Target | None = None
    tenant: str | None = None
    revision: int | None = None
    epoch: str | None = None
    age_ms: int | None = None
    detail: str | None = None
