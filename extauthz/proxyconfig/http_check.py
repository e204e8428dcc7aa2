"""Builds the ext_authz filter and its cluster for checks over HTTP (`http_service`).

Input: `Settings` with HTTP_AUTHZ_PORT. Output: Envoy messages. Only listed headers arrive in such a check, so
the lists here name each header that extauthz reads or removes, and the other spellings that it removes.
"""

import re
from collections.abc import Iterable, Iterator, Set
from datetime import timedelta
from typing import Final

from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterLbPolicy
from envoy_data_plane.envoy.config.core.v3 import ApiVersion, HealthCheck, HealthCheckTcpHealthCheck, HttpUri
from envoy_data_plane.envoy.extensions.filters.http.ext_authz.v3 import (
    AuthorizationResponse,
    ExtAuthz,
    HttpService,
)
from envoy_data_plane.envoy.type.matcher.v3 import ListStringMatcher, RegexMatcher, StringMatcher
from envoy_data_plane.envoy.type.v3 import HttpStatus, StatusCode

from extauthz.proxyconfig.addresses import HostPort, http_endpoints
from extauthz.proxyconfig.clusters import health_check, plain_cluster
from extauthz.proxyconfig.listener import CHECK_CLUSTER, CHECK_TIMEOUT_S, IDENTITY_PREFIX
from extauthz.settings import Settings

_READ: Final = ("authorization", "x-service-api-key", "x-request-id", "traceparent", "content-type")


def http_check(settings: Settings) -> tuple[ExtAuthz, Cluster] | str:
    """Return the filter and the cluster that it asks, or the problem as a text."""
    places = http_endpoints(settings)
    if not places:
        return "checks over HTTP need HTTP_AUTHZ_PORT, which is not set"
    return _filter(settings, places[0]), _cluster(places)


def _filter(settings: Settings, first: HostPort) -> ExtAuthz:
    service = HttpService(
        server_uri=HttpUri(
            uri=f"http://{first}", cluster=CHECK_CLUSTER, timeout=timedelta(seconds=CHECK_TIMEOUT_S)
        ),
        path_prefix=settings.http_authz_path_prefix or "",
        authorization_response=AuthorizationResponse(
            allowed_upstream_headers=ListStringMatcher(patterns=_listed(settings.claim_headers))
        ),
    )
    cookie = () if settings.token_cookie is None else ("cookie",)
    token = () if settings.token_header is None else (settings.token_header,)
    read = {*_READ, *token, *cookie, *settings.condition_headers, *settings.claim_headers}
    return ExtAuthz(
        transport_api_version=ApiVersion.V3,
        http_service=service,
        failure_mode_allow=False,
        status_on_error=HttpStatus(code=StatusCode.ServiceUnavailable),
        encode_raw_headers=True,
        validate_mutations=True,
        allowed_headers=ListStringMatcher(patterns=[*_listed(read), *_spellings(settings.claim_headers)]),
    )


def _listed(names: Set[str]) -> list[StringMatcher]:
    exact = [StringMatcher(exact=name) for name in sorted(names)]
    return [*exact, StringMatcher(prefix=IDENTITY_PREFIX)]


def _spellings(claim_headers: Iterable[str]) -> Iterator[StringMatcher]:
    """Yield what matches the names that an upstream may read as an identity header or one of CLAIM_HEADERS.

    Which these are, `check.request_headers` states: any character but a letter or a digit counts as the dash.
    """
    for name, rest in ((IDENTITY_PREFIX, ".*"), *((name, "") for name in sorted(claim_headers))):
        spelt = re.sub(r"[^a-z0-9]", "[^a-z0-9]", name)
        yield StringMatcher(safe_regex=RegexMatcher(regex=spelt + rest))


def _cluster(places: list[HostPort]) -> Cluster:
    cluster = plain_cluster(CHECK_CLUSTER, places, connect_s=0.2)
    cluster.lb_policy = ClusterLbPolicy.LEAST_REQUEST
    # Each request to the listener is a check, so a health check is a connection.
    cluster.health_checks = [health_check(HealthCheck(tcp_health_check=HealthCheckTcpHealthCheck()))]
    return cluster
