"""How members of Istio policies are read: exactly, more strictly, or not at all."""

import json
from typing import Any

import pytest

from extauthz.compile.roles.role_model import RoleModel, compile_model
from extauthz.importing.checked import check, runner_of
from extauthz.importing.istio import IstioOptions, import_istio
from extauthz.importing.istio_targets import Workload
from extauthz.importing.outcome import Consequence, Imported
from extauthz.shipped import shipped

Rule = dict[str, Any]


@pytest.fixture(scope="module")
def role_model() -> RoleModel:
    model = compile_model(shipped("policies/model.conf").read_text("utf-8"))
    assert isinstance(model, RoleModel)
    return model


def imported(
    *rules: Rule, action: str = "ALLOW", domains: tuple[str, ...] = ("cluster.local",), **members: Any
) -> Imported:
    document = {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "p", "namespace": "ns", **members.pop("metadata", {})},
        "spec": {"action": action, "rules": list(rules), **members},
    }
    options = IstioOptions(service="web", providers=frozenset({"ours"}), trust_domains=domains)
    found = import_istio([("p.json", json.dumps(document).encode())], options)
    assert isinstance(found, Imported), found
    return found


def to(**operation: Any) -> Rule:
    return {"to": [{"operation": operation}]}


def source(**members: Any) -> Rule:
    return {"from": [{"source": members}]}


def when(key: str, **values: Any) -> Rule:
    return {"when": [{"key": key, **values}]}


def effects(found: Imported) -> set[Consequence]:
    return {each.effect for each in found.not_taken}


def conditions(found: Imported) -> list[Any]:
    return [each.document["rule_data"] for each in found.entries["attribute_policies"]]


def test_no_allow_policy_allows_the_rest_and_an_empty_one_allows_nothing() -> None:
    assert conditions(imported(to(paths=["/a"]), action="DENY"))[-1] == {"type": "ALWAYS"}
    assert conditions(imported()) == []
    assert conditions(imported({})) == [{"type": "ALWAYS"}]
    assert conditions(imported({}, action="DENY"))[0] == {"type": "ALWAYS"}


@pytest.mark.parametrize(
    "rule",
    [
        to(ports=["80"]),
        source(remoteIpBlocks=["10.0.0.0/8"]),
        source(ipBlocks=["ten"]),
        to(paths=["/a b"]),
        to(paths=["/%61"]),
        to(paths=["/x//y"]),
        to(paths=["a"]),
        to(paths=["/{**}/x/{*}"]),
        to(paths=["/{name}"]),
        source(principals=["*a(b"]),
        source(namespaces=["A.*"]),
        when("destination.port", values=["80"]),
        when("connection.sni", values=["a"]),
        when("request.auth.claims[roles]", values=["a"]),
        when("request.auth.claims[a][b]", values=["a"]),
        when("request.auth.claims[a.b]", values=["a"]),
        when("request.headers[cookie]", values=["a"]),
        when("request.headers[:path]", values=["/a"]),
        when("experimental.envoy.filters.x[y]", values=["a"]),
        # What a cluster refuses: never a rule with one restriction less.
        to(notPath=["/a"]),
        to(methods=[]),
        to(methods="GET"),
        to(methods=["GET"], paths=None),
        source(principals=[None]),
        {"to": [{}]},
        {"to": []},
        {"from": [{"source": {}}]},
        {"from": "all"},
        {"too": [{"operation": {"methods": ["GET"]}}]},
        {"when": [{"key": "source.ip"}]},
        {"when": [{"values": ["a"]}]},
        {"when": [{"key": "source.ip", "values": ["10.0.0.1"], "notvalues": ["10.0.0.2"]}]},
    ],
)
def test_what_has_no_equal_leaves_out_an_allow_and_stops_a_deny(rule: Rule) -> None:
    allow = imported(rule, to(paths=["/other"]))
    assert effects(allow) == {Consequence.LEFT_OUT}
    assert len(conditions(allow)) == 1
    assert imported(rule, action="DENY").refused


