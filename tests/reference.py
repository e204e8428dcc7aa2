"""A plain implementation of the policy language: no index, nothing compiled, every rule read every time.

It is written from the policy language alone and shares nothing with `extauthz.compile` and
`extauthz.decide`; property tests compare the two, and the decision cases in `tests/cases/` are checked
against both. Documents and cases are taken as `tests/cases/README.md` describes them, and are assumed to
be valid: refusing a bad document is not the reference's job.
"""

import re
import unicodedata
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

from extauthz.domain.path import CanonicalPath
from tests.reference_conditions import Facts, Principal, evaluate, instant
from tests.reference_routes import (
    AMBIGUOUS,
    UNCOVERED,
    Document,
    Target,
    default_action,
    named_target,
    preflight_target,
    read_request,
    resolve,
)

DEFAULT_NOW: Final = "2026-01-05T10:00:00Z"
DEFAULT_SETTINGS: Final[Document] = {
    "mode": "selfhost",
    "unmapped": "deny",
    "tenant_binding": "host",
    "condition_headers": [],
    "cors_preflight": "off",
    "encode_raw_headers": True,
    "oidc_enabled": True,
    "excluded_roles": ["offline_access", "uma_authorization"],
}


class Match(NamedTuple):
    """A rule that matched: the greatest priority decides, then the strength; kind and id name the rule."""

    priority: int
    strength: int
    kind: str
    rule: str


ALLOWS, UNKNOWN_DENIES, DENIES = range(3)


def reference_decide(policy_set: Document, case: Document) -> dict[str, Any]:
    """Decide one case: `{decision, reason, rule, shadow, resource, action}`.

    The order is: malformed 400; bad credential 401; owner and tenant 403; no credential where one is
    required 401; unmapped 403; then the rules.
    """
    settings = {**DEFAULT_SETTINGS, **policy_set.get("settings", {})}
    asked = case["request"]
    raw_headers = settings["encode_raw_headers"]
    request = read_request(asked, raw_headers=raw_headers) if "path" in asked else None
    if request is not None and request["refused"] is not None:
        return refused(request["refused"])
    principal = identify(case, settings)
    tenants = {"default": {}} if settings["mode"] == "selfhost" else policy_set.get("tenants", {})
    if request is not None and reads_no_credential(policy_set, request, tenants, settings):
        principal = ANONYMOUS
    if principal is None:
        return refused("token_claims_invalid")
    if request is None and principal.kind == "anonymous":
        return refused("token_missing")
    owner = owner_of(request, principal, tenants, settings)
    if owner is None:
        return refused("unmapped_route")
    if principal.tenant is not None and principal.tenant != owner:
        return refused("tenant_mismatch")
    if tenants[owner].get("suspended", False):
        return refused("tenant_suspended")
    policies = policies_of(policy_set, owner, settings)
    preflight = None
    if request is not None and case.get("principal") == "anonymous":
        preflight = preflight_target(policies, request, asked, settings)
    if preflight is not None:
        return passed(preflight)
    target = named_target(policies, asked) if request is None else resolve(policies, request, settings)
    if principal.kind == "anonymous" and not (target and target.authentication != "required"):
        return refused("token_missing")
    if target is None or target is UNCOVERED:
        return refused("unmapped_route")
    if target is AMBIGUOUS:
        return refused("path_ambiguous")
    return judge(policies, principal, target, request, instant(case.get("now", DEFAULT_NOW)))


def passed(target: Target) -> dict[str, Any]:
    return {
        "decision": "allow",
        "reason": "preflight",
        "rule": None,
        "shadow": [],
        "resource": target.resource,
        "action": target.action,
    }


def refused(reason: str) -> dict[str, Any]:
    return {
        "decision": "deny",
        "reason": reason,
        "rule": None,
        "shadow": [],
        "resource": None,
        "action": None,
    }


# ---- the request, the caller, the owner


ANONYMOUS: Final = Principal("anonymous", None, None, None, frozenset({"anonymous"}), {})


def identify(case: Document, settings: Document) -> Principal | None:
    """Return the principal; None for a token whose claims cannot be accepted."""
    home = "default" if settings["mode"] == "selfhost" else None
    if (token := case.get("token")) is not None:
        if not settings["oidc_enabled"]:
            return ANONYMOUS
        domain = token.get("dom")
        if domain is not None and not is_domain(domain):
            return None
        listed = (token.get("realm_access") or {}).get("roles") or []
        if not all(isinstance(role, str) for role in listed):
            return None
        roles = frozenset(listed) - set(settings["excluded_roles"])
        return Principal("user", token["sub"], case.get("token_tenant", home), domain, roles, token)
    principal = case["principal"]
    if principal == "anonymous":
        return ANONYMOUS
    if "workload" in principal:
        if not is_workload(principal["workload"]):
            return None
        return Principal("workload", principal["workload"], None, None, frozenset(), {})
    kind = principal.get("kind", "user")
    if kind == "user" and not settings["oidc_enabled"]:
        return ANONYMOUS
    return Principal(
        kind,
        principal["id"],
        principal.get("tenant", home),
        principal.get("domain"),
        frozenset(principal.get("roles") or []),
        principal.get("claims") or {},
    )


