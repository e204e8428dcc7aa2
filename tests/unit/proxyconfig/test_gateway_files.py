"""The findings of doctor in the objects of Envoy Gateway and of the Gateway API."""

from pathlib import Path
from typing import Any

import pytest

from extauthz.proxyconfig.findings import Severity
from tests.gateway_objects import API, GATEWAY, Json, clients, codes, examine, obj, target

ERROR, WARNING, INFO = Severity.ERROR, Severity.WARNING, Severity.INFO


def security(name: str = "check", *targets: Json, check: Json | None = None, **more: Any) -> Json:
    spec: Json = {"targetRefs": list(targets or [target("Gateway", "web")]), **more}
    if check is not None:
        spec["extAuth"] = check
    return obj(GATEWAY, "SecurityPolicy", name, spec)


def asking(**more: Any) -> Json:
    backend = {"backendRefs": [{"name": "extauthz", "port": 9191}]}
    return {"failOpen": False, "timeout": "200ms", "statusOnError": 503, "grpc": backend, **more}


def external(**more: Any) -> Json:
    check = {"protocol": "GRPC", "backendRef": {"name": "extauthz", "port": 9191}, "grpc": {}, **more}
    return {"type": "ExternalAuth", "externalAuth": {k: v for k, v in check.items() if v is not None}}


def over_http(**more: Any) -> Json:
    return external(protocol="HTTP", grpc=None, http=more)


def route(name: str, gateway: str = "web", service: str = "orders", **more: Any) -> Json:
    rule = {"backendRefs": [{"name": service, "port": 80}], **more}
    return obj(API, "HTTPRoute", name, {"parentRefs": [{"name": gateway}], "rules": [rule]})


def test_a_gateway_whose_every_route_is_checked_has_no_findings(tmp_path: Path) -> None:
    assert examine(tmp_path, security(check=asking()), route("a"), route("b")) == []


@pytest.mark.parametrize(
    ("check", "expected"),
    [
        (asking(failOpen=True), [(ERROR, "fail-open")]),
        (asking(timeout="30s"), [(ERROR, "timeout-long")]),
        (asking(timeout=None), [(WARNING, "timeout-missing")]),
        (asking(bodyToExtAuth={"maxRequestBytes": 99_999_999}), [(ERROR, "body-large")]),
        (asking(headersToExtAuth=["x-tenant"]), [(ERROR, "headers-withheld")]),
        (asking(headersToExtAuth=["Authorization", ":path"]), [(WARNING, "headers-withheld")]),
        (asking(headersToExtAuth=[]), []),
        ({**asking(headersToExtAuth=["x-a"]), "http": {}, "grpc": None}, []),
        (asking(statusOnError=None), [(WARNING, "status-on-error")]),
        ({**asking(), "grpc": None, "http": {"pathOverride": "/check"}}, [(ERROR, "http-path")]),
    ],
)
def test_the_check_of_a_security_policy_is_judged(
    tmp_path: Path, check: Json, expected: list[tuple[Severity, str]]
) -> None:
    assert codes(examine(tmp_path, security(check=check), route("a"))) == expected
    listed = {"apiVersion": "v1", "kind": "List", "items": [security(check=check), route("a")]}
    assert codes(examine(tmp_path, listed)) == expected


def test_a_policy_of_a_route_replaces_that_of_the_gateway(tmp_path: Path) -> None:
    own = security("own", target("HTTPRoute", "a"), cors={})
    found = examine(tmp_path, security(check=asking()), own, route("a"))
    assert (ERROR, "check-off") in codes(found)

    merged = security("own", target("HTTPRoute", "a"), cors={}, mergeType="StrategicMerge")
    assert examine(tmp_path, security(check=asking()), merged, route("a")) == []

    repeated = security("own", target("HTTPRoute", "a"), check=asking(), cors={})
    assert examine(tmp_path, security(check=asking()), repeated, route("a")) == []


