"""Every object is examined or named: Lists, objects in texts, and kinds that doctor does not know."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from extauthz.proxyconfig.files import examine_files
from extauthz.proxyconfig.findings import Finding, Severity
from extauthz.proxyconfig.istio import istio_yaml
from extauthz.settings import Settings, load_settings
from tests.proxy_change_tables import CLOSED, OPENING
from tests.proxy_changes import Json, base, manager_of

ERROR, WARNING, INFO = Severity.ERROR, Severity.WARNING, Severity.INFO


def mesh(**more: Any) -> Json:
    service = {"service": "extauthz.local", "port": 9191, "timeout": "0.2s", "statusOnError": "503"}
    provider = {"name": "extauthz", "envoyExtAuthzGrpc": service | more}
    return {
        "pathNormalization": {"normalization": "MERGE_SLASHES"},
        "extensionProviders": [provider],
    }


MESH = mesh()
OPEN_MESH = mesh(failOpen=True)


def examine(folder: Path, *documents: Any, strict: bool = False, **options: Any) -> list[Finding]:
    file = folder / "objects.yaml"
    file.write_text(yaml.safe_dump_all(documents, sort_keys=False))
    found = examine_files([folder], options.get("conditions"), strict=strict)
    assert isinstance(found, list)
    return found


def codes(found: list[Finding]) -> list[tuple[Severity, str]]:
    return [(one.severity, one.code) for one in found]


def errors(found: list[Finding]) -> list[str]:
    return [one.code for one in found if one.severity is ERROR]


def obj(kind: str, version: str = "v1", **more: Any) -> Json:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": "x"}, **more}


def bootstrap(change: str) -> Json:
    document = base()
    (OPENING | CLOSED)[change](manager_of(document))
    return document


def as_text(document: Json) -> str:
    return yaml.safe_dump(document, sort_keys=False)


def config_map(text: str, name: str = "envoy.yaml") -> Json:
    return obj("ConfigMap", data={name: text})


ENVELOPES: dict[str, Any] = {
    "List": lambda one: obj("List", items=[obj("Service"), one]),
    "List of Lists": lambda one: obj("List", items=[obj("List", items=[one])]),
    "ConfigMapList": lambda one: obj(
        "ConfigMapList", items=[{key: one[key] for key in one if key != "kind"}]
    ),
    "array": lambda one: [obj("Service"), one],
    "text in an object": lambda one: obj("Widget", "example.com/v1", spec={"template": as_text(one)}),
    "JSON in an object": lambda one: obj("Widget", "example.com/v1", spec={"template": json.dumps(one)}),
    "alone": lambda one: one,
}


@pytest.mark.parametrize("envelope", sorted(ENVELOPES))
def test_a_config_map_with_a_bootstrap_is_opened_in_every_envelope(tmp_path: Path, envelope: str) -> None:
    good = config_map(as_text(bootstrap("unchanged")))
    bad = config_map(as_text(bootstrap("FilterConfig at the route")))

    assert errors(examine(tmp_path, ENVELOPES[envelope](good))) == []
    (error,) = [one for one in examine(tmp_path, ENVELOPES[envelope](bad)) if one.severity is ERROR]
    assert error.code == "check-off"
    assert error.line


def test_the_line_is_that_of_the_text_inside_of_a_list(tmp_path: Path) -> None:
    inner = "".join(f"      {line}\n" for line in as_text(bootstrap("disabled")).splitlines())
    text = (
        "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: ConfigMap\n  data:\n"
        "    envoy.yaml: |\n" + inner
    )
    (tmp_path / "list.yaml").write_text(text)

    found = examine_files([tmp_path])

    assert isinstance(found, list)
    (error,) = [one for one in found if one.severity is ERROR]
    assert text.splitlines()[(error.line or 0) - 1].strip() == "disabled: true"


@pytest.mark.parametrize(
    "carrier",
    [
        lambda text: obj("ConfigMap", binaryData={"envoy.yaml": base64.b64encode(text.encode()).decode()}),
        lambda text: obj("Secret", data={"envoy.yaml": base64.b64encode(text.encode()).decode()}),
        lambda text: obj("Secret", stringData={"envoy.yaml": text}),
        lambda text: obj("Deployment", "apps/v1", spec={"template": {"spec": {"containers": [
            {"name": "envoy", "args": ["--config-yaml", text]}]}}}),
        lambda text: obj("EnvoyProxy", "gateway.envoyproxy.io/v1alpha1", spec={"bootstrap": {"value": text}}),
        lambda text: {"envoy": {"bootstrap": text}},
    ],
    ids=["binaryData", "Secret data", "stringData", "args", "EnvoyProxy", "values"],
)  # fmt: skip
def test_a_bootstrap_in_any_text_is_examined(tmp_path: Path, carrier: Any) -> None:
    assert "check-off" in errors(examine(tmp_path, carrier(as_text(bootstrap("disabled")))))


@pytest.mark.parametrize(
    "carrier",
    [
        lambda mesh: mesh,
        lambda mesh: obj("IstioOperator", "install.istio.io/v1alpha1", spec={"meshConfig": mesh}),
        lambda mesh: obj("Istio", "sailoperator.io/v1", spec={"values": {"meshConfig": mesh}}),
        lambda mesh: {"meshConfig": mesh},
        lambda mesh: {"global": {"hub": "x"}, "istiod": {"meshConfig": mesh}},
        lambda mesh: obj("ConfigMap", data={"mesh": as_text(mesh)}),
        lambda mesh: obj("List", items=[obj("ConfigMap", data={"mesh": as_text(mesh)})]),
        lambda mesh: obj("Application", "argoproj.io/v1alpha1", spec={"source": {"helm": {
            "values": as_text({"meshConfig": mesh})}}}),
        lambda mesh: obj("HelmRelease", "helm.toolkit.fluxcd.io/v2", spec={"values": {"meshConfig": mesh}}),
    ],
    ids=["bare", "IstioOperator", "Sail", "values", "nested values", "ConfigMap", "List", "Argo", "Flux"],
)  # fmt: skip
def test_a_mesh_configuration_is_found_wherever_it_is_nested(tmp_path: Path, carrier: Any) -> None:
    assert errors(examine(tmp_path, carrier(OPEN_MESH))) == ["fail-open"]
    assert errors(examine(tmp_path, carrier(MESH))) == []


def test_the_copy_in_an_annotation_of_kubectl_does_not_count(tmp_path: Path) -> None:
    old = obj("ConfigMap", data={"mesh": as_text(OPEN_MESH)})
    annotations = {"kubectl.kubernetes.io/last-applied-configuration": json.dumps(old)}
    new = obj("ConfigMap", data={"mesh": as_text(MESH)})
    new["metadata"]["annotations"] = annotations

    assert errors(examine(tmp_path, new)) == []


@pytest.mark.parametrize(
    ("document", "severity"),
    [
        (obj("AuthService", "getambassador.io/v3alpha1", spec={"failure_mode_allow": True}), WARNING),
        (obj("AuthConfig", "enterprise.gloo.solo.io/v1", spec={"configs": [{"externalAuth": {}}]}), WARNING),
        (obj("MeshExternalAuth", "kuma.io/v1alpha1"), WARNING),
        (obj("Ingress", "networking.k8s.io/v1", spec={}), INFO),
        (obj("Middleware", "traefik.io/v1alpha1", spec={"forwardAuth": {"address": "x"}}), WARNING),
        (obj("EnvoyPatchPolicy", "gateway.envoyproxy.io/v1alpha1"), INFO),
        (obj("WasmPlugin", "extensions.istio.io/v1alpha1"), INFO),
        (obj("AuthorizationPolicy", "policy.linkerd.io/v1alpha1"), INFO),
        ({"Kind": "service-defaults", "EnvoyExtensions": [{"Name": "builtin/ext-authz"}]}, WARNING),
        ({"http": {"middlewares": {"a": {"forwardAuth": {"address": "x"}}}}}, WARNING),
    ],
)  # fmt: skip
def test_a_kind_that_is_not_examined_is_named(tmp_path: Path, document: Json, severity: Severity) -> None:
    assert codes(examine(tmp_path, document)) == [(severity, "file-unknown")]
    assert codes(examine(tmp_path, obj("List", items=[document]))) == [(severity, "file-unknown")]
    (found,) = examine(tmp_path, document)
    assert found.line == 1


@pytest.mark.parametrize(
    "document",
    [
        obj("Deployment", "apps/v1"), obj("Service"), obj("ConfigMap", data={"a": "b"}), obj("Namespace"),
        obj("NetworkPolicy", "networking.k8s.io/v1"), obj("Role", "rbac.authorization.k8s.io/v1"),
        obj("CustomResourceDefinition", "apiextensions.k8s.io/v1", spec={"names": {"extAuth": {}}}),
        obj("CustomResourceDefinition", "apiextensions.k8s.io/v1", spec={
            "description": "extAuth: {\n  static_resources: ["}),
        obj("ExternalSecret", "external-secrets.io/v1"), obj("ServiceMonitor", "monitoring.coreos.com/v1"),
        obj("VirtualService", "networking.istio.io/v1"), obj("Gateway", "gateway.networking.k8s.io/v1"),
        obj("HorizontalPodAutoscaler", "autoscaling/v2"), obj("Certificate", "cert-manager.io/v1"),
        {"groups": [{"name": "a", "rules": []}]}, {"services": {"a": {}}},
        obj("ConfigMap", data={"notes.md": "# ext_authz\nThe filter `ext_authz` asks.\n"}),
        obj("ConfigMap", data={"run.sh": "#!/bin/sh\nexit 0\n"}),
    ],
    ids=lambda one: str(one.get("kind", "file")),
)  # fmt: skip
def test_kinds_that_cannot_hold_a_check_are_not_reported(tmp_path: Path, document: Json) -> None:
    assert examine(tmp_path, document) == []


@pytest.mark.parametrize(
    ("annotation", "told"),
    [
        ({"traffic.sidecar.istio.io/excludeInboundPorts": "8080"}, True),
        ({"traffic.sidecar.istio.io/includeInboundPorts": "80"}, True),
        ({"traffic.sidecar.istio.io/includeInboundPorts": "*"}, False),
        ({"traffic.sidecar.istio.io/excludeInboundPorts": ""}, False),
    ],
)
def test_ports_that_bypass_the_proxy_are_reported(tmp_path: Path, annotation: Json, told: bool) -> None:
    template = {"metadata": {"annotations": annotation}, "spec": {"containers": []}}

    found = codes(examine(tmp_path, obj("Deployment", "apps/v1", spec={"template": template})))

    assert found == ([(WARNING, "check-partial")] if told else [])


def test_strictly_every_file_of_a_folder_has_to_be_known(tmp_path: Path) -> None:
    assert examine(tmp_path, {"services": {"a": {}}}) == []
    assert codes(examine(tmp_path, {"services": {"a": {}}}, strict=True)) == [(INFO, "file-unknown")]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("data:\n  envoy.yaml: |\n    static_resources:\n      listeners: [\n", 6),
        ("data:\n  envoy.yaml: |\n    static_resources: {}\n    static_resources: {}\n", 6),
        ("data:\n  mesh: |\n    extensionProviders:\n    - name: {{ .Values.name }}\n", 6),
        ("data:\n  a.json: '{\"static_resources\": {'\n", 4),
    ],
)
def test_a_text_that_cannot_be_read_is_an_error_with_its_line(tmp_path: Path, text: str, line: int) -> None:
    (tmp_path / "map.yaml").write_text("apiVersion: v1\nkind: ConfigMap\n" + text)

    found = examine_files([tmp_path])

    assert isinstance(found, list)
    (unreadable,) = [one for one in found if one.code == "file-unreadable"]
    assert (unreadable.severity, unreadable.file) == (ERROR, str(tmp_path / "map.yaml"))
    assert abs((unreadable.line or 0) - line) <= 1


@pytest.mark.parametrize("content", [b"a: \x01", b"a: b\nc: \xff\n", b"a: [", b"x" * (9 * 1024 * 1024)])
def test_a_file_that_cannot_be_read_is_named_with_a_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.yaml").write_bytes(content)

    found = examine_files([tmp_path])

    assert isinstance(found, list)
    assert [(one.code, bool(one.line)) for one in found] == [("file-unreadable", True)]


# --- Istio -------------------------------------------------------------------------------------------------


def policy(**spec: Any) -> Json:
    provider = {"name": "extauthz"}
    return obj(
        "AuthorizationPolicy",
        "security.istio.io/v1",
        spec={"action": "CUSTOM", "provider": provider, "rules": [{}], **spec},
    )


@pytest.mark.parametrize(
    ("rules", "is_partial"),
    [
        ([{}], False),
        ([{"to": []}], False),
        ([{"to": [{"operation": {"paths": ["/a"]}}]}], True),
        ([{"from": [{"source": {"namespaces": ["a"]}}]}], True),
        ([{"when": [{"key": "request.headers[x]", "values": ["y"]}]}], True),
        ([{"to": [{"operation": {"paths": ["/a"]}}]}, {}], False),
    ],
)
def test_rules_that_select_a_part_of_the_requests_are_reported(
    tmp_path: Path, rules: list[Json], is_partial: bool
) -> None:
    found = codes(examine(tmp_path, MESH, policy(rules=rules)))

    assert ((WARNING, "check-partial") in found) is is_partial


def test_a_dry_run_enforces_nothing(tmp_path: Path) -> None:
    tried = policy()
    tried["metadata"]["annotations"] = {"istio.io/dry-run": "true"}

    assert errors(examine(tmp_path, MESH, tried)) == ["check-partial"]


def test_istios_provider_joins_headers(tmp_path: Path) -> None:
    assert "headers-joined" not in {one.code for one in examine(tmp_path, MESH)}
    found = examine(tmp_path, MESH, conditions=frozenset({"x-mode"}))
    assert codes(found) == [(WARNING, "headers-joined")]
    assert "cannot send raw headers" in found[0].message


def printed_for_istio() -> list[Any]:
    settings = load_settings({}, serving=False)
    assert isinstance(settings, Settings)
    return list(yaml.safe_load_all(str(istio_yaml(settings))))


def patch(apply_to: str, operation: str, value: Any = None, **match: Any) -> Json:
    body = {"operation": operation} | ({} if value is None else {"value": value})
    return obj(
        "EnvoyFilter",
        "networking.istio.io/v1alpha3",
        spec={"configPatches": [{"applyTo": apply_to, "match": match, "patch": body}]},
    )


FILTER = "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3."
SETTINGS = {"typed_per_filter_config": {"envoy.filters.http.ext_authz": {
    "@type": FILTER + "ExtAuthzPerRoute", "disabled": True}}}  # fmt: skip
FILTER_OFF = {"typedPerFilterConfig": {"envoy.filters.http.ext_authz": {
    "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": True}}}  # fmt: skip
NAMED = {"filterChain": {"filter": {
    "name": "envoy.filters.network.http_connection_manager",
    "subFilter": {"name": "envoy.filters.http.ext_authz"}}}}  # fmt: skip
PLAIN = {"@type": FILTER + "ExtAuthz", "failure_mode_allow": True}


@pytest.mark.parametrize(
    ("document", "code"),
    [
        (patch("HTTP_FILTER", "REMOVE", context="SIDECAR_INBOUND", listener=NAMED), "check-off"),
        (patch("HTTP_FILTER", "MERGE", {"name": "envoy.filters.http.ext_authz", "disabled": True}),
         "check-off"),
        (patch("HTTP_FILTER", "MERGE", {"typed_config": PLAIN}, listener=NAMED), "fail-open"),
        (patch("HTTP_ROUTE", "MERGE", SETTINGS), "check-off"),
        (patch("VIRTUAL_HOST", "MERGE", FILTER_OFF, context="GATEWAY"), "check-off"),
        (patch("ROUTE_CONFIGURATION", "MERGE", SETTINGS), "check-off"),
        (patch("HTTP_FILTER", "MERGE", {"typed_config": {
            "@type": "type.googleapis.com/udpa.type.v1.TypedStruct", "type_url": FILTER + "ExtAuthz",
            "value": {"failure_mode_allow": True}}}), "fail-open"),
        (patch("HTTP_ROUTE", "MERGE", SETTINGS, context="SIDECAR_OUTBOUND"), None),
        (patch("HTTP_FILTER", "REMOVE", context="SIDECAR_OUTBOUND", listener=NAMED), None),
        (patch("HTTP_ROUTE", "MERGE", {"route": {"timeout": "1s"}}), None),
    ],
)  # fmt: skip
def test_patches_that_end_the_check_are_errors(tmp_path: Path, document: Json, code: str | None) -> None:
    found = errors(examine(tmp_path, *printed_for_istio(), document))

    assert (code in found) if code else found == []
    listed = errors(examine(tmp_path, obj("List", items=[*printed_for_istio(), document])))
    assert listed == found
