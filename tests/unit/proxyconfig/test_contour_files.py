"""The findings of doctor in the objects of Contour."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from extauthz.proxyconfig.findings import Severity
from tests.gateway_objects import Json, codes, examine, obj

ERROR, WARNING, INFO = Severity.ERROR, Severity.WARNING, Severity.INFO
CONTOUR = "projectcontour.io/v1"


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


def test_contour_is_reported_without_raw_headers(tmp_path: Path) -> None:
    documents = [proxy(routes=[ORDERS]), extension()]
    assert examine(tmp_path, *documents, conditions=frozenset()) == []
    found = examine(tmp_path, *documents, conditions=frozenset({"x-mode"}))
    assert codes(found) == [(WARNING, "headers-joined")]
