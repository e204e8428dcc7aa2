"""Imported Istio policies against a plain reading of Istio's reference: never more, and mostly the same.

The reading follows https://istio.io/latest/docs/reference/config/security/authorization-policy/ and
.../conditions/, on one request given as plain values; it shares no code with the import.
"""

import fnmatch
import ipaddress
import json
import random
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.cases.decision_cases import CaseRunner
from extauthz.compile.documents.policy_files import read_document
from extauthz.compile.roles.role_model import RoleModel, compile_model
from extauthz.importing.checked import check
from extauthz.importing.istio import IstioOptions, import_istio
from extauthz.importing.outcome import Consequence, Imported
from extauthz.importing.written_yaml import policies_text
from extauthz.shipped import shipped

Request = dict[str, Any]
VALUES: dict[str, list[str]] = {
    "principals": [
        "cluster.local/ns/foo/sa/web", "cluster.local/ns/foo/*", "*/sa/web", "*", "old.example/ns/foo/sa/web",
    ],
    "namespaces": ["foo", "ba*", "*", "prod"],
    "serviceAccounts": ["foo/web", "web", "bar/web"],
    "requestPrincipals": ["https://i.example/alice", "https://i.example/*", "*", "*/alice", "https*", "*ice",
        "x/al*"],
    "ipBlocks": ["10.0.0.0/8", "10.1.2.3", "10.1.2.3/16", "fd00::/8"],
    "remoteIpBlocks": ["10.0.0.0/8"],
    "hosts": ["a.example", "*.example", "A.example:*", "*", "a.*", "b.example:8080"],
    "methods": ["GET", "POST", "*", "P*", "*T", "HEAD", "H*"],
    "paths": [
        "/data", "/data/*", "*/info", "*", "/data/{*}", "/{*}/info", "/data/{**}", "/a b", "/x%20y", "*A",
        "/data*",
    ],
    "ports": ["80", "8080"],
}  # fmt: skip
KEYS: dict[str, list[str]] = {
    "request.headers[X-Team]": ["red", "re*", "*", "*ed"],
    "source.ip": VALUES["ipBlocks"],
    "source.namespace": VALUES["namespaces"],
    "source.principal": VALUES["principals"],
    "request.auth.principal": VALUES["requestPrincipals"],
    "request.auth.audiences": ["api", "a*"],
    "request.auth.presenter": ["web"],
    "request.auth.claims[group]": ["staff", "st*", "*"],
    "request.auth.claims[scope]": ["read", "write"],
    "request.auth.claims[iss]": ["https://i.example", "https*"],
    "request.auth.claims[roles]": ["admin"],
    "request.auth.claims[a][b]": ["c"],
    "destination.port": ["80"],
    "connection.sni": ["a.example"],
    "request.headers[Cookie]": ["x"],
    "no.such.key": ["x"],
}
SOURCES = ["principals", "namespaces", "serviceAccounts", "requestPrincipals", "ipBlocks", "remoteIpBlocks"]
OPERATIONS = ["hosts", "methods", "paths", "ports"]


def text_matches(value: str, pattern: str) -> bool:
    if pattern == "*":
        return value != ""
    if pattern.startswith("*"):
        return value.endswith(pattern[1:])
    if pattern.endswith("*"):
        return value.startswith(pattern[:-1])
    return value == pattern


def principal_matches(request: Request, pattern: str) -> bool:
    peer: str | None = request["peer"]
    if peer is None:
        return False
    domain, slash, rest = pattern.partition("/")
    mesh = request["mesh"]
    own = slash and "*" not in domain and domain in {*mesh, "cluster.local"}
    patterns = [f"{each}/{rest}" for each in mesh] if own else [pattern]
    return any(text_matches(peer.removeprefix("spiffe://"), each) for each in patterns)


def token_matches(request: Request, pattern: str) -> bool:
    claims = request["claims"]
    if claims is None:
        return False
    issuer, subject = claims["iss"], claims["sub"]
    if pattern == "*":
        return True
    before, slash, after = pattern.rpartition("/")
    if not slash:
        return text_matches(subject if pattern.startswith("*") else issuer, pattern)
    return text_matches(issuer, before) and text_matches(subject, after)


def claim_matches(request: Request, name: str, pattern: str) -> bool:
    value: Any = request["claims"] or {}
    for part in name.split("]["):
        value = value.get(part) if isinstance(value, dict) else None
    if name == "scope" and isinstance(value, str):
        value = value.split(" ")
    entries = value if isinstance(value, list) else [value]
    return any(isinstance(entry, str) and text_matches(entry, pattern) for entry in entries)


def path_matches(request: Request, pattern: str) -> bool:
    if "{" not in pattern:
        return text_matches(request["path"], pattern)
    one = "[a-zA-Z0-9._~%!$&'()+,;:@=*-]"
    regex = re.escape(pattern).replace(r"\{\*\*\}", f"(?:{one}|/)*").replace(r"\{\*\}", f"{one}+")
    return re.fullmatch(regex, request["path"]) is not None


