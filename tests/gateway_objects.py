"""Objects of Kubernetes as the tests of gateways write them, and what doctor finds in them."""

from pathlib import Path
from typing import Any

import yaml

from extauthz.proxyconfig.files import examine_files
from extauthz.proxyconfig.findings import Finding, Severity

Json = dict[str, Any]
GATEWAY = "gateway.envoyproxy.io/v1alpha1"
API = "gateway.networking.k8s.io/v1"


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
    """Return the severity and the code of each finding."""
    return [(one.severity, one.code) for one in found]


def obj(version: str, kind: str, name: str, spec: Json, namespace: str = "shop") -> Json:
    """Return an object of the API of Kubernetes."""
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}


def target(kind: str, name: str, **more: str) -> Json:
    """Return a reference to an object of the Gateway API."""
    return {"group": "gateway.networking.k8s.io", "kind": kind, "name": name, **more}


def clients(**more: Any) -> Json:
    """Return the policy of the gateway `web` that removes identity headers of clients."""
    removal = {"removeOnMatch": [{"type": "Prefix", "value": "x-auth-"}], **more}
    spec = {"targetRefs": [target("Gateway", "web")], "headers": {"earlyRequestHeaders": removal}}
    return obj(GATEWAY, "ClientTrafficPolicy", "clients", spec)
