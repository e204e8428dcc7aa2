"""Write the JSON Schemas of policy files and decision cases (docs/schema), or check them.

python tools/generate_schemas.py            write the schemas
python tools/generate_schemas.py --check    exit 1 if they differ

INVARIANT: a schema accepts what the reader accepts. What it cannot say (Unicode forms, the grammar of
templates and attributes, what shows between documents) is for `extauthz policy validate`.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Final

from extauthz.cases.case_members import SHOWN_ONLY
from extauthz.compile.conditions.operators import OPERATORS
from extauthz.compile.conditions.readings import READINGS
from extauthz.compile.documents.mcp_routes import PRESET
from extauthz.compile.documents.policy_documents import SERVER_MEMBERS, BoundKind, Format
from extauthz.compile.documents.resource_documents import (
    MAX_DEFAULT_ROLES,
    MAX_METHOD_LENGTH,
    MAX_METHODS,
    MAX_ROUTES,
)
from extauthz.domain.forwarding import MAX_CLAIM_HEADERS, AuthorizationHeader
from extauthz.domain.policy import (
    MAX_ALLOW_PRIORITY,
    MAX_PRIORITY,
    MIN_ALLOW_PRIORITY,
    MIN_PRIORITY,
    AuthenticationRequirement,
    Mode,
    SubjectKind,
)
from extauthz.domain.principal import PrincipalKind
from extauthz.domain.reasons import Effect, Reason
from extauthz.domain.tenancy import TenancyMode, TenantBinding, UnmappedPolicy
from extauthz.settings import CorsPreflight

FOLDER: Final = Path(__file__).resolve().parent.parent / "docs" / "schema"
Schema = dict[str, Any]

NAME: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": 256}
ID: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": 128}
TEXT: Final[Schema] = {"type": "string"}
FLAG: Final[Schema] = {"type": "boolean"}
ANY: Final[Schema] = {}


def one_of(words: Any) -> Schema:
    """Return the schema of an enumeration's words."""
    return {"enum": [word.value for word in words]}


def listed(items: Schema, **bounds: int) -> Schema:
    """Return the schema of a list."""
    return {"type": "array", "items": items, **bounds}


def about(schema: Schema, description: str) -> Schema:
    """Return a schema with what editors show of it."""
    return {**schema, "description": description}


def closed(
    members: Schema, required: tuple[str, ...] = (), *, server: frozenset[str] = frozenset()
) -> Schema:
    """Return the schema of an object without other members; only the REST API sets those of `server`."""
    shown = {
        name: about(ANY, "set by the REST API, ignored in files") for name in sorted(server - set(members))
    }
    return {
        "type": "object",
        "properties": members | shown,
        "required": list(required),
        "additionalProperties": False,
    }


def when(member: str, value: object, then: Schema) -> Schema:
    """Return the schema that holds where a member has a value."""
    return {"if": {"properties": {member: {"const": value}}, "required": [member]}, "then": then}


def conditions() -> Schema:
    """Return the definitions of condition trees."""
    reading = about({"enum": list(READINGS)}, "reads a string as another type")
    operand: Schema = {
        "oneOf": [
            TEXT,
            closed({"attribute": TEXT, "as": reading}, ("attribute",)),
        ]
    }
    literal: Schema = {"type": ["string", "number", "boolean"]}
    side = closed({"attribute": operand, "as": reading}, ("attribute",))
    comparison = closed(
        {
            "type": ANY,
            "attribute": about(operand, "such as user.department, resource.owner, env.hour"),
            "as": reading,
            "operator": {"enum": list(OPERATORS)},
            "value": about(
                {"anyOf": [literal, listed(literal), side]}, "a literal, a list of them, or an attribute"
            ),
        },
        ("type", "attribute", "operator", "value"),
    )
    nodes = listed({"$ref": "#/$defs/condition"}, minItems=1)
    node = {"$ref": "#/$defs/condition"}
    shapes = {
        "AND": closed({"type": ANY, "conditions": nodes}, ("type", "conditions")),
        "OR": closed({"type": ANY, "conditions": nodes}, ("type", "conditions")),
        "NOT": closed({"type": ANY, "condition": node}, ("type", "condition")),
        "ALWAYS": closed({"type": ANY}, ("type",)),
        "CONDITION": comparison,
    }
    return {
        "type": "object",
        "properties": {"type": {"enum": list(shapes)}},
        "required": ["type"],
        "allOf": [when("type", name, shape) for name, shape in shapes.items()],
    }


