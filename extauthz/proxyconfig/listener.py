"""Builds the Envoy listener in front of a workload.

It normalises paths strictly, removes identity headers of the client, and checks every request. Input: a
listen address. Output: `config.listener.v3.Listener`.
"""

from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from envoy_data_plane.envoy.config.accesslog.v3 import AccessLog
from envoy_data_plane.envoy.config.common.mutation_rules.v3 import HeaderMutation as OneMutation
from envoy_data_plane.envoy.config.common.mutation_rules.v3 import HeaderMutationRemoveOnMatch
from envoy_data_plane.envoy.config.core.v3 import (
    ApiVersion,
    BackoffStrategy,
    CidrRange,
    GrpcService,
    GrpcServiceEnvoyGrpc,
    Http2ProtocolOptions,
    HttpProtocolOptions,
    HttpProtocolOptionsHeadersWithUnderscoresAction,
    RetryPolicy,
    SubstitutionFormatString,
)
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, Listener
from envoy_data_plane.envoy.config.route.v3 import (
    HeaderMatcher,
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
)
from envoy_data_plane.envoy.extensions.access_loggers.stream.v3 import StdoutAccessLog
from envoy_data_plane.envoy.extensions.filters.http.cors.v3 import Cors
from envoy_data_plane.envoy.extensions.filters.http.ext_authz.v3 import (
    BufferSettings,
    CheckSettings,
    ExtAuthz,
    ExtAuthzPerRoute,
)
from envoy_data_plane.envoy.extensions.filters.http.header_mutation.v3 import HeaderMutation, Mutations
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpConnectionManagerInternalAddressConfig,
    HttpConnectionManagerPathWithEscapedSlashesAction,
    HttpFilter,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher
from envoy_data_plane.envoy.type.v3 import HttpStatus, StatusCode
from envoy_data_plane.google.protobuf import Any, Struct

from extauthz.domain.preflight import OPTIONS
from extauthz.proxyconfig.addresses import HostPort, socket_address

CHECK_CLUSTER: Final = "extauthz"
CHECK_FILTER: Final = "envoy.filters.http.ext_authz"
UPSTREAM_CLUSTER: Final = "upstream"
CHECK_TIMEOUT_S: Final = 0.2
CHECK_RETRIES: Final = 2
RETRY_AFTER_S: Final = 0.001
RETRY_WITHIN_S: Final = 10
"""Upper limit of the pause; above the timeout, because Envoy also limits a single attempt to it."""
MAX_HEAD_KIB: Final = 60
"""KiB of the request headers, `:path` included."""
MAX_CLIENT_HEADERS: Final = 100
IDENTITY_PREFIX: Final = "x-auth-"

_METADATA: Final = ("decision", "decision_id", "reason", "matched_rule_id", "subject", "policy_revision")
ACCESS_LOG: Final = {
    "ts": "%START_TIME(%Y-%m-%dT%H:%M:%S.%6fZ)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "method": "%REQ(:METHOD)%",
    "host": "%REQ(:AUTHORITY)%",
    "path": "%PATH(NQ:PATH)%",
    "status": "%RESPONSE_CODE%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "flags": "%RESPONSE_FLAGS%",
    "duration_ms": "%DURATION%",
    "peer": "%DOWNSTREAM_REMOTE_ADDRESS%",
} | {name: f"%DYNAMIC_METADATA(envoy.filters.http.ext_authz:{name})%" for name in _METADATA}


def identity_removal(claim_headers: Iterable[str] = ()) -> HeaderMutation:
    """Return the filter that removes every `x-auth-` header of the client (Envoy: HeaderMutation).

    It removes the headers of CLAIM_HEADERS, too.
    """
    matcher = StringMatcher(prefix=IDENTITY_PREFIX, ignore_case=True)
    removal = OneMutation(remove_on_match=HeaderMutationRemoveOnMatch(key_matcher=matcher))
    removals = [removal, *(OneMutation(remove=name) for name in sorted(claim_headers))]
    return HeaderMutation(mutations=Mutations(request_mutations=removals))


def strict_reading() -> HttpConnectionManager:
    """Return a connection manager with only the settings that make paths and header names unambiguous."""
    return HttpConnectionManager(
        normalize_path=True,
        merge_slashes=True,
        path_with_escaped_slashes_action=HttpConnectionManagerPathWithEscapedSlashesAction.REJECT_REQUEST,
        common_http_protocol_options=HttpProtocolOptions(
            headers_with_underscores_action=HttpProtocolOptionsHeadersWithUnderscoresAction.REJECT_REQUEST
        ),
    )


def check_filter(body_octets: int | None = None) -> ExtAuthz:
    """Return the ext_authz filter; it responds 503 if extauthz does not answer within `CHECK_TIMEOUT_S`.

    A check includes up to `body_octets` of the body; None: no body. A longer body is cut in the check: Envoy
    would answer 413 to every request with one.
    """
    body = None if body_octets is None else _body(body_octets)
    return ExtAuthz(
        transport_api_version=ApiVersion.V3,
        grpc_service=GrpcService(
            envoy_grpc=GrpcServiceEnvoyGrpc(cluster_name=CHECK_CLUSTER),
            retry_policy=_retries(),
            timeout=timedelta(seconds=CHECK_TIMEOUT_S),
        ),
        failure_mode_allow=False,
        status_on_error=HttpStatus(code=StatusCode.ServiceUnavailable),
        include_peer_certificate=True,
        # Without it Envoy joins repeated headers and replaces bytes that are not UTF-8 by `!`.
        encode_raw_headers=True,
        validate_mutations=True,
        with_request_body=body,
    )


