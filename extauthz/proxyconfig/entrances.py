"""The entrances of an Envoy configuration, with a verdict for each route that forwards requests.

An entrance is the list of HTTP filters of a connection manager (one more for each upgrade type with its own
filters), or a chain of network filters that forwards bytes. Input: `Parts`. Output: `Entrance`s, each with
its routes and their verdicts. Whether an unchecked route is an error depends on the other routes to the same
workload: `unchecked` decides that for all entrances of a configuration.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from extauthz.proxyconfig import advice
from extauthz.proxyconfig.check_enabled import enabled
from extauthz.proxyconfig.coverage import ABSENT, CHECKED, Coverage, CoverageVerdict
from extauthz.proxyconfig.documents import YamlValue
from extauthz.proxyconfig.envoy_parts import Parts, Reach, Seen
from extauthz.proxyconfig.envoy_routes import ForwardingRoute, forwarding_routes
from extauthz.proxyconfig.findings import Finding, Severity
from extauthz.proxyconfig.http_filters import HttpFilters
from extauthz.proxyconfig.messages import CHECK, MANAGER, NETWORK_CHECK, Message, messages, opened

_ENDS_HERE: Final = frozenset({"echo.Echo", "direct_response.Config"})
_PASSES_ON: Final = frozenset({
    "rbac.RBAC", "connection_limit.ConnectionLimit", "local_ratelimit.LocalRateLimit", "ratelimit.RateLimit",
    "sni_cluster.SniCluster", "set_filter_state.Config", "wasm.Wasm", "geoip.Geoip", "mongo_proxy.MongoProxy",
    "zookeeper_proxy.ZooKeeperProxy", "ext_proc.NetworkExternalProcessor", "config.MetadataExchange",
    "tcp_bandwidth_limit.TcpBandwidthLimit", "sni_dynamic_forward_proxy.FilterConfig", NETWORK_CHECK,
})  # fmt: skip


@dataclass(slots=True, eq=False)
class Entrance:
    """A list of filters that receives requests or connections.

    `at` is where a missing check is reported; `group` is the listener. `results` holds a verdict per route.
    """

    at: YamlValue
    group: YamlValue
    is_outbound: bool
    is_http: bool
    has_check: bool
    results: list[tuple[ForwardingRoute, CoverageVerdict]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def checked(self) -> Iterator[ForwardingRoute]:
        """Yield the routes on which every request is checked."""
        yield from (route for route, verdict in self.results if verdict.coverage is Coverage.CHECKED)


@dataclass(slots=True, eq=False)
class EntranceFinder:
    """Finds the entrances of one configuration; `seen` collects the checks, managers and routes it judged."""

    parts: Parts
    seen: Seen = field(default_factory=Seen)

    def entrances(self, documents: Iterable[YamlValue]) -> list[Entrance]:
        """Return the entrances of all listeners, then of connection managers outside any listener."""
        found = [entrance for listener in self.parts.listeners for entrance in self._listener(listener)]
        for document in documents:
            for message in messages(document):
                if message.kind == MANAGER and message.body not in self.seen:
                    found += self._manager(message.body, message.body, is_outbound=False)
        return found

    def _listener(self, listener: YamlValue) -> Iterator[Entrance]:
        is_outbound = listener.word("traffic_direction") in {"OUTBOUND", "2"}
        for chain in (*listener.list("filter_chains"), listener.given("default_filter_chain")):
            if chain is not None:
                yield from self._network(chain, listener, is_outbound=is_outbound)
        api = opened(listener.at("api_listener", "api_listener"))
        if api is not None and api.body not in self.seen:
            yield from self._manager(api.body, listener, is_outbound=is_outbound)

    def _network(self, chain: YamlValue, listener: YamlValue, *, is_outbound: bool) -> Iterator[Entrance]:
        before: list[Message] = []
        guard = ABSENT
        filters = chain.list("filters")
        for one in filters:
            message = opened(one.at("typed_config"))
            if one.given("config_discovery") is not None or message is None:
                yield _undiscovered(one, listener, is_outbound=is_outbound)
                return
            if message.kind == MANAGER:
                yield from self._manager(message.body, listener, is_outbound=is_outbound)
                return
            if message.kind == NETWORK_CHECK:
                self.seen.add(message.body)
                guard = enabled(message.body, self.parts.runtime, before)
            before.append(message)
        if before and before[-1].kind not in _PASSES_ON | _ENDS_HERE:
            yield self._bytes(before[-1].body, filters[-1], listener, guard, is_outbound=is_outbound)

    def _bytes(
        self,
        proxy: YamlValue,
        at: YamlValue,
        listener: YamlValue,
        guard: CoverageVerdict,
        *,
        is_outbound: bool,
    ) -> Entrance:
        weighted = [one.word("name") for one in proxy.list("weighted_clusters", "clusters")]
        names = [name for name in (proxy.word("cluster"), *weighted) if name is not None]
        route = ForwardingRoute(at, (), frozenset(names) if names else None)
        has_check = guard.coverage is not Coverage.ABSENT
        return Entrance(at, listener, is_outbound, False, has_check, [(route, guard)])

    def _manager(self, manager: YamlValue, group: YamlValue, *, is_outbound: bool) -> Iterator[Entrance]:
        self.seen.add(manager)
        routes = list(self._routes(manager))
        filters = manager.list("http_filters")
        at = manager.at("http_filters") or manager
        yield self._http(at, filters, routes, group, is_outbound=is_outbound)
        for upgrade in manager.list("upgrade_configs"):
            if own := upgrade.list("filters"):
                upgraded = [route for route in routes if _is_upgraded(route, upgrade)]
                place = upgrade.at("filters") or upgrade
                yield self._http(place, own, upgraded, group, is_outbound=is_outbound)

    def _http(
        self,
        at: YamlValue,
        filters: Sequence[YamlValue],
        routes: Sequence[ForwardingRoute],
        group: YamlValue,
        *,
        is_outbound: bool,
    ) -> Entrance:
        judge = HttpFilters(filters, self.parts, self.seen)
        results = [(route, judge.verdict(route)) for route in routes]
        has_check = any(verdict.coverage is not Coverage.ABSENT for _, verdict in results) or any(
            message.kind == CHECK for one in filters for message in messages(one)
        )
        found = Entrance(at, group, is_outbound, True, has_check, results)
        found.findings += _unasked_authorizers(filters, self.parts, found, self.seen)
        for one in filters:
            for message in (*messages(one), *judge.possible(one)):
                found.findings += self._asks_the_workload(message, found) if message.kind == CHECK else ()
        found.findings = list(dict.fromkeys(found.findings))
        return found

    def _routes(self, manager: YamlValue) -> Iterator[ForwardingRoute]:
        if (inline := manager.given("route_config")) is not None:
            self.seen.add(inline)
            yield from forwarding_routes(inline)
        if (discovered := manager.given("rds")) is not None:
            yield from self._named(discovered.word("route_config_name") or "", discovered)
        if (scoped := manager.given("scoped_routes")) is not None:
            known = scoped.list("scoped_route_configurations_list", "scoped_route_configurations")
            for one in known:
                if (own := one.given("route_configuration")) is not None:
                    self.seen.add(own)
                    yield from forwarding_routes(own)
                elif (name := one.word("route_configuration_name")) is not None:
                    yield from self._named(name, one)
            if not known:
                yield ForwardingRoute(scoped, (), is_known=False)

    def _named(self, name: str, at: YamlValue) -> Iterator[ForwardingRoute]:
        found = self.parts.routes_named(name)
        for configuration in found:
            self.seen.add(configuration)
            yield from forwarding_routes(configuration)
        if not found:
            yield ForwardingRoute(at, (), is_known=False)

    def _asks_the_workload(self, check: Message, entrance: Entrance) -> Iterator[Finding]:
        cluster = check.body.at("http_service", "server_uri", "cluster")
        asked = self.parts.targets([cluster.text or ""]) if cluster is not None else frozenset()
        for route, _ in entrance.results:
            if cluster is not None and asked & self.parts.targets(route.clusters or ()):
                yield advice.error(
                    cluster,
                    "check-off",
                    "the HTTP check is sent to the workload itself: every 200 of it counts as an allow",
                    "name the cluster of extauthz",
                )
                return


def _undiscovered(one: YamlValue, listener: YamlValue, *, is_outbound: bool) -> Entrance:
    finding = advice.warning(
        one,
        "check-unknown",
        "the configuration of this network filter is not in the files: what it forwards is unknown",
        "give doctor the files with the missing part too, or the response of Envoy's /config_dump",
    )
    route = ForwardingRoute(one, (), is_known=False)
    verdict = CoverageVerdict(Coverage.UNKNOWN, (finding,))
    return Entrance(one, listener, is_outbound, False, not is_outbound, [(route, verdict)])


def _is_upgraded(route: ForwardingRoute, upgrade: YamlValue) -> bool:
    kind = (upgrade.word("upgrade_type") or "").lower()
    for own in route.upgrades:
        if (own.word("upgrade_type") or "").lower() == kind:
            return own.given("enabled") is None or own.unless_false("enabled") is not None
    return upgrade.given("enabled") is None or upgrade.unless_false("enabled") is not None


def _unasked_authorizers(
    filters: Sequence[YamlValue], parts: Parts, entrance: Entrance, seen: Seen
) -> Iterator[Finding]:
    """Yield a warning for each ext_authz filter that checks no route, if the list holds more than one.

    It may be the one that calls extauthz.
    """
    entries = [one for one in filters if any(message.kind == CHECK for message in messages(one))]
    if len(entries) < 2 or any(one.coverage is not Coverage.CHECKED for _, one in entrance.results):
        return
    for entry in entries:
        alone = HttpFilters([entry], parts, seen)
        verdicts = [alone.verdict(route) for route, _ in entrance.results]
        if verdicts and all(one.coverage is Coverage.OPEN for one in verdicts):
            for finding in dict.fromkeys(finding for one in verdicts for finding in one.findings):
                yield replace(finding, severity=Severity.WARNING)


def judged_alone(check: YamlValue, parts: Parts) -> CoverageVerdict:
    """Return the verdict on an ExtAuthz that belongs to no list of filters."""
    found = enabled(check, parts.runtime)
    return found if found.coverage is Coverage.OPEN else CHECKED


def leads_to_workload(route: ForwardingRoute, parts: Parts) -> bool:
    """Return whether a route forwards to a workload, or to a cluster that the files do not define."""
    clusters = route.clusters
    return clusters is None or any(parts.reach(name) is Reach.WORKLOAD for name in clusters)
