"""What can be wrong in an Envoy configuration, wherever in a file it stands."""

from collections.abc import Iterator
from typing import Final

from extauthz.domain.loopback import is_loopback
from extauthz.proxyconfig import advice
from extauthz.proxyconfig.documents import Value
from extauthz.proxyconfig.findings import Finding
from extauthz.proxyconfig.listener import IDENTITY_PREFIX

CHECK: Final = "ext_authz.v3.ExtAuthz"
_CHECK_OFF: Final = "ext_authz.v3.ExtAuthzPerRoute"
_MANAGER: Final = "http_connection_manager.v3.HttpConnectionManager"
_MUTATION: Final = "header_mutation.v3.HeaderMutation"
_CORS: Final = "cors.v3.Cors"
_ROUTER: Final = "router.v3.Router"
_VERIFIED_PEERS: Final = frozenset({"VERIFY_TRUST_CHAIN", "0"})

_STRICT_SLASHES: Final = frozenset({"REJECT_REQUEST", "UNESCAPE_AND_REDIRECT"})
_STRICT_UNDERSCORES: Final = frozenset({"REJECT_REQUEST", "DROP_HEADER"})


def is_envoy(document: Value) -> bool:
    """Whether a document holds Envoy configuration that is worth a look."""
    parts = ("static_resources", "dynamic_resources", "admin")
    return any(document.at(part) for part in parts) or any(
        value.message_type in {CHECK, _CHECK_OFF, _MANAGER} for value in document.walk()
    )


def examine_envoy(document: Value, *, is_patch: bool = False) -> Iterator[Finding]:
    """Examine a document; a patch (of an EnvoyFilter) is not blamed for what it leaves as it is."""
    for value in document.walk():
        match value.message_type:
            case "ext_authz.v3.ExtAuthz":
                yield from _check(value)
            case "ext_authz.v3.ExtAuthzPerRoute":
                yield from _check_off(value)
            case "http_connection_manager.v3.HttpConnectionManager":
                yield from _manager(value, is_patch=is_patch)
            case "tls.v3.DownstreamTlsContext":
                yield from _peers(value)
    yield from _admin(document)
    yield from _check_clusters(document)


def _check(check: Value) -> Iterator[Finding]:
    fails_open = check.at("failure_mode_allow")
    if fails_open is not None and fails_open.flag is not False:
        yield advice.error(
            fails_open,
            "fail-open",
            "failure_mode_allow is on: whenever extauthz does not answer, every request passes",
            "set failure_mode_allow: false",
        )
    enabled = check.at("filter_enabled")
    if enabled is not None and not check.at("deny_at_disable") and not _is_everything(enabled):
        yield advice.error(
            enabled,
            "check-partial",
            "filter_enabled asks extauthz about a part of the requests; the rest pass unseen",
            "remove filter_enabled; to try rules out, use mode: shadow on policies",
        )
    shadow = check.at("shadow_mode")
    if shadow is not None and shadow.flag is not False:
        yield advice.error(
            shadow,
            "check-partial",
            "shadow_mode is on: no denial is enforced",
            "remove shadow_mode; to try rules out, use mode: shadow on policies",
        )
    over_http = check.at("http_service")
    limit = check.at("grpc_service", "timeout") or check.at("http_service", "server_uri", "timeout")
    if limit is None:
        yield advice.warning(
            check.at("grpc_service") or over_http or check,
            "timeout-missing",
            "the check has no timeout of its own",
            "set grpc_service.timeout to 0.2s (http_service.server_uri.timeout over HTTP)",
        )
    elif found := advice.timeout(limit):
        yield found
    body = check.at("with_request_body", "max_request_bytes")
    if body is not None and over_http is None and (large := advice.body(body, "max_request_bytes")):
        yield large
    if check.at("status_on_error") is None:
        yield advice.warning(
            check,
            "status-on-error",
            "without status_on_error an outage of extauthz looks like a denial (403)",
            "set status_on_error: { code: ServiceUnavailable }",
        )
    for name in ("allowed_headers", "disallowed_headers"):
        withheld = check.at(name)
        if withheld is not None and over_http is None:
            yield advice.warning(
                withheld,
                "headers-withheld",
                f"{name} hides request headers from extauthz: what it does not see it cannot judge or remove",
                f"remove {name}",
            )
    if over_http is None and check.at("include_peer_certificate") is None:
        yield advice.info(
            check,
            "peer-certificate",
            "the peer's certificate is not sent along",
            "set include_peer_certificate: true if rules name workloads",
        )


def _is_everything(enabled: Value) -> bool:
    fraction = enabled.at("default_value")
    if fraction is None or enabled.at("runtime_key") is not None:
        return False
    denominators = {"HUNDRED": 100, "TEN_THOUSAND": 10_000, "MILLION": 1_000_000}
    whole = denominators.get(fraction.word("denominator") or "HUNDRED", 0)
    return fraction.word("numerator") == str(whole)


def _check_off(per_route: Value) -> Iterator[Finding]:
    disabled = per_route.at("disabled")
    if disabled is not None and disabled.flag is not False:
        yield advice.warning(
            disabled,
            "check-off",
            "requests on this route pass without a check",
            "ask about every route; give public ones `authentication: optional` and a rule for `anonymous`",
        )


