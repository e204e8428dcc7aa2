"""The Python SDK: manage resources, rules and policies, ask for decisions, declare what routes need,
verify that a request passed a check.

It stands apart from the server and imports none of it.
"""

from extauthz_client.api import ExtauthzClient, SyncExtauthzClient
from extauthz_client.assertions import AssertionVerifier, SyncAssertionVerifier, VerifiedAssertion
from extauthz_client.credentials import ClientCredentials, Credentials, ServiceKey, credentials_from
from extauthz_client.declare import protect, resource
from extauthz_client.errors import ApiError, AssertionRejected, ClientError, UnexpectedAnswer, Unreachable
from extauthz_client.models import AttributePolicy, CheckResult, Resource, RoleBinding, RoleRule, Route

__version__ = "0.2.0"

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
    "SyncAssertionVerifier",
    "SyncExtauthzClient",
    "UnexpectedAnswer",
    "Unreachable",
    "VerifiedAssertion",
    "credentials_from",
    "protect",
    "resource",
]
