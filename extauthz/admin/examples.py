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


def page_of(item: object) -> dict[str, object]:
    """Return the example of a list."""
    return {"items": [item], "next_cursor": None}
