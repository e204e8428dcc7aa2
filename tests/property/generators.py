"""Random policy sets and requests, for comparing implementations of the policy language.

The vocabularies are small, so that rules collide: the same few names serve as users, roles and services,
and most requests meet several rules. Everything generated is valid (no route conflict, no inheritance
cycle, no chain that is too long) and has the format of `tests/cases/README.md`: a policy set is a file
without its cases, a request is one case without its expectation.

`random_policy_set(rng)` and `random_request(rng, policy_set)` depend on the generator's state alone; the
hypothesis strategies draw through the same two functions, and shrink.
"""

import random
from typing import Any

from hypothesis import strategies as st

from tests.property.random_conditions import random_node
from tests.property.vocabulary import (
    ACTIONS,
    ADDRESSES,
    BODIES,
    BODY_TYPES,
    CLAIM_NAMES,
    CLAIMS,
    DENY_PRIORITIES,
    DOMAINS,
    HEADER_VALUES,
    HEADERS,
    HOSTS,
    INSTANTS,
    METHODS,
    OCTETS,
    PATHS,
    PRIORITIES,
    QUERIES,
    READ_CLAIMS,
    RESOURCES,
    ROLES,
    ROUTE_HOSTS,
    SEGMENTS,
    SERVICES,
    SPIFFE,
    SUBJECTS,
    TEMPLATES,
    TENANTS,
    USERS,
    WRITTEN_WORKLOADS,
)

Document = dict[str, Any]


def random_policy_set(rng: random.Random) -> Document:
    """Draw settings, tenants and policies; the set that requests are drawn for."""
    choice = rng.choice
    settings: Document = {
        "mode": "saas" if rng.random() < 0.15 else "selfhost",
        "unmapped": choice(["deny", "deny", "path"]),
        "tenant_binding": choice(["host", "token"]),
        "condition_headers": HEADERS,
        "encode_raw_headers": rng.random() < 0.7,
        "oidc_enabled": rng.random() < 0.95,
    }
    if settings["mode"] == "selfhost":
        return {"settings": settings, "policies": _policies(rng)}
    return {
        "settings": settings,
        "tenants": {
            "acme": {"hosts": ["h.example", "a.h.example"]},
            "globex": {"hosts": ["c.h.example"], "suspended": rng.random() < 0.2},
        },
        "policies": {tenant: _policies(rng) for tenant in TENANTS},
    }


def random_request(rng: random.Random, policy_set: Document) -> Document:
    """Draw one case for the set: principal, request and time."""
    saas = policy_set["settings"]["mode"] == "saas"
    case: Document = {"now": rng.choice(INSTANTS)}
    case.update(_principal(rng, saas=saas))
    named = isinstance(case.get("principal"), dict) and "id" in case["principal"] and rng.random() < 0.15
    case["request"] = _named_request(rng) if named else _path_request(rng, policy_set)
    return case


# ---- policies


def _policies(rng: random.Random) -> Document:
    return {
        "resources": _resources(rng),
        "role_rules": [_role_rule(rng, number) for number in range(rng.choice([0, 3, 8, 16]))],
        "role_bindings": [_role_binding(rng, number) for number in range(rng.randint(0, 8))],
        "attribute_policies": [_attribute_policy(rng, number) for number in range(rng.choice([0, 3, 6, 10]))],
    }


def _resources(rng: random.Random) -> list[Document]:
    taken: set[tuple[str | None, str, str]] = set()
    resources = []
    for name in rng.sample([*RESOURCES, "/a@b"], rng.randint(2, 4)):
        routes = [route for _ in range(rng.randint(1, 6)) if (route := _route(rng, taken)) is not None]
        resources.append({"name": name, "serviceName": rng.choice(["s1", "abc"]), "routes": routes})
    return resources


def _route(rng: random.Random, taken: set[tuple[str | None, str, str]]) -> Document | None:
    """Draw a route, None if it would conflict with one that is taken."""
    choice = rng.choice
    host, path, methods = choice(ROUTE_HOSTS), choice(TEMPLATES), choice(METHODS)
    shape = "/".join("{}" if part.startswith("{") else part for part in path.split("/"))
    keys = {(host, shape, method) for method in methods}
    if keys & taken:
        return None
    taken |= keys
    route: Document = {"methods": methods, "path": path}
    if host is not None:
        route["host"] = host
    if rng.random() < 0.4:
        route["action"] = choice(ACTIONS)
    if rng.random() < 0.5:
        route["authentication"] = choice(["optional", "optional", "required", "none"])
    return route