@pytest.mark.parametrize(
    ("documents", "expected"),
    [
        ([security(check=asking()), route("a"), route("b", "other")], [(ERROR, "check-missing")]),
        (
            [security(check=asking()), route("a"), route("b", "other", "shop")],
            [(WARNING, "check-missing")],
        ),
        ([security("x", target("HTTPRoute", "a"), check=asking()), route("a")], []),
        (
            [security("x", target("HTTPRoute", "a"), check=asking()), route("a"), route("b")],
            [(ERROR, "check-missing")],
        ),
        ([security("x", target("Gateway", "web", sectionName="https"), check=asking()), route("a")],
         [(WARNING, "check-partial")]),
        ([security(check=None, cors={})], [(WARNING, "check-missing")]),
        ([obj(GATEWAY, "SecurityPolicy", "x", {"extAuth": asking()})], [(ERROR, "policy-without-rules")]),
        ([security(check=asking()), route("a", filters=[{"type": "ExternalAuth", "externalAuth": {}}])],
         [(WARNING, "file-unknown")]),
        ([security("x", target("Gateway", "web"), check=asking()), obj(API, "GRPCRoute", "g", {
            "parentRefs": [{"name": "nope"}], "rules": [{"backendRefs": [{"name": "s"}]}]})],
         [(ERROR, "check-missing")]),
    ],
)  # fmt: skip
def test_each_route_is_looked_up_among_the_policies(
    tmp_path: Path, documents: list[Json], expected: list[tuple[Severity, str]]
) -> None:
    assert codes(examine(tmp_path, *documents)) == expected


def test_a_policy_may_select_by_labels(tmp_path: Path) -> None:
    selector = {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "matchLabels": {"a": "b"}}
    policy = obj(GATEWAY, "SecurityPolicy", "x", {"targetSelectors": [selector], "extAuth": asking()})
    chosen, other = route("a"), route("b")
    chosen["metadata"]["labels"] = {"a": "b"}

    assert examine(tmp_path, policy, chosen) == []
    assert codes(examine(tmp_path, policy, chosen, other)) == [(ERROR, "check-missing")]


@pytest.mark.parametrize(
    ("check", "severity"),
    [
        (asking(), WARNING),
        ({**asking(), "grpc": None, "http": {"backendRefs": [{"name": "extauthz"}]}}, ERROR),
    ],
    ids=["grpc", "http"],
)
@pytest.mark.parametrize(
    ("early", "is_removed"),
    [
        ({}, False),
        ({"remove": ["x-auth-subject", "x-auth-roles"]}, False),
        ({"removeOnMatch": [{"type": "Exact", "value": "x-auth-"}]}, False),
        ({"removeOnMatch": [{"value": "x-auth-"}]}, False),
        ({"removeOnMatch": [{"type": "Prefix", "value": "x-auth-s"}]}, False),
        ({"removeOnMatch": [{"type": "Prefix", "value": ""}]}, False),
        ({"removeOnMatch": [{"type": "Prefix", "value": "X-Auth"}]}, True),
    ],
)
def test_identity_headers_of_clients_are_removed_before_the_check(
    tmp_path: Path, check: Json, severity: Severity, early: Json, is_removed: bool
) -> None:
    spec = {"targetRefs": [target("Gateway", "web")], "headers": {"earlyRequestHeaders": early}}
    documents = [security(check=check), route("a"), obj(GATEWAY, "ClientTrafficPolicy", "c", spec)]

    found = codes(examine(tmp_path, *documents, removed=False))

    assert found == ([] if is_removed else [(severity, "identity-headers")])


def policy_of_clients(*targets: Json, removing: bool = True, **spec: Any) -> Json:
    early = {"removeOnMatch": [{"type": "Prefix", "value": "x-auth-"}]} if removing else {}
    more = {"targetRefs": list(targets)} if targets else {}
    spec = {"headers": {"earlyRequestHeaders": early}, **more, **spec}
    return obj(GATEWAY, "ClientTrafficPolicy", f"c{len(targets)}{removing}", spec)


