"""The findings of doctor for CUSTOM policies under Istio's ambient mode, and for providers over HTTP."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from extauthz.proxyconfig.files import examine_files
from extauthz.proxyconfig.findings import Finding, Severity
from extauthz.proxyconfig.istio import istio_yaml
from extauthz.settings import Settings, load_settings

Json = dict[str, Any]
ERROR, WARNING = Severity.ERROR, Severity.WARNING
SECURITY = "security.istio.io/v1"


def examine(folder: Path, *documents: Json) -> list[tuple[Severity, str]]:
    (folder / "objects.yaml").write_text(yaml.safe_dump_all(documents, sort_keys=False))
    found = examine_files([folder])
    assert isinstance(found, list)
    return codes(found)


def codes(found: list[Finding]) -> list[tuple[Severity, str]]:
    return [(one.severity, one.code) for one in found]


def obj(version: str, kind: str, name: str, spec: Json, **labels: str) -> Json:
    metadata = {"name": name, "namespace": "store", "labels": labels}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}


def namespace(**labels: str) -> Json:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "store", "labels": labels}}


AMBIENT = {"istio.io/dataplane-mode": "ambient"}
USES = {"istio.io/use-waypoint": "waypoint"}
WAYPOINT = obj("gateway.networking.k8s.io/v1", "Gateway", "waypoint", {"gatewayClassName": "istio-waypoint"})
INGRESS = obj("gateway.networking.k8s.io/v1", "Gateway", "waypoint", {"gatewayClassName": "istio"})


def mesh(kind: str = "envoyExtAuthzGrpc") -> Json:
    settings = {"service": "extauthz.extauthz.svc.cluster.local", "port": 9191, "timeout": "0.2s",
                "statusOnError": "503", "includeRequestHeadersInCheck": ["authorization"]}  # fmt: skip
    return {"meshConfig": {
        "pathNormalization": {"normalization": "MERGE_SLASHES"},
        "extensionProviders": [{"name": "extauthz", kind: settings}],
    }}  # fmt: skip


def custom(*targets: Json, **more: Any) -> Json:
    spec = {"action": "CUSTOM", "provider": {"name": "extauthz"}, "rules": [{}], **more}
    if targets:
        spec["targetRefs"] = list(targets)
    return obj(SECURITY, "AuthorizationPolicy", "check", spec)


def admitting(*principals: str, **more: Any) -> Json:
    rules = [{"from": [{"source": {"principals": list(principals)}}]}] if principals else [{}]
    return obj(SECURITY, "AuthorizationPolicy", "callers", {"action": "ALLOW", "rules": rules, **more})


GATEWAY = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "waypoint"}
SERVICE = {"kind": "Service", "name": "orders"}
ONLY = admitting("cluster.local/ns/store/sa/waypoint")
READY = [mesh(), namespace(**AMBIENT, **USES), WAYPOINT]


@pytest.mark.parametrize(
    ("documents", "expected"),
    [
        ([*READY, custom(GATEWAY), ONLY], []),
        ([*READY, custom(SERVICE), ONLY], []),
        ([mesh(), custom(SERVICE), ONLY], []),
        ([*READY, custom(GATEWAY)], [(WARNING, "check-partial")]),
        ([*READY, custom(GATEWAY), admitting()], [(WARNING, "check-partial")]),
        ([*READY, custom(GATEWAY), admitting("*")], [(WARNING, "check-partial")]),
        ([*READY, custom(GATEWAY), admitting("cluster.local/ns/store/sa/*")], [(WARNING, "check-partial")]),
        ([*READY, custom(GATEWAY), admitting("a/b/c", targetRefs=[GATEWAY])], [(WARNING, "check-partial")]),
        ([mesh(), namespace(**AMBIENT), WAYPOINT, custom(GATEWAY), ONLY], [(ERROR, "check-missing")]),
        ([mesh(), namespace(**AMBIENT), WAYPOINT, custom(GATEWAY), ONLY,
          obj("v1", "Service", "o", {}, **USES)], []),
        ([*READY, custom(selector={"matchLabels": {"a": "b"}})],
         [(ERROR, "check-missing"), (WARNING, "identity-headers")]),
        ([*READY, custom()], [(ERROR, "check-missing"), (WARNING, "identity-headers")]),
        ([mesh(), INGRESS, custom(GATEWAY)], [(WARNING, "identity-headers")]),
        ([mesh("envoyExtAuthzHttp"), *READY[1:], custom(GATEWAY), ONLY], [(ERROR, "identity-headers")]),
    ],
)  # fmt: skip
def test_a_policy_for_a_waypoint_is_judged(
    tmp_path: Path, documents: list[Json], expected: list[tuple[Severity, str]]
) -> None:
    assert examine(tmp_path, *documents) == expected


def test_a_provider_over_http_needs_the_removal_of_identity_headers(tmp_path: Path) -> None:
    settings = load_settings({}, serving=False)
    assert isinstance(settings, Settings)
    printed = istio_yaml(settings)
    assert isinstance(printed, str)
    (removal,) = (one for one in yaml.safe_load_all(printed) if one["kind"] == "EnvoyFilter")
    # The printed filter is for the workloads with this label.
    policy = custom(selector={"matchLabels": {"extauthz": "enforced", "a": "b"}})
    removal["metadata"]["namespace"] = "store"

    assert examine(tmp_path, mesh(), policy) == [(WARNING, "identity-headers")]
    assert examine(tmp_path, mesh("envoyExtAuthzHttp"), policy) == [(ERROR, "identity-headers")]
    assert examine(tmp_path, mesh("envoyExtAuthzHttp"), policy, removal) == []


@pytest.mark.parametrize(
    ("namespace_of_filter", "labels", "selector", "is_removed"),
    [
        ("store", {}, {}, True),
        ("istio-system", {}, {}, True),
        ("elsewhere", {}, {}, False),
        ("store", {"app": "orders"}, {"app": "orders"}, True),
        ("store", {"app": "orders"}, {"app": "orders", "b": "c"}, True),
        ("store", {"app": "orders"}, {"app": "billing"}, False),
        ("store", {"app": "orders"}, {}, False),
    ],
)
def test_the_filter_has_to_reach_the_workloads_of_the_policy(
    tmp_path: Path, namespace_of_filter: str, labels: Json, selector: Json, is_removed: bool
) -> None:
    settings = load_settings({}, serving=False)
    assert isinstance(settings, Settings)
    printed = istio_yaml(settings)
    assert isinstance(printed, str)
    (removal,) = (one for one in yaml.safe_load_all(printed) if one["kind"] == "EnvoyFilter")
    removal["metadata"]["namespace"] = namespace_of_filter
    removal["spec"]["workloadSelector"] = {"labels": labels}
    policy = custom(selector={"matchLabels": selector})

    found = examine(tmp_path, mesh("envoyExtAuthzHttp"), policy, removal)

    assert found == ([] if is_removed else [(ERROR, "identity-headers")])


def test_a_provider_over_http_that_is_not_used_yet_is_a_warning(tmp_path: Path) -> None:
    assert examine(tmp_path, mesh("envoyExtAuthzHttp")) == [(WARNING, "identity-headers")]
    assert examine(tmp_path, mesh()) == []
