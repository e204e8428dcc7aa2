"""The bodies of the API as JSON Schema 2020-12, for the OpenAPI document.

Bodies are judged by the parsers of `compile/documents.py`, which say more than a schema can; these describe.
"""

from collections.abc import Mapping
from typing import Final

from extauthz.admin.account_schemas import ACCOUNT_SCHEMAS
from extauthz.admin.shapes import ID, TIME, WARNINGS, Schema, page_of, reference, shape, stored, text_name
from extauthz.compile.documents import MAX_DEFAULT_ROLES, MAX_ROUTES
from extauthz.compile.operators import OPERATORS
from extauthz.compile.warnings import WarningCode
from extauthz.domain.policy import MAX_PRIORITY, MIN_PRIORITY

_REVISION: Final = {
    "type": "integer",
    "format": "int64",
    "minimum": 0,
    "description": "revision of the tenant's policies",
}
_VERSION: Final = {"type": "integer", "format": "int64", "minimum": 1}
_SUBJECT_KINDS: Final = ["role", "user", "service", "any"]


_ROLE_RULE: Final = {
    "sub": text_name("who: a role, user or service, or `*`"),
    "sub_kind": {
        "type": "string",
        "enum": _SUBJECT_KINDS,
        "description": "how `sub` is meant; left out, `role` in an allow and `any` in a deny",
    },
    "dom": text_name("the domain, or `*` for every domain and for none"),
    "obj": text_name("the resource, or `*`"),
    "act": text_name("the action, or `*`"),
    "effect": {"type": "string", "enum": ["allow", "deny"]},
}
_ROLE_BINDING: Final = {
    "user": text_name("who gets the role"),
    "user_kind": {
        "type": "string",
        "enum": ["user", "service", "role"],
        "description": "`role`: the role `user` inherits the role `role` (tenant admins only)",
    },
    "role": text_name("the role"),
    "dom": text_name("the domain it counts in, or `*`"),
    "expires_at": {
        "type": ["string", "null"],
        "format": "date-time",
        "description": "exclusive; left out or null: never",
    },
}
_ATTRIBUTE_POLICY: Final = {
    "name": text_name("for people"),
    "resource": text_name("the name of a resource, or `*`"),
    "actions": {"type": "array", "items": text_name("an action, or `*`"), "minItems": 1, "default": ["*"]},
    "domain": text_name(
        "applies to principals of this domain only; `*`: to everyone. Left out: `*`, or the only domain of a "
        "domain admin"
    ),
    "effect": {"type": "string", "enum": ["allow", "deny"]},
    "priority": {
        "type": "integer",
        "minimum": MIN_PRIORITY,
        "maximum": MAX_PRIORITY,
        "default": 0,
        "description": "an allow: -1000 to 1000 (domain admins: at most 0); above: tenant admins' denies",
    },
    "enabled": {"type": "boolean", "default": True},
    "mode": {"type": "string", "enum": ["enforce", "shadow"], "default": "enforce"},
    "format": {"type": "string", "enum": ["json", "casbin"], "default": "json"},
    "rule_data": {
        "anyOf": [
            reference("Condition"),
            {"type": "string", "description": "`format` `casbin`: an expression"},
        ]
    },
}
_ROUTE: Final = {
    "host": {
        "type": ["string", "null"],
        "description": "an exact host, or `*.suffix`; left out: every host",
    },
    "methods": {
        "type": "array",
        "items": {"type": "string", "description": "upper-case; never HEAD, which is decided as GET"},
        "minItems": 1,
        "description": 'or `["*"]`',
    },
    "path": {
        "type": "string",
        "description": "a template: `{name}` is one segment, a final `/**` the rest",
    },
    "action": text_name("left out: the text after the last `:` of the resource's name, else `access`"),
    "authentication": {"type": "string", "enum": ["required", "optional"], "default": "required"},
}
_RESOURCE: Final = {
    "name": text_name("stable and unique in the tenant"),
    "displayName": text_name("for people; left out: the name"),
    "serviceName": text_name("the service it belongs to"),
    "defaultRoles": {
        "type": "array",
        "items": text_name("a role"),
        "maxItems": MAX_DEFAULT_ROLES,
        "description": "become role rules the first time ever that the name is registered",
    },
    "routes": {"type": "array", "items": reference("Route"), "maxItems": MAX_ROUTES},
}

