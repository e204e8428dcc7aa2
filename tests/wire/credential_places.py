"""Requests with credentials in every place that can be configured, and policies to judge them by."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from envoy_data_plane.envoy.config.core.v3 import Metadata
from envoy_data_plane.envoy.service.auth.v3 import CheckRequest
from envoy_data_plane.google.protobuf import ListValue, NullValue, Struct, Value

from extauthz.check.credentials import CredentialSources
from tests.builders import Answer, check_request
from tests.real_service import TOKEN_LIFETIME_S
from tests.tokens import AUDIENCE, ISSUER

JWT_AUTHN = "envoy.filters.http.jwt_authn"
SPIFFE = "spiffe://cluster.local/ns/shop/sa/cart"
EVERYTHING = CredentialSources("x-token", "session", "idp", workloads=True)
RULE = {"dom": "*", "obj": "page:read", "act": "read", "effect": "allow"}
POLICIES = {
    "resources": [
        {
            "name": "page:read",
            "serviceName": "web",
            "routes": [
                {"methods": ["GET"], "path": "/page"},
                {"methods": ["GET"], "path": "/open", "authentication": "optional"},
            ],
        }
    ],
    "role_rules": [
        {"id": "all", "sub": "*", **RULE},
        {"id": "nobody", "sub": "anonymous", **RULE},
    ],
    "attribute_policies": [
        {
            "id": "no-interns",
            "name": "no interns",
            "resource": "page:read",
            "effect": "deny",
            "priority": 5,
            "rule_data": {
                "type": "AND",
                "conditions": [
                    {"type": "CONDITION", "attribute": "user.level", "operator": "exists", "value": True},
                    {"type": "CONDITION", "attribute": "user.level", "operator": "lt", "value": 2},
                ],
            },
        }
    ],
}


def value(plain: object) -> Value:
    match plain:
        case None:
            return Value(null_value=NullValue.NULL_VALUE)
        case bool():
            return Value(bool_value=plain)
        case int() | float():
            return Value(number_value=float(plain))
        case str():
            return Value(string_value=plain)
        case list():
            return Value(list_value=ListValue(values=[value(each) for each in plain]))
        case dict():
            return Value(struct_value=struct(plain))
    raise TypeError(plain)


def struct(plain: Mapping[str, object]) -> Struct:
    return Struct(fields={name: value(member) for name, member in plain.items()})


def with_metadata(raw: bytes, namespaces: Mapping[str, Mapping[str, object]]) -> bytes:
    request = CheckRequest.parse(raw)
    assert request.attributes is not None
    filters = {name: struct(content) for name, content in namespaces.items()}
    request.attributes.metadata_context = Metadata(filter_metadata=filters)
    return bytes(request)


def payload(**changes: object) -> dict[str, object]:
    now = int(time.time())
    usual = {"iss": ISSUER, "sub": "alice", "aud": AUDIENCE, "iat": now - 60, "exp": now + TOKEN_LIFETIME_S}
    return {name: member for name, member in (usual | changes).items() if member is not None}


def verified(path: str = "/page", *, headers: Mapping[str, str] | None = None, **changes: object) -> bytes:
    return with_metadata(check_request(path, headers=headers or {}), {JWT_AUTHN: {"idp": payload(**changes)}})


Ask = Callable[..., tuple[Answer, dict[str, Any]]]


def headers_of(**headers: str) -> dict[str, str]:
    return {name.replace("_", "-"): found for name, found in headers.items()}
