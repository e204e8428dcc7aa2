"""The Istio manifests: valid by the schemas of Istio, and as strict as the shipped Envoy configuration."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.packaging.kustomization import Object, build, containers, documents, identity

ROOT = Path(__file__).resolve().parents[2]
ISTIO = ROOT / "deploy" / "istio"
SCHEMAS = json.loads((Path(__file__).parent / "istio-schemas.json").read_text())["schemas"]
MESH = documents(ISTIO / "mesh.yaml")[0]["meshConfig"]
OBJECTS = [each for file in sorted(ISTIO.glob("*.yaml")) if file.stem != "mesh" for each in documents(file)]
SHARED = build(ROOT / "deploy" / "kubernetes" / "overlays" / "shared")
EVERY_OVERLAY = [
    each for name in ("shared", "control-plane", "sidecar")
    for each in build(ROOT / "deploy" / "kubernetes" / "overlays" / name)
]  # fmt: skip

# istio.io/api v1.27, mesh/v1alpha1/config.proto: EnvoyExternalAuthorization{Grpc,Http}Provider.
GRPC_FIELDS = {"service", "port", "timeout", "failOpen", "clearRouteCache", "statusOnError"}
HTTP_FIELDS = GRPC_FIELDS | {
    "pathPrefix",
    "includeRequestHeadersInCheck",
    "includeAdditionalHeadersInCheck",
    "headersToUpstreamOnAllow",
    "headersToDownstreamOnDeny",
    "headersToDownstreamOnAllow",
}


def closed(schema: Any) -> Any:
    """Return the schema with every described object closed, as the API server prunes unknown members."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    done = {name: closed(value) for name, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        done.setdefault("additionalProperties", False)
    return done


def names(found: list[Object]) -> list[str]:
    return ["-".join(filter(None, identity(each))) for each in found]


def provider(name: str) -> Object:
    (found,) = (each for each in MESH["extensionProviders"] if each["name"] == name)
    return dict(found)


@pytest.mark.parametrize("each", OBJECTS, ids=names(OBJECTS))
def test_istio_accepts_the_configuration(each: Object) -> None:
    schema = SCHEMAS[f"{each['apiVersion']} {each['kind']}"]

    jsonschema.validate(each["spec"], closed(schema["properties"]["spec"]))


@pytest.mark.parametrize(
    ("name", "kind", "fields"),
    [
        ("extauthz", "envoyExtAuthzGrpc", GRPC_FIELDS),
        ("extauthz-http", "envoyExtAuthzHttp", HTTP_FIELDS),
    ],
)
def test_providers_fail_closed_and_in_time(name: str, kind: str, fields: set[str]) -> None:
    settings = provider(name)[kind]

    assert settings.keys() <= fields
    assert settings["failOpen"] is False
    assert settings["timeout"] == "0.2s"
    assert settings["statusOnError"] == "503"


def test_the_provider_is_a_service_of_the_shared_overlay() -> None:
    settings = provider("extauthz")["envoyExtAuthzGrpc"]
    service, namespace, *rest = settings["service"].split(".")
    assert rest == ["svc", "cluster", "local"]

    (found,) = (each for each in SHARED if identity(each) == ("Service", namespace, service))

    assert settings["port"] in {port["port"] for port in found["spec"]["ports"]}
    assert "clusterIP" not in found["spec"], "Istio does not balance over a headless service"


def test_http_hands_identity_to_the_upstream_and_reasons_to_the_client() -> None:
    settings = provider("extauthz-http")["envoyExtAuthzHttp"]

    assert {"x-auth-subject", "x-auth-kind", "x-auth-tenant", "x-auth-roles"} <= set(
        settings["headersToUpstreamOnAllow"]
    )
    assert "authorization" in settings["includeRequestHeadersInCheck"]
    assert "authorization" not in settings["headersToUpstreamOnAllow"]
    assert "www-authenticate" in settings["headersToDownstreamOnDeny"]


