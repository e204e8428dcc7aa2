"""Finds what in policies reads the body of a request: conditions on it, and routes of MCP messages."""

from typing import Final

from extauthz.compile.conditions.compiled_policy import attribute_names
from extauthz.compile.fields import shown
from extauthz.domain.policy import AttributePolicy, PolicySet, Resource

_BODY: Final = "request.body."


def body_reader(policies: PolicySet) -> str | None:
    """Return a name for the first entry that is in force and reads the body; None where no entry does.

    A shadow policy counts: what it would decide depends on the body, too.
    """
    for policy in policies.attribute_policies:
        if policy.enabled and policy_reads_body(policy):
            return f"the policy {shown(policy.id)}"
    for resource in policies.resources:
        if resource_reads_body(resource):
            return f"a route with mcp of {shown(resource.name)}"
    return None


def policy_reads_body(policy: AttributePolicy) -> bool:
    """Return whether a condition of the policy reads the body."""
    return any(name.startswith(_BODY) for name in attribute_names(policy.condition))


def resource_reads_body(resource: Resource) -> bool:
    """Return whether a route of the resource is of messages, which are in bodies."""
    return any(route.mcp for route in resource.routes)
