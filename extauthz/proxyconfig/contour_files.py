"""Examines Contour's objects: which routes of an HTTPProxy are checked, and with which settings.

Input: documents with HTTPProxy, ExtensionService and Contour's configuration file. Output: findings.
"""

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace
from typing import Final

from extauthz.domain.spelling import nearest
from extauthz.proxyconfig import advice
from extauthz.proxyconfig.check_settings import joined_by
from extauthz.proxyconfig.documents import YamlValue
from extauthz.proxyconfig.findings import Finding, Severity
from extauthz.proxyconfig.kinds import CONTOUR, is_of
from extauthz.proxyconfig.listener import IDENTITY_PREFIX

_ENDLESS: Final = frozenset({"infinity", "infinite"})
_FIX: Final = "check every route; give public ones `authentication: optional` and a rule for `anonymous`"


def examine_contour(documents: Sequence[YamlValue], conditions: Set[str] | None) -> Iterator[Finding]:
    """Yield the findings of all Contour objects and of Contour's configuration file, examined together."""
    proxies = [one for one in documents if is_of(one, CONTOUR, "HTTPProxy")]
    services = [one for one in documents if is_of(one, CONTOUR, "ExtensionService")]
    servers = [found for one in documents for found in _global_servers(one)]
    names = [name for one in services if (name := one.word("metadata", "name")) is not None]
    for proxy in proxies:
        if (server := proxy.given("spec", "virtualhost", "authorization")) is not None:
            yield from _server(server, services, names, conditions, is_global=bool(servers))
    for server in servers:
        yield from _server(server, services, names, conditions, is_global=False)
    for service in services:
        yield from _service(service)
    for proxy in proxies:
        yield from _removals(proxy)
    yield from _Proxies(proxies, servers[0] if servers else None).findings()


def global_servers(document: YamlValue) -> bool:
    """Return whether a document configures Contour's global external authorization."""
    return any(True for _ in _global_servers(document))


def _global_servers(document: YamlValue) -> Iterator[YamlValue]:
    for value in document.walk():
        if (found := value.given("global_ext_auth")) is not None and found.entries is not None:
            yield found


def _server(
    server: YamlValue,
    services: Sequence[YamlValue],
    names: Sequence[str],
    conditions: Set[str] | None,
    *,
    is_global: bool,
) -> Iterator[Finding]:
    reference = server.given("extension_ref") or server.given("extension_service")
    if reference is None and is_global:
        # Without a reference the member only changes the auth policy of the global server.
        return
    yield from advice.failing_open(server, "fail_open", "failOpen")
    limit = server.given("response_timeout")
    if limit is not None:
        yield from _limit(limit)
    elif not any(one.given("spec", "timeout_policy", "response") is not None for one in services):
        yield advice.warning(
            server,
            "timeout-missing",
            "the check has no timeout",
            "set responseTimeout: 200ms",
        )
    body = server.at("with_request_body", "max_request_bytes")
    if body is not None and (large := advice.body(body, "maxRequestBytes")):
        yield large
    if conditions:
        yield from joined_by(server, "Contour", conditions)
    if reference is not None:
        yield from _reference(reference, names)


def _reference(reference: YamlValue, names: Sequence[str]) -> Iterator[Finding]:
    name = reference.word("name") or (reference.text or "").rpartition("/")[2]
    at = reference.at("name") or reference
    if not names:
        yield advice.info(
            at,
            "provider-unverified",
            f"the files hold no ExtensionService: whether {name!r} exists is unknown",
            "give doctor the ExtensionService too",
        )
    elif name not in names:
        meant = nearest(name, names, separator="-")
        yield advice.error(
            at,
            "provider-unknown",
            f"no ExtensionService is named {name!r}; the files define {', '.join(map(repr, names))}",
            f"set extensionRef.name: {meant or 'the name of an ExtensionService'}",
        )


def _limit(limit: YamlValue) -> Iterator[Finding]:
    if limit.text in _ENDLESS:
        yield advice.error(
            limit,
            "timeout-long",
            f"the timeout {limit.text} disables the timeout of a check",
            "set the timeout to 200ms; extauthz answers within it, with a denial if there is no decision yet",
        )
    elif found := advice.timeout(limit):
        yield found


def _service(service: YamlValue) -> Iterator[Finding]:
    protocol = service.given("spec", "protocol")
    if protocol is not None and protocol.text == "h2c":
        yield advice.warning(
            protocol,
            "checks-in-plaintext",
            "check requests carry tokens and leave the proxy without TLS",
            "set protocol: h2 with validation, and GRPC_TLS_CERT, GRPC_TLS_KEY and GRPC_TLS_CLIENT_CA",
        )
    if (limit := service.given("spec", "timeout_policy", "response")) is not None:
        yield from _limit(limit)


def _removals(proxy: YamlValue) -> Iterator[Finding]:
    """Yield a warning for routes that remove identity headers, which Envoy does after the check."""
    for route in proxy.list("spec", "routes"):
        for policy in (route, *route.list("services")):
            removed = policy.list("request_headers_policy", "remove")
            named = [one for one in removed if (one.text or "").lower().startswith(IDENTITY_PREFIX)]
            if named:
                yield advice.warning(
                    named[0],
                    "identity-headers",
                    "requestHeadersPolicy removes identity headers after the check: the workload does not "
                    "get those that extauthz sets",
                    "remove the entry: over gRPC extauthz removes those of clients",
                )


@dataclass(frozen=True, slots=True, eq=False)
class _Route:
    """A route that forwards to services. `off` is the value that disables its check, if one does."""

    at: YamlValue
    services: frozenset[str]
    is_checked: bool
    off: YamlValue | None


