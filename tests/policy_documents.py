"""Valid policy documents as the tests write them, and readers that change one member."""

from collections.abc import Mapping
from typing import Any

from extauthz.compile.documents.policy_documents import (
    Reading,
    parse_attribute_policy,
    parse_role_binding,
    parse_role_rule,
)
from extauthz.compile.documents.resource_documents import parse_resource
from extauthz.domain.policy import (
    AttributePolicy,
    RoleBinding,
    RoleRule,
    Route,
)
from extauthz.domain.problem import Problem

READING = Reading()
RULE: Mapping[str, Any] = {
    "id": "r",
    "sub": "finance",
    "dom": "*",
    "obj": "invoice",
    "act": "read",
    "effect": "allow",
}


BINDING: Mapping[str, Any] = {"id": "b", "user": "alice", "user_kind": "user", "role": "finance", "dom": "*"}
POLICY: Mapping[str, Any] = {
    "id": "p",
    "name": "office hours",
    "resource": "invoice",
    "effect": "deny",
    "rule_data": {"type": "ALWAYS"},
}


RESOURCE: Mapping[str, Any] = {
    "name": "invoice:read",
    "serviceName": "billing",
    "routes": [{"methods": ["GET"], "path": "/invoices/{id}"}],
}


def read_rule(**members: object) -> RoleRule | list[Problem]:
    problems: list[Problem] = []
    return parse_role_rule({**RULE, **members}, "", problems, READING) or problems


def read_binding(**members: object) -> RoleBinding | list[Problem]:
    problems: list[Problem] = []
    return parse_role_binding({**BINDING, **members}, "", problems, READING) or problems


def read_policy(reading: Reading = READING, **members: object) -> AttributePolicy | list[Problem]:
    problems: list[Problem] = []
    return parse_attribute_policy({**POLICY, **members}, "", problems, reading) or problems


def read_route(**members: object) -> Route | list[Problem]:
    problems: list[Problem] = []
    document = {**RESOURCE, "routes": [{"methods": ["GET"], "path": "/x", **members}]}
    resource = parse_resource(document, "", problems)
    return problems if resource is None else resource.routes[0]


def pointers(found: object) -> list[str]:
    assert isinstance(found, list)
    return [problem.pointer for problem in found]
