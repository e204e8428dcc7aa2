"""Examines Envoy configuration: bootstraps, xDS resources, config dumps and patches.

Input: documents, and CONDITION_HEADERS if they are known. Output: findings.
"""

from collections.abc import Iterable, Iterator, Sequence, Set
from typing import Final

from extauthz.domain.loopback import is_loopback
from extauthz.proxyconfig import advice
from extauthz.proxyconfig.check_enabled import changeable
from extauthz.proxyconfig.check_settings import examine_check, examine_network_check, examine_per_route
from extauthz.proxyconfig.connection_manager import examine_manager, has_removal
from extauthz.proxyconfig.documents import YamlValue, snake_case
from extauthz.proxyconfig.entrances import Entrance, EntranceFinder, judged_alone
from extauthz.proxyconfig.envoy_parts import Parts, Seen, in_force
from extauthz.proxyconfig.envoy_routes import forwarding_routes
from extauthz.proxyconfig.findings import Finding
from extauthz.proxyconfig.http_filters import HttpFilters
from extauthz.proxyconfig.messages import (
    CHECK,
    CHECK_PER_ROUTE,
    DOWNSTREAM_TLS,
    FILTER_CONFIG,
    MANAGER,
    NETWORK_CHECK,
    Message,
    kinds_in,
    messages,
    opened,
)
from extauthz.proxyconfig.unchecked import Judgement

_VERIFIED_PEERS: Final = frozenset({"VERIFY_TRUST_CHAIN", "0"})
_CHECK_KINDS: Final = frozenset({CHECK, CHECK_PER_ROUTE, NETWORK_CHECK})
_FILTER: Final = "envoy.filters.http.ext_authz"
_FREE_NAMES: Final = frozenset({"metadata", "filter_metadata", "context_extensions", "labels", "annotations"})


def is_envoy(document: YamlValue) -> bool:
    """Return whether a document holds Envoy configuration."""
    parts = Parts.of([document])
    return (
        bool(parts.bootstraps or parts.listeners or parts.routes or parts.clusters or parts.extensions)
        or document.at("admin", "address") is not None
        or bool(kinds_in(document) & {*_CHECK_KINDS, MANAGER, DOWNSTREAM_TLS})
    )


def examine_proxies(
    documents: Sequence[YamlValue], conditions: Set[str] | None, claims: Set[str] = frozenset()
) -> Iterator[Finding]:
    """Yield the findings of the documents of one or more proxies; `claims` are CLAIM_HEADERS.

    A bootstrap, or a config dump, is one proxy. All xDS resources (listeners, routes, clusters) together are
    another.
    """
    documents = [in_force(one) for one in documents]
    everything = Parts.of(documents)
    apart = [one for one in documents if _is_bootstrap(one)]
    shared = [one for one in documents if not _is_bootstrap(one)]
    seen = Seen()
    for scope_documents in (*([one] for one in apart), shared):
        parts = Parts.of(scope_documents)
        parts.others = everything
        entrances = EntranceFinder(parts, seen).entrances(scope_documents)
        is_protecting = any(map(_shows_protection, scope_documents))
        yield from Judgement(entrances, parts, is_protecting).findings()
        yield from _managers(scope_documents, entrances, claims)
        for document in scope_documents:
            yield from _settings(document, parts, conditions)
            yield from _admin(document)
            yield from _spelt_twice(document)
        yield from _check_clusters(scope_documents, parts)
    for document in documents:
        yield from _left_over(document, everything, seen)


def examine_patch(value: YamlValue, conditions: Set[str] | None) -> Iterator[Finding]:
    """Yield the findings of a patch, which Istio merges into a configuration: only of what the patch sets."""
    parts = Parts()
    yield from _settings(value, parts, conditions)
    for message in messages(value):
        if message.kind == MANAGER:
            yield from examine_manager(message.body, is_patch=True)
        if message.kind == CHECK:
            yield from judged_alone(message.body, parts).findings
    yield from _spelt_twice(value)


def _is_bootstrap(document: YamlValue) -> bool:
    parts = Parts.of([document])
    return any(one.at("static_resources") is not None for one in parts.bootstraps)


def _shows_protection(document: YamlValue) -> bool:
    """Return whether a configuration is intended to check requests, even if no filter checks them."""
    if kinds_in(document) & _CHECK_KINDS:
        return True
    # In a mesh every proxy has the clusters of all services (`outbound|...`); they show no intention.
    names = {name.lower() for name in Parts.of([document]).clusters if "|" not in name}
    return any("extauthz" in name or "ext_authz" in name or "ext-authz" in name for name in names) or any(
        has_removal(message) for message in messages(document)
    )


def _settings(document: YamlValue, parts: Parts, conditions: Set[str] | None) -> Iterator[Finding]:
    for message in messages(document):
        match message.kind:
            case "ext_authz.ExtAuthz":
                yield from examine_check(message.body, conditions)
                yield from changeable(message.body, parts.runtime)
            case "network.ext_authz.ExtAuthz":
                yield from examine_network_check(message.body)
            case "ext_authz.ExtAuthzPerRoute":
                yield from examine_per_route(message.body)
            case "tls.DownstreamTlsContext":
                yield from _peers(message.body)


def _managers(
    documents: Iterable[YamlValue], entrances: Sequence[Entrance], claims: Set[str]
) -> Iterator[Finding]:
    """Yield the findings of the connection managers that have a check; those without one are out of scope."""
    asking = {id(entrance.at) for entrance in entrances if entrance.is_http and entrance.has_check}
    for document in documents:
        for message in messages(document):
            manager = message.body
            if message.kind == MANAGER and id(manager.at("http_filters") or manager) in asking:
                yield from examine_manager(manager, is_patch=False, claims=claims)


