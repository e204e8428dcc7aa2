"""Collects what Envoy documents define: listeners, routes, clusters, extensions and the runtime.

Input: documents, each a bootstrap, a file of xDS resources, a response of Envoy's `/config_dump`, or a list
as `istioctl` prints it. Output: `Parts`. A part is recognised by its `@type`, otherwise by its members.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final

from extauthz.proxyconfig.documents import YamlValue, snake_case
from extauthz.proxyconfig.messages import (
    CLUSTERS,
    EXTENSION,
    LISTENERS,
    LISTENERS_DUMP,
    MANAGER,
    ROUTES,
    Message,
    kinds_in,
    opened,
)
from extauthz.proxyconfig.runtime_keys import Runtime

_LISTENER_KEYS: Final = frozenset({"filter_chains", "default_filter_chain", "api_listener"})
_CLUSTER_KEYS: Final = frozenset({"load_assignment", "eds_cluster_config"})
_BOOTSTRAP_KEYS: Final = frozenset({"static_resources", "dynamic_resources", "layered_runtime"})
_NOT_IN_FORCE: Final = frozenset({"error_state", "draining_state", "static_route_configs"})


class Seen:
    """The values that were judged, compared by identity: equal values occur in several places of a file."""

    def __init__(self) -> None:
        self._values: dict[int, YamlValue] = {}

    def add(self, value: YamlValue) -> None:
        """Add a value."""
        self._values[id(value)] = value

    def __contains__(self, value: YamlValue) -> bool:
        return id(value) in self._values


class Reach(Enum):
    """What the endpoints of a cluster are."""

    WORKLOAD = "servers"
    ADMIN = "Envoy's own admin interface"
    INTERNAL = "another listener of the same Envoy"
    NOWHERE = "no endpoint"


@dataclass(slots=True, eq=False)
class Parts:
    """The parts of one proxy; a name that it does not define is looked up in `others`."""

    listeners: list[YamlValue] = field(default_factory=list)
    routes: dict[str, list[YamlValue]] = field(default_factory=dict)
    clusters: dict[str, YamlValue] = field(default_factory=dict)
    extensions: dict[str, list[Message]] = field(default_factory=dict)
    bootstraps: list[YamlValue] = field(default_factory=list)
    others: "Parts | None" = None

    @classmethod
    def of(cls, documents: Iterable[YamlValue]) -> "Parts":
        """Return the parts of documents."""
        parts = cls()
        for document in documents:
            _collect(document, parts)
        return parts

    @property
    def runtime(self) -> Runtime:
        """Return the runtime of the first bootstrap; an empty one if no bootstrap is known."""
        found = self.bootstraps or (self.others.bootstraps if self.others is not None else [])
        return Runtime.of(found[0]) if found else Runtime()

    def routes_named(self, name: str) -> list[YamlValue]:
        """Return every RouteConfiguration with a name."""
        return self.routes.get(name) or (self.others.routes.get(name, []) if self.others is not None else [])

    def extensions_named(self, name: str) -> list[Message]:
        """Return every extension with a name that an extension config discovery service would deliver."""
        found = self.extensions.get(name)
        return found or (self.others.extensions.get(name, []) if self.others is not None else [])

    def cluster(self, name: str) -> YamlValue | None:
        """Return the cluster with a name; None if the files do not define it."""
        found = self.clusters.get(name)
        return found if found is not None or self.others is None else self.others.clusters.get(name)

    def reach(self, name: str) -> Reach:
        """Return what the endpoints of a cluster are; an undefined cluster is assumed to be a workload."""
        cluster = self.cluster(name)
        if cluster is None:
            return Reach.WORKLOAD
        places = set(_places(cluster))
        if not places:
            is_static = (cluster.word("type") or "STATIC") in {"STATIC", "0"}
            return Reach.NOWHERE if is_static and cluster.given("cluster_type") is None else Reach.WORKLOAD
        if all(kind == "internal" for kind, _ in places):
            return Reach.INTERNAL
        admins = {place for one in self.bootstraps for place in _places(one.at("admin"))}
        return Reach.ADMIN if places <= admins else Reach.WORKLOAD

    def targets(self, names: Iterable[str]) -> frozenset[tuple[str, str]]:
        """Return what identifies the workloads of clusters: the clusters' names and their endpoints."""
        found: set[tuple[str, str]] = set()
        for name in names:
            if self.reach(name) is Reach.WORKLOAD:
                found |= {("cluster", name), *_places(self.cluster(name))}
        return frozenset(found)

    def is_passthrough(self, name: str) -> bool:
        """Return whether a cluster forwards to the original destination address of the connection."""
        cluster = self.cluster(name)
        return cluster is not None and cluster.word("type") in {"ORIGINAL_DST", "4"}


def in_force(document: YamlValue) -> YamlValue:
    """Return a config dump without its duplicate and inactive parts; another document unchanged.

    A dump repeats the listeners of the bootstrap, and the routes of listeners; it also lists rejected and
    draining resources.
    """
    if LISTENERS_DUMP not in kinds_in(document):
        return document
    return _without(document, _NOT_IN_FORCE)


def _without(value: YamlValue, names: frozenset[str]) -> YamlValue:
    if value.members is not None:
        return replace(value, members=tuple(_without(one, names) for one in value.members))
    if value.entries is None:
        return value
    entries = {}
    for name, below in value.items():
        if (snake := snake_case(name)) not in names:
            is_static = snake == "static_resources"
            entries[name] = _without(below, names | {"listeners"} if is_static else names)
    return replace(value, entries=entries)


def _collect(value: YamlValue, parts: Parts) -> None:
    if value.entries is None:
        for below in value.members or ():
            _collect(below, parts)
        return
    message = opened(value) if "@type" in value.entries else None
    body, kind = (value, "") if message is None else (message.body, message.kind)
    names = {snake_case(name) for name, _ in body.items()}
    if kind in LISTENERS or names & _LISTENER_KEYS:
        parts.listeners.append(body)
    if kind in ROUTES or "virtual_hosts" in names:
        parts.routes.setdefault(body.word("name") or "", []).append(body)
    if kind in CLUSTERS or names & _CLUSTER_KEYS:
        parts.clusters.setdefault(body.word("name") or "", body)
    if kind == EXTENSION and (extension := opened(body.at("typed_config"))) is not None:
        parts.extensions.setdefault(body.word("name") or "", []).append(extension)
    if names & _BOOTSTRAP_KEYS:
        parts.bootstraps.append(body)
        for cluster in body.list("static_resources", "clusters"):
            parts.clusters.setdefault(cluster.word("name") or "", cluster)
    # The inline routes of a connection manager are found with the manager, not by name.
    own = {"route_config"} if kind == MANAGER or "http_filters" in names else set()
    for name, below in body.items():
        if snake_case(name) not in own:
            _collect(below, parts)
    for below in body.members or ():
        _collect(below, parts)


def _places(value: YamlValue | None) -> Iterator[tuple[str, str]]:
    if value is None:
        return
    for one in value.walk():
        if (socket := one.at("socket_address")) is not None:
            yield "address", f"{socket.word('address')}:{socket.word('port_value')}"
        if (path := one.word("pipe", "path")) is not None:
            yield "address", path
        if one.at("envoy_internal_address") is not None:
            yield "internal", ""
