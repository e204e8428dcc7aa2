"""The Python SDK: manage resources, rules and policies, ask for decisions, declare what routes need,
verify that a request passed a check.

It stands apart from the server and imports none of it.
"""

from extauthz.client.api import ExtauthzClient
from extauthz.client.assertions import AssertionVerifier, VerifiedAssertion
from extauthz.client.credentials import ClientCredentials, Credentials, ServiceKey, credentials_from
from extauthz.client.declare import protect, resource
from extauthz.client.errors import ApiError, AssertionRejected, ClientError, UnexpectedAnswer, Unreachable
from extauthz.client.models import AttributePolicy, CheckResult, Resource, RoleBinding, RoleRule, Route

__all__ = [
    "ApiError",
    "AssertionRejected",
    "AssertionVerifier",
    "AttributePolicy",
    "CheckResult",
    "ClientCredentials",
    "ClientError",
    "Credentials",
    "ExtauthzClient",
    "Resource",
    "RoleBinding",
    "RoleRule",
    "Route",
    "ServiceKey",
    "UnexpectedAnswer",
    "Unreachable",
    "VerifiedAssertion",
    "credentials_from",
    "protect",
    "resource",
]
