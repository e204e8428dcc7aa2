"""Examines Envoy Gateway's objects: for which routes a SecurityPolicy enables checks, and its settings.

Input: documents with SecurityPolicy, ClientTrafficPolicy, HTTPRoute and GRPCRoute. Output: findings.
"""

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Final

from extauthz.proxyconfig import advice
from extauthz.proxyconfig.check_settings import joined_by
from extauthz.proxyconfig.documents import YamlValue
from extauthz.proxyconfig.findings import Finding
from extauthz.proxyconfig.gateway_clients import ClientPolicies, forged_headers
from extauthz.proxyconfig.gateway_routes import GatewayName, examine_routes, gateways_of, namespace_of
from extauthz.proxyconfig.kinds import GATEWAY, GATEWAY_API, is_of

_ROUTES: Final = ("HTTPRoute", "GRPCRoute")
_CARRIES_TOKENS: Final = "authorization"
_Name = tuple[str, str, str]
"""Kind, namespace and name of an object that a policy is attached to."""


@dataclass(frozen=True, slots=True, eq=False)
class _Policy:
    """A SecurityPolicy: the `targets` that it names, and the `selectors` that match more by their labels.

    `asks`: it has extAuth. `in_part`: it is attached to a section of a target (a listener or a rule).
    """

    at: YamlValue
    asks: bool
    targets: frozenset[_Name]
    in_part: bool
    selectors: tuple[YamlValue, ...]
    is_merged: bool

    def has(self, kind: str, namespace: str, name: str, labels: YamlValue | None) -> bool:
        """Return whether the policy is attached to an object."""
        if (kind, namespace, name) in self.targets:
            return True
        mine = namespace == namespace_of(self.at)
        return mine and any(_selects(one, kind, labels) for one in self.selectors)


def examine_gateway(
    documents: Sequence[YamlValue], conditions: Set[str] | None, claims: Set[str] = frozenset()
) -> Iterator[Finding]:
    """Yield the findings of Envoy Gateway's policies, and of the routes of the Gateway API.

    `claims` are CLAIM_HEADERS.
    """
    policies = [_policy(one) for one in documents if is_of(one, GATEWAY, "SecurityPolicy")]
    clients = ClientPolicies([one for one in documents if is_of(one, GATEWAY, "ClientTrafficPolicy")])
    routes = [one for one in documents for kind in _ROUTES if is_of(one, GATEWAY_API, kind)]
    for policy in policies:
        if (check := policy.at.given("spec", "ext_auth")) is not None:
            yield from _check(check, conditions)
            yield from forged_headers(check, clients, _gateways(policy, routes), claims)
        yield from _attachment(policy, policies)
    asking = [one for one in policies if one.asks]
    yield from examine_routes(
        routes,
        lambda route: any(_covers(policy, route) for policy in asking),
        conditions,
        asked=bool(asking),
        removed=lambda route: clients.remove_identity(gateways_of(route)),
    )
    yield from clients.findings()
    for gateway in documents:
        if is_of(gateway, GATEWAY_API, "Gateway"):
            yield from _listeners(gateway)


def _gateways(policy: _Policy, routes: Sequence[YamlValue]) -> frozenset[GatewayName]:
    """Return the Gateways whose requests a policy checks; empty if the files do not tell."""
    named = {(namespace, name) for kind, namespace, name in policy.targets if kind == "Gateway"}
    reached = {
        gateway
        for route in routes
        if policy.has(
            route.word("kind") or "",
            namespace_of(route),
            route.word("metadata", "name") or "",
            route.at("metadata", "labels"),
        )
        for gateway in gateways_of(route)
    }
    return frozenset(named | reached)


def _policy(document: YamlValue) -> _Policy:
    spec = document.at("spec")
    single = None if spec is None else spec.given("target_ref")
    named = [one for one in (single, *(() if spec is None else spec.list("target_refs"))) if one is not None]
    return _Policy(
        at=document,
        asks=document.given("spec", "ext_auth") is not None,
        targets=frozenset(
            (
                one.word("kind") or "",
                one.word("namespace") or namespace_of(document),
                one.word("name") or "",
            )
            for one in named
        ),
        in_part=any(one.word("section_name") for one in named),
        selectors=document.list("spec", "target_selectors"),
        is_merged=document.given("spec", "merge_type") is not None,
    )


