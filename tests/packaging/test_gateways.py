"""The manifests for gateways: valid by the schemas of each gateway, and accepted by doctor."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from extauthz.proxyconfig.files import examine_files
from extauthz.proxyconfig.findings import Severity
from extauthz.proxyconfig.gateways import gateway_yaml
from extauthz.settings import Settings, load_settings
from tests.certificates import Authority
from tests.packaging.kustomization import Object, documents, identity
from tests.packaging.test_istio import SCHEMAS as ISTIO_SCHEMAS
from tests.packaging.test_istio import closed

ROOT = Path(__file__).resolve().parents[2]
GATEWAYS = ROOT / "deploy" / "gateways"
NAMES = sorted(each.name for each in GATEWAYS.iterdir())
SCHEMAS = json.loads((Path(__file__).parent / "gateway-schemas.json").read_text())["schemas"] | ISTIO_SCHEMAS
OBJECTS = [(name, each) for name in NAMES for file in sorted((GATEWAYS / name).glob("*.yaml"))
           for each in documents(file)]  # fmt: skip
PRINTED = {"envoy-gateway", "gateway-api", "contour"}


def validate(each: Object) -> None:
    if each["apiVersion"] == "v1":
        assert each["kind"] == "Namespace"
        return
    schema = SCHEMAS[f"{each['apiVersion']} {each['kind']}"]
    # The schemas of CRDs have draft 4's exclusiveMaximum.
    jsonschema.validate(each["spec"], closed(schema["properties"]["spec"]), jsonschema.Draft4Validator)


def test_there_are_manifests_for_each_gateway() -> None:
    assert set(NAMES) == {"cilium", "contour", "envoy-gateway", "gateway-api", "istio-ambient"}


@pytest.mark.parametrize(
    "each", [pytest.param(each, id="-".join(filter(None, (name, *identity(each))))) for name, each in OBJECTS]
)
def test_the_gateway_accepts_the_manifest(each: Object) -> None:
    validate(each)


@pytest.mark.parametrize("gateway", sorted(PRINTED))
@pytest.mark.parametrize("encrypted", [False, True])
def test_the_gateway_accepts_what_is_printed(tmp_path: Path, gateway: str, encrypted: bool) -> None:
    environ = {"GRPC_HOST": "0.0.0.0", "CLAIM_HEADERS": "x-user-email"}
    if encrypted:
        made = Authority("proxies").issue("extauthz.extauthz.svc.cluster.local")
        (tmp_path / "tls.crt").write_bytes(made.chain)
        environ |= {"GRPC_TLS_CERT": str(tmp_path / "tls.crt"), "GRPC_TLS_KEY": str(tmp_path / "tls.key")}
    settings = load_settings(environ, serving=False)
    assert isinstance(settings, Settings)
    text = gateway_yaml(settings, gateway)
    assert isinstance(text, str)

    for each in yaml.safe_load_all(text):
        validate(each)


@pytest.mark.parametrize("name", NAMES)
def test_doctor_finds_nothing(name: str) -> None:
    istio = ROOT / "deploy" / "istio"
    folders = [GATEWAYS / name, istio / "mesh.yaml", istio / "strict-proxies.yaml"]

    found: Any = examine_files(folders, strict=True)

    assert found == []


@pytest.mark.parametrize("gateway", ["envoy-gateway", "gateway-api"])
def test_the_manifest_is_what_is_printed(gateway: str) -> None:
    settings = load_settings({"GRPC_HOST": "0.0.0.0"}, serving=False)
    assert isinstance(settings, Settings)

    assert (GATEWAYS / gateway / "extauthz.yaml").read_text() == gateway_yaml(settings, gateway)


def test_a_wrong_member_is_noticed() -> None:
    (policy,) = (each for _, each in OBJECTS if each["kind"] == "SecurityPolicy")
    wrong = {**policy, "spec": {**policy["spec"], "extAuth": {**policy["spec"]["extAuth"], "failOpn": False}}}

    with pytest.raises(jsonschema.ValidationError, match="failOpn"):
        validate(wrong)


def test_cilium_has_to_remove_identity_headers(tmp_path: Path) -> None:
    text = (GATEWAYS / "cilium" / "extauthz.yaml").read_text()
    (tmp_path / "cilium.yaml").write_text(text.replace("early_header_mutation_extensions", "xff_num_trusted"))

    found = examine_files([tmp_path])

    assert isinstance(found, list)
    assert "identity-headers" in {one.code for one in found if one.severity is Severity.ERROR}
