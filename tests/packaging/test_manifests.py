"""The Kubernetes manifests: valid, closed by default, and in step with the settings and commands they use."""

import re
import shutil
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from extauthz.cli import main
from extauthz.settings import Settings, load_settings, variables
from tests.packaging.kustomization import (
    Object,
    build,
    build_plainly,
    containers,
    documents,
    identity,
    pod_of,
)
from tests.packaging.network import Peer, lets_in

ROOT = Path(__file__).resolve().parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
OVERLAYS = ("sidecar", "shared", "control-plane")
BUILT = {name: build(KUBERNETES / "overlays" / name) for name in OVERLAYS}
EXTERNAL_SECRETS = build(KUBERNETES / "external-secrets")
OLDEST = "1.30.0"
"""The first with `preStop.sleep` and sidecars switched on (docs/deploy.md says so)."""

SECRETS = frozenset(variable.name for variable in variables().values() if variable.secret)
KNOWN = frozenset(variable.name for variable in variables().values()) | {f"{name}_FILE" for name in SECRETS}

EVERYTHING = [(overlay, each) for overlay, objects in BUILT.items() for each in objects]
PODS = [(overlay, each) for overlay, each in EVERYTHING if pod_of(each) is not None]


def cases(found: list[tuple[str, Object]]) -> list[Any]:
    return [
        pytest.param(overlay, each, id="-".join(filter(None, (overlay, *identity(each)))))
        for overlay, each in found
    ]


def of_kind(overlay: str, kind: str) -> list[Object]:
    return [each for each in BUILT[overlay] if each["kind"] == kind]


def named(overlay: str, kind: str, name: str) -> Object:
    (found,) = (each for each in of_kind(overlay, kind) if each["metadata"]["name"] == name)
    return found


def ours(each: Object) -> list[Object]:
    return [container for container in containers(each) if "/extauthz:" in container["image"]]


def volume(each: Object, name: str) -> Object:
    pod = pod_of(each)
    assert pod is not None
    (found,) = (volume for volume in pod["spec"]["volumes"] if volume["name"] == name)
    return dict(found)


# Valid ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [OLDEST, kubernetes_validate.latest_version()])
@pytest.mark.parametrize(("overlay", "each"), cases(EVERYTHING))
def test_kubernetes_accepts_the_manifests(overlay: str, each: Object, version: str) -> None:
    kubernetes_validate.validate(each, version, strict=True)


@pytest.mark.parametrize("folder", [*(f"overlays/{name}" for name in OVERLAYS), "external-secrets"])
def test_the_plain_reader_builds_what_kustomize_builds(folder: str) -> None:
    if shutil.which("kustomize") is None:
        pytest.skip(
            "kustomize is not on PATH; it is a Go program, which neither Debian nor Python packages have"
        )
    theirs, ours = (
        {identity(each): each for each in objects}
        for objects in (build(KUBERNETES / folder), build_plainly(KUBERNETES / folder))
    )
    assert ours == theirs


# Secrets ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_secret_is_in_a_config_map(overlay: str) -> None:
    for config_map in of_kind(overlay, "ConfigMap"):
        if config_map["metadata"]["name"] == "extauthz-settings":
            assert config_map["data"].keys().isdisjoint(SECRETS)
        assert not re.search(
            r"(?i)password|api.?key|BEGIN [A-Z ]*PRIVATE", yaml.safe_dump(config_map["data"])
        )


@pytest.mark.parametrize(("overlay", "each"), cases(PODS))
def test_secrets_are_files_from_secrets(overlay: str, each: Object) -> None:
    for container in ours(each):
        values = {entry["name"]: entry["value"] for entry in container["env"]}
        assert values.keys().isdisjoint(SECRETS)
        for name in values.keys() & {f"{secret}_FILE" for secret in SECRETS}:
            folder = str(Path(values[name]).parent)
            (mount,) = (mount for mount in container["volumeMounts"] if mount["mountPath"] == folder)
            source = volume(each, mount["name"])["secret"]
            assert source["defaultMode"] == 0o440
            assert mount["readOnly"] is True


def test_external_secrets_and_the_guide_know_every_secret_that_is_mounted() -> None:
    wanted: dict[str, set[str]] = {}
    for _, each in PODS:
        for container in ours(each):
            for entry in container["env"]:
                if entry["name"].endswith("_FILE"):
                    path = Path(entry["value"])
                    (mount,) = (m for m in container["volumeMounts"] if m["mountPath"] == str(path.parent))
                    secret = volume(each, mount["name"])["secret"]["secretName"]
                    wanted.setdefault(secret, set()).add(path.name)

    offered = {
        each["spec"]["target"]["name"]: {entry["secretKey"] for entry in each["spec"]["data"]}
        for each in EXTERNAL_SECRETS
    }
    guide = (ROOT / "docs" / "deploy.md").read_text()

    assert offered == wanted
    assert [name for name in wanted if f"secret generic {name}" not in guide] == []


# Settings and commands --------------------------------------------------------------------------------


