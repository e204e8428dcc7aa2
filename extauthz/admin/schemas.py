"""The bodies of the API as JSON Schema 2020-12, for the OpenAPI document.

Bodies are judged by the parsers of `compile/documents.py`, which say more than a schema can; these describe.
"""

from collections.abc import Mapping
from typing import Final

from extauthz.compile.conditions import OPERATORS
from extauthz.domain.policy import MAX_PRIORITY, MIN_PRIORITY
from extauthz.domain.service_key import Scope

Schema = Mapping[str, object]

_ID: Final = {"type": "string", "format": "uuid", "description": "UUIDv7, assigned by the server"}
_TIME: Final = {"type": "string", "format": "date-time"}
_REVISION: Final = {"type": "integer", "minimum": 0, "description": "revision of the tenant's policies"}
_SUBJECT_KINDS: Final = ["role", "user", "service", "any"]


def name(description: str) -> dict[str, object]:
    """Return the schema of a canonical name."""
    return {
        "type": "string",
        "minLength": 1,
        "maxLength": 256,
        "description": f"{description}; in NFC, without control or invisible characters or outer white space",
    }


def _object(
    properties: Mapping[str, object], *, required: tuple[str, ...] = (), description: str = ""
) -> dict[str, object]:
    schema: dict[str, object] = {
        "type": "object",
        "properties": dict(properties),
        "additionalProperties": False,
    }
    if required:
        schema["required"] = list(required)
    if description:
        schema["description"] = description
    return schema


def _ref(schema: str) -> dict[str, object]:
    return {"$ref": f"#/components/schemas/{schema}"}


def _page(schema: str) -> dict[str, object]:
    return _object(
        {
            "items": {"type": "array", "items": _ref(schema)},
            "next_cursor": {
                "type": ["string", "null"],
                "description": "`cursor` of the next page; null at the end",
            },
        },
        required=("items", "next_cursor"),
    )