def test_custom_policies_name_a_provider_there_is() -> None:
    offered = {each["name"] for each in MESH["extensionProviders"]}
    custom = [each["spec"] for each in OBJECTS if each["spec"].get("action") == "CUSTOM"]

    assert custom
    assert {spec["provider"]["name"] for spec in custom} <= offered


def test_only_get_requests_to_exact_probe_paths_are_unchecked() -> None:
    (custom,) = (each["spec"] for each in OBJECTS if each["spec"].get("action") == "CUSTOM")
    (rule,) = custom["rules"]

    assert rule == {
        "to": [
            {"operation": {"notPaths": ["/healthz/live", "/healthz/ready"]}},
            {"operation": {"notMethods": ["GET"]}},
        ]
    }


def test_policies_select_pods_that_exist() -> None:
    pods = [
        (each["metadata"]["namespace"], each["spec"]["template"]["metadata"]["labels"])
        for each in EVERY_OVERLAY
        if containers(each)
    ]
    for policy in OBJECTS:
        selector = policy["spec"].get("selector", {}).get("matchLabels")
        if selector is not None:
            namespace = policy["metadata"]["namespace"]
            assert any(ns == namespace and selector.items() <= labels.items() for ns, labels in pods)


def test_the_mesh_requires_mtls_and_merges_slashes() -> None:
    (peer,) = (each for each in OBJECTS if each["kind"] == "PeerAuthentication")
    assert peer["metadata"]["namespace"] == "istio-system"
    assert peer["spec"] == {"mtls": {"mode": "STRICT"}}
    assert MESH["pathNormalization"] == {"normalization": "MERGE_SLASHES"}


@pytest.mark.parametrize("context", ["SIDECAR_INBOUND", "GATEWAY"])
def test_proxies_are_as_strict_as_the_shipped_envoy(context: str) -> None:
    shipped = yaml.safe_load((ROOT / "envoy" / "bootstrap.yaml").read_text())
    manager = shipped["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    (identity_removal,) = (
        part for part in manager["http_filters"] if part["name"] == "envoy.filters.http.header_mutation"
    )
    (filters,) = (each["spec"]["configPatches"] for each in OBJECTS if each["kind"] == "EnvoyFilter")
    patches = {each["applyTo"]: each["patch"] for each in filters if each["match"]["context"] == context}

    merged = patches["NETWORK_FILTER"]
    assert merged["operation"] == "MERGE"
    added = merged["value"]["typed_config"]
    assert added["@type"] == manager["@type"]
    escaped = "path_with_escaped_slashes_action"
    assert added[escaped] == manager[escaped]
    underscores = "headers_with_underscores_action"
    options = "common_http_protocol_options"
    assert added[options][underscores] == manager[options][underscores]
    assert patches["HTTP_FILTER"] == {"operation": "INSERT_FIRST", "value": identity_removal}


def test_access_logs_have_the_fields_of_the_shipped_envoy_configuration() -> None:
    shipped = yaml.safe_load((ROOT / "envoy" / "bootstrap.yaml").read_text())
    manager = shipped["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]

    assert (
        json.loads(MESH["accessLogFormat"])
        == (manager["access_log"][0]["typed_config"]["log_format"]["json_format"])
    )


def test_the_control_planes_inner_paths_are_for_those_inside() -> None:
    (policy,) = (each for each in OBJECTS if identity(each)[2] == "extauthz-control-plane")
    assert policy["spec"]["action"] == "ALLOW"
    open_to = {
        tuple(source["source"].get("namespaces", source["source"].get("principals"))): [
            path for to in rule.get("to", []) for path in to["operation"]["paths"]
        ]
        for rule in policy["spec"]["rules"]
        for source in rule["from"]
    }
    assert open_to == {
        ("platform",): [],
        ("shop",): ["/api/v1/check"],
        ("cluster.local/ns/monitoring/sa/prometheus",): ["/metrics"],
    }