WEB, OTHER = target("Gateway", "web"), target("Gateway", "other")
ALL_GATEWAYS = [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "matchLabels": {"a": "b"}}]


@pytest.mark.parametrize(
    ("policies", "is_removed"),
    [
        ([policy_of_clients(WEB)], True),
        ([policy_of_clients(OTHER)], False),
        ([policy_of_clients(OTHER), policy_of_clients(OTHER, WEB)], True),
        ([policy_of_clients()], False),
        ([policy_of_clients(targetSelectors=ALL_GATEWAYS)], True),
        ([policy_of_clients(target("Gateway", "web", sectionName="https"))], False),
        ([policy_of_clients(WEB), policy_of_clients({**WEB, "sectionName": "h"}, removing=False)], False),
        ([policy_of_clients(WEB), policy_of_clients({**OTHER, "sectionName": "h"}, removing=False)], True),
        ([policy_of_clients(target("Gateway", "web", namespace="elsewhere"))], False),
        ([policy_of_clients(targetRef=WEB)], True),
    ],
)  # fmt: skip
@pytest.mark.parametrize("attached", ["gateway", "route", "filter"])
def test_the_gateway_that_asks_has_to_remove_identity_headers(
    tmp_path: Path, attached: str, policies: list[Json], is_removed: bool
) -> None:
    check = {**asking(), "grpc": None, "http": {"backendRefs": [{"name": "extauthz"}]}}
    documents = {
        "gateway": [security("x", WEB, check=check), route("a")],
        "route": [security("x", target("HTTPRoute", "a"), check=check), route("a")],
        "filter": [route("a", filters=[over_http()])],
    }[attached]

    found = codes(examine(tmp_path, *documents, *policies, removed=False))

    assert found == ([] if is_removed else [(ERROR, "identity-headers")])


def test_headers_of_claims_are_removed_before_the_check(tmp_path: Path) -> None:
    documents = [
        security(check=asking()),
        route("a"),
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"},
         "data": {"CLAIM_HEADERS": "x-user-email,x-org"}},
    ]  # fmt: skip

    assert codes(examine(tmp_path, *documents)) == [(WARNING, "claim-headers")]
    removing = clients(remove=["X-User-Email"], removeOnMatch=[{"type": "Prefix", "value": "x-"}])
    assert examine(tmp_path, *documents, removing, removed=False) == []


@pytest.mark.parametrize(
    ("check", "expected"),
    [
        (external(), []),
        (external(grpc=None), []),
        (external(grpc={"allowedHeaders": []}), []),
        (external(grpc={"allowedHeaders": ["x-a"]}), [(ERROR, "headers-withheld")]),
        (external(grpc={"allowedHeaders": ["Authorization"]}), [(WARNING, "headers-withheld")]),
        (external(forwardBody={"maxSize": 0}), []),
        (external(forwardBody={"maxSize": 8_000_000}), [(ERROR, "body-large")]),
        (external(backendRef={}), [(ERROR, "provider-unknown")]),
        (external(protocol=None), [(WARNING, "file-unknown")]),
        (external(protocol="QUIC"), [(WARNING, "file-unknown")]),
        (over_http(), [(ERROR, "identity-headers")]),
        (over_http(allowedHeaders=["x-auth-subject"]), [(ERROR, "identity-headers")]),
        (over_http(allowedResponseHeaders=["x-auth-subject"]), [(ERROR, "identity-headers")]),
        (
            over_http(allowedResponseHeaders=["x-a"]),
            [(ERROR, "identity-headers"), (WARNING, "identity-headers")],
        ),
    ],
)
def test_the_filter_external_auth_is_examined(
    tmp_path: Path, check: Json, expected: list[tuple[Severity, str]]
) -> None:
    assert codes(examine(tmp_path, route("a", filters=[check]), removed=False)) == expected


