"""`extauthz envoy-config` and `extauthz doctor` with policies that read bodies, and with others."""

import json
from pathlib import Path

import pytest

from tests.command_line import run_extauthz

MCP = """
resources:
  - name: "tool:call"
    serviceName: tools
    routes: [{methods: [POST], path: /mcp, mcp: {method: tools/call, tool: search}}]
"""
CONDITION = """
resources:
  - {name: "transfer:make", serviceName: bank, routes: [{methods: [POST], path: /transfers}]}
attribute_policies:
  - id: small-transfers
    name: Up to a thousand
    resource: "transfer:make"
    effect: allow
    MODE
    format: casbin
    rule_data: 'RULE'
"""
CASES = "cases:\n  - {name: one, request: {method: GET, path: /}, expect: {decision: deny}}\n"
LIMIT = "max_request_bytes: 65536"


def policies(folder: Path, text: str) -> dict[str, str]:
    (folder / "policies").mkdir()
    (folder / "policies" / "all.yaml").write_text(text)
    return {"POLICY_SOURCE": f"files:{folder / 'policies'}", "OIDC_ENABLED": "false"}


def with_rule(rule: str, mode: str = "enabled: true") -> str:
    return CONDITION.replace("RULE", rule).replace("MODE", mode)


@pytest.mark.parametrize(
    ("text", "is_sent"),
    [
        (MCP, True),
        (MCP.replace("{method: tools/call, tool: search}", "session"), True),
        (with_rule("request.body.amount <= 1000"), True),
        (with_rule("user.id == request.body.owner"), True),
        (with_rule('!(user.id == "a" && time(request.body.at) < env.time)'), True),
        (with_rule("request.body.amount <= 1000", "mode: shadow"), True),
        (with_rule("request.body.amount <= 1000", "enabled: false"), False),
        (with_rule('user.id == "alice"'), False),
    ],
)
def test_checks_include_bodies_where_the_policies_read_them(tmp_path: Path, text: str, is_sent: bool) -> None:
    environ = policies(tmp_path, text)
    for options in ((), ("--bodies", "auto")):
        found = run_extauthz("envoy-config", *options, environ=environ)
        assert (found.returncode, LIMIT in found.stdout) == (0, is_sent), found.stderr
        assert ("pack_as_bytes: true" in found.stdout) is is_sent
    assert LIMIT in run_extauthz("envoy-config", "--bodies", "yes", environ=environ).stdout
    assert LIMIT not in run_extauthz("envoy-config", "--bodies", "no", environ=environ).stdout
    proxy = tmp_path / "envoy.yaml"
    proxy.write_text(run_extauthz("envoy-config", "--bodies", "no", environ=environ).stdout)
    report = json.loads(run_extauthz("doctor", "--json", proxy, environ=environ).stdout)
    assert ("body-missing" in {each["code"] for each in report["findings"]}) is is_sent


def test_the_limit_is_that_of_the_setting(tmp_path: Path) -> None:
    environ = policies(tmp_path, MCP) | {"CONDITION_BODY_MAX": "4096", "CORS_PREFLIGHT": "policy"}
    found = run_extauthz("envoy-config", environ=environ).stdout
    assert "max_request_bytes: 4096\n" in found
    assert "max_request_bytes: 1\n" in found


@pytest.mark.parametrize(
    ("options", "environ", "problem"),
    [
        (("--for", "envoy-gateway"), {"GRPC_HOST": "0.0.0.0"}, "Envoy Gateway sends bodies as text only"),
        (("--for", "http"), {"HTTP_AUTHZ_PORT": "9291"}, "over HTTP extauthz reads no body"),
        (("--transport", "http"), {"HTTP_AUTHZ_PORT": "9291"}, "over HTTP extauthz reads no body"),
        ((), {"CONDITION_BODY_MAX": "0"}, "CONDITION_BODY_MAX=0: extauthz reads no body"),
    ],
)
def test_what_cannot_be_sent_is_said(
    tmp_path: Path, options: tuple[str, ...], environ: dict[str, str], problem: str
) -> None:
    environ = policies(tmp_path, MCP) | environ
    found = run_extauthz("envoy-config", *options, environ=environ)
    assert found.returncode == 0
    assert found.stdout.startswith("# WARNING: a route with mcp of 'tool:call' reads the body:\n")
    assert problem in found.stdout
    assert "request_body" not in found.stdout
    asked = run_extauthz("envoy-config", *options, "--bodies", "yes", environ=environ)
    assert (asked.returncode, asked.stdout) == (2, "")
    assert asked.stderr == f"extauthz: --bodies yes: {problem}{asked.stderr.partition(problem)[2]}"


def test_policies_that_are_not_known_are_said_to_be(tmp_path: Path) -> None:
    missing = {"POLICY_SOURCE": f"files:{tmp_path / 'absent'}", "OIDC_ENABLED": "false"}
    broken = policies(tmp_path, "resources: 7\n\u2028")
    for environ in (missing, broken, {"OIDC_ENABLED": "false"}):
        found = run_extauthz("envoy-config", environ=environ)
        assert found.returncode == 0, found.stderr
        assert found.stdout.startswith("# Checks include no body: the policies ")
        assert "--bodies yes" in found.stdout.partition("# Envoy in front")[0]
        assert LIMIT not in found.stdout


def test_cases_of_a_folder_are_not_in_the_output(tmp_path: Path) -> None:
    environ = policies(tmp_path, MCP) | {"LOG_LEVEL": "debug"}
    (tmp_path / "policies" / "cases.yaml").write_text(CASES)
    found = run_extauthz("envoy-config", environ=environ)
    assert found.stdout.startswith("# Checks include up to 65536 bytes of the body")
