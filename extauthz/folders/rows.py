"""Rows of policies in one form, whether a folder holds them or the server: what a plan compares.

Input: an object of a folder as it is written and as it was read, or a row as the REST API shows it. Output:
`PolicyRow`s. The `document` of a row is what the API takes, with every default written out.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, cast

from extauthz.compile.documents.policy_documents import declared_rules
from extauthz.domain.policy import AttributePolicy, Entity, Resource, RoleBinding, RoleRule
from extauthz.domain.time_text import rfc3339
from extauthz.storage.encoding import encode_json

Document = Mapping[str, Any]
RESOURCE: Final = "resource"
ROLE_RULE: Final = "role_rule"
ROLE_BINDING: Final = "role_binding"
ATTRIBUTE_POLICY: Final = "attribute_policy"
KINDS: Final = (RESOURCE, ROLE_RULE, ROLE_BINDING, ATTRIBUTE_POLICY)
TABLES: Final[Mapping[str, str]] = {
    RESOURCE: "resources",
    ROLE_RULE: "role_rules",
    ROLE_BINDING: "role_bindings",
    ATTRIBUTE_POLICY: "attribute_policies",
}
"""Each kind of row -> the member of a folder's document that lists them."""
_SET_BY_SERVER: Final = frozenset(
    {"id", "version", "deleted_at", "created_at", "updated_at", "createdAt", "updatedAt", "warnings"}
)
_WORKLOAD: Final = ("headers", "authorization", "assertion", "require_bound")
_RULE: Final = ("sub", "sub_kind", "dom", "obj", "act", "effect")
_BINDING: Final = ("user", "user_kind", "role", "dom")


@dataclass(frozen=True, slots=True)
class PolicyRow:
    """A row of a folder, or a live row.

    Of a folder, `id` is what the file says, and `pointer` the place in the file. Of a live row `warnings` are
    the codes of the warnings that it was shown with.
    """

    kind: str
    id: str | None
    document: Document
    file: str = ""
    pointer: str = ""
    warnings: tuple[str, ...] = field(default=())

    @property
    def label(self) -> str:
        """What names the row to people."""
        document = self.document
        match self.kind:
            case "resource":
                return str(document.get("name"))
            case "role_rule":
                sub = f"{document.get('sub_kind')}:{document.get('sub')}"
                rest = (document.get(name) for name in ("dom", "obj", "act", "effect"))
                return " ".join(map(str, (sub, *rest)))
            case "role_binding":
                member = f"{document.get('user_kind')}:{document.get('user')}"
                return f"{member} {document.get('role')} {document.get('dom')}"
            case _:
                return str(document.get("name"))

    @property
    def value(self) -> tuple[object, ...]:
        """What a role rule, a binding or a resource is found by."""
        names = {RESOURCE: ("name",), ROLE_RULE: _RULE, ROLE_BINDING: _BINDING}.get(self.kind, ("name",))
        # A damaged row may have anything there.
        return tuple(
            value if isinstance(value := self.document.get(name), str) else encode_json(value)
            for name in names
        )


def routes_of(document: Document) -> list[Mapping[str, Any]]:
    """Return the routes of a resource. Those of a stored row that is damaged may be anything."""
    routes = document.get("routes")
    return [each for each in routes if isinstance(each, Mapping)] if isinstance(routes, list) else []


def live_row(kind: str, shown: Document) -> PolicyRow:
    """Return a row as a list of the API shows it."""
    document = {
        name: value
        for name, value in shown.items()
        if name not in _SET_BY_SERVER and not (value is None and name != "rule_data")
    }
    if kind == ROLE_BINDING and isinstance(text := document.get("expires_at"), str):
        document["expires_at"] = _same_instant(text)
    given = shown.get("warnings")
    warnings = tuple(
        str(each.get("code"))
        for each in (given if isinstance(given, list) else ())
        if isinstance(each, Mapping)
    )
    return PolicyRow(kind, str(shown.get("id")), document, warnings=warnings)


def folder_rows(raw: Document, entity: Entity, file: str, pointer: str) -> Iterator[PolicyRow]:
    """Yield the row of one object of a folder; of a resource also the rules that it declares.

    These are the rules that `defaultRoles` and `public` stand for. `raw` is the object as it is written,
    `entity` what it was read as.
    """
    match entity:
        case Resource():
            yield PolicyRow(RESOURCE, None, _resource(raw, entity), file, pointer)
            for rule in declared_rules(entity, raw):
                yield PolicyRow(ROLE_RULE, None, _role_rule(rule), file, pointer)
        case RoleRule():
            yield PolicyRow(ROLE_RULE, _id(raw), _role_rule(entity), file, pointer)
        case RoleBinding():
            yield PolicyRow(ROLE_BINDING, _id(raw), _role_binding(entity), file, pointer)
        case AttributePolicy():
            yield PolicyRow(ATTRIBUTE_POLICY, _id(raw), _policy(raw, entity), file, pointer)


def _id(raw: Document) -> str | None:
    return cast("str | None", raw.get("id"))


def _resource(raw: Document, resource: Resource) -> Document:
    document: dict[str, Any] = {
        "name": resource.name,
        "serviceName": resource.service,
        "displayName": raw.get("displayName") or resource.name,
        "defaultRoles": list(dict.fromkeys(raw.get("defaultRoles") or ())),
        "routes": [
            ({} if route.host is None else {"host": route.host})
            | {
                "methods": list(route.methods),
                "path": route.path,
                "action": route.action,
                "authentication": route.authentication.value,
            }
            for route in resource.routes
        ],
    }
    if raw.get("public") is True:
        document["public"] = True
    return document | {name: raw[name] for name in _WORKLOAD if raw.get(name) is not None}


def _role_rule(rule: RoleRule) -> Document:
    members = zip(RoleRule._fields, rule, strict=True)
    return {name: str(value) for name, value in members if name != "id" and value is not None}


def _role_binding(binding: RoleBinding) -> Document:
    document = {
        "user": binding.user,
        "user_kind": binding.user_kind.value,
        "role": binding.role,
        "dom": binding.dom,
    }
    if binding.expires_at is not None:
        document["expires_at"] = rfc3339(datetime.fromtimestamp(binding.expires_at, UTC))
    return document


def _policy(raw: Document, policy: AttributePolicy) -> Document:
    return {
        "name": policy.name,
        "resource": policy.resource,
        "actions": list(policy.actions),
        "domain": policy.domain,
        "effect": policy.effect.value,
        "priority": policy.priority,
        "enabled": policy.enabled,
        "mode": policy.mode.value,
        "format": raw.get("format") or "json",
        "rule_data": raw["rule_data"],
    }


def _same_instant(text: str) -> str:
    """Return a time of the server in the form that times of a folder have."""
    try:
        return rfc3339(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        return text