_CONDITION: Final = {
    "description": "A condition tree: at most 32 levels and 1,000 nodes",
    "oneOf": [
        shape(
            {
                "type": {"type": "string", "enum": ["AND", "OR"]},
                "conditions": {"type": "array", "items": reference("Condition"), "minItems": 1},
            },
            required=("type", "conditions"),
        ),
        shape(
            {"type": {"type": "string", "const": "NOT"}, "condition": reference("Condition")},
            required=("type", "condition"),
        ),
        shape({"type": {"type": "string", "const": "ALWAYS"}}, required=("type",)),
        shape(
            {
                "type": {"type": "string", "const": "CONDITION"},
                "attribute": {
                    "type": "string",
                    "examples": ["user.department", "resource.owner", "env.hour"],
                },
                "operator": {"type": "string", "enum": sorted(OPERATORS)},
                "value": {"description": "a literal, a list of literals, or `{attribute: name}`"},
            },
            required=("type", "attribute", "operator", "value"),
        ),
    ],
}
_AUDIT_EVENT: Final = shape(
    {
        "id": ID,
        "at": TIME,
        "revision": {"type": ["integer", "null"], "format": "int64", "minimum": 0},
        "actor": shape(
            {
                "kind": {"type": "string", "examples": ["user", "admin_key"]},
                "id": {"type": "string"},
                "domain": {"type": ["string", "null"]},
                "request_id": {"type": ["string", "null"]},
            },
            required=("kind", "id", "domain", "request_id"),
        ),
        "action": {"type": "string", "examples": ["create", "update", "delete", "restore"]},
        "kind": {"type": "string", "examples": ["role_rule", "attribute_policy"]},
        "entity_id": {"type": ["string", "null"]},
        "before": {"description": "the document as it was; null: there was none"},
        "after": {"description": "the document as it became; null: there is none"},
    },
    required=("id", "at", "revision", "actor", "action", "kind", "entity_id", "before", "after"),
)
_ATTRIBUTES: Final = shape(
    {
        "resource": {
            "type": "object",
            "description": "route parameters; `name` and `service` are the resource's own",
        },
        "user": {
            "type": "object",
            "description": "claims of the subject, with `roles`; not for callers with a token",
        },
    }
)


