"""Examines the routes of the Gateway API: which rules are checked, by a SecurityPolicy or by ExternalAuth.

Input: HTTPRoutes and GRPCRoutes, and whether a policy covers a route. Output: findings. The filter
ExternalAuth (GEP-1494) stands in the filters of a rule or of one of its backends, and checks what that rule
or backend gets.
"""

from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from typing import Final

from extauthz.proxyconfig import advice
from extauthz.proxyconfig.check_settings import joined_by
from extauthz.proxyconfig.documents import YamlValue
from extauthz.proxyconfig.findings import Finding, Severity
from extauthz.proxyconfig.listener import IDENTITY_PREFIX

_FILTER: Final = "ExternalAuth"
_CARRIES_TOKENS: Final = "authorization"
_OVER_GRPC: Final = "set protocol: GRPC and grpc: {}: every header of the request is sent then"
_SERVICE: Final = "refer to the Service of extauthz with backendRef"

GatewayName = tuple[str, str]
"""Namespace and name of a Gateway."""
_Backends = frozenset[tuple[str, str]]
"""Namespace and name of Services."""


@dataclass(frozen=True, slots=True, eq=False)
class _Rule:
    """A rule that forwards to `backends`; `unchecked` are those that get requests without a check."""

    at: YamlValue
    backends: _Backends
    unchecked: _Backends


def examine_routes(
    routes: Sequence[YamlValue],
    covers: Callable[[YamlValue], bool],
    conditions: Set[str] | None,
    *,
    asked: bool,
    removed: Callable[[YamlValue], bool],
) -> Iterator[Finding]:
    """Yield the findings of routes.

    `covers` says of a route whether a SecurityPolicy checks it; `asked` is whether any policy does.
    `removed` says of a route whether its gateways remove identity headers of clients before their filters.
    """
    for route in routes:
        for found in _filters(route):
            yield from _external(found, conditions, removed=removed(route))
        yield from _removals(route)
    if not asked and not any(True for one in routes for _ in _filters(one)):
        return
    by_route = [(route, _rules(route, is_covered=covers(route))) for route in routes]
    protected = frozenset(
        name for _, rules in by_route for rule in rules for name in rule.backends - rule.unchecked
    )
    for route, rules in by_route:
        open_rules = [rule for rule in rules if rule.unchecked]
        checks_some = any(rule.backends - rule.unchecked for rule in rules)
        for rule in open_rules if checks_some else open_rules[:1]:
            finding = _unchecked(rule.at if checks_some else route, in_part=checks_some)
            # A route without any check is wrong where another way to the same workload is checked.
            reached = frozenset(name for one in open_rules for name in one.unchecked)
            is_shared = bool((rule.unchecked if checks_some else reached) & protected)
            yield finding if is_shared or not protected else replace(finding, severity=Severity.WARNING)


def _unchecked(at: YamlValue, *, in_part: bool) -> Finding:
    if in_part:
        return advice.error(
            at,
            "check-missing",
            "the rule has no ExternalAuth and no SecurityPolicy with extAuth: its requests are forwarded "
            "without a check",
            "repeat the filter in every rule; give public ones `authentication: optional` and a rule for "
            "`anonymous`",
        )
    return advice.error(
        at,
        "check-missing",
        "no SecurityPolicy with extAuth is attached to this route or its Gateway: "
        "requests are forwarded without a check",
        "name the Gateway in the targetRefs of the SecurityPolicy, or set ExternalAuth in every rule",
    )


def _rules(route: YamlValue, *, is_covered: bool) -> list[_Rule]:
    found: list[_Rule] = []
    for rule in route.list("spec", "rules"):
        named = [(one, _backend(route, one)) for one in rule.list("backend_refs")]
        backends = frozenset(name for _, name in named if name is not None)
        is_checked = is_covered or any(one.word("type") == _FILTER for one in rule.list("filters"))
        unchecked = frozenset(
            name
            for one, name in named
            if name is not None and not any(each.word("type") == _FILTER for each in one.list("filters"))
        )
        if backends:
            found.append(_Rule(rule, backends, frozenset() if is_checked else unchecked))
    return found


def _backend(route: YamlValue, reference: YamlValue) -> tuple[str, str] | None:
    name = reference.word("name")
    return None if name is None else (reference.word("namespace") or namespace_of(route), name)


