"""The Envoy routes that forward requests, each with the per-filter settings that apply to it.

Input: a RouteConfiguration. Output: `ForwardingRoute`s.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from extauthz.proxyconfig.documents import YamlValue
from extauthz.proxyconfig.messages import ROUTE, ROUTE_LIST, messages

_FORWARDS: Final = ("route", "filter_action")
_PER_FILTER: Final = "typed_per_filter_config"


@dataclass(frozen=True, slots=True, eq=False)
class ForwardingRoute:
    """A route, or one weighted cluster of it.

    `levels` are the maps `typed_per_filter_config` that apply, the most specific first. `clusters` is None if
    the cluster is unknown, for example taken from a header. `is_known` is False for a placeholder of routes
    that the files do not define.
    """

    at: YamlValue
    levels: tuple[YamlValue, ...]
    clusters: frozenset[str] | None = None
    path: str | None = None
    upgrades: tuple[YamlValue, ...] = ()
    is_known: bool = True

    def settings(self, name: str) -> Iterator[YamlValue]:
        """Yield the settings for the filter with a name, the most specific level first."""
        for level in self.levels:
            # The keys of the map are names of filters, not of protobuf fields: they have one spelling.
            if level.entries is not None and (found := level.entries.get(name)) is not None:
                yield found


def forwarding_routes(configuration: YamlValue) -> Iterator[ForwardingRoute]:
    """Yield the routes of a RouteConfiguration that forward to a cluster: no redirects, no responses."""
    outer = _levels(configuration)
    for host in configuration.list("virtual_hosts"):
        levels = (*_levels(host), *outer)
        for route in _routes_of(host):
            yield from _forwarding(route, levels)
    if (elsewhere := configuration.given("vhds")) is not None:
        yield ForwardingRoute(elsewhere, outer, is_known=False)


def _routes_of(host: YamlValue) -> Iterator[YamlValue]:
    yield from host.list("routes")
    if (matcher := host.given("matcher")) is not None:
        for message in messages(matcher):
            if message.kind == ROUTE:
                yield message.body
            elif message.kind == ROUTE_LIST:
                yield from message.body.list("routes")


def _forwarding(route: YamlValue, outer: tuple[YamlValue, ...]) -> Iterator[ForwardingRoute]:
    if all(route.given(name) is None for name in _FORWARDS):
        return
    levels = (*_levels(route), *outer)
    path = route.word("match", "path")
    action = route.given("route")
    upgrades = () if action is None else action.list("upgrade_configs")
    weighted = () if action is None else action.list("weighted_clusters", "clusters")
    for one in weighted:
        name = one.word("name")
        clusters = None if name is None else frozenset({name})
        yield ForwardingRoute(one, (*_levels(one), *levels), clusters, path, upgrades)
    if not weighted:
        name = None if action is None else action.word("cluster")
        clusters = None if name is None else frozenset({name})
        yield ForwardingRoute(route, levels, clusters, path, upgrades)


def _levels(value: YamlValue) -> tuple[YamlValue, ...]:
    found = value.given(_PER_FILTER)
    return () if found is None else (found,)