def body_in_check() -> ExtAuthzPerRoute:
    """Return the settings of a route whose checks show whether the request has a body."""
    return ExtAuthzPerRoute(check_settings=CheckSettings(with_request_body=_body(1)))


def _body(octets: int) -> BufferSettings:
    # As text Envoy replaces bytes that are not UTF-8, and extauthz reads none of it.
    return BufferSettings(max_request_bytes=octets, allow_partial_message=True, pack_as_bytes=True)


def _retries() -> RetryPolicy:
    """Return the policy that retries a check, within its timeout, after a reset or a failed connection."""
    pause = BackoffStrategy(
        base_interval=timedelta(seconds=RETRY_AFTER_S), max_interval=timedelta(seconds=RETRY_WITHIN_S)
    )
    return RetryPolicy(
        retry_on="reset,connect-failure,refused-stream", num_retries=CHECK_RETRIES, retry_back_off=pause
    )


def listener(
    listen: HostPort,
    claim_headers: Iterable[str] = (),
    *,
    check: ExtAuthz | None = None,
    preflights: bool = False,
) -> Listener:
    """Return a plaintext HTTP listener that forwards allowed requests to the cluster `upstream`.

    `check` is the filter that checks them; None: over gRPC.

    With `preflights` checks of OPTIONS include the beginning of the body: a preflight has none, and nothing
    else tells a body without a length.
    """
    manager = Filter(
        name="envoy.filters.network.http_connection_manager",
        typed_config=Any.pack(
            _connection_manager(claim_headers, check or check_filter(), preflights=preflights)
        ),
    )
    return Listener(
        name="ingress",
        address=socket_address(listen),
        per_connection_buffer_limit_bytes=1024 * 1024,
        filter_chains=[FilterChain(filters=[manager])],
    )


def _connection_manager(
    claim_headers: Iterable[str], check: ExtAuthz, *, preflights: bool
) -> HttpConnectionManager:
    manager = strict_reading()
    manager.stat_prefix = "ingress"
    # Envoy uses the address of the peer and ignores X-Forwarded-For of the client. No host has the "internal"
    # address: by default every private address counts as internal and may set x-envoy-* headers.
    manager.use_remote_address = True
    manager.internal_address_config = HttpConnectionManagerInternalAddressConfig(
        cidr_ranges=[CidrRange(address_prefix="255.255.255.255", prefix_len=32)]
    )
    assert manager.common_http_protocol_options is not None
    manager.common_http_protocol_options.idle_timeout = timedelta(seconds=300)
    # Limits on what a client sends: a check request includes all headers.
    manager.common_http_protocol_options.max_headers_count = MAX_CLIENT_HEADERS
    manager.max_request_headers_kb = MAX_HEAD_KIB
    manager.request_headers_timeout = timedelta(seconds=10)
    manager.stream_idle_timeout = timedelta(seconds=300)
    manager.http2_protocol_options = Http2ProtocolOptions(
        max_concurrent_streams=100,
        initial_stream_window_size=64 * 1024,
        initial_connection_window_size=1024 * 1024,
    )
    manager.route_config = _routes(preflights=preflights)
    # INVARIANT: cors answers preflight requests, which carry no token, before ext_authz; and the identity
    # headers of the client are removed before extauthz adds its own.
    manager.http_filters = [
        HttpFilter(name="envoy.filters.http.cors", typed_config=Any.pack(Cors())),
        HttpFilter(
            name="envoy.filters.http.header_mutation", typed_config=Any.pack(identity_removal(claim_headers))
        ),
        HttpFilter(name=CHECK_FILTER, typed_config=Any.pack(check)),
        HttpFilter(name="envoy.filters.http.router", typed_config=Any.pack(Router())),
    ]
    log_format = SubstitutionFormatString(json_format=Struct.from_dict(ACCESS_LOG))
    manager.access_log = [
        AccessLog(
            name="envoy.access_loggers.stdout",
            typed_config=Any.pack(StdoutAccessLog(log_format=log_format)),
        )
    ]
    return manager


def _routes(*, preflights: bool) -> RouteConfiguration:
    action = RouteAction(cluster=UPSTREAM_CLUSTER, timeout=timedelta(seconds=30))
    routes = [Route(match=RouteMatch(prefix="/"), route=action)]
    if preflights:
        method = HeaderMatcher(name=":method", string_match=StringMatcher(exact=OPTIONS))
        options = RouteMatch(prefix="/", headers=[method])
        settings = {CHECK_FILTER: Any.pack(body_in_check())}
        routes.insert(0, Route(match=options, route=action, typed_per_filter_config=settings))
    host = VirtualHost(name="everything", domains=["*"], routes=routes)
    return RouteConfiguration(name="ingress", virtual_hosts=[host])
