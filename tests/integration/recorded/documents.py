"""For each route that reads a document: a valid document, its members, and the object that it is sent to."""

from dataclasses import dataclass
from typing import Any

from tests.integration.recorded.sent import (
    ACCESS,
    BINDINGS,
    CHECK,
    KEYS,
    POLICIES,
    PROVIDERS,
    RESOURCES,
    RULES,
    TENANTS,
)

Document = dict[str, Any]

ALWAYS: Document = {"type": "ALWAYS"}
RULE: Document = {
    "sub": "finance", "sub_kind": "role", "dom": "emea", "obj": "invoice:read", "act": "read", "effect": "allow",
}  # fmt: skip
BINDING: Document = {
    "user": "alice", "user_kind": "user", "role": "finance", "dom": "emea", "expires_at": "2099-01-31T08:00:00Z",
}  # fmt: skip
CONDITION: Document = {
    "type": "CONDITION", "attribute": "user.department", "operator": "eq", "value": "finance",
}  # fmt: skip
POLICY: Document = {
    "name": "finance reads", "resource": "invoice:read", "actions": ["read"], "domain": "emea",
    "effect": "allow", "priority": 0, "enabled": True, "mode": "enforce", "format": "json",
    "rule_data": CONDITION,
}  # fmt: skip
ROUTE: Document = {
    "host": "api.example.com", "methods": ["GET"], "path": "/invoices/{id}", "action": "read",
    "authentication": "required",
}  # fmt: skip
RESOURCE: Document = {
    "name": "invoice:read", "displayName": "Read invoices", "serviceName": "billing",
    "defaultRoles": ["finance"], "routes": [ROUTE],
}  # fmt: skip
QUESTION: Document = {
    "subject": "alice", "subject_kind": "user", "resource": "staged:read", "action": "read", "domain": "emea",
    "attributes": {"resource": {"id": "4711"}, "user": {"department": "finance"}}, "min_revision": 0,
}  # fmt: skip
KEY: Document = {
    "name": "billing at start", "description": "text", "scopes": ["resources:write"],
    "service_name": "billing", "prefixes": ["api.example.com/invoices"], "domain": "emea",
    "expires_at": "2099-01-31T08:00:00Z",
}  # fmt: skip
PROVIDER: Document = {
    "issuer_url": "https://login.example.com/realms/acme", "jwks_uri": "https://login.example.com/jwks",
    "audience": "mesh", "active": False,
    "claim_config": {
        "roles_claim": "realm_access.roles", "domain_claim": "dom", "admin_domain_claim": "adm",
        "excluded_roles": ["offline_access"],
    },
}  # fmt: skip
PROVIDER_MEMBERS = (
    "issuer_url", "jwks_uri", "audience", "active", "claim_config", "claim_config/roles_claim",
    "claim_config/domain_claim", "claim_config/admin_domain_claim", "claim_config/excluded_roles",
)  # fmt: skip
POLICY_MEMBERS = (
    *POLICY, "actions/0", "rule_data/type", "rule_data/attribute", "rule_data/operator", "rule_data/value",
)  # fmt: skip
ROUTE_MEMBERS = tuple(f"routes/0/{member}" for member in ROUTE)
RESOURCE_MEMBERS = (*RESOURCE, "defaultRoles/0", "routes/0", *ROUTE_MEMBERS, "routes/0/methods/0")
QUESTION_MEMBERS = (*QUESTION, "attributes/resource", "attributes/user", "attributes/resource/id")


def nested(depth: int, leaf: object = ALWAYS, *, kind: str = "AND") -> object:
    """Return a leaf below this many nodes."""
    tree: Any = leaf
    for _ in range(depth):
        tree = {"type": "NOT", "condition": tree} if kind == "NOT" else {"type": kind, "conditions": [tree]}
    return tree


@dataclass(frozen=True, slots=True)
class Reading:
    """A route that reads a document. `again`: another route reads the same one, so fewer values do.

    `texts` is whether it gets every body that is not JSON; the other routes get some.
    """

    method: str
    path: str
    document: Document
    members: tuple[str, ...]
    caller: str | None = None
    again: bool = False
    texts: bool = False


def _named(document: Document, name: str) -> Document:
    member = "name" if "name" in document else "sub" if "sub" in document else "issuer_url"
    return dict(document) | {member: name}


READINGS: tuple[Reading, ...] = (
    Reading("POST", RULES, RULE, tuple(RULE), texts=True),
    Reading("PUT", f"{RULES}/@@rule for put@@", _named(RULE, "put"), tuple(RULE), again=True),
    Reading("PUT", RULES, _named(RULE, "by value"), tuple(RULE), again=True),
    Reading("DELETE", RULES, _named(RULE, "by value"), tuple(RULE), again=True),
    Reading("POST", BINDINGS, BINDING, tuple(BINDING)),
    Reading("POST", RESOURCES, RESOURCE, RESOURCE_MEMBERS),
    Reading(
        "PATCH",
        f"{RESOURCES}/@@resource for patch@@",
        {name: value for name, value in RESOURCE.items() if name != "name"},
        tuple(member for member in RESOURCE_MEMBERS if member != "name"),
        again=True,
    ),
    Reading("POST", POLICIES, POLICY, POLICY_MEMBERS, texts=True),
    Reading("PUT", f"{POLICIES}/@@policy for put@@", _named(POLICY, "put"), POLICY_MEMBERS, again=True),
    Reading("PATCH", f"{POLICIES}/@@policy for patch@@", _named(POLICY, "patch"), POLICY_MEMBERS, again=True),
    Reading("POST", KEYS, KEY, (*KEY, "scopes/0", "prefixes/0")),
    Reading("POST", CHECK, QUESTION, QUESTION_MEMBERS),
    Reading("POST", ACCESS, {"name": "staged:read"}, ("name",), caller="alice"),
    Reading(
        "POST", "/resources/access/check", {"name": "staged:read"}, ("name",), caller="alice", again=True
    ),
    Reading("POST", TENANTS, {"name": "Initech", "slug": "initech"}, ("name", "slug")),
    Reading("PATCH", f"{TENANTS}/spare", {"name": "Spare", "status": "active"}, ("name", "status")),
    Reading("PUT", f"{TENANTS}/spare/hosts", {"hosts": ["spare.example"]}, ("hosts", "hosts/0")),
    Reading("POST", PROVIDERS, PROVIDER, PROVIDER_MEMBERS, texts=True),
    Reading("PUT", f"{PROVIDERS}/@@provider for put@@", PROVIDER, PROVIDER_MEMBERS, again=True),
)
BULK = (f"{RESOURCES}/list", "/resources/list")
