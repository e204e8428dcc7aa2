"""Finds the protobuf messages of an Envoy configuration, also inside `Any`, `Struct` and `TypedStruct`.

Input: a `YamlValue`. Output: `Message`s. Envoy reads the configuration of an extension from a
`google.protobuf.Any` (`@type`), or from a TypedStruct inside it, in either spelling of protobuf's JSON
mapping. Types are compared without the version in their package, because a control plane may use another
version.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from extauthz.proxyconfig.documents import YamlValue

CHECK: Final = "ext_authz.ExtAuthz"
CHECK_PER_ROUTE: Final = "ext_authz.ExtAuthzPerRoute"
NETWORK_CHECK: Final = "network.ext_authz.ExtAuthz"
MANAGER: Final = "http_connection_manager.HttpConnectionManager"
MUTATION: Final = "header_mutation.HeaderMutation"
CORS: Final = "cors.Cors"
ROUTER: Final = "router.Router"
RBAC: Final = "rbac.RBAC"
CACHES: Final = frozenset({"cache.CacheConfig", "cache_v2.CacheV2Config"})
TCP_PROXY: Final = "tcp_proxy.TcpProxy"
MATCHED: Final = "matching.ExtensionWithMatcher"
MATCHED_PER_ROUTE: Final = "matching.ExtensionWithMatcherPerRoute"
SKIP: Final = "action.SkipFilter"
COMPOSITE: Final = "composite.Composite"
COMPOSITE_PER_ROUTE: Final = "composite.CompositePerRoute"
EXECUTE: Final = "composite.ExecuteFilterAction"
SEVERAL: Final = "composite.FilterChainConfiguration"
CHAIN: Final = "filter_chain.FilterChainConfig"
CHAIN_PER_ROUTE: Final = "filter_chain.FilterChainConfigPerRoute"
FILTER_CONFIG: Final = "route.FilterConfig"
ROUTE: Final = "route.Route"
ROUTE_LIST: Final = "route.RouteList"
ROUTES: Final = frozenset({"route.RouteConfiguration", "api.RouteConfiguration"})
LISTENERS: Final = frozenset({"listener.Listener", "api.Listener"})
CLUSTERS: Final = frozenset({"cluster.Cluster", "api.Cluster"})
EXTENSION: Final = "core.TypedExtensionConfig"
DOWNSTREAM_TLS: Final = "tls.DownstreamTlsContext"
LISTENERS_DUMP: Final = "admin.ListenersConfigDump"

_VERSION: Final = re.compile(r"\.v[0-9][a-z0-9]*(?=\.)")


@dataclass(frozen=True, slots=True, eq=False)
class Message:
    """A message. `kind` is the last two parts of its type name without the version; empty without a type."""

    kind: str
    body: YamlValue


def kind_of(type_url: str) -> str:
    """Return the kind of a type URL: `ext_authz.ExtAuthz` for `.../envoy....ext_authz.v3.ExtAuthz`."""
    full = _VERSION.sub("", type_url.rpartition("/")[2])
    kind = ".".join(full.split(".")[-2:])
    return NETWORK_CHECK if kind == CHECK and ".network." in f".{full}" else kind


def opened(value: YamlValue | None) -> Message | None:
    """Return the message in an Any, also inside a TypedStruct; None if there is no value."""
    if value is None or value.is_null:
        return None
    found = value
    kind = kind_of(found.word("@type") or "")
    # More levels than Envoy itself unpacks, so that a later version of Envoy cannot find a check that this
    # function does not.
    for _ in range(8):
        match kind:
            case "type.TypedStruct":
                kind = kind_of(found.word("type_url") or "")
                found = found.at("value") or _nothing(found)
            case "protobuf.Any" | "protobuf.Struct":
                found = found.at("value") or _nothing(found)
                kind = kind_of(found.word("@type") or "")
            case _:
                break
    return Message(kind, found)


def _nothing(at: YamlValue) -> YamlValue:
    return YamlValue(at.file, at.line, entries={})


def messages(value: YamlValue) -> Iterator[Message]:
    """Yield every message with an `@type` in a value."""
    for one in value.walk():
        if one.entries is not None and "@type" in one.entries and (message := opened(one)) is not None:
            yield message


def kinds_in(value: YamlValue) -> set[str]:
    """Return the kinds of all messages in a value."""
    return {message.kind for message in messages(value)}