def test_external_auth_over_http_is_accepted_where_the_gateway_removes_identity_headers(
    tmp_path: Path,
) -> None:
    assert examine(tmp_path, route("a", filters=[over_http()]), removed=True) == []


def test_each_rule_needs_the_filter_external_auth(tmp_path: Path) -> None:
    checked = {"filters": [external()], "backendRefs": [{"name": "orders"}]}
    whole, part, apart = (obj(API, "HTTPRoute", name, {"rules": rules}) for name, rules in (
        ("whole", [checked]),
        ("part", [checked, {"backendRefs": [{"name": "orders"}]}]),
        ("apart", [checked, {"backendRefs": [{"name": "public"}]}]),
    ))  # fmt: skip

    assert examine(tmp_path, whole) == []
    assert codes(examine(tmp_path, part)) == [(ERROR, "check-missing")]
    assert codes(examine(tmp_path, apart)) == [(WARNING, "check-missing")]
    assert codes(examine(tmp_path, whole, route("other"))) == [(ERROR, "check-missing")]
    assert codes(examine(tmp_path, whole, route("other", service="public"))) == [(WARNING, "check-missing")]
    assert codes(examine(tmp_path, part, security(check=asking()))) == [(ERROR, "check-missing")]


def test_external_auth_of_a_backend_checks_that_backend_alone(tmp_path: Path) -> None:
    checked = {"name": "orders", "filters": [external()]}
    both = [checked, {"name": "orders", "filters": [external()]}]

    assert examine(tmp_path, route("a", backendRefs=both)) == []
    found = examine(tmp_path, route("a", backendRefs=[checked, {"name": "open"}]))
    assert codes(found) == [(WARNING, "check-missing")]


def test_removing_identity_headers_after_the_check_is_reported(tmp_path: Path) -> None:
    after = {"type": "RequestHeaderModifier", "requestHeaderModifier": {"remove": ["X-Auth-Subject"]}}

    assert codes(examine(tmp_path, route("a", filters=[external(), after]))) == [
        (WARNING, "identity-headers")
    ]


def test_external_auth_of_a_listener_is_reported_as_not_examined(tmp_path: Path) -> None:
    gateway = obj(
        API, "Gateway", "web", {"listeners": [{"name": "x", "filters": {"requests": [external()]}}]}
    )

    assert codes(examine(tmp_path, gateway)) == [(WARNING, "file-unknown")]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"path": {"disableMergeSlashes": True}}, [(ERROR, "path-normalisation")]),
        ({"path": {"escapedSlashesAction": "KeepUnchanged"}}, [(ERROR, "escaped-slashes")]),
        ({"path": {"escapedSlashesAction": "UnescapeAndForward"}}, [(WARNING, "escaped-slashes")]),
        ({"headers": {"withUnderscoresAction": "Allow"}}, [(WARNING, "underscores-allowed")]),
        ({"path": {"escapedSlashesAction": "RejectRequest"}}, []),
    ],
)
def test_the_request_settings_of_a_gateway_are_examined(
    tmp_path: Path, spec: Json, expected: list[tuple[Severity, str]]
) -> None:
    assert codes(examine(tmp_path, obj(GATEWAY, "ClientTrafficPolicy", "x", spec))) == expected


@pytest.mark.parametrize("what", ["gateway", "external"])
def test_envoy_gateway_is_reported_without_raw_headers(tmp_path: Path, what: str) -> None:
    documents = {
        "gateway": [security(check=asking()), route("a")],
        "external": [route("a", filters=[external()])],
    }[what]

    assert examine(tmp_path, *documents, conditions=frozenset()) == []
    found = examine(tmp_path, *documents, conditions=frozenset({"x-mode"}))
    assert codes(found) == [(WARNING, "headers-joined")]
