"""The findings of doctor in the objects of Envoy Gateway and of Contour."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from extauthz.proxyconfig.files import examine_files
from extauthz.proxyconfig.findings import Finding, Severity

Json = dict[str, Any]
ERROR, WARNING, INFO = Severity.ERROR, Severity.WARNING, Severity.INFO
GATEWAY = "gateway.envoyproxy.io/v1alpha1"
API = "gateway.networking.k8s.io/v1"
CONTOUR = "projectcontour.io/v1"


def examine(
    folder: Path, *documents: Any, conditions: frozenset[str] | None = None, removed: bool = True
) -> list[Finding]:
    """Examine documents; with `removed` also the policy that removes identity headers of clients."""
    (folder / "objects.yaml").write_text(yaml.safe_dump_all(documents, sort_keys=False))
    if removed:
        (folder / "clients.yaml").write_text(yaml.safe_dump(clients()))
    found = examine_files([folder], conditions)
    assert isinstance(found, list)
    assert all(one.line for one in found)
    return found


def codes(found: list[Finding]) -> list[tuple[Severity, str]]:
    return [(one.severity, one.code) for one in found]


def obj(version: str, kind: str, name: str, spec: Json, namespace: str = "shop") -> Json:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}


def target(kind: str, name: str, **more: str) -> Json:
    return {"group": "gateway.networking.k8s.io", "kind": kind, "name": name, **more}


def security(name: str = "check", *targets: Json, check: Json | None = None, **more: Any) -> Json:
    spec: Json = {"targetRefs": list(targets or [target("Gateway", "web")]), **more}
    if check is not None:
        spec["extAuth"] = check
    return obj(GATEWAY, "SecurityPolicy", name, spec)


def asking(**more: Any) -> Json:
    backend = {"backendRefs": [{"name": "extauthz", "port": 9191}]}
    return {"failOpen": False, "timeout": "200ms", "statusOnError": 503, "grpc": backend, **more}


def clients(**more: Any) -> Json:
    removal = {"removeOnMatch": [{"type": "Prefix", "value": "x-auth-"}], **more}
    spec = {"targetRefs": [target("Gateway", "web")], "headers": {"earlyRequestHeaders": removal}}
    return obj(GATEWAY, "ClientTrafficPolicy", "clients", spec)


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


@pytest.mark.parametrize("what", ["gateway", "external", "contour"])
def test_envoy_gateway_and_contour_are_reported_without_raw_headers(tmp_path: Path, what: str) -> None:
    documents = {
        "gateway": [security(check=asking()), route("a")],
        "external": [route("a", filters=[external()])],
        "contour": [proxy(routes=[{"services": services("orders")}]), extension()],
    }[what]

    assert examine(tmp_path, *documents, conditions=frozenset()) == []
    found = examine(tmp_path, *documents, conditions=frozenset({"x-mode"}))
    assert codes(found) == [(WARNING, "headers-joined")]


# --- Contour -----------------------------------------------------------------------------------------------


def services(*names: str) -> list[Json]:
    return [{"name": name, "port": 80} for name in names]


def authorization(**more: Any) -> Json:
    return {"extensionRef": {"name": "extauthz"}, "responseTimeout": "200ms", **more}


def extension(**more: Any) -> Json:
    spec = {"protocol": "h2", "services": services("extauthz"), **more}
    return obj("projectcontour.io/v1alpha1", "ExtensionService", "extauthz", spec)


def proxy(name: str = "web", check: Json | bool | None = True, **spec: Any) -> Json:
    host: Json = {"fqdn": f"{name}.example.com", "tls": {"secretName": "x"}}
    if check:
        host["authorization"] = authorization() if check is True else check
    return obj(CONTOUR, "HTTPProxy", name, {"virtualhost": host, **spec})


OFF = {"authPolicy": {"disabled": True}}
ON = {"authPolicy": {"disabled": False}}
ORDERS = {"services": services("orders")}
PUBLIC = {"services": services("public")}


@pytest.mark.parametrize(
    ("documents", "expected"),
    [
        ([proxy(routes=[ORDERS])], []),
        ([proxy(routes=[{**ORDERS, **OFF}])], [(ERROR, "check-off")]),
        ([proxy(routes=[ORDERS, {**ORDERS, **OFF}])], [(ERROR, "check-off")]),
        ([proxy(routes=[ORDERS, {**PUBLIC, **OFF}])], [(WARNING, "check-off")]),
        ([proxy(check=authorization(**OFF), routes=[ORDERS])], [(ERROR, "check-off")]),
        ([proxy(check=authorization(**OFF), routes=[{**ORDERS, **ON}])], []),
        ([proxy(routes=[{**OFF, "requestRedirectPolicy": {"hostname": "a"}}, ORDERS])], []),
        ([proxy(check=authorization(failOpen=True), routes=[ORDERS])], [(ERROR, "fail-open")]),
        ([proxy(check=authorization(responseTimeout="infinity"), routes=[ORDERS])],
         [(ERROR, "timeout-long")]),
        ([proxy(check=authorization(responseTimeout="5s"), routes=[ORDERS])], [(WARNING, "timeout-long")]),
        ([proxy(check={"extensionRef": {"name": "extauthz"}}, routes=[ORDERS])],
         [(WARNING, "timeout-missing")]),
        ([proxy(check=authorization(withRequestBody={"maxRequestBytes": 99_999_999}), routes=[ORDERS])],
         [(ERROR, "body-large")]),
        ([proxy(check=authorization(extensionRef={"name": "extauth"}), routes=[ORDERS])],
         [(ERROR, "provider-unknown")]),
        ([proxy(routes=[{**ORDERS, "permitInsecure": True}])], [(ERROR, "check-off")]),
        ([proxy("open", check=None, routes=[ORDERS])], [(WARNING, "check-missing")]),
        ([proxy(routes=[ORDERS]), proxy("open", check=None, routes=[ORDERS])], [(ERROR, "check-missing")]),
        ([proxy(routes=[ORDERS]), proxy("open", check=None, routes=[PUBLIC])], [(WARNING, "check-missing")]),
        ([proxy(tcpproxy={"services": services("orders")})], [(ERROR, "check-missing")]),
        ([proxy(includes=[{"name": "child"}])], [(WARNING, "check-unknown")]),
        ([proxy(includes=[{"name": "child"}]), obj(CONTOUR, "HTTPProxy", "child", {"routes": [
            {**ORDERS, **OFF}]})], [(ERROR, "check-off")]),
        ([proxy(includes=[{"name": "child"}]), obj(CONTOUR, "HTTPProxy", "child", {"routes": [ORDERS]})], []),
        ([proxy(includes=[{"name": "child", "namespace": "b"}]), obj(CONTOUR, "HTTPProxy", "child", {
            "routes": [{**ORDERS, "permitInsecure": True}]}, "b")], [(ERROR, "check-off")]),
        ([obj(CONTOUR, "HTTPProxy", "orphan", {"routes": [{**ORDERS, **OFF}]})], [(ERROR, "check-off")]),
    ],
)  # fmt: skip
def test_each_route_of_an_http_proxy_is_judged(
    tmp_path: Path, documents: list[Json], expected: list[tuple[Severity, str]]
) -> None:
    assert codes(examine(tmp_path, extension(), *documents)) == expected


@pytest.mark.parametrize(
    "carrier",
    [
        lambda server: obj("projectcontour.io/v1alpha1", "ContourConfiguration", "x", {
            "globalExtAuth": server}),
        lambda server: obj("projectcontour.io/v1alpha1", "ContourDeployment", "x", {
            "runtimeSettings": {"globalExtAuth": server}}),
        lambda server: {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "contour"},
                        "data": {"contour.yaml": yaml.safe_dump({"globalExtAuth": server})}},
        lambda server: {"globalExtAuth": server},
    ],
    ids=["ContourConfiguration", "ContourDeployment", "ConfigMap", "file"],
)  # fmt: skip
def test_the_global_authorization_of_contour_covers_proxies_without_their_own(
    tmp_path: Path, carrier: Any
) -> None:
    server = {"extensionService": "projectcontour/extauthz", "responseTimeout": "200ms"}
    unchecked = proxy(check=None, routes=[ORDERS])

    assert examine(tmp_path, extension(), carrier(server), unchecked) == []
    open_server = carrier({**server, "failOpen": True})
    assert codes(examine(tmp_path, extension(), open_server, unchecked)) == [(ERROR, "fail-open")]
    off = carrier({**server, **OFF})
    assert codes(examine(tmp_path, extension(), off, unchecked)) == [(ERROR, "check-off")]
    # A virtual host without a server of its own changes the policy only.
    opted_out = proxy(check=OFF, routes=[ORDERS])
    assert codes(examine(tmp_path, extension(), carrier(server), opted_out)) == [(ERROR, "check-off")]


def test_the_service_of_checks_needs_tls_and_a_short_timeout(tmp_path: Path) -> None:
    plain = extension(protocol="h2c", timeoutPolicy={"response": "1h"})

    assert codes(examine(tmp_path, plain)) == [(WARNING, "checks-in-plaintext"), (ERROR, "timeout-long")]


def test_identity_headers_that_a_proxy_removes_after_the_check_are_reported(tmp_path: Path) -> None:
    removing = {"requestHeadersPolicy": {"remove": ["x-auth-subject"]}}

    found = examine(tmp_path, extension(), proxy(routes=[{**ORDERS, **removing}]))

    assert codes(found) == [(WARNING, "identity-headers")]


def test_a_missing_extension_service_is_reported(tmp_path: Path) -> None:
    assert codes(examine(tmp_path, proxy(routes=[ORDERS]))) == [(INFO, "provider-unverified")]


def test_proxies_that_include_each_other_end(tmp_path: Path) -> None:
    first = proxy(includes=[{"name": "child"}])
    child = obj(CONTOUR, "HTTPProxy", "child", {"includes": [{"name": "child"}], "routes": [ORDERS]})

    assert examine(tmp_path, extension(), first, child) == []