def _role_rule(rng: random.Random, number: int) -> Document:
    choice = rng.choice
    effect = choice(["allow", "allow", "allow", "deny"])
    rule: Document = {
        "id": f"{choice('abc')}{number}",
        "sub": "*" if rng.random() < 0.15 else choice(SUBJECTS),
        "dom": choice(["*", "*", *DOMAINS]),
        "obj": choice(["*", "*", "*", *RESOURCES, *PATHS]),
        "act": choice(["*", "*", "*", *ACTIONS]),
        "effect": effect,
    }
    if rng.random() < 0.6:
        kinds = ["role", "role", "user", "service", *(["any"] if effect == "deny" else [])]
        rule["sub_kind"] = "any" if rule["sub"] == "*" else choice(kinds)
    if rng.random() < 0.15:
        rule["sub"], rule["sub_kind"] = choice(WRITTEN_WORKLOADS), "workload"
        if effect == "deny" and rng.random() < 0.3:
            rule["sub_kind"] = "any"
    return rule


def _role_binding(rng: random.Random, number: int) -> Document:
    choice = rng.choice
    kind = choice(["user", "user", "role", "role", "role", "service", "workload"])
    if kind == "role":
        # A role inherits only from one with a greater number: no cycle, and never more than eight links.
        lower = rng.randrange(len(ROLES) - 1)
        user, role = ROLES[lower], ROLES[rng.randrange(lower + 1, min(lower + 3, len(ROLES)))]
    else:
        names = {"user": USERS, "service": SERVICES, "workload": WRITTEN_WORKLOADS}
        user = choice(names[kind])
        role = choice([*ROLES, "user:u1"])
    binding = {
        "id": f"g{number}",
        "user": user,
        "user_kind": kind,
        "role": role,
        "dom": choice(["*", *DOMAINS]),
    }
    if rng.random() < 0.3:
        binding["expires_at"] = choice(INSTANTS)
    return binding


def _attribute_policy(rng: random.Random, number: int) -> Document:
    choice = rng.choice
    effect = choice(["allow", "allow", "deny"])
    name = f"{choice('abc')}{number}-attribute"
    policy: Document = {
        "id": name,
        "name": name,
        "resource": choice(["*", "*", *RESOURCES, *PATHS]),
        "effect": effect,
        "rule_data": random_node(rng, 3),
    }
    if rng.random() < 0.8:
        policy["priority"] = choice(PRIORITIES if effect == "allow" else DENY_PRIORITIES)
    if rng.random() < 0.4:
        policy["actions"] = choice([["*"], ["read"], ["access", "get"], ["read", "write"]])
    if rng.random() < 0.4:
        policy["domain"] = choice(["*", *DOMAINS])
    if rng.random() < 0.3:
        policy["mode"] = choice(["shadow", "shadow", "enforce"])
    if rng.random() < 0.15:
        policy["enabled"] = rng.random() < 0.3
    return policy


# ---- requests


def _principal(rng: random.Random, *, saas: bool) -> Document:
    choice, drawn = rng.choice, rng.random()
    if drawn < 0.12:
        return {"principal": "anonymous"}
    if drawn < 0.17:
        return {"principal": {"workload": choice(SPIFFE)}}
    roles = rng.sample(SUBJECTS, rng.randint(0, 3))
    claims = {name: choice(CLAIMS) for name in rng.sample(CLAIM_NAMES, 4)}
    claims |= {name: choice(READ_CLAIMS) for name in rng.sample(["r", "s"], rng.randint(0, 2))}
    if drawn < 0.3:
        token: Document = {
            **claims,
            "sub": choice(USERS),
            "realm_access": {"roles": [*roles, "offline_access"]},
        }
        if rng.random() < 0.7:
            token["dom"] = choice([*DOMAINS, *DOMAINS, *DOMAINS, "*", "", 3, ["d1"], " d1", None])
        return {"token": token, **({"token_tenant": choice(TENANTS)} if saas else {})}
    kind = "service" if drawn < 0.45 else "user"
    principal: Document = {
        "kind": kind,
        "id": choice(USERS if kind == "user" else SERVICES),
        "tenant": choice(TENANTS) if saas else "default",
        "roles": roles,
        "claims": claims,
    }
    if rng.random() < 0.7:
        principal["domain"] = choice(DOMAINS)
    return {"principal": principal}


