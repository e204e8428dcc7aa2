"""Casbin models as text, and what our engine answers under them."""

import json
from datetime import datetime
from typing import Any

from extauthz.casbin_enforce.engine import CasbinEngine, load_engine

NOW = datetime(2026, 1, 31, 8)  # noqa: DTZ001
ALLOW = "some(where (p.eft == allow))"
NOT_DENY = "!some(where (p.eft == deny))"
BOTH = f"{ALLOW} && {NOT_DENY}"
PRIORITY = "priority(p.eft) || deny"
SUBJECT_PRIORITY = "subjectPriority(p.eft) || deny"
BASIC = "r.sub == p.sub && r.obj == p.obj && r.act == p.act"
RBAC = "g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act"


def model(
    matcher: str = BASIC,
    *,
    effect: str = ALLOW,
    request: str = "sub, obj, act",
    policy: str = "sub, obj, act",
    roles: str = "",
) -> str:
    sections = {
        "request_definition": f"r = {request}",
        "policy_definition": f"p = {policy}",
        "role_definition": roles,
        "policy_effect": f"e = {effect}",
        "matchers": f"m = {matcher}",
    }
    return "".join(f"[{name}]\n{text}\n" for name, text in sections.items() if text)


WITH_EFFECT = {"effect": BOTH, "policy": "sub, obj, act, eft"}


def engine(definition: str, policy: str | bytes) -> CasbinEngine:
    loaded = load_engine(definition, policy if isinstance(policy, bytes) else policy.encode())
    assert isinstance(loaded, CasbinEngine), loaded
    return loaded


def ask(definition: str, policy: str, *request: Any) -> str:
    return engine(definition, policy).answer(json.dumps(request).encode(), NOW)
