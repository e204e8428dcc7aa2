"""The documents of the API as dataclasses."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, Self

from extauthz_client.answers import Members

Authentication = Literal["required", "optional", "none"]
Authorization = Literal["keep", "remove"]
Effect = Literal["allow", "deny"]
Mode = Literal["enforce", "shadow"]
Notation = Literal["json", "casbin"]
RuleSubject = Literal["role", "user", "service", "workload", "any"]
BoundSubject = Literal["user", "service", "workload", "role"]

_AUTHENTICATION: Final[tuple[Authentication, ...]] = ("required", "optional", "none")
_AUTHORIZATION: Final[tuple[Authorization, ...]] = ("keep", "remove")
_EFFECTS: Final[tuple[Effect, ...]] = ("allow", "deny")
_MODES: Final[tuple[Mode, ...]] = ("enforce", "shadow")
_NOTATIONS: Final[tuple[Notation, ...]] = ("json", "casbin")
_RULE_SUBJECTS: Final[tuple[RuleSubject, ...]] = ("role", "user", "service", "workload", "any")
_BOUND_SUBJECTS: Final[tuple[BoundSubject, ...]] = ("user", "service", "workload", "role")


@dataclass(frozen=True, slots=True)
class Route:
    """Methods and a path template that lead to a resource.

    `host` None is every host. `action` and `authentication` None are the API's defaults: the text after the
    last `:` of the resource's name, and `required` (`optional` on a public resource). `mcp` is the message of
    the Model Context Protocol that the route covers, or `session`; None is a plain route.
    """

    methods: tuple[str, ...]
    path: str
    host: str | None = None
    action: str | None = None
    authentication: Authentication | None = None
    mcp: Mapping[str, str] | Literal["session"] | None = field(default=None, hash=False)

    def document(self) -> dict[str, object]:
        """Return the JSON form."""
        return _without_none(
            {
                "host": self.host,
                "methods": list(self.methods),
                "path": self.path,
                "action": self.action,
                "authentication": self.authentication,
                "mcp": dict(self.mcp) if isinstance(self.mcp, Mapping) else self.mcp,
            }
        )

    @classmethod
    def read(cls, document: object) -> Self:
        """Read the JSON form."""
        members = Members(document)
        return cls(
            methods=members.texts("methods"),
            path=members.text("path"),
            host=members.optional_text("host"),
            action=members.text("action"),
            authentication=members.choice("authentication", _AUTHENTICATION),
            mcp="session" if members.is_text("mcp") else members.optional_texts("mcp"),
        )


@dataclass(frozen=True, slots=True)
class Resource:
    """The unit of permission; `id` is None before it is registered.

    `public` None leaves it as it is. A public resource is allowed to everyone, and `authentication` of its
    routes is `optional` unless they say otherwise. `headers` maps headers that the workload gets to
    attributes `user.*`. This member and those after it stay as they are where they are None.
    """

    name: str
    service_name: str
    display_name: str | None = None
    default_roles: tuple[str, ...] = ()
    routes: tuple[Route, ...] = ()
    id: str | None = None
    public: bool | None = None
    headers: Mapping[str, str] | None = field(default=None, hash=False)
    authorization: Authorization | None = None
    assertion: bool | None = None
    require_bound: bool | None = None

    def document(self) -> dict[str, object]:
        """Return the JSON form of a registration."""
        return _without_none(
            {
                "name": self.name,
                "serviceName": self.service_name,
                "displayName": self.display_name,
                "defaultRoles": list(self.default_roles),
                "routes": [route.document() for route in self.routes],
                "public": self.public,
                "headers": None if self.headers is None else dict(self.headers),
                "authorization": self.authorization,
                "assertion": self.assertion,
                "require_bound": self.require_bound,
            }
        )

    @classmethod
    def read(cls, document: object) -> Self:
        """Read the JSON form."""
        members = Members(document)
        return cls(
            name=members.text("name"),
            service_name=members.text("serviceName"),
            display_name=members.optional_text("displayName"),
            default_roles=members.texts("defaultRoles"),
            routes=tuple(Route.read(route) for route in members.entries("routes")),
            id=members.text("id"),
            public=True if members.has("public") and members.flag("public") else None,
            headers=members.optional_texts("headers"),
            authorization=members.choice("authorization", _AUTHORIZATION)
            if members.has("authorization")
            else None,
            assertion=members.flag("assertion") if members.has("assertion") else None,
            require_bound=members.flag("require_bound") if members.has("require_bound") else None,
        )


@dataclass(frozen=True, slots=True)
class RoleRule:
    """A role rule, Casbin's `p` line; `*` is a wildcard for each of the four.

    `sub_kind` None is the API's default: `role` in an allow, `any` in a deny.
    """

    sub: str
    dom: str
    obj: str
    act: str
    effect: Effect
    sub_kind: RuleSubject | None = None
    id: str | None = None

    def document(self) -> dict[str, object]:
        """Return the JSON form; the id is the API's to give."""
        return _without_none(
            {
                "sub": self.sub,
                "sub_kind": self.sub_kind,
                "dom": self.dom,
                "obj": self.obj,
                "act": self.act,
                "effect": self.effect,
            }
        )

    @classmethod
    def read(cls, document: object) -> Self:
        """Read the JSON form."""
        members = Members(document)
        return cls(
            sub=members.text("sub"),
            dom=members.text("dom"),
            obj=members.text("obj"),
            act=members.text("act"),
            effect=members.choice("effect", _EFFECTS),
            sub_kind=members.choice("sub_kind", _RULE_SUBJECTS),
            id=members.text("id"),
        )


