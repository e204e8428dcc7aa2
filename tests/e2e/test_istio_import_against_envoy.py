"""Imported Istio policies and Envoy's own RBAC filter, as Istio configures it, answer the same requests.

Each policy is a listener of one real Envoy with the RBAC that Istio's control plane writes for the policy
(pilot/pkg/security/authz/model), and paths normalized as in Istio's default. The other answer is that of the
imported policies for the same octets.
"""

import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from extauthz.cases.decision_cases import CaseRunner
from extauthz.compile.roles.role_model import RoleModel, compile_model
from extauthz.demo import envoy
from extauthz.importing.checked import check
from extauthz.importing.istio import IstioOptions, import_istio
from extauthz.importing.outcome import Imported
from extauthz.shipped import shipped
from tests.e2e.test_envoy_config import READY_S, Parts, parts, validated

__all__ = ["parts"]

RBAC = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"
MANAGER = (
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
)
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
TEMPLATE = "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig"
_PATTERNS = """
/data /data* /data/* */info *.png * /data/{*} /{*}/info /data/{**} /{**}/info /a.b/{*} /~user /A-b_c.d
/k=v/{*}
"""
_PATHS = r"""
/ /k=v/x
/data /data/ /data/x /data/x/info /x/info /x/y/info /info /database /DATA /a.b/c /aXb/c /x.png /x.png/
/data?x=/info /x/info?a=b /data/a=b /data/a*b /data/%41 /%64ata /d%61ta/x /~user /%7Euser /%7euser
/A%2Db%5Fc%2Ed /data/%C3%A9 /data/%c3%a9
/data/..%2fx /x/../data /x/./data //data /data//x /data;x /data/x;y/info /data%20
/data/a%20b /data/a+b /data/$(x) /data/x@y:z,!'& /data/%2A /data%2Fx /data\x /x/%69nfo
"""
METHOD_LISTS = [["GET"], ["GET", "HEAD"], ["P*"], ["*T"], ["*"], ["DELETE", "PO*"]]
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"]
HEADER_LISTS = [["red"], ["re*"], ["*ed"], ["*"]]
HEADERS: list[list[str]] = [[], ["red"], ["Red"], ["reed"], ["blue"], [""], ["red", "blue"], ["red, red"]]
ALWAYS = [{"any": True}]


def text_matcher(text: str) -> dict[str, Any]:
    """Return Istio's string matcher."""
    if text == "*":
        return {"safe_regex": {"regex": ".+"}}
    if text.startswith("*"):
        return {"suffix": text[1:]}
    return {"prefix": text[:-1]} if text.endswith("*") else {"exact": text}


def path_permission(pattern: str) -> dict[str, Any]:
    if "{" in pattern:
        template = pattern.replace("{*}", "*").replace("{**}", "**")
        config = {"@type": TEMPLATE, "path_template": template}
        return {"uri_template": {"name": "uri-template", "typed_config": config}}
    return {"url_path": {"path": text_matcher(pattern)}}


def header_matcher(name: str, text: str) -> dict[str, Any]:
    if text == "*":
        return {"header": {"name": name, "present_match": True}}
    return {"header": {"name": name, "string_match": text_matcher(text)}}


def listener(
    port: int, permissions: list[dict[str, Any]], principals: list[dict[str, Any]]
) -> dict[str, Any]:
    rules = {"action": "ALLOW", "policies": {"it": {"permissions": permissions, "principals": principals}}}
    answer = {"match": {"prefix": "/"}, "direct_response": {"status": 200}}
    manager = {
        "@type": MANAGER,
        "stat_prefix": "it",
        "normalize_path": True,
        "route_config": {"virtual_hosts": [{"name": "it", "domains": ["*"], "routes": [answer]}]},
        "http_filters": [
            {"name": "envoy.filters.http.rbac", "typed_config": {"@type": RBAC, "rules": rules}},
            {"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER}},
        ],
    }
    name = "envoy.filters.network.http_connection_manager"
    return {
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": name, "typed_config": manager}]}],
    }


def imported_cases(rule: dict[str, Any]) -> CaseRunner:
    document = {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "it", "namespace": "ns"},
        "spec": {"rules": [rule]},
    }
    found = import_istio([("it.json", json.dumps(document).encode())], IstioOptions(service="it"))
    assert isinstance(found, Imported)
    model = compile_model(shipped("policies/model.conf").read_text("utf-8"))
    assert isinstance(model, RoleModel)
    check(found, model)
    assert found.not_taken == []
    settings = {"condition_headers": ["x-team"], "encode_raw_headers": False}
    return CaseRunner.of({"policies": found.policies(), "settings": settings}, model)