def is_domain(value: object) -> bool:
    """One non-empty canonical string other than `*`."""
    return (
        isinstance(value, str)
        and value not in {"", "*"}
        and value == value.strip()
        and unicodedata.is_normalized("NFC", value)
        and not any(unicodedata.category(char) in {"Cc", "Cf", "Cs"} for char in value)
    )


def owner_of(
    request: Document | None, principal: Principal, tenants: Document, settings: Document
) -> str | None:
    """Return the tenant that owns what is asked for, None when it is unknown."""
    if request is None:
        return principal.tenant
    if "tenant" in request["context"]:
        named: str = request["context"]["tenant"]
        return named if named in tenants else None
    if settings["mode"] == "selfhost":
        return "default"
    for tenant, about in tenants.items():
        if request["host"] in about.get("hosts", []):
            return str(tenant)
    return principal.tenant if settings["tenant_binding"] == "token" else None


def policies_of(policy_set: Document, owner: str, settings: Document) -> Document:
    policies: Document = policy_set.get("policies", {})
    return with_public_written_out(policies.get(owner, {}) if settings["mode"] == "saas" else policies)


def with_public_written_out(policies: Document) -> Document:
    """Return the policies with what `public: true` of a resource stands for."""
    resources = policies.get("resources", [])
    if not any(resource.get("public") for resource in resources):
        return policies
    rules = [
        {"id": f"public:{resource['name']}:{sub}", "sub": sub, "dom": "*", "obj": resource["name"],
         "act": default_action(resource["name"]), "effect": "allow"}
        for resource in resources if resource.get("public") for sub in ("*", "anonymous")
    ]  # fmt: skip
    optional = {"authentication": "optional"}
    opened = [
        {**resource, "routes": [optional | route for route in resource.get("routes", [])]}
        if resource.get("public")
        else resource
        for resource in resources
    ]
    return {**policies, "resources": opened, "role_rules": [*policies.get("role_rules", []), *rules]}


def reads_no_credential(
    policy_set: Document, request: Document, tenants: Document, settings: Document
) -> bool:
    """Tell whether configuration alone leads to a route with `authentication: none`."""
    owner = owner_of(request, ANONYMOUS, tenants, settings)
    if owner is None:
        return False
    target = resolve(policies_of(policy_set, owner, settings), request, settings)
    return target is not None and target.authentication == "none"


# ---- the rules


def judge(
    policies: Document, principal: Principal, target: Target, request: Document | None, now: datetime
) -> dict[str, Any]:
    roles = effective_roles(policies, principal, now)
    facts = Facts(principal, roles, target, request, now)
    matches = list(role_matches(policies, principal, roles, target))
    peer = None if request is None else request["principal"]
    if peer is not None and principal.kind != "workload":
        denies = list(peer_denies(policies, principal, peer, target, now))
        # One outcome of all role rules: a deny takes the place of an allow.
        matches = [each for each in matches if each.strength == DENIES or not denies] + denies
    shadows = []
    for policy in policies.get("attribute_policies", []):
        if policy.get("enabled", True) and applies(policy, principal, target):
            match = attribute_match(policy, facts)
            if policy.get("mode", "enforce") == "shadow":
                shadows.append((policy["id"], match))
            elif match is not None:
                matches.append(match)
    decision, reason, rule = outcome(matches)
    return {
        "decision": decision,
        "reason": reason,
        "rule": rule,
        "shadow": [
            {"rule_id": name, "would": outcome([*matches, match] if match else matches)[0]}
            for name, match in sorted(shadows)
        ],
        "resource": target.resource,
        "action": target.action,
    }


def outcome(matches: list[Match]) -> tuple[str, str, str | None]:
    if not matches:
        return "deny", "no_matching_rule", None
    priority, strength = max((match.priority, match.strength) for match in matches)
    deciding = [match for match in matches if match.priority == priority and match.strength == strength]
    rule = min((match.kind, match.rule) for match in deciding)[1]  # "attribute" sorts before "role"
    if strength == ALLOWS:
        return "allow", "rule_matched", rule
    return "deny", "condition_unknown" if strength == UNKNOWN_DENIES else "rule_matched", rule