def _check(check: YamlValue, conditions: Set[str] | None) -> Iterator[Finding]:
    yield from advice.failing_open(check, "fail_open", "failOpen")
    limit = check.given("timeout")
    if limit is None:
        yield advice.warning(
            check,
            "timeout-missing",
            "the check has no timeout, so Envoy Gateway waits 10 s for a decision",
            "set extAuth.timeout: 200ms, where the version of Envoy Gateway has it",
        )
    elif found := advice.timeout(limit):
        yield found
    if check.given("status_on_error") is None:
        yield advice.warning(
            check,
            "status-on-error",
            "without statusOnError clients receive 403 while extauthz is unavailable, as for a denial",
            "set extAuth.statusOnError: 503, where the version of Envoy Gateway has it",
        )
    if (override := check.given("http", "path_override")) is not None:
        yield advice.error(
            override,
            "http-path",
            "pathOverride replaces the path: extauthz judges another one than Envoy forwards",
            "use path, with the same HTTP_AUTHZ_PATH_PREFIX",
        )
    body = check.at("body_to_ext_auth", "max_request_bytes")
    if body is not None and (large := advice.body(body, "maxRequestBytes")):
        yield large
    yield from _headers(check)
    if conditions:
        yield from joined_by(check, "Envoy Gateway", conditions)


def _headers(check: YamlValue) -> Iterator[Finding]:
    listed = check.given("headers_to_ext_auth")
    if listed is None or not listed.members or check.given("http") is not None:
        # Over HTTP Envoy sends Authorization in addition to the list; an empty list has no effect.
        return
    names = {(one.text or "").lower() for one in listed.members}
    path = "" if ":path" in names else "; nor the raw `:path`, so a path with `!` is refused with 400"
    if _CARRIES_TOKENS not in names:
        yield advice.error(
            listed,
            "headers-withheld",
            f"headersToExtAuth does not list authorization: no token reaches extauthz{path}",
            "remove headersToExtAuth: over gRPC every header is sent without it",
        )
    else:
        yield advice.warning(
            listed,
            "headers-withheld",
            "headersToExtAuth withholds other headers from extauthz, which cannot evaluate or remove them"
            f"{path}",
            "remove headersToExtAuth: over gRPC every header is sent without it",
        )


def _attachment(policy: _Policy, policies: Sequence[_Policy]) -> Iterator[Finding]:
    spec = policy.at.at("spec") or policy.at
    if policy.asks:
        if not policy.targets and not policy.selectors:
            yield advice.error(
                spec,
                "policy-without-rules",
                "the policy has no target: no request is checked",
                "name the Gateway or the route in targetRefs",
            )
        elif policy.in_part:
            yield advice.warning(
                spec,
                "check-partial",
                "the policy is attached to sections: other listeners or rules may forward without a check",
                "remove sectionName from targetRefs",
            )
        return
    others = [one for one in policies if one.asks]
    of_routes = {kind for kind, _, _ in policy.targets} | {one.word("kind") or "" for one in policy.selectors}
    if others and not policy.is_merged and (of_routes & {*_ROUTES} or policy.in_part):
        yield advice.error(
            spec,
            "check-off",
            "the policy has no extAuth and replaces a policy with extAuth on a less specific object: "
            "requests on its routes are forwarded without a check",
            "repeat extAuth in this policy, or set mergeType",
        )
    elif not others:
        yield advice.warning(
            spec,
            "check-missing",
            "the policy has no extAuth: requests are forwarded without a check",
            "set extAuth.grpc.backendRefs to the Service of extauthz",
        )


def _covers(policy: _Policy, route: YamlValue) -> bool:
    kind, namespace = route.word("kind") or "", namespace_of(route)
    name, labels = route.word("metadata", "name") or "", route.at("metadata", "labels")
    if policy.has(kind, namespace, name, labels):
        return True
    if any(one.word("kind") == "Gateway" for one in policy.selectors):
        # The selected Gateways may be missing from the files: the route is assumed to be covered.
        return True
    return any(
        policy.has(
            one.word("kind") or "Gateway", one.word("namespace") or namespace, one.word("name") or "", None
        )
        for one in route.list("spec", "parent_refs")
    )


def _listeners(gateway: YamlValue) -> Iterator[Finding]:
    for value in gateway.walk():
        if value.word("type") == "ExternalAuth":
            yield advice.warning(
                value,
                "file-unknown",
                "ExternalAuth in a listener was not examined: whether routes are checked depends on the "
                "implementation of the Gateway API",
                "set ExternalAuth in every rule of the routes",
            )


def _selects(selector: YamlValue, kind: str, labels: YamlValue | None) -> bool:
    if selector.word("kind") != kind:
        return False
    wanted = selector.at("match_labels")
    return all(
        labels is not None and labels.word(name) == value.text
        for name, value in (wanted.items() if wanted is not None else ())
    )
