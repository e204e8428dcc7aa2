"""Answers whether NetworkPolicies let a connection in, as Kubernetes defines them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.packaging.kustomization import Object


@dataclass(frozen=True)
class Peer:
    """A pod that connects: its namespace's labels, and its own."""

    namespace: Mapping[str, str] = field(default_factory=dict)
    pod: Mapping[str, str] = field(default_factory=dict)


def lets_in(
    policies: Iterable[Object], *, target: Mapping[str, str], namespace: str, port: int, peer: Peer
) -> bool:
    """Policies add up: once any selects the pod, what none of them allows is closed."""
    own = {"kubernetes.io/metadata.name": namespace}
    selecting = [
        policy["spec"]
        for policy in policies
        if policy["metadata"]["namespace"] == namespace
        and "Ingress" in policy["spec"]["policyTypes"]
        and selects(policy["spec"]["podSelector"], target)
    ]
    rules = [rule for spec in selecting for rule in spec.get("ingress", [])]
    return not selecting or any(_allows(rule, port=port, peer=peer, own=own) for rule in rules)


def selects(selector: Object, labels: Mapping[str, str]) -> bool:
    assert selector.keys() <= {"matchLabels"}
    wanted: dict[str, str] = selector.get("matchLabels", {})
    return wanted.items() <= labels.items()


def _allows(rule: Object, *, port: int, peer: Peer, own: Mapping[str, str]) -> bool:
    open_to: list[Any] = [each["port"] for each in rule["ports"] if each["protocol"] == "TCP"]
    return port in open_to and any(_is_from(source, peer, own) for source in rule["from"])


def _is_from(source: Object, peer: Peer, own: Mapping[str, str]) -> bool:
    assert source.keys() <= {"podSelector", "namespaceSelector"}
    there = (
        selects(source["namespaceSelector"], peer.namespace)
        if "namespaceSelector" in source
        else own.items() <= peer.namespace.items()
    )
    return there and selects(source.get("podSelector", {}), peer.pod)
