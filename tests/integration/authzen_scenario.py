"""A small installation to ask in AuthZEN's form: alice, bob, records, and a policy on their properties.

It has the shape that the certification scenario of AuthZEN Authorization API 1.0 asks for: alice reads and
writes records, bob reads them, what is archived only admins write, and only soft deletions are allowed.
"""

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tests.integration.rest_harness import Api

RESOURCE: Final = {"name": "record", "serviceName": "records", "routes": []}
BINDINGS: Final = (
    {"user": "alice", "user_kind": "user", "role": "writer", "dom": "*"},
    {"user": "bob", "user_kind": "user", "role": "reader", "dom": "*"},
)
RULES: Final = tuple(
    {"sub": role, "sub_kind": "role", "dom": "*", "obj": "record", "act": act, "effect": "allow"}
    for role, act in (("reader", "read"), ("writer", "read"), ("writer", "write"))
)


def compared(attribute: str, value: object, operator: str = "eq") -> dict[str, Any]:
    return {"type": "CONDITION", "attribute": attribute, "operator": operator, "value": value}


ARCHIVED: Final = compared("resource.status", "archived")
POLICIES: Final = (
    {
        "name": "archived records are not written",
        "resource": "record",
        "actions": ["write"],
        "effect": "deny",
        "priority": 10,
        "rule_data": ARCHIVED,
    },
    {
        "name": "but by admins",
        "resource": "record",
        "actions": ["write"],
        "effect": "allow",
        "priority": 20,
        "rule_data": {
            "type": "AND",
            "conditions": [
                ARCHIVED,
                compared("user.role", value=True, operator="exists"),
                compared("user.role", "admin"),
            ],
        },
    },
    {
        "name": "soft deletions",
        "resource": "record",
        "actions": ["delete"],
        "effect": "allow",
        "rule_data": {
            "type": "AND",
            "conditions": [
                compared("user.roles", "writer", "has"),
                compared("action.properties.soft", value=True),
            ],
        },
    },
)


async def write_scenario(api: "Api", caller: str = "key") -> int:
    """Write it, and return the revision under which it is in effect."""
    revision = (await api.post("/api/v1/resources", RESOURCE, caller=caller)).succeeded(201).revision
    for path, documents in (
        ("/api/v1/role-bindings", BINDINGS),
        ("/api/v1/resources/policies", RULES),
        ("/api/v1/abac/policies", POLICIES),
    ):
        for document in documents:
            revision = (await api.post(path, document, caller=caller)).succeeded(201).revision
    return revision