_ROLE_RULE: Final = {
    "sub": name("who: a role, user or service, or `*`"),
    "sub_kind": {
        "type": "string",
        "enum": _SUBJECT_KINDS,
        "description": "how `sub` is meant; left out, `role` in an allow and `any` in a deny",
    },
    "dom": name("the domain, or `*` for every domain and for none"),
    "obj": name("the resource, or `*`"),
    "act": name("the action, or `*`"),
    "effect": {"type": "string", "enum": ["allow", "deny"]},
}
_ROLE_BINDING: Final = {
    "user": name("who gets the role"),
    "user_kind": {
        "type": "string",
        "enum": ["user", "service", "role"],
        "description": "`role`: the role `user` inherits the role `role` (tenant admins only)",
    },
    "role": name("the role"),
    "dom": name("the domain it counts in, or `*`"),
    "expires_at": {
        "type": ["string", "null"],
        "format": "date-time",
        "description": "exclusive; left out or null: never",
    },
}
_ATTRIBUTE_POLICY: Final = {
    "name": name("for people"),
    "resource": name("the name of a resource, or `*`"),
    "actions": {"type": "array", "items": name("an action, or `*`"), "minItems": 1, "default": ["*"]},
    "domain": name(
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
        "anyOf": [_ref("Condition"), {"type": "string", "description": "`format` `casbin`: an expression"}]
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
    "action": name("left out: the text after the last `:` of the resource's name, else `access`"),
    "authentication": {"type": "string", "enum": ["required", "optional"], "default": "required"},
}
_RESOURCE: Final = {
    "name": name("stable and unique in the tenant"),
    "displayName": name("for people; left out: the name"),
    "serviceName": name("the service it belongs to"),
    "defaultRoles": {
        "type": "array",
        "items": name("a role"),
        "description": "become role rules the first time ever that the name is registered",
    },
    "routes": {"type": "array", "items": _ref("Route"), "maxItems": 200},
}
_WARNINGS: Final = {"warnings": {"type": "array", "items": _ref("Warning")}}

_CONDITION: Final = {
    "description": "A condition tree: at most 32 levels and 1,000 nodes",
    "oneOf": [
        _object(
            {
                "type": {"type": "string", "enum": ["AND", "OR"]},
                "conditions": {"type": "array", "items": _ref("Condition"), "minItems": 1},
            },
            required=("type", "conditions"),
        ),
        _object(
            {"type": {"type": "string", "const": "NOT"}, "condition": _ref("Condition")},
            required=("type", "condition"),
        ),
        _object({"type": {"type": "string", "const": "ALWAYS"}}, required=("type",)),
        _object(
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
_AUDIT_EVENT: Final = _object(
    {
        "id": _ID,
        "at": _TIME,
        "revision": {"type": ["integer", "null"]},
        "actor": _object(
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
_ATTRIBUTES: Final = _object(
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


def _stored(members: Mapping[str, object], *, more: Mapping[str, object] | None = None) -> dict[str, object]:
    properties = {"id": _ID, **members, "created_at": _TIME, "updated_at": _TIME, **(more or {})}
    optional = {"expires_at", "deleted_at", "warnings"}
    return _object(properties, required=tuple(each for each in properties if each not in optional))


_KEY_ID: Final = {"type": "string", "description": "`sak_` and a UUIDv7"}
_KEY: Final = {
    "type": "string",
    "description": "the key itself, in this answer only; sent as `X-Service-Api-Key`",
}
_KEY_DOCUMENT: Final = {
    "name": name("for people"),
    "description": {"type": ["string", "null"], "maxLength": 1024},
    "scopes": {
        "type": "array",
        "items": {"type": "string", "enum": [scope.value for scope in Scope]},
        "minItems": 1,
    },
    "service_name": {
        "type": ["string", "null"],
        "minLength": 1,
        "maxLength": 256,
        "description": "the only service whose resources `resources:write` may register",
    },
    "prefixes": {
        "type": ["array", "null"],
        "items": {"type": "string"},
        "description": "`host/path`, `*.suffix/path` or `/path`: where `resources:write` may claim routes",
    },
    "domain": {
        "type": ["string", "null"],
        "minLength": 1,
        "maxLength": 256,
        "description": "of the principal (`identity`), and the only one `policies:*` may see and write",
    },
    "expires_at": {"type": ["string", "null"], "format": "date-time", "description": "exclusive"},
}
_KEY_STORED: Final = {
    "id": _KEY_ID,
    **_KEY_DOCUMENT,
    "scopes": {"type": "array", "items": {"type": "string"}},
    "parent": {"type": ["string", "null"], "description": "the key that made it, and that it ends with"},
    "bootstrap": {"type": "boolean"},
    "created_at": _TIME,
    "last_used_at": {"type": ["string", "null"], "format": "date-time", "description": "to a few seconds"},
}
_TENANT: Final = {
    "id": {"type": "string", "description": "the slug"},
    "slug": {"type": "string"},
    "name": name("for people"),
    "status": {"type": "string", "enum": ["active", "suspended"]},
    "createdAt": _TIME,
    "updatedAt": _TIME,
}
_HOSTS: Final = {"type": "array", "items": {"type": "string"}}
_PROVIDER: Final = {
    "issuer_url": {"type": "string", "description": "`iss` of its tokens, exactly", "maxLength": 2000},
    "jwks_uri": {
        "type": ["string", "null"],
        "maxLength": 2000,
        "description": "left out or null: discovered from the issuer",
    },
    "audience": {
        "oneOf": [
            {"type": "string", "minLength": 1},
            {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1},
        ],
        "description": "what tokens have to be meant for; `any` is every one",
    },
    "claim_config": {
        "type": ["object", "null"],
        "properties": {
            "roles_claim": {"type": ["string", "null"]},
            "domain_claim": {"type": ["string", "null"]},
            "admin_domain_claim": {"type": ["string", "null"]},
            "excluded_roles": {"type": ["array", "null"], "items": {"type": "string"}},
        },
        "additionalProperties": False,
        "description": "where tokens say what, as paths in dot notation; the rest is as in the settings",
    },
    "active": {"type": "boolean", "default": True},
}

SCHEMAS: Final[Mapping[str, Schema]] = {
    "Problem": {
        "type": "object",
        "description": "RFC 9457 problem details; every misfit of the request at once in `errors`",
        "properties": {
            "type": {"type": "string", "format": "uri-reference"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string"},
            "reason": {"type": "string", "description": "why a credential or a question was refused"},
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
    "Warning": _object(
        {
            "code": {
                "type": "string",
                "enum": ["deny_can_be_unknown", "allow_outbids_role_denies", "parameter_has_only_long_form"],
            },
            "pointer": {"type": "string", "description": "JSON pointer into the document"},
            "message": {"type": "string"},
        },
        required=("code", "pointer", "message"),
    ),
    "RoleRuleDocument": _object(_ROLE_RULE, required=("sub", "dom", "obj", "act", "effect")),
    "RoleRuleValue": _object(
        _ROLE_RULE,
        required=("sub", "dom", "obj"),
        description="`act`, `sub_kind` and `effect` narrow it down",
    ),
    "RoleRule": _stored(_ROLE_RULE),
    "RoleRulePage": _page("RoleRule"),
    "RoleBindingDocument": _object(_ROLE_BINDING, required=("user", "user_kind", "role", "dom")),
    "RoleBinding": _stored(_ROLE_BINDING),
    "RoleBindingPage": _page("RoleBinding"),
    "Condition": _CONDITION,
    "AttributePolicyDocument": _object(
        _ATTRIBUTE_POLICY, required=("name", "resource", "effect", "rule_data")
    ),
    "AttributePolicyPatch": {
        "type": "object",
        "properties": _ATTRIBUTE_POLICY | {"rule_data": {"type": "object"}},
        "additionalProperties": False,
        "description": "RFC 7396; null puts a member back to its default. A `rule_data` with a `type` is a "
        "whole tree and replaces the old one",
    },
    "AttributePolicy": _stored(
        _ATTRIBUTE_POLICY,
        more={
            "version": {"type": "integer", "minimum": 1},
            "deleted_at": {"type": ["string", "null"], "format": "date-time"},
            **_WARNINGS,
        },
    ),
    "AttributePolicyPage": _page("AttributePolicy"),
    "AttributePolicyVersion": _object(
        {
            "version": {"type": "integer", "minimum": 1},
            "deleted": {"type": "boolean"},
            "document": _object(
                {"id": _ID, **_ATTRIBUTE_POLICY}, required=("id", "name", "resource", "effect", "rule_data")
            ),
            "actor": {"type": "object"},
            "revision": _REVISION,
            "created_at": _TIME,
        },
        required=("version", "deleted", "document", "actor", "revision", "created_at"),
    ),
    "AttributePolicyVersions": _page("AttributePolicyVersion"),
    "Route": _object(_ROUTE, required=("methods", "path")),
    "ResourceDocument": _object(_RESOURCE, required=("name", "serviceName")),
    "ResourcePatch": {
        "type": "object",
        "properties": _RESOURCE,
        "additionalProperties": False,
        "description": "RFC 7396; the name of a resource cannot be changed",
    },
    "Resource": _object(
        {"id": _ID, **_RESOURCE, "createdAt": _TIME, "updatedAt": _TIME, **_WARNINGS},
        required=("id", *_RESOURCE, "createdAt", "updatedAt"),
    ),
    "ResourcePage": _page("Resource"),
    "AuditEvent": _AUDIT_EVENT,
    "AuditPage": _page("AuditEvent"),
    "CheckRequest": _object(
        {
            "subject": name("who; a caller with a token may leave it out, or name itself"),
            "subject_kind": {
                "type": "string",
                "enum": ["user", "service", "workload"],
                "default": "user",
            },
            "resource": name("the name of a resource"),
            "action": name("the action"),
            "domain": name("the domain of the subject; never `*`"),
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
    "CheckDecision": _object(
        {
            "decision": {"type": "string", "enum": ["allow", "deny"]},
            "matched_rule_id": {"type": ["string", "null"]},
            "reason": {"type": "string", "examples": ["rule_matched", "no_matching_rule"]},
            "message": {"type": "string"},
            "decision_id": _ID,
            "policy_revision": _REVISION,
        },
        required=("decision", "matched_rule_id", "reason", "message", "decision_id", "policy_revision"),
    ),
    "AccessRequest": _object({"name": name("the name of a resource")}, required=("name",)),
    "AccessAnswer": _object({"authorized": {"type": "boolean"}}, required=("authorized",)),
    "ServiceKeyDocument": _object(_KEY_DOCUMENT, required=("name", "scopes")),
    "ServiceKey": _object(_KEY_STORED, required=tuple(_KEY_STORED)),
    "ServiceKeyPage": _page("ServiceKey"),
    "ServiceKeyMade": _object(_KEY_STORED | {"key": _KEY}, required=(*_KEY_STORED, "key")),
    "CasbinPolicy": {"type": "string", "description": "CSV (RFC 4180)"},
    "CasbinImport": _object(
        {
            member: {"type": "integer", "minimum": 0}
            for member in ("role_rules", "role_bindings", "unchanged")
        },
        required=("role_rules", "role_bindings", "unchanged"),
    ),
    "AdminSession": _object(
        {
            "id": _ID,
            "token": {"type": "string"},
            "token_type": {"type": "string", "enum": ["Bearer"]},
            "expires_at": _TIME,
        },
        required=("id", "token", "token_type", "expires_at"),
    ),
    "TenantDocument": _object(
        {
            "name": name("for people"),
            "slug": {"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"},
        },
        required=("name", "slug"),
    ),
    "TenantPatch": _object({"name": name("for people"), "status": _TENANT["status"]}),
    "Tenant": _object(_TENANT | {"hosts": _HOSTS}, required=(*_TENANT, "hosts")),
    "TenantListed": _object(_TENANT, required=tuple(_TENANT)),
    "TenantPage": _page("TenantListed"),
    "TenantMade": _object(
        _TENANT | {"hosts": _HOSTS, "bootstrapKey": _KEY}, required=(*_TENANT, "hosts", "bootstrapKey")
    ),
    "Hosts": {"oneOf": [_object({"hosts": _HOSTS}, required=("hosts",)), _HOSTS]},
    "HostsStored": _object({"hosts": _HOSTS}, required=("hosts",)),
    "BootstrapKey": _object({"id": _KEY_ID, "bootstrapKey": _KEY}, required=("id", "bootstrapKey")),
    "IdentityProviderDocument": _object(_PROVIDER, required=("issuer_url", "audience")),
    "IdentityProvider": _stored(_PROVIDER),
    "IdentityProviderPage": _page("IdentityProvider"),
}