def _manager(manager: Value, *, is_patch: bool) -> Iterator[Finding]:
    yield from _paths(manager, is_patch=is_patch)
    underscores = manager.at("common_http_protocol_options", "headers_with_underscores_action")
    if (underscores is not None or not is_patch) and (
        underscores is None or underscores.text not in _STRICT_UNDERSCORES
    ):
        yield advice.warning(
            underscores or manager,
            "underscores-allowed",
            "header names with underscores pass: many servers read x_auth_subject as x-auth-subject",
            "set common_http_protocol_options.headers_with_underscores_action: REJECT_REQUEST",
        )
    if not is_patch:
        yield from _filters(manager)


def _paths(manager: Value, *, is_patch: bool) -> Iterator[Finding]:
    for name in ("normalize_path", "merge_slashes"):
        found = manager.at(name)
        if (found is not None or not is_patch) and (found is None or found.flag is not True):
            yield advice.error(
                found or manager,
                "path-normalisation",
                f"{name} is not on: Envoy, extauthz and the upstream may read different paths",
                f"set {name}: true",
            )
    slashes = manager.at("path_with_escaped_slashes_action")
    action = slashes.text if slashes is not None else None
    if action in _STRICT_SLASHES or (slashes is None and is_patch):
        return
    kept = action != "UNESCAPE_AND_FORWARD"
    yield (advice.error if kept else advice.warning)(
        slashes or manager,
        "escaped-slashes",
        "escaped slashes (%2F, %5C) are kept: one more name for a path that others read as another"
        if kept
        else "escaped slashes (%2F, %5C) are decoded and forwarded: paths change on their way",
        "set path_with_escaped_slashes_action: REJECT_REQUEST",
    )


def _filters(manager: Value) -> Iterator[Finding]:
    filters = manager.list("http_filters")
    kinds = [_kind(one) for one in filters]
    checks = [place for place, kind in enumerate(kinds) if kind == CHECK]
    if not checks:
        yield advice.warning(
            manager.at("http_filters") or manager,
            "check-missing",
            "no ext_authz filter: nothing that comes in here is checked",
            "add the ext_authz filter before the router, as `extauthz envoy-config` prints it",
        )
        return
    check = filters[checks[0]]
    if _ROUTER in kinds[: checks[0]]:
        yield advice.error(
            check,
            "check-after-router",
            "ext_authz stands after the router: requests are forwarded before anybody asks",
            "move ext_authz before the router, which is the last filter",
        )
    if not any(_removes_identity(one) for one in filters[: checks[0]]):
        yield advice.error(
            check,
            "identity-headers",
            f"a client's own {IDENTITY_PREFIX}* headers are not removed before ext_authz: "
            "wherever the check is off, anybody can name an identity",
            f"put header_mutation with remove_on_match prefix {IDENTITY_PREFIX} before ext_authz",
        )
    if _CORS in kinds[checks[0] :]:
        yield advice.warning(
            filters[kinds.index(_CORS)],
            "preflights-checked",
            "cors stands after ext_authz: preflights carry no token and are refused",
            "move cors before ext_authz",
        )


def _kind(http_filter: Value) -> str:
    config = http_filter.at("typed_config")
    return "" if config is None else config.message_type


def _removes_identity(http_filter: Value) -> bool:
    config = http_filter.at("typed_config")
    if config is None or config.message_type != _MUTATION:
        return False
    return any(map(removes_identity, config.list("mutations", "request_mutations")))


def removes_identity(mutation: Value) -> bool:
    """Whether one mutation of header_mutation takes away every `x-auth-` header."""
    prefix = mutation.word("remove_on_match", "key_matcher", "prefix")
    return bool(prefix) and IDENTITY_PREFIX.startswith(str(prefix).lower())


def _peers(tls: Value) -> Iterator[Finding]:
    for value in tls.walk():
        trust = value.at("trust_chain_verification")
        if trust is not None and trust.text not in _VERIFIED_PEERS:
            yield advice.error(
                trust,
                "peers-untrusted",
                "certificates that nobody vouches for are taken: any client names itself in source.principal",
                "remove trust_chain_verification, or set it to VERIFY_TRUST_CHAIN",
            )


def _admin(document: Value) -> Iterator[Finding]:
    address = document.at("admin", "address", "socket_address")
    host = None if address is None else address.word("address")
    if address is not None and host is not None and not is_loopback(host):
        yield advice.error(
            address.at("address") or address,
            "admin-exposed",
            "Envoy's admin interface is reachable from outside: it shows the configuration and can end Envoy",
            "remove admin, or bind it to 127.0.0.1",
        )


def _check_clusters(document: Value) -> Iterator[Finding]:
    asked = {
        name
        for value in document.walk()
        if value.message_type == CHECK
        and (name := value.word("grpc_service", "envoy_grpc", "cluster_name")) is not None
    }
    for cluster in document.list("static_resources", "clusters"):
        if cluster.word("name") not in asked:
            continue
        if not cluster.list("health_checks"):
            yield advice.warning(
                cluster,
                "health-checks",
                "the cluster of extauthz has no health checks: a worker that hangs is asked again and again",
                "add health_checks with grpc_health_check",
            )
        if cluster.at("transport_socket") is None:
            yield from _plaintext(cluster)


def _plaintext(cluster: Value) -> Iterator[Finding]:
    for value in cluster.walk():
        host = value.word("socket_address", "address")
        if host is not None and not is_loopback(host):
            yield advice.warning(
                value.at("socket_address") or value,
                "checks-in-plaintext",
                "checks, which carry tokens, leave this machine without TLS",
                "add a transport_socket with TLS and set GRPC_TLS_CERT, GRPC_TLS_KEY and GRPC_TLS_CLIENT_CA",
            )
            return
