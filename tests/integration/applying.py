"""`extauthz policy apply` and `export` against a served REST API, and folders for them."""

import asyncio
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tests.command_line import run_extauthz
from tests.integration.rest_harness import ADMIN_KEY, Api

if TYPE_CHECKING:
    import subprocess

_LOGGED = re.compile(r"^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:]+ \[.*\n", re.MULTILINE)
FOLDER: Mapping[str, Any] = {
    "resources": [
        {
            "name": "invoice:read",
            "serviceName": "billing",
            "defaultRoles": ["finance"],
            "routes": [{"methods": ["GET"], "path": "/invoices/{id}"}],
        },
        {
            "name": "price",
            "serviceName": "shop",
            "public": True,
            "routes": [{"host": "Shop.example.com", "methods": ["POST", "GET"], "path": "/prices"}],
        },
    ],
    "role_rules": [
        {"id": "emea", "sub": "emea", "dom": "emea", "obj": "invoice:read", "act": "*", "effect": "allow"},
        {"id": "closed", "sub": "*", "dom": "*", "obj": "invoice:read", "act": "drop", "effect": "deny"},
    ],
    "role_bindings": [
        {"id": "b", "user": "ann", "user_kind": "user", "role": "finance", "dom": "*",
         "expires_at": "2031-01-31T08:00:00.5+01:00"},
    ],
    "attribute_policies": [
        {"id": "sealed", "name": "Sealed", "resource": "invoice:read", "effect": "deny", "priority": 7,
         "rule_data": {"type": "OR", "conditions": [
             {"type": "CONDITION", "attribute": "request.query.sum", "operator": "eq", "value": "1\u202e2"},
             {"type": "CONDITION", "attribute": "user.level", "operator": "gt", "value": 1.50},
         ]}},
        {"id": "m", "name": "'Größe': \"all\" #1, {x}", "resource": "price", "effect": "allow",
         "priority": -3, "domain": "emea", "actions": ["write", "read"], "enabled": False, "mode": "shadow",
         "format": "casbin", "rule_data": 'user.level >= 3 && user["a b"] == "x: y"'},
    ],
}  # fmt: skip
_LISTS = ("resources", "resources/policies", "role-bindings", "abac/policies")


def write_folder(folder: Path, document: Mapping[str, Any], name: str = "policies.json") -> Path:
    """Write a document as a file of a folder."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(document))
    return folder


def environment(api: Api, **others: str) -> dict[str, str]:
    """Return the variables of the commands; the settings are those that the harness reads documents with."""
    settings = {"CONDITION_HEADERS": "x-channel", "CLAIM_HEADERS": "x-user-email,x-user-groups"}
    return {"EXTAUTHZ_URL": api.url, "ADMIN_API_KEY": ADMIN_KEY} | settings | others


async def command(
    api: Api, *arguments: str | Path, environ: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run `extauthz policy ...` in a thread, next to the server."""
    given = environment(api) if environ is None else environ
    found = await asyncio.to_thread(run_extauthz, "policy", *arguments, environ=given)
    # The server of the harness logs into the same stream.
    found.stdout = _LOGGED.sub("", found.stdout)
    return found


def read_folder_files(folder: Path) -> dict[str, Any]:
    """Return the documents of a folder's YAML files by name."""
    return {path.name: yaml.safe_load(path.read_text()) for path in sorted(folder.glob("*.yaml"))}


async def rows(api: Api, path: str) -> list[dict[str, Any]]:
    """Return the rows of a list, of which there are at most 1,000."""
    found: list[dict[str, Any]] = (await api.get(f"/api/v1/{path}?limit=1000")).succeeded(200).body["items"]
    return found


async def everything(api: Api) -> list[Any]:
    """Return the rows of all lists of policies."""
    return [await rows(api, path) for path in _LISTS]


async def revision(api: Api) -> int:
    """Return the tenant's live revision."""
    return (await api.get("/api/v1/resources")).revision


async def drafts(api: Api, state: str = "open") -> list[dict[str, Any]]:
    """Return the drafts in a state."""
    found: list[dict[str, Any]] = (await api.get(f"/api/v1/drafts?state={state}")).body["items"]
    return found