def effective_roles(policies: Document, principal: Principal, now: datetime) -> frozenset[str]:
    """The credential's roles and the bound ones, closed over inheritance, in the principal's domain."""
    links: dict[tuple[str, str], set[str]] = {}
    for binding in policies.get("role_bindings", []):
        expires = binding.get("expires_at")
        if binding["dom"] in {"*", principal.domain} and (expires is None or now < instant(expires)):
            member = binding["user"]
            if binding["user_kind"] == "workload" and means_workload(member, principal.id or ""):
                member = principal.id
            links.setdefault((binding["user_kind"], member), set()).add(binding["role"])
    roles: set[str] = set()
    reached = set(principal.roles) | links.get((principal.kind, principal.id or ""), set())
    while reached:
        roles |= reached
        reached = {parent for role in reached for parent in links.get(("role", role), ())} - roles
    return frozenset(roles)


def role_matches(
    policies: Document, principal: Principal, roles: frozenset[str], target: Target
) -> Iterator[Match]:
    allows: list[str] = []
    denies: list[str] = []
    for rule in policies.get("role_rules", []):
        deny = rule["effect"] == "deny"
        if (
            rule["dom"] in {"*", principal.domain}
            and names(rule["obj"], target, deny=deny)
            and rule["act"] in {"*", target.action}
            and subject_matches(rule, principal, roles, deny=deny)
        ):
            (denies if deny else allows).append(rule["id"])
    for name in denies or allows:
        yield Match(0, DENIES if denies else ALLOWS, "role", name)


def subject_matches(rule: Document, principal: Principal, roles: frozenset[str], *, deny: bool) -> bool:
    name = rule["sub"]
    if name == "*":
        return deny or principal.kind != "anonymous"
    kind = rule.get("sub_kind") or ("any" if deny else "role")
    as_role = kind in {"role", "any"} and name in roles
    if principal.kind == "workload" and kind in {"workload", "any"}:
        return as_role or means_workload(name, principal.id or "")
    itself = principal.kind in {"user", "service"} and kind in {principal.kind, "any"}
    return as_role or (itself and name == principal.id)


def means_workload(written: str, workload: str) -> bool:
    """A SPIFFE ID, or the whole segments that it begins with and `/**`; another name exactly."""
    if workload.startswith("spiffe://") and written.endswith("/**"):
        return f"{workload}/".startswith(written.removesuffix("**"))
    return written == workload


def is_workload(name: str) -> bool:
    if not name.lower().startswith("spiffe:"):
        return True
    return re.fullmatch(r"spiffe://[a-z0-9._-]+(/[A-Za-z0-9._-]+)*", name) is not None


def peer_denies(
    policies: Document, principal: Principal, peer: str, target: Target, now: datetime
) -> Iterator[Match]:
    """Denies on the workload that another principal's request comes from, and on its roles."""
    bound = [
        binding["role"]
        for binding in policies.get("role_bindings", [])
        if binding["user_kind"] == "workload"
        and binding["dom"] in {"*", principal.domain}
        and (binding.get("expires_at") is None or now < instant(binding["expires_at"]))
        and (means_workload(binding["user"], peer) or not is_workload(peer))
    ]
    through = Principal("workload", peer, None, principal.domain, frozenset(bound), {})
    roles = effective_roles(policies, through, now)
    for rule in policies.get("role_rules", []):
        if rule["effect"] == "deny" and rule["sub"] != "*":
            unread = not is_workload(peer) and rule.get("sub_kind", "any") in {"workload", "any"}
            changed = {**rule, "sub": peer} if unread else rule
            yield from role_matches({"role_rules": [changed]}, through, roles, target)


def names(written: str, target: Target, *, deny: bool) -> bool:
    """A deny on a resource that is a path holds for every spelling of the path."""
    path = CanonicalPath.parse(target.resource)
    is_path = isinstance(path, CanonicalPath) and path.text == target.resource
    if deny and is_path and unquote(written) == unquote(target.resource):
        return True
    return written in {"*", target.resource}


def applies(policy: Document, principal: Principal, target: Target) -> bool:
    actions = policy.get("actions", ["*"])
    return (
        names(policy["resource"], target, deny=policy["effect"] == "deny")
        and ("*" in actions or target.action in actions)
        and policy.get("domain", "*") in {"*", principal.domain}
    )


def attribute_match(policy: Document, facts: Facts) -> Match | None:
    truth = evaluate(policy["rule_data"], facts, policy["effect"])
    priority = policy.get("priority", 0)
    if policy["effect"] == "allow":
        return Match(priority, ALLOWS, "attribute", policy["id"]) if truth is True else None
    if truth is False:
        return None
    return Match(priority, DENIES if truth else UNKNOWN_DENIES, "attribute", policy["id"])