def route() -> Schema:
    """Return the definition of a route."""
    method = {"type": "string", "pattern": "^[!#$%&'+.^_`|~0-9A-Z-]+$", "maxLength": MAX_METHOD_LENGTH}
    methods = {
        "anyOf": [
            listed({**method, "not": {"const": "HEAD"}}, minItems=1, maxItems=MAX_METHODS),
            {"type": "array", "items": {"const": "*"}, "minItems": 1, "maxItems": 1},
        ]
    }
    return closed(
        {
            "host": about({"type": ["string", "null"]}, "an exact host, or *.suffix; left out: every host"),
            "methods": about(methods, "upper-case, never HEAD, which is decided as GET; or only *"),
            "path": about(
                {"type": "string", "pattern": "^/"}, "a template: {name} is one segment, a final /** the rest"
            ),
            "action": about(
                NAME, "left out: the text after the last ':' of the resource's name, else 'access'"
            ),
            "authentication": one_of(AuthenticationRequirement),
            "mcp": about(
                {
                    "anyOf": [
                        {"const": PRESET},
                        closed(dict.fromkeys(("method", "tool", "prompt", "uri"), TEXT), ("method",)),
                    ]
                },
                "covers only these messages of the Model Context Protocol",
            ),
        },
        ("methods", "path"),
    )


def tables() -> Schema:
    """Return the definitions of the documents of policies."""
    resource = closed(
        {
            "name": about(NAME, "stable and unique"),
            "serviceName": about(NAME, "the service it belongs to"),
            "displayName": NAME,
            "defaultRoles": about(
                listed(NAME, maxItems=MAX_DEFAULT_ROLES), "roles that get an allow rule on the default action"
            ),
            "routes": listed({"$ref": "#/$defs/route"}, maxItems=MAX_ROUTES),
            "public": about(FLAG, "true: allow rules for everyone"),
            "headers": about(
                {"type": "object", "additionalProperties": TEXT, "maxProperties": MAX_CLAIM_HEADERS},
                "headers that the workload gets, each with an attribute user.*",
            ),
            "authorization": one_of(AuthorizationHeader),
            "assertion": FLAG,
            "require_bound": FLAG,
        },
        ("name", "serviceName"),
        server=SERVER_MEMBERS["resources"],
    )
    rule = closed(
        {
            "id": ID,
            "sub": about(NAME, "a role, user, service or workload, or *"),
            "sub_kind": about(one_of(SubjectKind), "left out: role in an allow, any in a deny"),
            "dom": about(NAME, "the domain, or *"),
            "obj": about(NAME, "the resource, or *"),
            "act": about(NAME, "the action, or *"),
            "effect": one_of(Effect),
        },
        ("id", "sub", "dom", "obj", "act", "effect"),
        server=SERVER_MEMBERS["role_rules"],
    )
    binding = closed(
        {
            "id": ID,
            "user": about(NAME, "the user, service, workload or role that gets it"),
            "user_kind": about(one_of(BoundKind), "role: inheritance"),
            "role": NAME,
            "dom": about(NAME, "the domain, or *"),
            "expires_at": about({"type": ["string", "null"]}, "RFC 3339, exclusive"),
        },
        ("id", "user", "user_kind", "role", "dom"),
        server=SERVER_MEMBERS["role_bindings"],
    )
    priority = {"type": "integer", "minimum": MIN_PRIORITY, "maximum": MAX_PRIORITY}
    allowed = {"properties": {"priority": {"minimum": MIN_ALLOW_PRIORITY, "maximum": MAX_ALLOW_PRIORITY}}}
    policy = closed(
        {
            "id": ID,
            "name": about(NAME, "a name for people"),
            "resource": about(NAME, "the name of a resource, or *"),
            "actions": listed(NAME, minItems=1),
            "domain": about(NAME, "principals of this domain only; *: every principal"),
            "effect": one_of(Effect),
            "priority": about(priority, "an allow: -1000 to 1000"),
            "enabled": FLAG,
            "mode": one_of(Mode),
            "format": about(one_of(Format), "the notation of rule_data"),
            "rule_data": about(ANY, "a tree of conditions; with format casbin an expression"),
            "deleted_at": about({"type": "null"}, "set by the REST API; a deleted policy is refused"),
        },
        ("id", "name", "resource", "effect", "rule_data"),
        server=SERVER_MEMBERS["attribute_policies"],
    )
    casbin = when("format", Format.CASBIN.value, {"properties": {"rule_data": TEXT}})
    casbin["else"] = {"properties": {"rule_data": {"$ref": "#/$defs/condition"}}}
    return {
        "resource": resource,
        "route": route(),
        "role_rule": rule,
        "role_binding": binding,
        "attribute_policy": {**policy, "allOf": [casbin, when("effect", "allow", allowed)]},
        "condition": conditions(),
        "policies": closed(
            {
                "resources": listed({"$ref": "#/$defs/resource"}),
                "role_rules": listed({"$ref": "#/$defs/role_rule"}),
                "role_bindings": listed({"$ref": "#/$defs/role_binding"}),
                "attribute_policies": listed({"$ref": "#/$defs/attribute_policy"}),
            }
        ),
    }


