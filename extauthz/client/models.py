"""What the API takes and gives, as values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Self


@dataclass(frozen=True, slots=True)
class Route:
    """Methods and a path template that lead to a resource; `host` None is every host."""

    methods: tuple[str, ...]
    path: str
    host: str | None = None
    action: str | None = None
    authentication: Literal["required", "optional"] | None = None

    def document(self) -> dict[str, object]:
        """Return the JSON form; what is None is left out."""
        members = {
            "host": self.host,
            "methods": list(self.methods),
            "path": self.path,
            "action": self.action,
            "authentication": self.authentication,
        }
        return {name: value for name, value in members.items() if value is not None}

    @classmethod
    def read(cls, document: Mapping[str, object]) -> Self:
        """Read the JSON form."""
        methods = document.get("methods")
        authentication = document.get("authentication")
        return cls(
            methods=tuple(str(method) for method in methods) if isinstance(methods, list) else (),
            path=str(document.get("path", "")),
            host=_text(document.get("host")),
            action=_text(document.get("action")),
            authentication=authentication if authentication in ("required", "optional") else None,
        )


@dataclass(frozen=True, slots=True)
class Resource:
    """The unit of permission; `id` is None before it is registered."""

    name: str
    service_name: str
    display_name: str | None = None
    default_roles: tuple[str, ...] = ()
    routes: tuple[Route, ...] = ()
    id: str | None = None

    def document(self) -> dict[str, object]:
        """Return the JSON form of a registration."""
        document: dict[str, object] = {
            "name": self.name,
            "serviceName": self.service_name,
            "defaultRoles": list(self.default_roles),
            "routes": [route.document() for route in self.routes],
        }
        if self.display_name is not None:
            document["displayName"] = self.display_name
        return document

    @classmethod
    def read(cls, document: Mapping[str, object]) -> Self:
        """Read the JSON form."""
        routes, roles = document.get("routes"), document.get("defaultRoles")
        return cls(
            name=str(document["name"]),
            service_name=str(document["serviceName"]),
            display_name=_text(document.get("displayName")),
            default_roles=tuple(str(role) for role in roles) if isinstance(roles, list) else (),
            routes=tuple(Route.read(route) for route in routes) if isinstance(routes, list) else (),
            id=_text(document.get("id")),
        )


@dataclass(frozen=True, slots=True)
class RoleRule:
    """A role rule, Casbin's `p` line."""

    sub: str
    obj: str
    act: str
    effect: Literal["allow", "deny"]
    dom: str = "*"
    sub_kind: Literal["role", "user", "service", "any"] | None = None
    id: str | None = None

    def document(self) -> dict[str, object]:
        """Return the JSON form; the id is the API's to give."""
        members = {
            "sub": self.sub,
            "sub_kind": self.sub_kind,
            "dom": self.dom,
            "obj": self.obj,
            "act": self.act,
            "effect": self.effect,
        }
        return {name: value for name, value in members.items() if value is not None}

    @classmethod
    def read(cls, document: Mapping[str, object]) -> Self:
        """Read the JSON form."""
        kind = document.get("sub_kind")
        return cls(
            sub=str(document["sub"]),
            obj=str(document["obj"]),
            act=str(document["act"]),
            effect="deny" if document["effect"] == "deny" else "allow",
            dom=str(document["dom"]),
            sub_kind=kind if kind in ("role", "user", "service", "any") else None,
            id=_text(document.get("id")),
        )


@dataclass(frozen=True, slots=True)
class AttributePolicy:
    """An attribute policy: a condition tree on a resource."""

    name: str
    resource: str
    effect: Literal["allow", "deny"]
    rule_data: Mapping[str, object]
    actions: Sequence[str] = ("*",)
    domain: str | None = None
    priority: int = 0
    enabled: bool = True
    mode: Literal["enforce", "shadow"] = "enforce"
    id: str | None = None
    warnings: tuple[Mapping[str, object], ...] = field(default=(), compare=False)

    def document(self) -> dict[str, object]:
        """Return the JSON form; the id is the API's to give."""
        document: dict[str, object] = {
            "name": self.name,
            "resource": self.resource,
            "actions": list(self.actions),
            "effect": self.effect,
            "priority": self.priority,
            "enabled": self.enabled,
            "mode": self.mode,
            "rule_data": self.rule_data,
        }
        if self.domain is not None:
            document["domain"] = self.domain
        return document

    @classmethod
    def read(cls, document: Mapping[str, object]) -> Self:
        """Read the JSON form."""
        rule_data, actions, warnings = (document.get(name) for name in ("rule_data", "actions", "warnings"))
        priority = document.get("priority")
        return cls(
            name=str(document["name"]),
            resource=str(document["resource"]),
            effect="deny" if document["effect"] == "deny" else "allow",
            rule_data=rule_data if isinstance(rule_data, Mapping) else {},
            actions=tuple(str(action) for action in actions) if isinstance(actions, list) else ("*",),
            domain=_text(document.get("domain")),
            priority=priority if isinstance(priority, int) else 0,
            enabled=document.get("enabled") is True,
            mode="shadow" if document.get("mode") == "shadow" else "enforce",
            id=_text(document.get("id")),
            warnings=tuple(warnings) if isinstance(warnings, list) else (),
        )


@dataclass(frozen=True, slots=True)
class CheckResult:
    """A decision. There is no default: `allowed` is what the API said, word for word."""

    allowed: bool
    reason: str
    matched_rule_id: str | None
    decision_id: str
    policy_revision: int | None
    message: str

    @classmethod
    def read(cls, document: Mapping[str, object]) -> Self:
        """Read the JSON form; anything but an explicit allow is not one."""
        revision = document.get("policy_revision")
        return cls(
            allowed=document.get("decision") == "allow",
            reason=str(document.get("reason")),
            matched_rule_id=_text(document.get("matched_rule_id")),
            decision_id=str(document.get("decision_id")),
            policy_revision=revision if isinstance(revision, int) else None,
            message=str(document.get("message", "")),
        )


def _text(value: object) -> str | None:
    return None if value is None else str(value)
