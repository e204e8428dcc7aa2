"""The examples that the OpenAPI document shows; a test holds each to its schema."""

from typing import Final

EXAMPLE_ID: Final = "01900000-0000-7000-8000-000000000001"
_MOMENT: Final = "2026-01-31T08:00:00Z"
_MARKS: Final = {"created_at": _MOMENT, "updated_at": _MOMENT}

ROLE_RULE: Final = {
    "sub": "finance",
    "sub_kind": "role",
    "dom": "*",
    "obj": "invoice:read",
    "act": "read",
    "effect": "allow",
}
ROLE_RULE_STORED: Final = {"id": EXAMPLE_ID} | ROLE_RULE | _MARKS
ROLE_BINDING: Final = {
    "user": "alice",
    "user_kind": "user",
    "role": "finance",
    "dom": "emea",
    "expires_at": "2026-12-31T00:00:00Z",
}
ROLE_BINDING_STORED: Final = {"id": EXAMPLE_ID} | ROLE_BINDING | _MARKS
ATTRIBUTE_POLICY: Final = {
    "name": "owners read their own invoices",
    "resource": "invoice:read",
    "effect": "allow",
    "rule_data": {
        "type": "CONDITION",
        "attribute": "resource.owner",
        "operator": "eq",
        "value": {"attribute": "user.id"},
    },
}
ATTRIBUTE_POLICY_STORED: Final = (
    {"id": EXAMPLE_ID}
    | ATTRIBUTE_POLICY
    | {"actions": ["*"], "domain": "*", "priority": 0, "enabled": True, "mode": "enforce", "format": "json"}
    | {"version": 1, "deleted_at": None}
    | _MARKS
)
ATTRIBUTE_POLICY_VERSION: Final = {
    "version": 1,
    "deleted": False,
    "document": {
        member: value
        for member, value in ATTRIBUTE_POLICY_STORED.items()
        if member not in {"version", "deleted_at", "created_at", "updated_at"}
    },
    "actor": {"kind": "user", "id": "alice", "domain": None, "request_id": None},
    "revision": 7,
    "created_at": _MOMENT,
}
RESOURCE: Final = {
    "name": "invoice:read",
    "displayName": "Read invoices",
    "serviceName": "billing",
    "defaultRoles": ["finance"],
    "routes": [{"methods": ["GET"], "path": "/invoices/{id}"}],
}
RESOURCE_STORED: Final = (
    {"id": EXAMPLE_ID}
    | RESOURCE
    | {
        "routes": [
            {"methods": ["GET"], "path": "/invoices/{id}", "action": "read", "authentication": "required"}
        ]
    }
    | {"createdAt": _MOMENT, "updatedAt": _MOMENT}
)
AUDIT_EVENT: Final = {
    "id": EXAMPLE_ID,
    "at": _MOMENT,
    "revision": 7,
    "actor": {"kind": "user", "id": "alice", "domain": None, "request_id": None},
    "action": "create",
    "kind": "role_rule",
    "entity_id": EXAMPLE_ID,
    "before": None,
    "after": {"id": EXAMPLE_ID} | ROLE_RULE,
}
CHECK: Final = {
    "subject": "alice",
    "resource": "invoice:read",
    "action": "read",
    "attributes": {"resource": {"id": "4711"}},
}
CHECK_DECISION: Final = {
    "decision": "allow",
    "matched_rule_id": EXAMPLE_ID,
    "reason": "rule_matched",
    "message": "a rule allows it",
    "decision_id": EXAMPLE_ID,
    "policy_revision": 7,
}

EXAMPLE_KEY_ID: Final = f"sak_{EXAMPLE_ID}"
_EXAMPLE_KEY: Final = f"sak_live_{EXAMPLE_ID.replace('-', '')}_{'0' * 64}"
SERVICE_KEY: Final = {
    "name": "billing at start",
    "scopes": ["resources:write"],
    "service_name": "billing",
    "prefixes": ["api.example.com/invoices"],
}
SERVICE_KEY_STORED: Final = SERVICE_KEY | {
    "id": EXAMPLE_KEY_ID,
    "description": "",
    "domain": None,
    "parent": None,
    "bootstrap": False,
    "expires_at": None,
    "created_at": _MOMENT,
    "last_used_at": None,
}
SERVICE_KEY_MADE: Final = SERVICE_KEY_STORED | {"key": _EXAMPLE_KEY}
ADMIN_SESSION: Final = {
    "id": EXAMPLE_ID,
    "token": f"eas_{EXAMPLE_ID.replace('-', '')}_1790000000_{'0' * 64}",
    "token_type": "Bearer",
    "expires_at": _MOMENT,
}
TENANT_LISTED: Final = {
    "id": "acme",
    "slug": "acme",
    "name": "Acme",
    "status": "active",
    "createdAt": _MOMENT,
    "updatedAt": _MOMENT,
}
TENANT: Final = TENANT_LISTED | {"hosts": ["acme.example"]}
TENANT_MADE: Final = TENANT_LISTED | {"hosts": [], "bootstrapKey": _EXAMPLE_KEY}
BOOTSTRAP_KEY: Final = {"id": EXAMPLE_KEY_ID, "bootstrapKey": _EXAMPLE_KEY}
IDENTITY_PROVIDER: Final = {
    "issuer_url": "https://login.example.com/realms/acme",
    "jwks_uri": None,
    "audience": "mesh",
    "claim_config": {"roles_claim": "realm_access.roles", "excluded_roles": ["offline_access"]},
}
IDENTITY_PROVIDER_STORED: Final = {"id": EXAMPLE_ID, "active": True} | IDENTITY_PROVIDER | _MARKS


def page_of(item: object) -> dict[str, object]:
    """Return the example of a list."""
    return {"items": [item], "next_cursor": None}
