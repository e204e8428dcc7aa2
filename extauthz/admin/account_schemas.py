"""The bodies of service keys, Casbin's CSV, sessions, tenants and identity providers as JSON Schema."""

from collections.abc import Mapping
from typing import Final

from extauthz.admin.shapes import ID, TIME, WARNINGS, Schema, page_of, shape, stored, text_name
from extauthz.domain.service_key import Scope

_KEY_ID: Final = {"type": "string", "description": "`sak_` and a UUIDv7"}
_KEY: Final = {
    "type": "string",
    "description": "the key itself, in this answer only; sent as `X-Service-Api-Key`",
}
_KEY_DOCUMENT: Final = {
    "name": text_name("for people"),
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
    "created_at": TIME,
    "last_used_at": {
        "type": ["string", "null"],
        "format": "date-time",
        "description": (
            "The last use that this control plane knows of. Uses over REST are known within a few seconds, "
            "uses in the mesh within a minute, but only at workers of the same `extauthz serve`. A sidecar "
            "that runs by itself only reads the database, so uses there are not known."
        ),
    },
}
_TENANT: Final = {
    "id": {"type": "string", "description": "the slug"},
    "slug": {"type": "string"},
    "name": text_name("for people"),
    "status": {"type": "string", "enum": ["active", "suspended"]},
    "createdAt": TIME,
    "updatedAt": TIME,
}
_COUNT: Final = {"type": "integer", "minimum": 0}
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
        "description": "what tokens have to be meant for; `any` is every one; a comma is part of it",
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

ACCOUNT_SCHEMAS: Final[Mapping[str, Schema]] = {
    "ServiceKeyDocument": shape(_KEY_DOCUMENT, required=("name", "scopes")),
    "ServiceKey": shape(_KEY_STORED, required=tuple(_KEY_STORED)),
    "ServiceKeyPage": page_of("ServiceKey"),
    "ServiceKeyMade": shape({**_KEY_STORED, "key": _KEY, **WARNINGS}, required=(*_KEY_STORED, "key")),
    "CasbinPolicy": {"type": "string", "description": "CSV (RFC 4180)"},
    "CasbinImport": shape(
        {**dict.fromkeys(("role_rules", "role_bindings", "unchanged"), _COUNT), **WARNINGS},
        required=("role_rules", "role_bindings", "unchanged"),
    ),
    "AdminSession": shape(
        {
            "id": ID,
            "token": {"type": "string"},
            "token_type": {"type": "string", "enum": ["Bearer"]},
            "expires_at": TIME,
        },
        required=("id", "token", "token_type", "expires_at"),
    ),
    "TenantDocument": shape(
        {
            "name": text_name("for people"),
            "slug": {"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"},
        },
        required=("name", "slug"),
    ),
    "TenantPatch": shape({"name": text_name("for people"), "status": _TENANT["status"]}),
    "Tenant": shape({**_TENANT, "hosts": _HOSTS, **WARNINGS}, required=(*_TENANT, "hosts")),
    "TenantListed": shape(_TENANT, required=tuple(_TENANT)),
    "TenantPage": page_of("TenantListed"),
    "TenantMade": shape(
        {**_TENANT, "hosts": _HOSTS, "bootstrapKey": _KEY, **WARNINGS},
        required=(*_TENANT, "hosts", "bootstrapKey"),
    ),
    "Hosts": {"oneOf": [shape({"hosts": _HOSTS}, required=("hosts",)), _HOSTS]},
    "HostsStored": shape({"hosts": _HOSTS, **WARNINGS}, required=("hosts",)),
    "BootstrapKey": shape({"id": _KEY_ID, "bootstrapKey": _KEY, **WARNINGS}, required=("id", "bootstrapKey")),
    "IdentityProviderDocument": shape(_PROVIDER, required=("issuer_url", "audience")),
    "IdentityProvider": stored(_PROVIDER),
    "IdentityProviderPage": page_of("IdentityProvider"),
}