@dataclass(frozen=True, slots=True)
class RoleBinding:
    """A role binding, Casbin's `g` line: `user` has `role` in `dom` until `expires_at` (RFC 3339)."""

    user: str
    user_kind: BoundSubject
    role: str
    dom: str
    expires_at: str | None = None
    id: str | None = None

    def document(self) -> dict[str, object]:
        """Return the JSON form; the id is the API's to give."""
        return _without_none(
            {
                "user": self.user,
                "user_kind": self.user_kind,
                "role": self.role,
                "dom": self.dom,
                "expires_at": self.expires_at,
            }
        )

    @classmethod
    def read(cls, document: object) -> Self:
        """Read the JSON form."""
        members = Members(document)
        return cls(
            user=members.text("user"),
            user_kind=members.choice("user_kind", _BOUND_SUBJECTS),
            role=members.text("role"),
            dom=members.text("dom"),
            expires_at=members.optional_text("expires_at"),
            id=members.text("id"),
        )


@dataclass(frozen=True, slots=True)
class AttributePolicy:
    """An attribute policy: a condition on a resource.

    `rule_data` is a condition tree, or with the format `casbin` a matcher expression. `domain` None is the
    API's default: `*`, or the only domain of a domain admin. `warnings` is what the API thinks of a policy
    that was just written, each with a `code`, a `pointer` and a `message`.
    """

    name: str
    resource: str
    effect: Effect
    rule_data: Mapping[str, object] | str
    actions: tuple[str, ...] = ("*",)
    domain: str | None = None
    priority: int = 0
    enabled: bool = True
    mode: Mode = "enforce"
    format: Notation = "json"
    id: str | None = None
    warnings: tuple[Mapping[str, object], ...] = field(default=(), compare=False)

    def document(self) -> dict[str, object]:
        """Return the JSON form; the id is the API's to give."""
        return _without_none(
            {
                "name": self.name,
                "resource": self.resource,
                "actions": list(self.actions),
                "domain": self.domain,
                "effect": self.effect,
                "priority": self.priority,
                "enabled": self.enabled,
                "mode": self.mode,
                "format": self.format,
                "rule_data": self.rule_data,
            }
        )

    @classmethod
    def read(cls, document: object) -> Self:
        """Read the JSON form."""
        members = Members(document)
        notation = members.choice("format", _NOTATIONS)
        rule_data = members.value("rule_data")
        if not isinstance(rule_data, Mapping):
            rule_data = members.text("rule_data")
        return cls(
            name=members.text("name"),
            resource=members.text("resource"),
            effect=members.choice("effect", _EFFECTS),
            rule_data=rule_data,
            actions=members.texts("actions"),
            domain=members.text("domain"),
            priority=members.number("priority"),
            enabled=members.flag("enabled"),
            mode=members.choice("mode", _MODES),
            format=notation,
            id=members.text("id"),
            warnings=members.objects("warnings"),
        )


@dataclass(frozen=True, slots=True)
class CheckResult:
    """A decision: `allowed` only when the API said so, word for word."""

    allowed: bool
    reason: str
    matched_rule_id: str | None
    decision_id: str
    policy_revision: int
    message: str

    @classmethod
    def read(cls, document: object, *, status: int) -> Self:
        """Read the JSON form; `status` 200 belongs to an allow, 403 to a deny.

        Raises:
            UnexpectedAnswer: the two contradict each other, or it is not a decision.
        """
        members = Members(document)
        wanted: tuple[Effect, ...] = ("allow",) if status == 200 else ("deny",)
        return cls(
            allowed=members.choice("decision", wanted) == "allow" and status == 200,
            reason=members.text("reason"),
            matched_rule_id=members.optional_text("matched_rule_id"),
            decision_id=members.text("decision_id"),
            policy_revision=members.number("policy_revision"),
            message=members.text("message"),
        )


def _without_none(members: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in members.items() if value is not None}