RAW_PATHS = [
    "/x%2abc", "/x%2Abc", "/x%2aBC", "/x%c3%a9", "/x%C3%A9", "/x%3Abc", "/xabc", "/xAbc", "/x/Abc", "/2A/y",
    "/z%2a/y", "/z%2A/y", "/z%2a", "/z%2A", "/22",
]  # fmt: skip
SUFFIXES = [
    "*abc", "*Abc", "*bc", "*BC", "*2A", "*2a", "*A", "*a", "*a9", "*A9", "*2A/y", "*2a/y", "*A/y", "*/y",
    "*22",
]  # fmt: skip


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_suffix_that_may_begin_inside_of_an_escape_never_allows_more(
    suffix: str, role_model: RoleModel
) -> None:
    def allowed(action: str, member: str) -> dict[str, bool]:
        found = imported(to(**{member: [suffix]}), action=action)
        snapshot = check(found, role_model)
        assert snapshot is not None
        runner = runner_of(snapshot)
        answers = {
            raw: runner.answer({"principal": "anonymous", "request": {"path": raw}}) for raw in RAW_PATHS
        }
        return {raw: answer["decision"] == "allow" for raw, answer in answers.items()}

    # Envoy keeps the digits of an escape as they were sent.
    matches = {raw: raw.endswith(suffix[1:]) for raw in RAW_PATHS}
    for action in ("ALLOW", "DENY"):
        for member in ("paths", "notPaths"):
            ours = allowed(action, member)
            source = {
                raw: (found is (member == "paths")) is (action == "ALLOW") for raw, found in matches.items()
            }
            assert [raw for raw in RAW_PATHS if ours[raw] and not source[raw]] == []
            # Less is allowed only where an escape is in question.
            assert [raw for raw in RAW_PATHS if source[raw] and not ours[raw] and "%" not in raw] == []


@pytest.mark.parametrize(
    "rule",
    [
        to(paths=["/a", "/a/*", "*.png", "*", "/{*}/b/{**}", "/{**}", "/a.b/{*}"]),
        to(notPaths=["/a"], methods=["GET", "HEAD"], notMethods=["P*"]),
        source(principals=["cluster.local/ns/a/sa/b", "cluster.local/*", "*/sa/b", "*"]),
        source(notPrincipals=["*"], namespaces=["a", "b-*"], serviceAccounts=["c", "d/e"]),
        source(requestPrincipals=["*", "i/*", "*/s", "i/s", "i*", "*s"], notRequestPrincipals=["x"]),
        source(ipBlocks=["10.1.2.3", "10.1.2.3/8", "fd00::/8"], notIpBlocks=["10.0.0.1"]),
        when("request.headers[X-A]", values=["a", "b*", "*c", "*"], notValues=["d"]),
        when("request.auth.claims[iss]", values=["i", "i*"], notValues=["j"]),
        when("source.ip", notValues=["10.0.0.0/8"]),
        when("source.namespace", values=["a"]),
        when("request.auth.principal", values=["a/b"]),
        when("source.principal", values=["a/ns/b/sa/c"]),
    ],
)
@pytest.mark.parametrize("action", ["ALLOW", "DENY"])
def test_what_has_an_equal_is_taken_and_compiles(rule: Rule, action: str, role_model: RoleModel) -> None:
    found = imported(rule, action=action)
    check(found, role_model)
    assert found.not_taken == []
    assert len(conditions(found)) == (1 if action == "ALLOW" else 2)


def test_an_alternative_without_an_equal_is_left_out_of_an_allow_alone() -> None:
    found = imported(to(paths=["/a", "/b c"]))
    assert effects(found) == {Consequence.ALLOWS_LESS}
    assert conditions(found)[0] == {
        "type": "CONDITION", "attribute": "request.path", "operator": "eq", "value": "/a",
    }  # fmt: skip
    assert effects(imported(to(notPaths=["/a", "/b c"]))) == {Consequence.LEFT_OUT}


def test_hosts_are_taken_where_they_deny_and_only_more_strictly() -> None:
    deny = imported(to(hosts=["A.example:8080"]), action="DENY")
    assert effects(deny) == {Consequence.ALLOWS_LESS}
    assert conditions(deny)[0]["value"] == "a.example"
    assert effects(imported(to(hosts=["a.example"]))) == {Consequence.LEFT_OUT}
    assert imported(to(notHosts=["a.example"]), action="DENY").refused
    assert conditions(imported(to(notHosts=["a.example"])))[0]["type"] == "NOT"


