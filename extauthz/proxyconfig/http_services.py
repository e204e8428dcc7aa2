"""Examines the `http_service` of ext_authz filters: the path that a check has, and the headers that it shows.

Input: documents and what the service is set to. Output: findings.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from extauthz.proxyconfig import advice
from extauthz.proxyconfig.check_settings import matches
from extauthz.proxyconfig.documents import YamlValue
from extauthz.proxyconfig.findings import Finding
from extauthz.proxyconfig.messages import CHECK, CHECK_PER_ROUTE, messages


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """HTTP_AUTHZ_PATH_PREFIX (empty: none) and TOKEN_HEADER of the service."""

    path_prefix: str = ""
    token_header: str | None = None


def examine_http_services(documents: Sequence[YamlValue], settings: HttpSettings | None) -> Iterator[Finding]:
    """Yield the findings of every `http_service`; `settings` is None where the service is unknown."""
    for document in documents:
        for message in messages(document):
            if message.kind not in {CHECK, CHECK_PER_ROUTE}:
                continue
            at = message.body if message.kind == CHECK else message.body.given("check_settings")
            service = None if at is None else at.given("http_service")
            if at is not None and service is not None:
                yield from _path(service, settings)
                yield from _token(at, service, settings)


def _path(service: YamlValue, settings: HttpSettings | None) -> Iterator[Finding]:
    if (override := service.given("path_override")) is not None:
        yield advice.error(
            override,
            "http-path",
            "path_override replaces the path: extauthz judges another one than Envoy forwards",
            "use path_prefix, with the same HTTP_AUTHZ_PATH_PREFIX",
        )
    if settings is None:
        return
    written = service.word("path_prefix") or ""
    if written != settings.path_prefix:
        yield advice.error(
            service.at("path_prefix") or service,
            "http-path",
            f"path_prefix is {written!r} and HTTP_AUTHZ_PATH_PREFIX is {settings.path_prefix!r}: requests "
            "are denied, or another path is judged than is forwarded",
            "make both the same",
        )


def _token(check: YamlValue, service: YamlValue, settings: HttpSettings | None) -> Iterator[Finding]:
    if settings is None or settings.token_header is None:
        return
    listed = [
        *check.list("allowed_headers", "patterns"),
        *service.list("authorization_request", "allowed_headers", "patterns"),
    ]
    if not any(matches(one, settings.token_header) for one in listed):
        yield advice.error(
            service,
            "headers-withheld",
            f"allowed_headers lacks {settings.token_header}, the TOKEN_HEADER: no token reaches extauthz",
            f"add {settings.token_header} to allowed_headers",
        )