def in_network(address: str, block: str) -> bool:
    return ipaddress.ip_address(address) in ipaddress.ip_network(block, strict=False)


def account_matches(request: Request, pattern: str) -> bool:
    space, _, account = pattern.rpartition("/")
    return str(request["peer"]).endswith(f"/ns/{space or 'ns1'}/sa/{account}")


def namespace_matches(request: Request, pattern: str) -> bool:
    found = re.search("/ns/([^/]+)/", request["peer"] or "")
    return found is not None and fnmatch.fnmatchcase(found[1], pattern)


def member_matches(request: Request, name: str, pattern: str) -> bool:
    match name:
        case "principals" | "source.principal":
            return principal_matches(request, pattern)
        case "namespaces" | "source.namespace":
            return namespace_matches(request, pattern)
        case "serviceAccounts":
            return account_matches(request, pattern)
        case "requestPrincipals" | "request.auth.principal":
            return token_matches(request, pattern)
        case "ipBlocks" | "source.ip":
            return in_network(request["ip"], pattern)
        case "remoteIpBlocks":
            return in_network(request["remote"], pattern)
        case "hosts":
            return text_matches(request["host"].lower(), pattern.lower())
        case "methods":
            return text_matches(request["method"], pattern)
        case "paths":
            return path_matches(request, pattern)
        case "ports" | "destination.port":
            return str(request["port"]) == pattern
        case "request.auth.audiences":
            return claim_matches(request, "aud", pattern)
        case "request.auth.presenter":
            return claim_matches(request, "azp", pattern)
    if found := re.fullmatch(r"request\.headers\[(.+)\]", name):
        value = request["headers"].get(found[1].lower())
        return value is not None and (pattern == "*" or text_matches(value, pattern))
    if found := re.fullmatch(r"request\.auth\.claims\[(.+)\]", name):
        return claim_matches(request, found[1], pattern)
    return bool(request["unknown"])


def members_match(request: Request, members: dict[str, list[str]]) -> bool:
    def one(name: str, values: list[str]) -> bool:
        positive = name[3].lower() + name[4:] if name.startswith("not") else name
        hit = any(member_matches(request, positive, value) for value in values)
        return hit is (positive == name)

    return all(one(name, values) for name, values in members.items())


def rule_matches(request: Request, rule: dict[str, Any]) -> bool:
    return (
        ("from" not in rule or any(members_match(request, each["source"]) for each in rule["from"]))
        and ("to" not in rule or any(members_match(request, each["operation"]) for each in rule["to"]))
        and all(
            ("values" not in each or any(member_matches(request, each["key"], v) for v in each["values"]))
            and not any(member_matches(request, each["key"], v) for v in each.get("notValues", []))
            for each in rule.get("when", [])
        )
    )


def istio_allows(request: Request, policies: list[dict[str, Any]]) -> bool:
    def matched(action: str) -> list[bool]:
        return [
            any(rule_matches(request, rule) for rule in policy["spec"].get("rules", []))
            for policy in policies
            if policy["spec"].get("action", "ALLOW") == action
        ]

    return not any(matched("DENY")) and (not matched("ALLOW") or any(matched("ALLOW")))


def random_rule(rng: random.Random, *, plain: bool) -> dict[str, Any]:
    odd = {"remoteIpBlocks", "hosts", "ports"} if plain else set()

    def members(names: list[str]) -> dict[str, list[str]]:
        chosen = rng.sample([name for name in names if name not in odd], rng.randint(1, 2))
        found = {}
        for name in chosen:
            negative = rng.random() < 0.25
            values = rng.sample(VALUES[name], rng.randint(1, min(2, len(VALUES[name]))))
            found[f"not{name[0].upper()}{name[1:]}" if negative else name] = values
        return found

    rule: dict[str, Any] = {}
    if rng.random() < 0.6:
        rule["from"] = [{"source": members(SOURCES)} for _ in range(rng.randint(1, 2))]
    if rng.random() < 0.6:
        rule["to"] = [{"operation": members(OPERATIONS)} for _ in range(rng.randint(1, 2))]
    if rng.random() < 0.4:
        keys = [key for key in KEYS if not plain or key in list(KEYS)[:5]]
        key = rng.choice(keys)
        rule["when"] = [{"key": key, rng.choice(["values", "values", "notValues"]): rng.sample(KEYS[key], 1)}]
    return rule


