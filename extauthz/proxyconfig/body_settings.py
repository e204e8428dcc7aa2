"""Examines whether proxies send the bodies that policies read: whole, as bytes, over gRPC.

Input: documents, and `BodyNeed`. Output: findings.
"""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from extauthz.proxyconfig import advice
from extauthz.proxyconfig.documents import YamlValue
from extauthz.proxyconfig.findings import Finding
from extauthz.proxyconfig.istio_files import mesh_configs
from extauthz.proxyconfig.kinds import CONTOUR, GATEWAY, GATEWAY_API, is_of
from extauthz.proxyconfig.messages import CHECK, CHECK_PER_ROUTE, messages

_COST: Final = "allows that need it never match, and denies always do"
_FIRST_OCTET: Final = 1
"""What checks of OPTIONS include: it shows whether there is a body."""
_ENVOY_DEFAULT: Final = 0
_CONTOUR_DEFAULT: Final = 1024


class BodyNeed(NamedTuple):
    """Which entry of the policies reads the body, and CONDITION_BODY_MAX."""

    reader: str
    octets: int


def examine_bodies(documents: Sequence[YamlValue], need: BodyNeed) -> Iterator[Finding]:
    """Yield the findings of every check that does not send what the policies read."""
    patched = False
    for document in documents:
        found = list(messages(document))
        per_route = [
            settings
            for message in found
            if message.kind == CHECK_PER_ROUTE
            and (settings := message.body.given("check_settings", "with_request_body")) is not None
            and settings.word("max_request_bytes") != str(_FIRST_OCTET)
        ]
        checks = [message.body for message in found if message.kind == CHECK]
        patched = patched or any(
            check.given("with_request_body") is not None for check in checks if _is_patch(check)
        )
        for check in checks:
            if not _is_patch(check):
                yield from _envoy(check, need, in_routes=bool(per_route))
        for settings in per_route:
            yield from _buffer(settings, need, "with_request_body", "max_request_bytes", "pack_as_bytes")
    for document in documents:
        yield from _istio(document, need, patched=patched)
        yield from _gateways(document, need)
        yield from _contour(document, need)


def _is_patch(check: YamlValue) -> bool:
    """Return whether an ExtAuthz is a part that is merged into another one, as in an EnvoyFilter."""
    return check.given("grpc_service") is None and check.given("http_service") is None


def _envoy(check: YamlValue, need: BodyNeed, *, in_routes: bool) -> Iterator[Finding]:
    if check.given("http_service") is not None:
        yield _over_http(check, need)
        return
    settings = check.given("with_request_body")
    if settings is not None:
        yield from _buffer(settings, need, "with_request_body", "max_request_bytes", "pack_as_bytes")
    elif not in_routes:
        yield _missing(
            check,
            need,
            "with_request_body: {max_request_bytes: %d, allow_partial_message: true, pack_as_bytes: true}",
        )


def _istio(document: YamlValue, need: BodyNeed, *, patched: bool) -> Iterator[Finding]:
    for mesh in mesh_configs(document):
        for provider in mesh.list("extension_providers"):
            if (over_http := provider.given("envoy_ext_authz_http")) is not None:
                yield _over_http(over_http, need)
            check = provider.given("envoy_ext_authz_grpc")
            if check is None:
                continue
            settings = check.given("include_request_body_in_check")
            if settings is not None:
                yield from _buffer(
                    settings, need, "includeRequestBodyInCheck", "maxRequestBytes", "packAsBytes"
                )
            elif not patched:
                yield _missing(
                    check,
                    need,
                    "includeRequestBodyInCheck: {maxRequestBytes: %d, allowPartialMessage: true, "
                    "packAsBytes: true}",
                )


def _gateways(document: YamlValue, need: BodyNeed) -> Iterator[Finding]:
    if is_of(document, GATEWAY, "SecurityPolicy"):
        check = document.given("spec", "ext_auth")
        if check is None:
            return
        if check.given("http") is not None:
            yield _over_http(check, need)
            return
        yield advice.warning(
            check,
            "body-text",
            f"{need.reader} reads the body, which Envoy Gateway can send as text only: {_COST}",
            "check these requests in an Envoy with pack_as_bytes, such as one in the pod",
        )
    elif is_of(document, GATEWAY_API, "HTTPRoute") or is_of(document, GATEWAY_API, "GRPCRoute"):
        for value in document.walk():
            check = value.given("external_auth") if value.word("type") == "ExternalAuth" else None
            if check is None:
                continue
            if check.word("protocol") == "HTTP":
                yield _over_http(check, need)
                continue
            size = check.given("forward_body", "max_size")
            if size is None or size.text == "0":
                yield _missing(check, need, "forwardBody: {maxSize: %d}")
            else:
                yield from _size(size, need, "forwardBody.maxSize")


def _contour(document: YamlValue, need: BodyNeed) -> Iterator[Finding]:
    servers = [value for one in document.walk() if (value := one.given("global_ext_auth")) is not None]
    if is_of(document, CONTOUR, "HTTPProxy"):
        own = document.given("spec", "virtualhost", "authorization")
        servers += [] if own is None else [own]
    for server in servers:
        if server.given("extension_ref") is None and server.given("extension_service") is None:
            continue
        settings = server.given("with_request_body")
        if settings is None:
            yield _missing(
                server,
                need,
                "withRequestBody: {maxRequestBytes: %d, allowPartialMessage: true, packAsBytes: true}",
            )
        else:
            yield from _buffer(
                settings, need, "withRequestBody", "maxRequestBytes", "packAsBytes", default=_CONTOUR_DEFAULT
            )


def _over_http(check: YamlValue, need: BodyNeed) -> Finding:
    return advice.warning(
        check,
        "body-over-http",
        f"{need.reader} reads the body, and over HTTP extauthz reads none: {_COST}",
        "ask over gRPC",
    )


def _missing(check: YamlValue, need: BodyNeed, setting: str) -> Finding:
    return advice.warning(
        check,
        "body-missing",
        f"{need.reader} reads the body, and checks include none: {_COST}",
        "set " + setting % need.octets,
    )


def _buffer(
    settings: YamlValue,
    need: BodyNeed,
    name: str,
    size: str,
    as_bytes: str,
    *,
    default: int = _ENVOY_DEFAULT,
) -> Iterator[Finding]:
    if not settings.is_true("pack_as_bytes"):
        yield advice.warning(
            settings.at("pack_as_bytes") or settings,
            "body-text",
            f"{need.reader} reads the body, of which extauthz takes bytes only: {_COST}",
            f"set {name}.{as_bytes}: true",
        )
    found = settings.at("max_request_bytes")
    if found is not None:
        yield from _size(found, need, f"{name}.{size}")
    elif default < need.octets:
        yield from _size(settings, need, f"{name}.{size}", default)


def _size(value: YamlValue, need: BodyNeed, name: str, octets: int | None = None) -> Iterator[Finding]:
    if octets is None:
        written = value.text or ""
        if not (written.isascii() and written.isdigit() and len(written) < 12):
            # Not a number of octets: another finding says so.
            return
        octets = int(written)
    if octets < need.octets:
        yield advice.warning(
            value,
            "body-short",
            f"checks include {octets} bytes of the body, and {need.reader} reads up to {need.octets} "
            "(CONDITION_BODY_MAX): a longer body is cut, and unknown",
            f"set {name}: {need.octets}, or lower CONDITION_BODY_MAX",
        )