@pytest.mark.parametrize(("overlay", "each"), cases(PODS))
def test_settings_are_known_and_go_together(overlay: str, each: Object, tmp_path: Path) -> None:
    settings = named(overlay, "ConfigMap", "extauthz-settings")["data"]
    secret = tmp_path / "secret"
    secret.write_text("s" * 40)
    for container in ours(each):
        environ = settings | {entry["name"]: entry["value"] for entry in container["env"]}
        assert environ.keys() <= KNOWN

        loaded = load_settings(
            {name: str(secret) if name.endswith("_FILE") else value for name, value in environ.items()},
            serving=container["args"] != ["migrate"],
        )

        assert isinstance(loaded, Settings), loaded
        assert loaded.postgres_sslmode == "verify-full"
        assert str(loaded.postgres_sslrootcert).startswith("/etc/extauthz/postgres-ca/")
        assert "/etc/extauthz/postgres-ca" in {mount["mountPath"] for mount in container["volumeMounts"]}
        assert loaded.workers == 1
        assert loaded.decision_log == "stdout"


@pytest.mark.parametrize(("overlay", "each"), cases(PODS))
def test_containers_run_known_commands(
    overlay: str, each: Object, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ours(each)
    for container in ours(each):
        with pytest.raises(SystemExit) as ended:
            main([*container["args"], "--help"])
        assert ended.value.code == 0
        assert f"extauthz {container['args'][0]}" in capsys.readouterr().out


def test_each_command_has_the_database_role_it_needs() -> None:
    roles = (ROOT / "deploy" / "postgres" / "roles.sql").read_text()
    used = {}
    for _, each in PODS:
        for container in ours(each):
            (user,) = (entry["value"] for entry in container["env"] if entry["name"] == "POSTGRES_USER")
            used[container["args"][0]] = user
            assert f"'{user}'" in roles
    assert used == {
        "sidecar": "extauthz_reader",
        "control-plane": "extauthz_writer",
        "migrate": "extauthz_owner",
    }


# Least privilege --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("overlay", "each"), cases(PODS))
def test_pods_are_restricted(overlay: str, each: Object) -> None:
    pod = pod_of(each)
    assert pod is not None
    spec = pod["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == 65532
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
    for container in containers(each):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert container["resources"]["limits"].keys() == {"memory"}
        assert re.fullmatch(r"[\w./-]+:[\w.-]*\d+\.\d+\.\d+", container["image"]), "an exact tag"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_namespaces_enforce_the_restricted_standard(overlay: str) -> None:
    (namespace,) = of_kind(overlay, "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert {each["metadata"].get("namespace") for each in BUILT[overlay]} == {
        None,
        namespace["metadata"]["name"],
    }


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_accounts_have_no_token_and_no_rights(overlay: str) -> None:
    kinds = {each["kind"] for each in BUILT[overlay]}
    assert kinds.isdisjoint({"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"})
    for account in of_kind(overlay, "ServiceAccount"):
        assert account["automountServiceAccountToken"] is False


# Probes and availability ------------------------------------------------------------------------------


@pytest.mark.parametrize(("overlay", "each"), cases([pod for pod in PODS if pod[1]["kind"] == "Deployment"]))
def test_probes_ask_the_endpoints_there_are(overlay: str, each: Object) -> None:
    for container in ours(each):
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        health = 8080 if container["args"] == ["control-plane"] else 9190
        for name, path in (("startupProbe", "/healthz/live"), ("livenessProbe", "/healthz/live")):
            request = container[name]["httpGet"]
            assert (ports[request["port"]], request["path"]) == (health, path)
        readiness = container["readinessProbe"]
        if "grpc" in readiness:
            assert readiness["grpc"] == {"port": 9191}
        else:
            assert readiness["httpGet"]["path"] == "/healthz/ready"
            assert ports[readiness["httpGet"]["port"]] == health


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_deployments_survive_the_loss_of_a_node(overlay: str) -> None:
    budgets = [each["spec"] for each in of_kind(overlay, "PodDisruptionBudget")]
    for deployment in of_kind(overlay, "Deployment"):
        selector = deployment["spec"]["selector"]
        assert {"maxUnavailable": 1, "selector": selector} in budgets
        assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
        assert selector["matchLabels"].items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
        scalers = of_kind(overlay, "HorizontalPodAutoscaler")
        replicas = deployment["spec"].get("replicas") or scalers[0]["spec"]["minReplicas"]
        assert replicas >= 2


def test_envoy_never_runs_without_extauthz() -> None:
    pod = pod_of(named("sidecar", "Deployment", "orders"))
    assert pod is not None
    sidecars = pod["spec"]["initContainers"]
    assert [container["name"] for container in sidecars] == ["extauthz", "envoy"]
    assert {container["restartPolicy"] for container in sidecars} == {"Always"}
    assert "GRPC_HOST" not in {entry["name"] for entry in sidecars[0]["env"]}, "checks stay on loopback"


# The network ------------------------------------------------------------------------------------------

PROMETHEUS = Peer({"kubernetes.io/metadata.name": "monitoring"}, {"app.kubernetes.io/name": "prometheus"})
OTHER_IN_MONITORING = Peer({"kubernetes.io/metadata.name": "monitoring"})
ASKING = Peer({"kubernetes.io/metadata.name": "shop", "extauthz-asks": "true"})
ADMINISTRATION = Peer({"kubernetes.io/metadata.name": "platform", "extauthz-administers": "true"})
NEITHER = Peer({"kubernetes.io/metadata.name": "shop"})
NEIGHBOUR = Peer({"kubernetes.io/metadata.name": "extauthz"})


@pytest.mark.parametrize(
    ("overlay", "name", "port", "admitted"),
    [
        pytest.param("shared", "extauthz", 9191, {"ASKING"}, id="checks"),
        pytest.param("shared", "extauthz", 9190, {"PROMETHEUS"}, id="metrics"),
        pytest.param(
            "control-plane",
            "extauthz-control-plane",
            8080,
            {"ADMINISTRATION", "PROMETHEUS"},
            id="administration",
        ),
        pytest.param("control-plane", "extauthz-migrate", 8080, set(), id="migration"),
        pytest.param("sidecar", "orders", 10000, {"NEITHER", "ASKING"}, id="requests"),
        pytest.param("sidecar", "orders", 9190, {"PROMETHEUS"}, id="sidecar-metrics"),
        pytest.param("sidecar", "orders", 9191, set(), id="sidecar-checks"),
        pytest.param("sidecar", "orders", 8000, set(), id="past-envoy"),
    ],
)
def test_ports_are_open_to_whom_they_are_for(overlay: str, name: str, port: int, admitted: set[str]) -> None:
    (workload,) = (
        each
        for each in BUILT[overlay]
        if each["kind"] in {"Deployment", "Job"} and each["metadata"]["name"] == name
    )
    pod = pod_of(workload)
    assert pod is not None
    peers = {
        "PROMETHEUS": PROMETHEUS,
        "OTHER_IN_MONITORING": OTHER_IN_MONITORING,
        "ASKING": ASKING,
        "ADMINISTRATION": ADMINISTRATION,
        "NEITHER": NEITHER,
        "NEIGHBOUR": NEIGHBOUR,
    }
    let_in = {
        name_of_peer
        for name_of_peer, peer in peers.items()
        if lets_in(
            of_kind(overlay, "NetworkPolicy"),
            target=pod["metadata"]["labels"],
            namespace=workload["metadata"]["namespace"],
            port=port,
            peer=peer,
        )
    }

    assert let_in == admitted


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_network_policies_list_every_outgoing_port(overlay: str) -> None:
    closed = named(overlay, "NetworkPolicy", "extauthz-closed")["spec"]
    assert closed["policyTypes"] == ["Ingress", "Egress"]
    assert closed.keys().isdisjoint({"ingress", "egress"})
    opened = {
        port["port"]
        for policy in of_kind(overlay, "NetworkPolicy")
        for rule in policy["spec"].get("egress", [])
        for port in rule["ports"]
    }
    assert opened == {53, 443, 5432, 15012}


# Envoy ------------------------------------------------------------------------------------------------


def test_the_pods_envoy_is_the_shipped_one_listening_for_the_network() -> None:
    (shipped,) = documents(ROOT / "envoy" / "bootstrap.yaml")
    (listener,) = shipped["static_resources"]["listeners"]
    listener["address"]["socket_address"]["address"] = "0.0.0.0"

    config = named("sidecar", "ConfigMap", "orders-envoy")["data"]["envoy.yaml"]

    assert yaml.safe_load(config) == shipped


# The guide --------------------------------------------------------------------------------------------


def test_the_guide_names_files_and_objects_that_exist() -> None:
    guide = (ROOT / "docs" / "deploy.md").read_text()
    files = set(re.findall(r"(?:-k|-f|--file|--values) ((?:deploy|envoy)/[\w./-]+)", guide))
    objects = {
        (namespace, kind, name)
        for namespace, kind, name in re.findall(r"-n (\w+) .*?(deployment|job)/([\w-]+)", guide)
    }
    built = {(ns, kind.lower(), name) for kind, ns, name in (identity(each) for _, each in EVERYTHING)}

    assert len(files) >= 8
    assert [file for file in files if not (ROOT / file).exists()] == []
    assert len(objects) >= 4
    assert objects <= built


def test_labels_that_the_guide_sets_are_those_that_policies_ask_for() -> None:
    guide = (ROOT / "docs" / "deploy.md").read_text()
    labels = {label for label, _ in re.findall(r"label namespace \w+ (extauthz-[\w-]+)=(true)", guide)}

    asked = {
        label
        for overlay in OVERLAYS
        for policy in of_kind(overlay, "NetworkPolicy")
        for rule in policy["spec"].get("ingress", [])
        for source in rule["from"]
        for label in source.get("namespaceSelector", {}).get("matchLabels", {})
        if label.startswith("extauthz-")
    }
    assert labels == asked == {"extauthz-asks", "extauthz-administers"}