def allowed_here(cases: CaseRunner, path: str, method: str, headers: list[str]) -> tuple[bool, str]:
    request: dict[str, Any] = {"path": path, "method": method}
    if headers:
        request["headers"] = {"x-team": headers}
    answer = cases.answer({"principal": "anonymous", "request": request})
    return answer["decision"] == "allow", str(answer["reason"])


def allowed_by_envoy(port: int, path: str, method: str, headers: list[str]) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        lines = [f"{method} {path} HTTP/1.1", "Host: app.example", "Connection: close"]
        lines += [f"x-team: {value}" for value in headers]
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        answer = http.client.HTTPResponse(connection, method=method)
        answer.begin()
        return answer.status == 200


Row = tuple[str, dict[str, Any], dict[str, Any], list[dict[str, Any]]]


def rows() -> Iterator[Row]:
    """Yield a name, the rule of Istio, and Envoy's permission and principals."""
    for pattern in _PATTERNS.split():
        yield (
            f"paths {pattern}",
            {"to": [{"operation": {"paths": [pattern]}}]},
            path_permission(pattern),
            ALWAYS,
        )
    for methods in METHOD_LISTS:
        permission = {"or_rules": {"rules": [header_matcher(":method", each) for each in methods]}}
        yield f"methods {methods}", {"to": [{"operation": {"methods": methods}}]}, permission, ALWAYS
    for values in HEADER_LISTS:
        matchers = [header_matcher("x-team", each) for each in values]
        for member, principals in (
            ("values", matchers),
            ("notValues", [{"not_id": {"or_ids": {"ids": matchers}}}]),
        ):
            rule = {"when": [{"key": "request.headers[X-Team]", member: values}]}
            yield f"headers {member} {values}", rule, ALWAYS[0], principals


@pytest.fixture
def answers(parts: Parts) -> list[tuple[str, CaseRunner, int]]:
    """Every row: its name, the imported policies, and the port of Envoy with its RBAC."""
    found: list[tuple[str, CaseRunner, int]] = []
    listeners = []
    for name, rule, permission, principals in rows():
        (port,) = parts.ports.take()
        listeners.append(listener(port, [permission], principals))
        found.append((name, imported_cases(rule), port))
    file = parts.folder / "rbac.yaml"
    file.write_text(yaml.safe_dump({"static_resources": {"listeners": listeners}}))
    validated(file)
    proxy = parts.spawn("rbac", envoy.command(file))

    def listens() -> bool:
        try:
            return allowed_by_envoy(found[-1][2], "/", "GET", []) in {True, False}
        except OSError:
            return False

    proxy.wait_ready(listens, timeout_s=READY_S)
    return found


def test_envoy_allows_all_that_the_import_allows_and_the_same_of_what_is_canonical(
    answers: list[tuple[str, CaseRunner, int]],
) -> None:
    wider, narrower = [], []
    for name, cases, port in answers:
        kind = name.partition(" ")[0]
        paths = _PATHS.split() if kind == "paths" else ["/data"]
        methods = METHODS if kind == "methods" else ["GET"]
        for path in paths:
            for method in methods:
                for headers in HEADERS if kind == "headers" else [[]]:
                    ours, reason = allowed_here(cases, path, method, headers)
                    theirs = allowed_by_envoy(port, path, method, headers)
                    row = (name, path, method, headers)
                    if ours and not theirs:
                        wider.append(row)
                    if theirs and not ours and reason != "path_ambiguous" and not is_joined(headers):
                        narrower.append(row)
    assert narrower == []
    # HEAD is decided as GET: the one difference that every import names.
    assert [(name, method) for name, _, method, _ in wider] == [
        ("methods ['GET']", "HEAD"),
        ("methods ['*T']", "HEAD"),
    ]


def is_joined(headers: list[str]) -> bool:
    """Return whether Envoy has, or may have, joined several entries: the value is unknown here."""
    return len(headers) > 1 or any("," in value for value in headers)