def _left_over(document: YamlValue, everything: Parts, seen: Seen) -> Iterator[Finding]:
    """Yield the findings of routes and filters that no listener refers to."""
    found = list(Parts.of([document]).routes.values())
    for configuration in (one for named in found for one in named if one not in seen):
        yield from _routes_alone(configuration, everything, seen)
    for message in messages(document):
        if message.kind in {CHECK, NETWORK_CHECK} and message.body not in seen:
            yield from judged_alone(message.body, everything).findings


def _routes_alone(configuration: YamlValue, parts: Parts, seen: Seen) -> Iterator[Finding]:
    """Yield the findings of routes whose filters are not in the files.

    Each filter that the routes configure as a check is assumed to exist and to be enabled.
    """
    entrances = []
    for name in _names_of_checks(configuration):
        assumed = _AssumedCheck(name, configuration, parts, seen)
        results = [(route, assumed.verdict(route)) for route in forwarding_routes(configuration)]
        entrances.append(Entrance(configuration, configuration, False, True, True, results))
    yield from Judgement(entrances, parts, is_protecting=True).findings()


def _names_of_checks(configuration: YamlValue) -> list[str]:
    names: set[str] = set()
    for value in configuration.walk():
        settings = value.at("typed_per_filter_config")
        for name, setting in settings.items() if settings is not None else ():
            message = opened(setting)
            kinds = set() if message is None else {message.kind, *kinds_in(message.body)}
            if CHECK_PER_ROUTE in kinds or (FILTER_CONFIG in kinds and "ext_authz" in name):
                names.add(name)
    return sorted(names)


class _AssumedCheck(HttpFilters):
    """One ExtAuthz under the name that routes use, for a manager that the files do not define."""

    def __init__(self, name: str, at: YamlValue, parts: Parts, seen: Seen) -> None:
        check = YamlValue(at.file, at.line, entries={"@type": YamlValue(at.file, at.line, text=f"/{CHECK}")})
        named = YamlValue(at.file, at.line, text=name)
        entry = YamlValue(at.file, at.line, entries={"name": named, "typed_config": check})
        super().__init__([entry], parts, seen)


def _peers(tls: YamlValue) -> Iterator[Finding]:
    for value in tls.walk():
        trust = value.given("trust_chain_verification")
        if trust is not None and trust.text not in _VERIFIED_PEERS:
            yield advice.error(
                trust,
                "peers-untrusted",
                "certificates are accepted without verification: a client can forge source.principal",
                "remove trust_chain_verification, or set it to VERIFY_TRUST_CHAIN",
            )


def _admin(document: YamlValue) -> Iterator[Finding]:
    bootstraps = Parts.of([document]).bootstraps
    for one in (*bootstraps, *(() if document in bootstraps else (document,))):
        address = one.at("admin", "address", "socket_address")
        host = None if address is None else address.word("address")
        if address is not None and host is not None and not is_loopback(host):
            yield advice.error(
                address.at("address") or address,
                "admin-exposed",
                "Envoy's admin interface listens on a non-loopback address: it shows certificates and can "
                "stop Envoy",
                "remove admin, or bind it to 127.0.0.1",
            )


def _spelt_twice(document: YamlValue) -> Iterator[Finding]:
    """Yield an error for each member in both spellings of protobuf's JSON, of which Envoy ignores one."""
    for name, value in _proto_members(document):
        yield advice.error(
            value,
            "file-unreadable",
            f"the member {name!r} occurs twice, in two spellings",
            "write each member once",
        )


def _proto_members(value: YamlValue) -> Iterator[tuple[str, YamlValue]]:
    spelt: set[str] = set()
    for name, below in value.items():
        if snake_case(name) in spelt:
            yield name, below
        spelt.add(snake_case(name))
        if snake_case(name) not in _FREE_NAMES:
            yield from _proto_members(below)
    for below in value.members or ():
        yield from _proto_members(below)


def _check_clusters(documents: Iterable[YamlValue], parts: Parts) -> Iterator[Finding]:
    asked = {name for one in documents for message in messages(one) for name in _asked(message)}
    for name in sorted(asked):
        cluster = parts.clusters.get(name)
        if cluster is None:
            continue
        if not cluster.list("health_checks") and cluster.given("outlier_detection") is None:
            yield advice.warning(
                cluster,
                "health-checks",
                "the cluster of extauthz has no health checks: Envoy keeps sending checks to a hung worker",
                "add health_checks with grpc_health_check",
            )
        if cluster.given("transport_socket") is None and not cluster.list("transport_socket_matches"):
            yield from _plaintext(cluster)


def _asked(message: Message) -> Iterator[str]:
    if message.kind not in _CHECK_KINDS:
        return
    for service in (message.body, message.body.at("check_settings")):
        if service is not None and (name := service.word("grpc_service", "envoy_grpc", "cluster_name")):
            yield name


def _plaintext(cluster: YamlValue) -> Iterator[Finding]:
    for value in cluster.walk():
        host = value.word("socket_address", "address")
        if host is not None and not is_loopback(host):
            yield advice.warning(
                value.at("socket_address") or value,
                "checks-in-plaintext",
                "check requests carry tokens and leave this machine without TLS",
                "add a transport_socket with TLS and set GRPC_TLS_CERT, GRPC_TLS_KEY and GRPC_TLS_CLIENT_CA",
            )
            return