def _named_request(rng: random.Random) -> Document:
    names = rng.sample(["x", "y", "owner", "name"], rng.randint(0, 3))
    properties, context = (
        {name: rng.choice(CLAIMS) for name in rng.sample(of, rng.randint(0, 2))}
        for of in (["soft", "o"], ["c", "o"])
    )
    return {
        "resource": rng.choice([*RESOURCES, *PATHS]),
        "action": rng.choice(ACTIONS),
        "parameters": {name: rng.choice(CLAIMS) for name in names},
        "action_properties": properties,
        "context": context,
    }


def _path_request(rng: random.Random, policy_set: Document) -> Document:
    choice = rng.choice
    saas = policy_set["settings"]["mode"] == "saas"
    routes = _routes(policy_set) if rng.random() < 0.8 else []
    route: Document = choice(routes) if routes else {"path": "/**", "methods": ["*"]}
    method = choice([*route["methods"], "HEAD"]) if rng.random() < 0.8 else choice(["GET", "POST", "get"])
    request: Document = {
        "method": "GET" if method == "*" else method,
        "host": choice(HOSTS),
        "path": _path(rng, route["path"]) + choice(QUERIES),
    }
    if rng.random() < 0.03:
        request["path"] = {"octets": request["path"] + choice(OCTETS)}
    if rng.random() < 0.6:
        request["headers"] = {
            choice(["x-a", "X-A", "x-c"]): choice(HEADER_VALUES),
            "x-b": choice(HEADER_VALUES),
        }
    if rng.random() < 0.5:
        request.setdefault("headers", {})["content-type"] = choice(BODY_TYPES)
        request["body"] = choice(BODIES)
    if rng.random() < 0.7:
        request["source"] = {"address": choice(ADDRESSES), "principal": choice(SPIFFE)}
    if rng.random() < 0.15:
        request["context_extensions"] = _context_extensions(rng, saas=saas)
    return request


def _routes(policy_set: Document) -> list[Document]:
    saas = policy_set["settings"]["mode"] == "saas"
    owners = policy_set["policies"].values() if saas else [policy_set["policies"]]
    return [
        route for policies in owners for resource in policies["resources"] for route in resource["routes"]
    ]


def _path(rng: random.Random, template: str) -> str:
    """Fill a template; what `/**` covers is nothing, a slash, one segment or more."""
    segments: list[str] = []
    for part in template.split("/")[1:]:
        if part == "**":
            segments.extend(rng.choice([[], [""], ["a"], ["b"], ["a", "b"], ["1", ""], ["a@b"], ["a%40b"]]))
        else:
            segments.append(rng.choice(SEGMENTS) if part.startswith("{") else _respelt(rng, part))
    return "/" + "/".join(segments)


def _respelt(rng: random.Random, literal: str) -> str:
    """Spell a literal as it is, or now and then in another way that decodes to the same text."""
    if rng.random() < 0.7:
        return literal
    return literal.replace("%40", "@") if "%40" in literal else literal.replace("@", "%40")


def _context_extensions(rng: random.Random, *, saas: bool) -> Document:
    tenants = TENANTS if saas else ["default"]
    context: Document = {}
    if rng.random() < 0.5:
        context["tenant"] = rng.choice([*tenants, *tenants, "nobody"])
    if rng.random() < 0.7:
        context |= {"resource": rng.choice([*RESOURCES, "unregistered"]), "action": rng.choice(ACTIONS)}
    return context


# ---- hypothesis


def policy_sets() -> st.SearchStrategy[Document]:
    """Strategy for policy sets."""
    return st.randoms(use_true_random=False).map(random_policy_set)


@st.composite
def policy_sets_with_requests(draw: st.DrawFn, *, max_requests: int = 20) -> tuple[Document, list[Document]]:
    """Strategy for a policy set and requests to it."""
    policy_set = draw(policy_sets())
    requests = st.randoms(use_true_random=False).map(lambda rng: random_request(rng, policy_set))
    return policy_set, draw(st.lists(requests, min_size=1, max_size=max_requests))
