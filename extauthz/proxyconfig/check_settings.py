"""Examines the settings of one ext_authz filter, independent of its place in the configuration.

Input: an ExtAuthz, an ExtAuthzPerRoute, or what another proxy has in its place. Output: findings.
"""

import re
from collections.abc import Iterator, Set
from typing import Final

from extauthz.proxyconfig import advice
from extauthz.proxyconfig.documents import YamlValue
from extauthz.proxyconfig.findings import Finding

_AUTHORITY: Final = re.compile(r"[A-Za-z0-9._~%!$&'()*+,;=:@\[\]-]+")
"""RFC 3986 3.2: characters of an authority, which is the name of the cluster unless it is set."""
_LISTS: Final = ("allowed_headers", "disallowed_headers")


def examine_check(check: YamlValue, conditions: Set[str] | None) -> Iterator[Finding]:
    """Yield the findings of an HTTP ExtAuthz; `conditions` are CONDITION_HEADERS, None if unknown."""
    yield from advice.failing_open(check, "failure_mode_allow", "failure_mode_allow")
    yield from _service(check, check)
    over_http = check.given("http_service") is not None
    body = check.at("with_request_body", "max_request_bytes")
    if body is not None and not over_http and (large := advice.body(body, "max_request_bytes")):
        yield large
    if check.given("status_on_error") is None:
        yield advice.warning(
            check,
            "status-on-error",
            "without status_on_error clients receive 403 while extauthz is unavailable, as for a denial",
            "set status_on_error: { code: ServiceUnavailable }",
        )
    yield from _withheld(check, over_http=over_http)
    yield from _joined(check, conditions, over_http=over_http)
    if not over_http and check.given("include_peer_certificate") is None:
        yield advice.info(
            check,
            "peer-certificate",
            "the check request does not include the certificate of the peer",
            "set include_peer_certificate: true if rules name workloads",
        )


def examine_network_check(check: YamlValue) -> Iterator[Finding]:
    """Yield the findings of a network ExtAuthz, which has settings for neither headers nor statuses."""
    yield from advice.failing_open(check, "failure_mode_allow", "failure_mode_allow")
    yield from _service(check, check)


def examine_per_route(per_route: YamlValue) -> Iterator[Finding]:
    """Yield the findings of the check settings in an ExtAuthzPerRoute."""
    settings = per_route.given("check_settings")
    if settings is None:
        return
    if settings.given("grpc_service") is not None or settings.given("http_service") is not None:
        yield from _service(settings, settings)
    body = settings.at("with_request_body", "max_request_bytes")
    if body is not None and (large := advice.body(body, "max_request_bytes")):
        yield large


def _service(settings: YamlValue, at: YamlValue) -> Iterator[Finding]:
    over_grpc, over_http = settings.given("grpc_service"), settings.given("http_service")
    limit = settings.given("grpc_service", "timeout") or settings.given(
        "http_service", "server_uri", "timeout"
    )
    if limit is None:
        yield advice.warning(
            over_grpc or over_http or at,
            "timeout-missing",
            "the check has no timeout",
            "set grpc_service.timeout to 0.2s (http_service.server_uri.timeout over HTTP)",
        )
    elif found := advice.timeout(limit):
        yield found
    cluster = settings.given("grpc_service", "envoy_grpc", "cluster_name")
    if cluster is None or settings.given("grpc_service", "envoy_grpc", "authority") is not None:
        return
    if not _AUTHORITY.fullmatch(cluster.text or ""):
        yield advice.warning(
            cluster,
            "authority-invalid",
            f"the name {cluster.text!r} of the cluster is the authority of each check and has characters "
            "that are invalid there: the native gRPC server refuses every check, so every request is denied",
            "set grpc_service.envoy_grpc.authority: extauthz, also in grpc_health_check",
        )


def _withheld(check: YamlValue, *, over_http: bool) -> Iterator[Finding]:
    for name in _LISTS:
        withheld = check.given(name)
        if withheld is None:
            continue
        if over_http:
            # Over HTTP Envoy always sends Authorization, unless disallowed_headers removes it.
            hidden = [one for one in withheld.list("patterns") if matches(one, "authorization")]
            if name == "disallowed_headers" and hidden:
                yield advice.error(
                    hidden[0],
                    "headers-withheld",
                    "disallowed_headers removes authorization: no token reaches extauthz over HTTP",
                    f"remove {name}",
                )
            continue
        matching = any(matches(one, ":path") for one in withheld.list("patterns"))
        has_path = matching if name == "allowed_headers" else not matching
        path = "" if has_path else (
            "; it also withholds the raw `:path`, so a path with `!` (a replaced byte) is refused with 400"
        )  # fmt: skip
        yield advice.warning(
            withheld,
            "headers-withheld",
            f"{name} withholds request headers from extauthz, which cannot evaluate or remove them" + path,
            f"remove {name}",
        )


def matches(pattern: YamlValue, header: str) -> bool:
    """Return whether a StringMatcher matches a header name.

    Of regular expressions only those that match every name, or exactly this one, are recognised.
    """
    fold = pattern.is_true("ignore_case")

    def given(name: str) -> str | None:
        text = pattern.word(name)
        return text.lower() if text is not None and fold else text

    exact, prefix, suffix, contains = map(given, ("exact", "prefix", "suffix", "contains"))
    regex = pattern.word("safe_regex", "regex")
    return (
        exact == header
        or (prefix is not None and header.startswith(prefix))
        or (suffix is not None and header.endswith(suffix))
        or (contains is not None and contains in header)
        or regex in {".*", ".+", "^.*$", "^.+$", header, f"^{header}$"}
    )


def _joined(check: YamlValue, conditions: Set[str] | None, *, over_http: bool) -> Iterator[Finding]:
    fix = "set encode_raw_headers: true"
    if check.is_true("encode_raw_headers"):
        if over_http and conditions:
            yield advice.info(
                check.at("encode_raw_headers") or check,
                "headers-joined",
                "over HTTP extauthz cannot tell that headers are raw: "
                "the value of a condition header with `,` or `!` is unknown",
                "use grpc_service where rules need such values",
            )
        return
    at = check.at("encode_raw_headers") or check
    if conditions:
        names = ", ".join(sorted(conditions))
        yield advice.error(
            at,
            "headers-joined",
            f"Envoy joins repeated headers and replaces bytes, while CONDITION_HEADERS is set ({names}): a "
            "value with `,` or `!` is unknown, so an allow that depends on it does not apply and a deny does",
            fix,
        )
    elif conditions is None:
        yield advice.warning(
            at,
            "headers-joined",
            "Envoy joins repeated headers and replaces bytes that are not UTF-8 by `!`: extauthz refuses "
            "paths with `!`, and a value of CONDITION_HEADERS with `,` or `!` is unknown",
            fix,
        )
    else:
        yield advice.info(
            at,
            "headers-joined",
            "Envoy replaces bytes that are not UTF-8 by `!`: extauthz refuses paths with `!`",
            fix,
        )


def joined_by(at: YamlValue, what: str, conditions: Set[str]) -> Iterator[Finding]:
    """Yield a warning for a proxy that joins repeated headers and has no setting to prevent it.

    `what` names the proxy; `conditions` are CONDITION_HEADERS.
    """
    names = ", ".join(sorted(conditions))
    yield advice.warning(
        at,
        "headers-joined",
        f"{what} cannot send raw headers, while CONDITION_HEADERS is set ({names}): a value with "
        "`,` or `!` is unknown, so an allow that depends on it does not apply and a deny does",
        "expect 403 condition_unknown for repeated headers, or check in an Envoy with encode_raw_headers",
    )