class _Proxies:
    """All HTTPProxies together: the authorization of a root applies to the routes of those it includes."""

    def __init__(self, proxies: Sequence[YamlValue], server: YamlValue | None) -> None:
        self._proxies = {_name(one): one for one in proxies}
        self._roots = [one for one in proxies if one.given("spec", "virtualhost") is not None]
        self._server = server
        self._included: set[tuple[str, str]] = set()
        self._missing: list[YamlValue] = []

    def findings(self) -> Iterator[Finding]:
        """Yield a finding for each route or TCP proxy that forwards to a service without a check."""
        by_root = [(root, list(self._routes(root, root, frozenset()))) for root in self._roots]
        protected = frozenset(
            name for _, routes in by_root for one in routes if one.is_checked for name in one.services
        )
        for root, routes in by_root:
            yield from self._root(root, routes, protected)
        for name, proxy in self._proxies.items():
            if proxy not in self._roots and name not in self._included:
                yield from _orphan(proxy)
        for include in self._missing:
            yield advice.warning(
                include,
                "check-unknown",
                "the included HTTPProxy is not in the files: whether its routes are checked is unknown",
                "give doctor all HTTPProxies at once",
            )

    def _root(
        self, root: YamlValue, routes: Sequence[_Route], protected: frozenset[str]
    ) -> Iterator[Finding]:
        host = root.at("spec", "virtualhost") or root
        own = host.given("authorization")
        is_configured = own is not None or self._server is not None
        forwarding = bool(routes)
        passthrough = root.given("spec", "tcpproxy")
        if passthrough is not None:
            yield from self._connections(passthrough, protected, is_configured=is_configured)
        elif not is_configured and forwarding:
            found = advice.error(
                host,
                "check-missing",
                "no authorization: requests for this virtual host are forwarded without a check",
                "set virtualhost.authorization.extensionRef to the ExtensionService of extauthz",
            )
            is_shared = any(one.services & protected for one in routes)
            yield found if is_shared else replace(found, severity=Severity.WARNING)
        checks_others = any(one.is_checked for one in routes)
        for one in routes:
            if one.off is not None:
                found = advice.error(
                    one.off, "check-off", "requests on this route are forwarded without a check", _FIX
                )
                is_apart = checks_others and not one.services & protected
                yield replace(found, severity=Severity.WARNING) if is_apart else found
        if own is not None and self._server is None:
            yield from self._insecure(root, frozenset())

    def _connections(
        self, proxy: YamlValue, protected: frozenset[str], *, is_configured: bool
    ) -> Iterator[Finding]:
        services = {one.word("name") or "" for one in proxy.list("services")}
        found = advice.error(
            proxy,
            "check-missing",
            "tcpproxy forwards connections without a check: Contour authorizes requests only",
            "use routes and terminate TLS at the proxy",
        )
        is_error = bool(services & protected) or is_configured
        yield found if is_error else replace(found, severity=Severity.WARNING)

    def _insecure(self, proxy: YamlValue, above: frozenset[tuple[str, str]]) -> Iterator[Finding]:
        for route in proxy.list("spec", "routes"):
            if (insecure := route.unless_false("permit_insecure")) is not None and route.list("services"):
                yield advice.error(
                    insecure,
                    "check-off",
                    "permitInsecure serves the route over plain HTTP too, where the virtual host's "
                    "authorization does not apply",
                    "remove permitInsecure, or use Contour's globalExtAuth",
                )
        for child in self._children(proxy, above):
            yield from self._insecure(child, above | {_name(proxy)})

    def _routes(
        self, proxy: YamlValue, root: YamlValue, above: frozenset[tuple[str, str]]
    ) -> Iterator[_Route]:
        for route in proxy.list("spec", "routes"):
            services = frozenset(
                f"{_name(proxy)[0]}/{name}" for one in route.list("services") if (name := one.word("name"))
            )
            if services:
                off = self._off(route, root)
                is_configured = (
                    root.given("spec", "virtualhost", "authorization") is not None or self._server is not None
                )
                yield _Route(route, services, is_configured and off is None, off if is_configured else None)
        for child in self._children(proxy, above):
            yield from self._routes(child, root, above | {_name(proxy)})

    def _children(self, proxy: YamlValue, above: frozenset[tuple[str, str]]) -> Iterator[YamlValue]:
        for include in proxy.list("spec", "includes"):
            name = (include.word("namespace") or _name(proxy)[0], include.word("name") or "")
            self._included.add(name)
            child = self._proxies.get(name)
            if child is None:
                if include not in self._missing:
                    self._missing.append(include)
            elif name not in above:
                yield child

    def _off(self, route: YamlValue, root: YamlValue) -> YamlValue | None:
        """Return the value that disables the check of a route; the most specific policy applies."""
        policies = (
            route.given("auth_policy"),
            root.given("spec", "virtualhost", "authorization", "auth_policy"),
            None if self._server is None else self._server.given("auth_policy"),
        )
        for policy in policies:
            if policy is not None:
                return policy.unless_false("disabled")
        return None


def _orphan(proxy: YamlValue) -> Iterator[Finding]:
    for route in proxy.list("spec", "routes"):
        if (off := route.unless_false("auth_policy", "disabled")) is not None and route.list("services"):
            yield advice.error(off, "check-off", "requests on this route are forwarded without a check", _FIX)


def _name(proxy: YamlValue) -> tuple[str, str]:
    return proxy.word("metadata", "namespace") or "default", proxy.word("metadata", "name") or ""
