"""Random folders of policies, and folders that an author made of an exported one."""

import copy
import json
import random
from decimal import Decimal
from typing import Any

from tests.property.generators import random_policy_set

Document = dict[str, Any]
TABLES = ("resources", "role_rules", "role_bindings", "attribute_policies")


def random_folder(rng: random.Random) -> Document:
    """Draw the policies of a folder that the server can hold: bindings with one expiry each."""
    policy_set = random_policy_set(rng)
    while policy_set["settings"]["mode"] != "selfhost":
        policy_set = random_policy_set(rng)
    text = json.dumps(policy_set["policies"], default=float)
    for header in ("x-a", "x-b"):
        text = text.replace(f"request.headers.{header}", "request.headers.x-channel")
    policies: Document = json.loads(text, parse_float=Decimal)
    for resource in policies["resources"]:
        if rng.random() < 0.4:
            resource["public"] = rng.random() < 0.7
        if rng.random() < 0.5:
            resource["defaultRoles"] = rng.sample(["r0", "r1", "anonymous", "user:u1"], 2)
        if rng.random() < 0.3:
            resource["displayName"] = "Documents for people: 'all' \"of\" them"
        if rng.random() < 0.2:
            resource["headers"] = {"x-user-email": "user.email"}
        if rng.random() < 0.2:
            resource |= {"authorization": rng.choice(["keep", "remove"]), "assertion": rng.random() < 0.5}
        if rng.random() < 0.2:
            resource["require_bound"] = rng.random() < 0.5
    for policy in policies["attribute_policies"]:
        if rng.random() < 0.2:
            policy["name"] = "the same name"
    for binding in policies["role_bindings"]:
        if "expires_at" in binding:
            # A binding that has expired is as one that is not there.
            binding["expires_at"] = binding["expires_at"].replace("2026-", "2036-")
    found: dict[str, Document] = {}
    for binding in policies["role_bindings"]:
        found.setdefault(repr(_bound(binding)), binding)
    policies["role_bindings"] = list(found.values())
    return policies


def edited(rng: random.Random, policies: Document, other: Document) -> Document:
    """Return a folder that an author made: entries gone, changed and moved, and some of another folder."""
    made: Document = {}
    for table in TABLES:
        entries = [copy.deepcopy(entry) for entry in policies[table] if rng.random() < 0.8]
        for entry in entries:
            if rng.random() < 0.3:
                _edit(rng, table, entry)
        rng.shuffle(entries)
        made[table] = entries
    names = {entry["name"] for entry in made["resources"]}
    made["resources"] += [entry for entry in other["resources"] if entry["name"] not in names]
    _without_taken_routes(made["resources"])
    bound = {_bound(entry) for entry in made["role_bindings"]}
    made["role_bindings"] += [
        entry
        for entry in other["role_bindings"]
        if entry["user_kind"] != "role" and _bound(entry) not in bound
    ]
    ids = {entry["id"] for table in ("role_rules", "attribute_policies") for entry in made[table]}
    for table in ("role_rules", "attribute_policies"):
        made[table] += [entry for entry in other[table] if entry["id"] not in ids and rng.random() < 0.5]
    return made


def _bound(entry: Document) -> tuple[str, ...]:
    return entry["user"], entry["user_kind"], entry["role"], entry["dom"]


def _edit(rng: random.Random, table: str, entry: Document) -> None:
    if table == "resources":
        entry["displayName"] = rng.choice(["one", "two"])
        entry["routes"] = entry["routes"][: rng.randint(0, 3)]
    elif table == "role_rules":
        entry["act"] = rng.choice(["read", "write", "other"])
    elif table == "role_bindings":
        entry["expires_at"] = rng.choice(["2041-01-01T00:00:00Z", "2041-01-01T01:00:00.25+01:00"])
    else:
        entry["priority"] = rng.choice([0, 1, -3])
        entry["name"] = rng.choice([entry["name"], "another name"])


def _without_taken_routes(resources: list[Document]) -> None:
    """Leave each route to one resource, at random to the first or the last."""
    taken: set[tuple[object, ...]] = set()
    for resource in resources:
        kept = []
        for route in resource["routes"]:
            shape = "/".join("{}" if part.startswith("{") else part for part in route["path"].split("/"))
            claims = {(route.get("host"), shape, method) for method in route["methods"]}
            if not claims & taken:
                taken |= claims
                kept.append(route)
        resource["routes"] = kept
