"""The entities of a policy set: resources with routes, role rules, role bindings, attribute policies."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final, NamedTuple

from extauthz.domain.forwarding import Forwarding
from extauthz.domain.mcp import McpPattern
from extauthz.domain.principal import ANONYMOUS_ROLE
from extauthz.domain.reasons import Effect

WILDCARD: Final = "*"
MAX_ALLOW_PRIORITY: Final = 1000
MIN_ALLOW_PRIORITY: Final = -1000
MIN_PRIORITY: Final = -(2**31)
MAX_PRIORITY: Final = 2**31 - 1


class SubjectKind(StrEnum):
    """How the subject of a role rule is meant; `any` stands for each other kind with that name."""

    ROLE = "role"
    USER = "user"
    SERVICE = "service"
    WORKLOAD = "workload"
    ANY = "any"


PUBLIC_SUBJECTS: Final = ((WILDCARD, SubjectKind.ANY), (ANONYMOUS_ROLE, SubjectKind.ROLE))
"""The subjects of the two allow rules that `public: true` of a resource stands for."""


class Mode(StrEnum):
    """`shadow` rules are evaluated and logged, and never decide."""

    ENFORCE = "enforce"
    SHADOW = "shadow"


class AuthenticationRequirement(StrEnum):
    """Whether a route needs a credential; rules decide in each case.

    `optional`: a request without a credential is anonymous. `none`: no credential is read, so that the
    `Authorization` header belongs to the application, and every request is anonymous.
    """

    REQUIRED = "required"
    OPTIONAL = "optional"
    NONE = "none"


class RoleRule(NamedTuple):
    """A Casbin `p` line. There are many: a named tuple is made in a third of a frozen dataclass's time."""

    id: str
    sub: str
    sub_kind: SubjectKind
    dom: str
    obj: str
    act: str
    effect: Effect


@dataclass(frozen=True, slots=True)
class RoleBinding:
    """A Casbin `g` line: `user` has `role` in `dom` until `expires_at` (exclusive; POSIX seconds)."""

    id: str
    user: str
    user_kind: SubjectKind
    role: str
    dom: str
    expires_at: float | None = None


Scalar = str | bool | int | Decimal
Literal = Scalar | tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class AttributeName:
    """A reference to an attribute, on the right side of a condition."""

    name: str


@dataclass(frozen=True, slots=True)
class Always:
    """True for every request."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison: `attribute operator value`."""

    attribute: str
    operator: str
    value: Literal | AttributeName


@dataclass(frozen=True, slots=True)
class All:
    """`AND`."""

    conditions: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """`OR`."""

    conditions: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Not:
    """`NOT`."""

    condition: "Node"


@dataclass(frozen=True, slots=True)
class UnreadableCondition:
    """A condition that cannot be read, in a stored row that was damaged: always unknown. In no document."""


Node = Always | Condition | All | AnyOf | Not | UnreadableCondition


@dataclass(frozen=True, slots=True)
class AttributePolicy:
    """A condition tree on a resource, with effect and priority."""

    id: str
    name: str
    resource: str
    actions: tuple[str, ...]
    domain: str
    effect: Effect
    priority: int
    enabled: bool
    mode: Mode
    condition: Node


@dataclass(frozen=True, slots=True)
class Route:
    """Host, methods and path template that lead to a resource and an action.

    `host` is an exact canonical host, `*.suffix`, or None for every host. `methods` is `("*",)` or a list
    of upper-case methods, never HEAD. `path` is the template in canonical form. With `mcp` the route covers,
    of what is posted, only these messages of the Model Context Protocol.
    """

    host: str | None
    methods: tuple[str, ...]
    path: str
    action: str
    authentication: AuthenticationRequirement
    mcp: tuple[McpPattern, ...] = ()


@dataclass(frozen=True, slots=True)
class Resource:
    """The unit of permission: a stable name, the service it belongs to, the routes that lead to it.

    `forwarding` None: the workload gets what the identity provider says. With `require_bound` a bearer token
    has to be bound to a certificate (RFC 8705).
    """

    name: str
    service: str
    routes: tuple[Route, ...] = ()
    forwarding: Forwarding | None = None
    require_bound: bool = False

    @property
    def default_action(self) -> str:
        """The text after the last `:` of the name, else `access`."""
        return default_action(self.name)


def default_authentication(*, public: bool) -> AuthenticationRequirement:
    """Return the authentication of a route that names none."""
    return AuthenticationRequirement.OPTIONAL if public else AuthenticationRequirement.REQUIRED


def default_action(resource_name: str) -> str:
    """Return the action of a route or default role that names none."""
    _, colon, tail = resource_name.rpartition(":")
    return tail if colon and tail else "access"


Entity = Resource | RoleRule | RoleBinding | AttributePolicy


@dataclass(frozen=True, slots=True)
class PolicySet:
    """Everything one tenant has written, checked and typed, at one revision."""

    resources: tuple[Resource, ...] = ()
    role_rules: tuple[RoleRule, ...] = ()
    role_bindings: tuple[RoleBinding, ...] = ()
    attribute_policies: tuple[AttributePolicy, ...] = ()

    def rules(self) -> Iterator[RoleRule | AttributePolicy]:
        """Yield everything whose id can be a `matched_rule_id`."""
        yield from self.role_rules
        yield from self.attribute_policies
