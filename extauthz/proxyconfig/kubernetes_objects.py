"""Builds objects of the Kubernetes API, and writes several as one YAML text.

Input: names and specifications. Output: dictionaries, or YAML without anchors and aliases.
"""

from collections.abc import Iterable
from typing import Any, Final

import yaml

Object = dict[str, Any]

GATEWAY_GROUP: Final = "gateway.networking.k8s.io"
GATEWAY_NAMESPACE: Final = "gateways"
GATEWAY_NAME: Final = "web"
WORKLOAD_NAMESPACE: Final = "shop"
WORKLOAD: Final = "orders"
SERVICE_NAMESPACE: Final = "extauthz"
SERVICE: Final = "extauthz"


class _NoAliases(yaml.SafeDumper):
    """A dumper without anchors and aliases: people read and edit these files."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def kubernetes_object(version: str, kind: str, name: str, namespace: str, spec: Object) -> Object:
    """Return an object of a namespace."""
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def dumped(header: str, documents: Iterable[Object]) -> str:
    """Return the YAML of documents after a header of comments."""
    return header + "---\n" + yaml.dump_all(documents, Dumper=_NoAliases, sort_keys=False, width=110)


def reference_grant(kind: str, namespace: str) -> Object:
    """Return the grant that lets objects of a kind in a namespace refer to the Service of extauthz.

    Without it the Gateway API ignores a reference to another namespace. v1beta1 is served by every release
    that has the kind.
    """
    group = "gateway.envoyproxy.io" if kind == "SecurityPolicy" else GATEWAY_GROUP
    spec = {
        "from": [{"group": group, "kind": kind, "namespace": namespace}],
        "to": [{"group": "", "kind": "Service", "name": SERVICE}],
    }
    return kubernetes_object(
        f"{GATEWAY_GROUP}/v1beta1", "ReferenceGrant", "extauthz-checks", SERVICE_NAMESPACE, spec
    )
