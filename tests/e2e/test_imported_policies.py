"""Imported policies of Casbin and of Istio decide behind real Envoy."""

from pathlib import Path

import yaml

from extauthz.demo.calls import send
from tests.command_line import run_extauthz
from tests.e2e.checked_envoy import checked_envoy
from tests.e2e.test_envoy_config import Parts, parts

__all__ = ["parts"]

MODEL = """[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, act, eft
[role_definition]
g = _, _
[policy_effect]
e = some(where (p.eft == allow)) && !some(where (p.eft == deny))
[matchers]
m = g(r.sub, p.sub) && keyMatch2(r.obj, p.obj) && r.act == p.act
"""
POLICY = """p, editor, /articles/*, GET, allow
p, editor, /articles/:name/history, GET, deny
p, bob, /articles/open, GET, allow
g, alice, editor
"""
ISTIO = """apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: a, namespace: shop}
spec:
  rules:
  - to: [{operation: {methods: [GET], paths: [/public/*]}}]
  - from: [{source: {requestPrincipals: ["*"]}}]
    to: [{operation: {paths: ["/own/{*}"]}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: b, namespace: shop}
spec:
  action: DENY
  rules: [{to: [{operation: {paths: ["*/secret"]}}]}]
"""


def imported(source: str, *files: Path) -> dict[str, object]:
    ended = run_extauthz("policy", "import", "--from", source, *files)
    assert ended.returncode == 0, ended.stderr
    document: dict[str, object] = yaml.safe_load(ended.stdout)
    return document


def test_an_imported_casbin_policy_decides_as_casbin_does(parts: Parts) -> None:
    model, policy = parts.folder / "model.conf", parts.folder / "policy.csv"
    model.write_text(MODEL)
    policy.write_text(POLICY)
    port = checked_envoy(parts, "native", imported("casbin", model, policy))
    alice, bob = parts.token("alice"), parts.token("bob")
    for path, of_alice, of_bob in (
        ("/articles", 403, 403),
        ("/articles/", 200, 403),
        ("/articles/a", 200, 403),
        ("/articles/open", 200, 200),
        ("/articles/a/history", 403, 403),
        ("/articles/a/history/b", 200, 403),
        ("/other", 403, 403),
    ):
        assert (send(port, path, token=alice).status, send(port, path, token=bob).status) == (
            of_alice,
            of_bob,
        )
    assert send(port, "/articles/a", token=alice, method="PUT").status == 403


def test_imported_istio_policies_decide_as_istio_does(parts: Parts) -> None:
    source = parts.folder / "istio.yaml"
    source.write_text(ISTIO)
    port = checked_envoy(parts, "grpcio", imported("istio", source))
    alice = parts.token("alice")
    for path, anonymous, user in (
        ("/public/a", 200, 200),
        ("/public/secret", 403, 403),
        ("/own/a", 403, 200),
        ("/own/secret", 403, 403),
        ("/own/a/b", 403, 403),
        ("/other", 403, 403),
    ):
        assert (send(port, path).status, send(port, path, token=alice).status) == (anonymous, user), path
    assert send(port, "/public/a", method="POST").status == 403
