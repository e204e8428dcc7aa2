"""The Helm chart: wrong values fail with their path; what it renders is valid, closed, accepted by doctor."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from extauthz.commands.doctor.command import diagnose
from extauthz.proxyconfig.files import UnreadableFile
from extauthz.settings import Settings, load_settings, variables
from tests.packaging.kustomization import Object, containers, identity, pod_of
from tests.packaging.network import Peer, lets_in
from tools.chart_schema import OWN

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy" / "helm" / "extauthz"
SAMPLES = ("small", "selfhost", "saas")
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text())
OLDEST = "1.30.0"
SECRETS = frozenset(variable.name for variable in variables().values() if variable.secret)
REF = {"name": "admin", "key": "key"}


def helm(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = shutil.which("helm")
    if command is None:
        pytest.skip("helm is not on PATH; it is a Go program, which neither Debian nor Python packages have")
    # A helm that was built from its module has no version of Kubernetes of its own.
    return subprocess.run(
        [command, *arguments, "--kube-version", OLDEST], capture_output=True, text=True, check=False
    )


@cache
def rendered(sample: str) -> str:
    done = helm("template", "extauthz", str(CHART), "--namespace", "extauthz",
                "--values", str(CHART / "samples" / f"{sample}.yaml"))  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def objects(sample: str) -> list[Object]:
    return [each for each in yaml.safe_load_all(rendered(sample)) if each is not None]


def pods(sample: str) -> Iterator[Object]:
    yield from (each for each in objects(sample) if pod_of(each) is not None)


def merged(*changes: tuple[str, Any]) -> Any:
    values = json.loads(json.dumps(DEFAULTS))
    for path, value in changes:
        *above, last = path.split("/")
        at = values
        for name in above:
            at = at.setdefault(name, {})
        at[last] = value
    return values


def over(defaults: Any, values: Any) -> Any:
    """Return values over defaults, as Helm merges them."""
    if not isinstance(defaults, dict) or not isinstance(values, dict):
        return values
    return defaults | {name: over(defaults.get(name), value) for name, value in values.items()}


# Values -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sample", SAMPLES)
def test_the_samples_fit_the_schema(sample: str) -> None:
    values = yaml.safe_load((CHART / "samples" / f"{sample}.yaml").read_text())

    jsonschema.validate(over(DEFAULTS, values), SCHEMA)


@pytest.mark.parametrize(
    ("path", "value", "at"),
    [
        ("sidecar/shape", "pood", "sidecar/shape"),
        ("sidecar/replicas", 0, "sidecar/replicas"),
        ("sidecar/replicas", "3", "sidecar/replicas"),
        ("sidecars", {}, ""),
        ("settings/LOG_LEVEL", "loud", "settings/LOG_LEVEL"),
        ("settings/POLICY_MAX_BYTES", 5, "settings/POLICY_MAX_BYTES"),
        ("settings/POLICY_MAX_BYTES", "5 MiB", "settings/POLICY_MAX_BYTES"),
        ("settings/OTEL_TRACES_SAMPLER_ARG", 1.5, "settings/OTEL_TRACES_SAMPLER_ARG"),
        ("settings/MIGRATE_ON_START", "perhaps", "settings/MIGRATE_ON_START"),
        ("settings/OIDC_AUDIENCES", "a", "settings"),
        ("settings/WORKERS", 2, "settings"),
        ("settings/GRPC_HOST", "127.0.0.1", "settings"),
        ("sidecar/settings/GRPC_TLS_CERT", "/tls.crt", "sidecar/settings"),
        ("settings/ADMIN_API_KEY", "k" * 40, "settings"),
        ("controlPlane/settings/POSTGRES_PASSWORD", "p", "controlPlane/settings"),
        ("controlPlane/secrets/ADMIN_API_KEY", "k" * 40, "controlPlane/secrets/ADMIN_API_KEY"),
        ("controlPlane/secrets/ADMIN_API_KEY", {"value": "k" * 40}, "controlPlane/secrets/ADMIN_API_KEY"),
        ("controlPlane/secrets/ADMIN_API_KEY", {**REF, "value": "k"}, "controlPlane/secrets/ADMIN_API_KEY"),
        ("controlPlane/secrets/ADMIN_API_KEY", {"name": "a"}, "controlPlane/secrets/ADMIN_API_KEY"),
        ("controlPlane/secrets/AUTH_SERVER_URL", REF, "controlPlane/secrets"),
        ("sidecar/files/GRPC_TLS_KEY", {"configMap": "tls", "key": "tls.key"}, "sidecar/files/GRPC_TLS_KEY"),
        ("sidecar/files/GRPC_TLS_KEY", "-----BEGIN PRIVATE KEY-----", "sidecar/files/GRPC_TLS_KEY"),
        ("sidecar/files/OIDC_CA_FILE", {"key": "ca.crt"}, "sidecar/files/OIDC_CA_FILE"),
        ("image/digest", "sha256:abc", "image/digest"),
        ("networkPolicy/egress", [{"cidrs": ["10.0.0.0/8"]}], "networkPolicy/egress/0"),
        ("networkPolicy/egress", [{"ports": [0]}], "networkPolicy/egress/0/ports/0"),
        ("networkPolicy/askingNamespaceLabels", {}, "networkPolicy/askingNamespaceLabels"),
        ("networkPolicy/monitoring", {"namespaceLabels": {"a": "b"}}, "networkPolicy/monitoring"),
        ("networkPolicy", {"enabled": True}, "networkPolicy"),
        ("serviceMonitor/interval", 15, "serviceMonitor/interval"),
        ("policies/files", {"orders.txt": ""}, "policies/files"),
    ],
)
def test_a_wrong_value_fails_with_its_path(path: str, value: Any, at: str) -> None:
    with pytest.raises(jsonschema.ValidationError) as refused:
        jsonschema.validate(merged((path, value)), SCHEMA)

    assert "/".join(map(str, refused.value.absolute_path)) == at


@pytest.mark.parametrize(
    ("name", "value"),
    [("POLICY_MAX_BYTES", 5_000_000), ("POLICY_MAX_BYTES", "5000000"), ("OTEL_TRACES_SAMPLER_ARG", 0.01),
     ("DECISION_LOG_SAMPLE_ALLOWS", 0.1), ("DECISION_LOG_HEARTBEAT", 0)],
)  # fmt: skip
def test_numbers_may_be_written_as_numbers_and_as_texts(name: str, value: object) -> None:
    jsonschema.validate(merged((f"settings/{name}", value)), SCHEMA)


def test_every_variable_is_a_setting_a_file_a_secret_or_the_charts_own() -> None:
    places = [set(SCHEMA["definitions"][name]["properties"]) for name in ("settings", "files", "secrets")]

    assert sorted([*OWN, *(name for place in places for name in place)]) == sorted(
        variable.name for variable in variables().values()
    )
    assert places[2] == SECRETS
    assert all(name.endswith("secretFile") for name in (
        each["$ref"] for key, each in SCHEMA["definitions"]["files"]["properties"].items() if "_KEY" in key
    ))  # fmt: skip


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("sidecar.shape=pood", "at '/sidecar/shape'"),
        ("settings.ADMIN_API_KEY=secret", "at '/settings': additional properties 'ADMIN_API_KEY'"),
        ("controlPlane.secrets.ADMIN_API_KEY=x", "at '/controlPlane/secrets/ADMIN_API_KEY'"),
        ("sidecar.shape=pod", "at '/workload/image'"),
        ("networkPolicy.askingNamespaceLabels=null", "at '/networkPolicy'"),
        ("settings=null", "at '': missing property 'settings'"),
        ("image=null", "at '': missing property 'image'"),
        ("sidecar.files=null", "at '/sidecar': missing property 'files'"),
        ("sidecar.autoscaling=null", "at '/sidecar': missing property 'autoscaling'"),
        (
            "settings.AUTH_SERVER_URL=https://u:p@a.example",
            "settings.AUTH_SERVER_URL: the value holds a secret",
        ),
        ("settings.DECISION_LOG_MASK=subjct:hash", "at '/settings/DECISION_LOG_MASK'"),
        ("settings.DECISION_LOG_MASK=subject:hide", "at '/settings/DECISION_LOG_MASK'"),
        (
            "settings.OTEL_EXPORTER_OTLP_ENDPOINT=https://c.example/?Api_Key=u:p@",
            "settings.OTEL_EXPORTER_OTLP_ENDPOINT: the value holds a secret",
        ),
        (
            "settings.AUTH_SERVER_URL=https://a.example/?x=1&token=u:p@",
            "settings.AUTH_SERVER_URL: the value holds a secret",
        ),
        ("settings.OIDC_AUDIENCE=sak_live_abc", "settings.OIDC_AUDIENCE: the value holds a secret"),
    ],
)
def test_helm_says_where_a_value_is_wrong(option: str, said: str) -> None:
    done = helm("template", "x", str(CHART), "--set" if option.endswith("=null") else "--set-string", option)

    assert done.returncode != 0
    assert said in done.stderr
    assert "sak_live_abc" not in done.stderr
    assert "u:p@" not in done.stderr


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"workload": {"env": [{"name": "A", "value": "postgres://u:p@db/x"}]}}, "workload.env[0].value"),
        (
            {"workload": {"env": [{"name": "DB_PASSWORD", "value": "p"}]}},
            "DB_PASSWORD is the name of a secret",
        ),
        ({"policies": {"files": {"a.yaml": "-----BEGIN PRIVATE KEY-----"}}}, "policies.files.a.yaml"),
        ({"sidecar": {"settings": {"POLICY_SOURCE": "postgres"}}}, "sidecar.settings.POLICY_SOURCE"),
        ({"controlPlane": {"enabled": True}}, "policies: the control plane keeps policies in PostgreSQL"),
    ],
)
def test_what_the_schema_cannot_see_fails_with_its_path(tmp_path: Path, document: Any, said: str) -> None:
    more = tmp_path / "values.yaml"
    more.write_text(yaml.safe_dump(document))

    done = helm("template", "x", str(CHART), "-f", str(CHART / "samples" / "small.yaml"), "-f", str(more))

    assert done.returncode != 0
    assert said in done.stderr


@pytest.mark.parametrize("sample", ["", *SAMPLES])
def test_helm_lint_finds_nothing(sample: str) -> None:
    values = ["--values", str(CHART / "samples" / f"{sample}.yaml")] if sample else []

    done = helm("lint", "--strict", str(CHART), *values)

    assert done.returncode == 0, done.stdout


def test_large_numbers_are_written_out() -> None:
    done = helm("template", "x", str(CHART), "--set", "settings.POLICY_MAX_BYTES=268435456",
                "--set", "settings.POLICY_POLL_INTERVAL=0.5")  # fmt: skip

    assert 'value: "268435456"' in done.stdout
    assert 'value: "0.5"' in done.stdout


# What is rendered -------------------------------------------------------------------------------------


@pytest.mark.parametrize("sample", SAMPLES)
def test_doctor_finds_nothing(sample: str, tmp_path: Path) -> None:
    file = tmp_path / "release.yaml"
    file.write_text(rendered(sample))

    report = diagnose({}, [file], strict=True)

    assert not isinstance(report, UnreadableFile)
    assert [one.code for one in report.findings] == ["settings-absent"]


@pytest.mark.parametrize("version", [OLDEST, kubernetes_validate.latest_version()])
@pytest.mark.parametrize("sample", SAMPLES)
def test_kubernetes_accepts_what_is_rendered(sample: str, version: str) -> None:
    found = objects(sample)

    names = [identity(each) for each in found]
    assert len(set(names)) == len(names)
    for each in found:
        if each["apiVersion"] != "monitoring.coreos.com/v1":
            kubernetes_validate.validate(each, version, strict=True)


@pytest.mark.parametrize("sample", SAMPLES)
def test_pods_are_restricted(sample: str) -> None:
    for each in pods(sample):
        pod = pod_of(each)
        assert pod is not None
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert "extauthz-network" in pod["metadata"]["labels"]
        for container in containers(each):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"].keys() == {"memory"}
            assert re.fullmatch(r"[\w./-]+:[\w.-]*\d+\.\d+\.\d+", container["image"], re.ASCII)


@pytest.mark.parametrize("sample", SAMPLES)
def test_settings_load_and_secrets_are_mounted_files(sample: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s" * 40)
    seen = 0
    for each in pods(sample):
        pod = pod_of(each)
        assert pod is not None
        for container in containers(each):
            if container["name"] not in {"extauthz", "control-plane", "migrate"}:
                continue
            seen += 1
            environ = {entry["name"]: entry["value"] for entry in container["env"]}
            assert environ.keys().isdisjoint(SECRETS)
            files = {
                name: value for name, value in environ.items() if value.startswith("/run/extauthz/files/")
            }
            sources = [
                item["path"]
                for volume in pod["spec"].get("volumes", [])
                if volume["name"] == "files"
                for source in volume["projected"]["sources"]
                for part in source.values()
                for item in part["items"]
            ]
            assert sorted(Path(value).name for value in files.values()) == sorted(sources)
            loaded = load_settings(
                environ | {name: str(secret) for name in files if name.endswith("_FILE")},
                serving=container["args"] != ["migrate"],
            )
            assert isinstance(loaded, Settings), loaded
    assert seen == {"small": 1, "selfhost": 3, "saas": 1}[sample]


@pytest.mark.parametrize("sample", SAMPLES)
def test_deployments_survive_the_loss_of_a_node(sample: str) -> None:
    found = objects(sample)
    budgets = [each["spec"] for each in found if each["kind"] == "PodDisruptionBudget"]
    scalers = {each["metadata"]["name"]: each["spec"]["minReplicas"] for each in found
               if each["kind"] == "HorizontalPodAutoscaler"}  # fmt: skip
    for each in found:
        if each["kind"] == "Deployment":
            assert {"maxUnavailable": 1, "selector": each["spec"]["selector"]} in budgets
            assert each["spec"].get("replicas", scalers.get(each["metadata"]["name"], 0)) >= 2
            labels = each["spec"]["template"]["metadata"]["labels"]
            assert each["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_in_the_pod_envoy_starts_after_extauthz_and_checks_stay_on_loopback() -> None:
    (deployment,) = (each for each in objects("small") if each["kind"] == "Deployment")
    sidecars = deployment["spec"]["template"]["spec"]["initContainers"]

    assert [each["name"] for each in sidecars] == ["extauthz", "envoy"]
    assert {each["restartPolicy"] for each in sidecars} == {"Always"}
    assert "GRPC_HOST" not in {entry["name"] for entry in sidecars[0]["env"]}


def test_admin_has_a_port_of_its_own_for_administrators_alone() -> None:
    found = objects("selfhost")
    (plane,) = (each for each in found if identity(each) == ("Deployment", None, "extauthz-control-plane"))
    labels = plane["spec"]["template"]["metadata"]["labels"]
    policies = [each for each in found if each["kind"] == "NetworkPolicy"]
    for each in policies:
        each["metadata"]["namespace"] = "extauthz"
    peers = {
        "administers": Peer({"kubernetes.io/metadata.name": "a", "extauthz-administers": "true"}),
        "writes": Peer({"kubernetes.io/metadata.name": "b", "extauthz-writes": "true"}),
        "asks": Peer({"kubernetes.io/metadata.name": "c", "extauthz-asks": "true"}),
    }

    def admitted(port: int) -> set[str]:
        return {
            name
            for name, peer in peers.items()
            if lets_in(policies, target=labels, namespace="extauthz", port=port, peer=peer)
        }

    assert admitted(8081) == {"administers"}
    assert admitted(8080) == {"administers", "writes"}
    (container,) = containers(plane)
    assert {"name": "ADMIN_PORT", "value": "8081"} in container["env"]
    assert {container[probe]["httpGet"]["scheme"] for probe in ("startupProbe", "readinessProbe")} == {
        "HTTPS"
    }


def test_another_content_is_another_migration() -> None:
    names = set()
    for tag in ("0.2.0", "0.2.1"):
        done = helm("template", "x", str(CHART), "--set", "migrate.enabled=true", "--set", f"image.tag={tag}")
        names |= {each["metadata"]["name"] for each in yaml.safe_load_all(done.stdout) if each
                  and each["kind"] == "Job"}  # fmt: skip

    assert len(names) == 2


def test_the_charts_envoy_is_that_of_the_overlay() -> None:
    overlay = ROOT / "deploy" / "kubernetes" / "overlays" / "sidecar" / "envoy.yaml"

    assert (CHART / "files" / "envoy.yaml").read_text() == overlay.read_text()


def test_the_chart_has_the_version_of_the_package() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    from extauthz import __version__

    assert chart["version"] == chart["appVersion"] == __version__
