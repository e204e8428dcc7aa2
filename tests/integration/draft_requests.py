"""Requests to drafts and to policies in them, as the tests of drafts send them over REST."""

from typing import Any

from tests.integration.rest_harness import Answer, Api

V1 = "/api/v1"
DRAFTS, RULES, BINDINGS = f"{V1}/drafts", f"{V1}/resources/policies", f"{V1}/role-bindings"
POLICIES, RESOURCES, CSV = f"{V1}/abac/policies", f"{V1}/resources", f"{V1}/casbin/policy"
NO_ID = "01900000-0000-7000-8000-000000000000"


def binding(**members: object) -> dict[str, object]:
    """Return a binding of alice in the domain emea."""
    return {"user": "alice", "user_kind": "user", "role": "finance", "dom": "emea"} | members


def policy(**members: object) -> dict[str, object]:
    """Return an attribute policy in the domain emea that allows."""
    return {
        "name": "n", "resource": "invoice:read", "domain": "emea", "effect": "allow",
        "rule_data": {"type": "ALWAYS"},
    } | members  # fmt: skip


def resource(**members: object) -> dict[str, object]:
    """Return a resource with one route and one default role."""
    return {
        "name": "invoice:read", "serviceName": "billing", "defaultRoles": ["finance"],
        "routes": [{"methods": ["GET"], "path": "/invoices/{id}"}],
    } | members  # fmt: skip


async def a_draft(api: Api, *, caller: str = "key", **document: object) -> str:
    """Create a draft, and return its id."""
    made = (await api.post(DRAFTS, document, caller=caller)).succeeded(201)
    return str(made.body["id"])


async def revision(api: Api, caller: str = "key") -> int:
    """Return the tenant's live revision."""
    return int((await api.get(CSV, caller=caller)).headers["ETag"].strip('"'))


async def items(api: Api, path: str, caller: str = "key") -> list[Any]:
    """Return the items of the first page of a list."""
    return list((await api.get(path, caller=caller)).succeeded(200).body["items"])


async def publish(api: Api, draft: str, *, caller: str = "key", **headers: str) -> Answer:
    """Ask to publish a draft."""
    return await api.post(f"{DRAFTS}/{draft}/publish", caller=caller, **headers)


async def diff(api: Api, draft: str, caller: str = "key") -> list[tuple[str, str]]:
    """Return the action and the kind of each difference of a draft from what is live."""
    return [(each["action"], each["kind"]) for each in await items(api, f"{DRAFTS}/{draft}/diff", caller)]