def random_policies(rng: random.Random) -> list[dict[str, Any]]:
    plain = rng.random() < 0.6
    return [
        {
            "apiVersion": rng.choice(["security.istio.io/v1", "security.istio.io/v1beta1"]),
            "kind": "AuthorizationPolicy",
            "metadata": {"name": f"p{number}", "namespace": "ns1"},
            "spec": {
                "action": rng.choice(["ALLOW", "ALLOW", "DENY"]),
                **(
                    {"rules": [random_rule(rng, plain=plain) for _ in range(rng.randint(1, 2))]}
                    if rng.random() < 0.9
                    else {}
                ),
            },
        }
        for number in range(rng.randint(1, 3))
    ]


def random_request(rng: random.Random) -> Request:
    claims = rng.choice(
        [
            None,
            {
                "iss": "https://i.example",
                "sub": "alice",
                "aud": "api",
                "group": "staff",
                "scope": "read write",
            },
            {
                "iss": "https://i.example",
                "sub": "bob",
                "aud": ["api", "x"],
                "group": ["staff", "ops"],
                "azp": "web",
            },
            {
                "iss": "https://j.example",
                "sub": "alice",
                "group": "other",
                "a": {"b": "c"},
                "roles": ["admin"],
            },
            {"iss": "x", "sub": "al", "a.b": "c", "group": 7},
        ]
    )
    return {
        "peer": rng.choice(
            [None, "spiffe://cluster.local/ns/foo/sa/web", "spiffe://cluster.local/ns/bar/sa/db",
             "spiffe://old.example/ns/foo/sa/web", "spiffe://cluster.local/ns/ns1/sa/web"]
        ),
        "ip": rng.choice(["10.1.2.3", "10.9.9.9", "192.168.0.1", "fd00::1"]),
        "remote": rng.choice(["10.1.2.3", "8.8.8.8"]),
        "host": rng.choice(
            ["a.example", "A.Example", "a.example:8080", "b.example:8080", "c.test", "a.example."]
        ),
        "method": rng.choice(["GET", "POST", "PUT", "HEAD", "get"]),
        "path": rng.choice(
            ["/data", "/data/", "/data/x", "/data/x/info", "/x/info", "/database", "/", "/data/a=b", "/x%2A",
             "/xA"]
        ),
        "port": rng.choice(["80", "8080"]),
        "headers": rng.choice([{}, {"x-team": "red"}, {"x-team": "blue"}]),
        "claims": claims,
        "unknown": rng.random() < 0.5,
    }  # fmt: skip


def ours(cases: CaseRunner, request: Request) -> bool:
    claims = request["claims"]
    principal: object = "anonymous"
    if claims is not None:
        principal = {"id": claims["sub"], "roles": ["admin"], "claims": claims}
    answer = cases.answer(
        {
            "principal": principal,
            "request": {
                "path": request["path"],
                "method": request["method"],
                "host": request["host"],
                "headers": request["headers"],
                "source": {"address": request["ip"]}
                | ({"principal": request["peer"]} if request["peer"] else {}),
            },
        }
    )
    return answer["decision"] == "allow"


@pytest.fixture(scope="module")
def role_model() -> RoleModel:
    model = compile_model(shipped("policies/model.conf").read_text("utf-8"))
    assert isinstance(model, RoleModel)
    return model


def imported_cases(imported: Imported, model: RoleModel) -> CaseRunner:
    document = read_document(policies_text(imported, []).encode(), is_json=False)
    headers = [name for name in imported.settings.get("CONDITION_HEADERS", "").split(",") if name]
    return CaseRunner.of({"policies": document, "settings": {"condition_headers": headers}}, model)


@given(st.randoms(use_true_random=False))
def test_imported_istio_policies_never_allow_more_than_istio(
    role_model: RoleModel, rng: random.Random
) -> None:
    policies = random_policies(rng)
    text = "\n---\n".join(json.dumps(policy, indent=1) for policy in policies)
    mesh = rng.choice([("cluster.local",), ("old.example",), ("old.example", "cluster.local")])
    # Without the option a principal that an allow names is in the trust domain that it names.
    known = mesh if "cluster.local" not in mesh or rng.random() < 0.7 else ()
    options = IstioOptions(service="web", trust_domains=known)
    imported = import_istio([("policies.yaml", text.encode())], options)
    assert isinstance(imported, Imported), imported
    check(imported, role_model)
    if imported.refused:
        assert any(policy["spec"]["action"] == "DENY" for policy in policies)
        return
    cases = imported_cases(imported, role_model)
    for _ in range(20):
        request = random_request(rng) | {"mesh": mesh}
        got = ours(cases, request)
        # What HEAD is decided as.
        as_get = request | {"method": "GET"} if request["method"] == "HEAD" else request
        expected = istio_allows(as_get, policies)
        assert expected or not got, (text, request, list(map(str, imported.not_taken)))
        named = [each for each in imported.not_taken if each.effect is not Consequence.NO_EFFECT]
        if not named and request["method"] != "HEAD" and (known or "principal" not in text):
            assert got == expected, (text, request, policies_text(imported, []))