def cases() -> Schema:
    """Return the definitions of decision cases."""
    words = {"type": ["string", "number", "boolean"]}
    octets = closed({"octets": TEXT}, ("octets",))
    sent = {"anyOf": [words, octets]}
    principal = {
        "type": "object",
        "properties": {
            "id": TEXT,
            "kind": {"enum": [PrincipalKind.USER.value, PrincipalKind.SERVICE.value]},
            "roles": {"type": ["array", "null"]},
            "claims": {"type": ["object", "null"]},
            "domain": ANY,
            "tenant": ANY,
            "workload": TEXT,
        },
        "anyOf": [{"required": ["id"]}, {"required": ["workload"]}],
    }
    asked = {
        "type": "object",
        "properties": {
            "path": about(sent, "with its query, as in the request line"),
            "method": words,
            "host": words,
            "headers": {"type": "object"},
            "body": about(sent, "as Envoy passes it on; read where content-type is JSON or a form"),
            "context_extensions": {"type": "object"},
            "source": {"type": "object"},
            "resource": about(ANY, "asked by name: the resource"),
            "action": about(ANY, "asked by name: the action"),
            "parameters": about({"type": "object"}, "asked by name: resource.*"),
            "action_properties": about({"type": "object"}, "asked by name: action.properties.*"),
            "context": about({"type": "object"}, "asked by name: context.*"),
        },
        "if": {"required": ["path"]},
        "else": {"required": ["resource", "action"], "properties": {"resource": NAME, "action": NAME}},
    }
    reasons = {"anyOf": [one_of(Reason), ANY]}
    expect = closed(
        {
            "decision": one_of(Effect),
            "reason": about(reasons, "a reason of the decision log"),
            "rule": about(ANY, "the id of the deciding rule; null: none"),
            "resource": ANY,
            "action": ANY,
            "shadow": about(ANY, "the shadow policies that apply: [{rule_id, would}]"),
        },
        ("decision",),
    )
    case = closed(
        {
            "name": about(ANY, "unique in the file"),
            "now": about(TEXT, "RFC 3339; left out: a fixed time"),
            "principal": ANY,
            "token": about(
                {"type": "object"}, "instead of a principal: claims, of which roles and domain are read"
            ),
            "token_tenant": about(ANY, "with token, saas only: the tenant whose issuer signed it"),
            "request": asked,
            "expect": expect,
        },
        ("request", "expect"),
        server=SHOWN_ONLY,
    )
    case["if"] = {"not": {"required": ["token"]}}
    case["then"] = {
        "required": ["principal"],
        "properties": {"principal": {"anyOf": [{"const": "anonymous"}, principal]}},
    }
    settings = closed(
        {
            "mode": one_of(TenancyMode),
            "unmapped": one_of(UnmappedPolicy),
            "tenant_binding": one_of(TenantBinding),
            "condition_headers": {"type": "array"},
            "condition_body_max": {"type": "integer"},
            "claim_headers": {"type": "array"},
            "encode_raw_headers": FLAG,
            "oidc_enabled": FLAG,
            "cors_preflight": one_of(CorsPreflight),
            "excluded_roles": {"type": "array"},
        }
    )
    section = closed(
        {
            "description": about(ANY, "what the section shows"),
            "settings": settings,
            "tenants": {"type": "object"},
            "policies": about({"type": "object"}, "left out: the policies of the folder"),
            "cases": listed({"$ref": "#/$defs/case"}),
            "refused": about(listed({"type": "object"}), "instead of cases: places of problems, [{pointer}]"),
        }
    )
    own = {"properties": {"policies": {"$ref": "#/$defs/policies"}}}
    each = {"properties": {"policies": {"additionalProperties": {"$ref": "#/$defs/policies"}}}}
    saas = {
        "if": {
            "properties": {"settings": {"properties": {"mode": {"const": "saas"}}, "required": ["mode"]}},
            "required": ["settings"],
        },
        "then": each,
        "else": own,
    }
    section |= {"if": {"required": ["refused"]}, "else": {"required": ["cases"], **saas}}
    return {"case": case, "section": section}


def schemas() -> dict[str, str]:
    """Return the text of each schema by the name of its file."""
    policies = tables()
    documents = {
        "policies": ("A file of policies of extauthz.", policies, "policies"),
        "cases": ("A section of a file of decision cases of extauthz.", policies | cases(), "section"),
    }
    return {
        f"{name}.json": json.dumps(
            {
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "$id": f"urn:extauthz:schema:{name}",
                "title": title,
                "$ref": f"#/$defs/{root}",
                "$defs": definitions,
            },
            indent=2,
        )
        + "\n"
        for name, (title, definitions, root) in documents.items()
    }


def main() -> None:
    """Write the schemas, or say which differ."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true")
    only_check = parser.parse_args().check
    for name, text in schemas().items():
        path = FOLDER / name
        if only_check and (not path.exists() or path.read_text("utf-8") != text):
            sys.exit(f"{path.name} is not what tools/generate_schemas.py writes; run it")
        if not only_check:
            FOLDER.mkdir(exist_ok=True)
            path.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
