"""Builds an Envoy bootstrap: one listener, the workers of extauthz, one upstream.

Input: `Settings`, a listen address, an upstream address, the proxy's TLS files. Output: YAML, or a list of
problems.
"""

from typing import Final

import yaml
from betterproto2 import Casing
from envoy_data_plane.envoy.config.bootstrap.v3 import (
    Bootstrap,
    BootstrapStaticResources,
    LayeredRuntime,
    RuntimeLayer,
    RuntimeLayerAdminLayer,
)
from envoy_data_plane.envoy.config.overload.v3 import OverloadManager, ResourceMonitor
from envoy_data_plane.envoy.extensions.resource_monitors.downstream_connections.v3 import (
    DownstreamConnectionsConfig,
)
from envoy_data_plane.google.protobuf import Any, Struct

from extauthz.proxyconfig.addresses import HostPort
from extauthz.proxyconfig.clusters import check_cluster, upstream_cluster
from extauthz.proxyconfig.http_check import http_check
from extauthz.proxyconfig.listener import check_filter, listener
from extauthz.proxyconfig.tls import ProxyTls
from extauthz.settings import CorsPreflight, Settings

DEFAULT_LISTEN: Final = HostPort("127.0.0.1", 10000)
DEFAULT_UPSTREAM: Final = HostPort("127.0.0.1", 8000)

_HEADER: Final = """\
# Envoy in front of one upstream, with a check by extauthz for every request. Printed by
# `extauthz envoy-config` from the settings of extauthz: print it again when WORKERS, GRPC_HOST, GRPC_PORT,
# GRPC_UDS_DIR, GRPC_TLS_* or CLAIM_HEADERS change. Start it with
#
#   envoy -c FILE --disable-hot-restart
#
# and examine it with `extauthz doctor FILE` after every edit. There is no admin interface; add one on a
# loopback address only.
"""


def envoy_yaml(
    settings: Settings,
    *,
    listen: HostPort = DEFAULT_LISTEN,
    upstream: HostPort = DEFAULT_UPSTREAM,
    tls: ProxyTls | None = None,
    over_http: bool = False,
    body_octets: int | None = None,
) -> str | list[str]:
    """Return the YAML of a bootstrap, or the list of problems that prevent one.

    With `over_http` Envoy asks over HTTP in place of gRPC. Over gRPC a check includes up to `body_octets` of
    the body; None: no body.
    """
    if over_http:
        asked = http_check(settings)
        if isinstance(asked, str):
            return [asked]
        check, workers = asked
    else:
        found = check_cluster(settings, tls or ProxyTls())
        if isinstance(found, str):
            return [found]
        check, workers = check_filter(body_octets), found
    connections = DownstreamConnectionsConfig(max_active_downstream_connections=50_000)
    bootstrap = Bootstrap(
        overload_manager=OverloadManager(
            resource_monitors=[
                ResourceMonitor(
                    name="envoy.resource_monitors.global_downstream_max_connections",
                    typed_config=Any.pack(connections),
                )
            ]
        ),
        # Envoy reads one request per connection and loop iteration: a burst on one connection does not delay
        # the requests of other connections.
        layered_runtime=LayeredRuntime(
            layers=[
                RuntimeLayer(
                    name="shipped", static_layer=Struct.from_dict({"http.max_requests_per_io_cycle": 1})
                ),
                # The layer that Envoy adds itself if a bootstrap defines no layers.
                RuntimeLayer(name="admin", admin_layer=RuntimeLayerAdminLayer()),
            ]
        ),
        static_resources=BootstrapStaticResources(
            listeners=[
                listener(
                    listen,
                    settings.claim_headers,
                    check=check,
                    preflights=settings.cors_preflight is CorsPreflight.POLICY,
                )
            ],
            clusters=[workers, upstream_cluster(upstream)],
        ),
    )
    return _HEADER + yaml.safe_dump(spelt_out(bootstrap.to_dict(casing=Casing.SNAKE)), sort_keys=False)


def spelt_out(document: object) -> object:
    """Return a document with `failure_mode_allow: false` written in every ExtAuthz, though it is the default.

    A reader of the file sees then that the check fails closed.
    """
    if isinstance(document, list):
        return [spelt_out(member) for member in document]
    if not isinstance(document, dict):
        return document
    found = {name: spelt_out(member) for name, member in document.items()}
    if str(found.get("@type", "")).endswith("ext_authz.v3.ExtAuthz"):
        found.setdefault("failure_mode_allow", False)
    return found