def test_a_claim_of_unknown_type_allows_and_is_denied_where_it_is_missing() -> None:
    group = "request.auth.claims[group]"
    assert effects(imported(when(group, values=["a"]))) == set()
    assert imported(when(group, values=["a"]), action="DENY").refused
    assert effects(imported(when(group, notValues=["a"]))) == {Consequence.LEFT_OUT}
    assert effects(imported(when(group, notValues=["a"]), action="DENY")) == set()


def test_head_is_named_where_a_list_tells_it_from_get() -> None:
    assert effects(imported(to(methods=["HEAD"]))) == {Consequence.LEFT_OUT}
    assert effects(imported(to(methods=["HEAD"]), action="DENY")) == {Consequence.ALLOWS_LESS}
    assert effects(imported(to(methods=["GET", "HEAD"]))) == set()
    assert imported(to(methods=["GET", "HEAD"])).notes == imported(to(methods=["POST"])).notes
    assert any("HEAD is decided as GET" in note for note in imported(to(methods=["GET"])).notes)


def test_audit_and_dry_runs_decide_nothing_and_custom_stops_the_import() -> None:
    assert effects(imported({}, action="AUDIT")) == {Consequence.NO_EFFECT}
    dry = imported(to(paths=["/a"]), metadata={"annotations": {"istio.io/dry-run": "true"}})
    assert effects(dry) == {Consequence.NO_EFFECT}
    assert conditions(dry) == [{"type": "ALWAYS"}]
    assert imported({}, action="CUSTOM", provider={"name": "other"}).refused
    kept = imported({}, action="CUSTOM", provider={"name": "ours"})
    assert (effects(kept), kept.refused) == (set(), False)


def test_principals_are_read_in_every_trust_domain_of_the_mesh() -> None:
    document = {
        "apiVersion": "security.istio.io/v1beta1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "p"},
        "spec": {"rules": [source(principals=["cluster.local/ns/a/sa/b", "other/ns/a/sa/b"])]},
    }
    options = IstioOptions(service="web", trust_domains=("new.example", "old.example"))
    found = import_istio([("p.json", json.dumps(document).encode())], options)
    assert isinstance(found, Imported)
    text = str(conditions(found))
    assert [f"spiffe://{name}/ns/a/sa/b" in text for name in ("new.example", "old.example", "other")] == [
        True
    ] * 3
    assert "cluster.local" not in text


def test_principals_of_an_unknown_trust_domain_are_denied_in_each() -> None:
    rule = source(principals=["cluster.local/ns/a/sa/b"])
    assert effects(imported(rule, domains=())) == set()
    deny = imported(rule, action="DENY", domains=())
    assert effects(deny) == {Consequence.ALLOWS_LESS}
    assert "spiffe://[^/]+/ns/a/sa/b" in str(conditions(deny)[0])
    assert effects(imported(source(notPrincipals=["cluster.local/ns/a/*"]), domains=())) == {
        Consequence.ALLOWS_LESS
    }
    # A star for the trust domain is every one already.
    assert effects(imported(source(principals=["*/ns/a/sa/b"]), action="DENY", domains=())) == set()


def test_values_of_one_attribute_are_one_condition() -> None:
    found = imported(source(principals=[f"cluster.local/ns/a/sa/s{number}" for number in range(2_000)]))
    assert conditions(found)[0]["type"] == "AND"
    assert conditions(found)[0]["conditions"][1]["operator"] == "in"
    blocks = imported(source(ipBlocks=["10.0.0.0/8", "192.168.0.0/16"]))
    assert conditions(blocks)[0]["value"] == ["10.0.0.0/8", "192.168.0.0/16"]


def test_headers_of_conditions_are_named_as_a_setting() -> None:
    found = imported(when("request.headers[X-Team]", values=["red"]))
    assert found.settings == {"CONDITION_HEADERS": "x-team"}


def test_targets_of_gateways_are_taken_alone_and_not_mixed_with_a_workload() -> None:
    refs = [{"kind": "Gateway", "group": "gateway.networking.k8s.io", "name": "edge"}]
    assert conditions(imported({}, targetRefs=refs)) == [{"type": "ALWAYS"}]


def test_a_label_of_a_workload_has_one_value() -> None:
    assert Workload.parse("shop/app=web,app=api") is None
    assert Workload.parse("shop/app=web,version=") is not None