SCHEMAS: Final[Mapping[str, Schema]] = {
    "Problem": {
        "type": "object",
        "description": "RFC 9457 problem details; every misfit of the request at once in `errors`",
        "properties": {
            "type": {"type": "string", "format": "uri-reference"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "reason": {
                "type": "string",
                "description": "why a credential or a question was refused, or the database cannot be used",
            },
            "outcome": {"const": "unknown", "description": "it is not known whether the change was stored"},
            "ids": {"type": "array", "items": {"type": "string"}, "description": "the rows in the way"},
            "errors": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "pointer": {"type": "string", "description": "JSON pointer into the body"},
                        "parameter": {"type": "string", "description": "or the query parameter"},
                        "line": {"type": "integer", "description": "or the line of the body, from 1"},
                        "message": {"type": "string"},
                    },
                    "required": ["message"],
                },
            },
        },
        "required": ["type", "title", "status"],
    },
    "Warning": shape(
        {
            "code": {
                "type": "string",
                "enum": [code.value for code in WarningCode],
                "description": (
                    "`unreadable_row`: a stored row of the tenant, which `kind` and `id` name, is not in "
                    "force as it is stored. Where it is shown, it is shown as it is stored"
                ),
            },
            "pointer": {"type": "string", "description": "JSON pointer into the document"},
            "message": {"type": "string"},
            "kind": {"type": "string", "examples": ["attribute_policy"]},
            "id": {"type": "string"},
        },
        required=("code", "pointer", "message"),
    ),
    "RoleRuleDocument": shape(_ROLE_RULE, required=("sub", "dom", "obj", "act", "effect")),
    "RoleRuleValue": shape(
        _ROLE_RULE,
        required=("sub", "dom", "obj"),
        description="`act`, `sub_kind` and `effect` narrow it down",
    ),
    "RoleRule": stored(_ROLE_RULE),
    "RoleRulePage": page_of("RoleRule"),
    "RoleBindingDocument": shape(_ROLE_BINDING, required=("user", "user_kind", "role", "dom")),
    "RoleBinding": stored(_ROLE_BINDING),
    "RoleBindingPage": page_of("RoleBinding"),
    "Condition": _CONDITION,
    "AttributePolicyDocument": shape(_ATTRIBUTE_POLICY, required=("name", "resource", "effect", "rule_data")),
    "AttributePolicyPatch": {
        "type": "object",
        "properties": _ATTRIBUTE_POLICY | {"rule_data": {"type": "object"}},
        "additionalProperties": False,
        "description": "RFC 7396; null puts a member back to its default. A `rule_data` with a `type` is a "
        "whole tree and replaces the old one",
    },
    "AttributePolicy": stored(
        _ATTRIBUTE_POLICY,
        more={
            "version": _VERSION,
            "deleted_at": {"type": ["string", "null"], "format": "date-time"},
        },
    ),
    "AttributePolicyPage": page_of("AttributePolicy"),
    "AttributePolicyVersion": shape(
        {
            "version": _VERSION,
            "deleted": {"type": "boolean"},
            "document": shape(
                {"id": ID, **_ATTRIBUTE_POLICY}, required=("id", "name", "resource", "effect", "rule_data")
            ),
            "actor": {"type": "object"},
            "revision": _REVISION,
            "created_at": TIME,
        },
        required=("version", "deleted", "document", "actor", "revision", "created_at"),
    ),
    "AttributePolicyVersionPage": page_of("AttributePolicyVersion"),
    "Route": shape(_ROUTE, required=("methods", "path")),
    "ResourceDocument": shape(_RESOURCE, required=("name", "serviceName")),
    "ResourcePatch": {
        "type": "object",
        "properties": _RESOURCE,
        "additionalProperties": False,
        "description": "RFC 7396; the name of a resource cannot be changed",
    },
    "Resource": shape(
        {"id": ID, **_RESOURCE, "createdAt": TIME, "updatedAt": TIME, **WARNINGS},
        required=("id", *_RESOURCE, "createdAt", "updatedAt"),
    ),
    "ResourcePage": page_of("Resource"),
    "AuditEvent": _AUDIT_EVENT,
    "AuditPage": page_of("AuditEvent"),
    "CheckRequest": shape(
        {
            "subject": text_name("who; a caller with a token may leave it out, or name itself"),
            "subject_kind": {
                "type": "string",
                "enum": ["user", "service", "workload"],
                "default": "user",
            },
            "resource": text_name("the name of a resource"),
            "action": text_name("the action"),
            "domain": text_name("the domain of the subject; never `*`"),
            "attributes": _ATTRIBUTES,
            "min_revision": {
                "type": "integer",
                "minimum": 0,
                "maximum": 2**63 - 1,
                "description": "decide under this revision or a later one; waits at most 1 s, then 503",
            },
        },
        required=("resource", "action"),
    ),
    "CheckDecision": shape(
        {
            "decision": {"type": "string", "enum": ["allow", "deny"]},
            "matched_rule_id": {"type": ["string", "null"]},
            "reason": {"type": "string", "examples": ["rule_matched", "no_matching_rule"]},
            "message": {"type": "string"},
            "decision_id": ID,
            "policy_revision": _REVISION,
        },
        required=("decision", "matched_rule_id", "reason", "message", "decision_id", "policy_revision"),
    ),
    "AccessRequest": shape({"name": text_name("the name of a resource")}, required=("name",)),
    "AccessAnswer": shape({"authorized": {"type": "boolean"}}, required=("authorized",)),
    **ACCOUNT_SCHEMAS,
}
