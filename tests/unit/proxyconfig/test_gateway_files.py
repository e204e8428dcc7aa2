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


def examine(folder: Path, *documents: Any, conditions: frozenset[str] | None = None) -> list[Finding]:
    (folder / "objects.yaml").write_text(yaml.safe_dump_all(documents, sort_keys=False))
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
    return {"failOpen": False, "timeout": "200ms", "grpc": backend, **more}


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


@pytest.mark.parametrize("what", ["gateway", "contour"])
def test_envoy_gateway_and_contour_are_reported_without_raw_headers(tmp_path: Path, what: str) -> None:
    documents = {
        "gateway": [security(check=asking()), route("a")],
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


def test_a_missing_extension_service_is_reported(tmp_path: Path) -> None:
    assert codes(examine(tmp_path, proxy(routes=[ORDERS]))) == [(INFO, "provider-unverified")]


def test_proxies_that_include_each_other_end(tmp_path: Path) -> None:
    first = proxy(includes=[{"name": "child"}])
    child = obj(CONTOUR, "HTTPProxy", "child", {"includes": [{"name": "child"}], "routes": [ORDERS]})

    assert examine(tmp_path, extension(), first, child) == []