def gateways_of(route: YamlValue) -> frozenset[GatewayName]:
    """Return the Gateways that a route is attached to."""
    return frozenset(
        (one.word("namespace") or namespace_of(route), one.word("name") or "")
        for one in route.list("spec", "parent_refs")
        if (one.word("kind") or "Gateway") == "Gateway"
    )


def namespace_of(document: YamlValue) -> str:
    """Return the namespace of an object."""
    return document.word("metadata", "namespace") or "default"


def _filters(route: YamlValue) -> Iterator[YamlValue]:
    for rule in route.list("spec", "rules"):
        backends = [one for backend in rule.list("backend_refs") for one in backend.list("filters")]
        yield from (one for one in (*rule.list("filters"), *backends) if one.word("type") == _FILTER)


def _external(at: YamlValue, conditions: Set[str] | None, *, removed: bool) -> Iterator[Finding]:
    check = at.given("external_auth")
    protocol = None if check is None else check.word("protocol")
    if check is None or protocol not in {"GRPC", "HTTP"}:
        yield advice.warning(
            at,
            "file-unknown",
            "the filter ExternalAuth was not examined: its protocol is neither GRPC nor HTTP",
            "set protocol: GRPC, backendRef and grpc: {}",
        )
        return
    if check.word("backend_ref", "name") is None:
        yield advice.error(check, "provider-unknown", "ExternalAuth has no backendRef.name", _SERVICE)
    body = check.given("forward_body", "max_size")
    if body is not None and body.text != "0" and (large := advice.body(body, "forwardBody.maxSize")):
        yield large
    if protocol == "GRPC":
        yield from _over_grpc(check)
    else:
        yield from _over_http(check, removed=removed)
    if conditions:
        yield from joined_by(check, "ExternalAuth", conditions)


def _over_grpc(check: YamlValue) -> Iterator[Finding]:
    listed = check.given("grpc", "allowed_headers")
    if listed is None or not listed.members:
        return
    names = _names(listed)
    path = "" if ":path" in names else "; nor the raw `:path`, so a path with `!` is refused with 400"
    has_token = _CARRIES_TOKENS in names
    yield (advice.warning if has_token else advice.error)(
        listed,
        "headers-withheld",
        "grpc.allowedHeaders "
        + (
            "withholds other headers from extauthz, which cannot evaluate or remove them"
            if has_token
            else "does not list authorization: no token reaches extauthz"
        )
        + path,
        "remove grpc.allowedHeaders: every header is sent without it",
    )


def _over_http(check: YamlValue, *, removed: bool) -> Iterator[Finding]:
    if not removed:
        yield advice.error(
            check,
            "identity-headers",
            f"over HTTP extauthz does not see {IDENTITY_PREFIX}* headers of the client, so it cannot remove "
            "them, and the Gateway API removes no headers by prefix: a client can forge an identity",
            _OVER_GRPC,
        )
    listed = check.given("http", "allowed_response_headers")
    if listed is not None and listed.members and not any(_is_identity(one) for one in _names(listed)):
        yield advice.warning(
            listed,
            "identity-headers",
            f"http.allowedResponseHeaders lists no {IDENTITY_PREFIX}* header: the workload learns nothing of "
            "the decision",
            "list x-auth-subject and the others, or remove the list",
        )


def _removals(route: YamlValue) -> Iterator[Finding]:
    """Yield a warning for filters that remove identity headers: Envoy applies them after the check."""
    for rule in route.list("spec", "rules"):
        for one in rule.list("filters"):
            names = one.list("request_header_modifier", "remove")
            if any(_is_identity((name.text or "").lower()) for name in names):
                yield advice.warning(
                    one,
                    "identity-headers",
                    "RequestHeaderModifier removes identity headers, in Envoy after the check: the workload "
                    "does not get those that extauthz sets",
                    "remove them before the check: ClientTrafficPolicy.spec.headers.earlyRequestHeaders in "
                    "Envoy Gateway; over gRPC extauthz removes those of clients itself",
                )


def _names(listed: YamlValue) -> set[str]:
    return {(one.text or "").lower() for one in listed.members or ()}


def _is_identity(name: str) -> bool:
    return name.startswith(IDENTITY_PREFIX)
