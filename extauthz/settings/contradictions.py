"""Checks across settings: variables that require or exclude each other.

Input: `Settings` and the environment. Output: problems, each with the variables that it is about.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Final

from extauthz.domain.loopback import is_loopback
from extauthz.domain.tenancy import TenancyMode, TenantBinding
from extauthz.settings.log_contradictions import log_contradictions
from extauthz.settings.otel_contradictions import otel_contradictions
from extauthz.settings.policy_sources import HttpSource
from extauthz.settings.recording_values import not_kept
from extauthz.settings.rest_contradictions import rest_contradictions
from extauthz.settings.values import FilesSource, GrpcServer, Pooler, SslMode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from extauthz.settings.variables import Settings

_NO_AUDIENCE: Final = (
    "OIDC_AUDIENCE is not set; add the audience that your tokens are issued for "
    "(OIDC_AUDIENCE=my-api), or OIDC_AUDIENCE=any to accept every audience of the issuer"
)

_NO_POOLER: Final = (
    "POSTGRES_LISTEN_HOST is for POSTGRES_POOLER=session or transaction; "
    "without a pooler the connection to POSTGRES_HOST receives the notifications"
)
_NO_CA: Final = (
    "POSTGRES_SSLMODE=verify-ca needs POSTGRES_SSLROOTCERT; "
    "the system's CAs issue certificates for any server: with them use verify-full"
)


def contradictions(
    settings: Settings, environ: Mapping[str, str], *, serving: bool
) -> Iterator[tuple[str, str]]:
    """Yield the names of variables (separated by spaces) and the problem between them, with its fix.

    `serving` is false for commands that need no identity provider.
    """
    selfhost = settings.mode is TenancyMode.SELFHOST
    # Signed policies bring the provider of the control plane with them.
    follows = isinstance(settings.policy_source, HttpSource) and settings.auth_server_url is None
    if serving and settings.oidc_enabled and selfhost and not follows:
        has_file = settings.identity_providers is not None
        if settings.auth_server_url is None and not has_file:
            yield (
                "MODE OIDC_ENABLED AUTH_SERVER_URL",
                "AUTH_SERVER_URL is not set; add the issuer of your tokens, or OIDC_ENABLED=false",
            )
        if not environ.get("OIDC_AUDIENCE") and (settings.auth_server_url is not None or not has_file):
            yield (
                "MODE OIDC_ENABLED OIDC_AUDIENCE",
                _NO_AUDIENCE,
            )
    if settings.identity_providers is not None and not settings.oidc_enabled:
        yield (
            "OIDC_ENABLED IDENTITY_PROVIDERS",
            "IDENTITY_PROVIDERS is set and OIDC_ENABLED=false reads no tokens; unset one of them",
        )
    if isinstance(settings.policy_source, FilesSource) and not selfhost:
        yield (
            "MODE POLICY_SOURCE",
            "POLICY_SOURCE=files:DIR serves one tenant; MODE=saas needs POLICY_SOURCE=postgres",
        )
    yield from _signed_contradictions(settings)
    if settings.tenant_binding is TenantBinding.TOKEN and selfhost:
        yield "MODE TENANT_BINDING", "TENANT_BINDING=token is for MODE=saas; selfhost has one tenant"
    yield from _database_contradictions(settings)
    yield from rest_contradictions(settings)
    if (settings.grpc_tls_cert is None) != (settings.grpc_tls_key is None):
        yield "GRPC_TLS_CERT GRPC_TLS_KEY", "GRPC_TLS_CERT and GRPC_TLS_KEY go together; set both or none"
    if settings.grpc_tls_client_ca is not None and settings.grpc_tls_cert is None:
        yield "GRPC_TLS_CLIENT_CA GRPC_TLS_CERT", "GRPC_TLS_CLIENT_CA needs GRPC_TLS_CERT and GRPC_TLS_KEY"
    if settings.grpc_tls_client_sans and settings.grpc_tls_client_ca is None:
        yield "GRPC_TLS_CLIENT_SANS GRPC_TLS_CLIENT_CA", "GRPC_TLS_CLIENT_SANS needs GRPC_TLS_CLIENT_CA"
    if settings.grpc_server is GrpcServer.NATIVE:
        yield from _native_contradictions(settings, serving=serving)
    if settings.grpc_port + settings.workers - 1 > 65535:
        yield (
            "GRPC_PORT WORKERS",
            f"GRPC_PORT {settings.grpc_port} plus {settings.workers} workers exceeds port 65535",
        )
    if settings.token_header is not None and settings.token_header in settings.condition_headers:
        yield (
            "TOKEN_HEADER CONDITION_HEADERS",
            "CONDITION_HEADERS lists TOKEN_HEADER; a credential can never be listed",
        )
    if headers := not_kept(settings.record_attributes, settings.condition_headers):
        yield (
            "RECORD_ATTRIBUTES CONDITION_HEADERS",
            f"RECORD_ATTRIBUTES lists {', '.join(headers)}; a check keeps only headers of CONDITION_HEADERS",
        )
    if (settings.assertion_issuer is None) != (settings.assertion_key_file is None):
        yield (
            "ASSERTION_ISSUER ASSERTION_KEY_FILE",
            "ASSERTION_ISSUER and ASSERTION_KEY_FILE go together; set both or none",
        )
    if both := sorted(settings.claim_headers & settings.condition_headers):
        yield (
            "CLAIM_HEADERS CONDITION_HEADERS",
            (
                f"CLAIM_HEADERS and CONDITION_HEADERS both list {', '.join(both)}; the proxy removes the "
                "headers of CLAIM_HEADERS before the check, so no condition could read them"
            ),
        )
    if settings.token_header is not None and settings.token_header in settings.claim_headers:
        yield (
            "TOKEN_HEADER CLAIM_HEADERS",
            (
                "CLAIM_HEADERS lists TOKEN_HEADER; the proxy removes the headers of CLAIM_HEADERS before the "
                "check, so no token would arrive"
            ),
        )
    yield from log_contradictions(settings)
    yield from otel_contradictions(settings)
    if settings.http_authz_path_prefix is not None and settings.http_authz_port is None:
        yield (
            "HTTP_AUTHZ_PATH_PREFIX HTTP_AUTHZ_PORT",
            "HTTP_AUTHZ_PATH_PREFIX is for checks over HTTP and HTTP_AUTHZ_PORT is not set; set both or none",
        )
    if settings.http_authz_port is not None:
        yield from _http_authz_contradictions(settings, settings.http_authz_port)


def _signed_contradictions(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield the contradictions of POLICY_SOURCE=https://... with other variables."""
    if isinstance(settings.policy_source, HttpSource):
        if settings.policy_public_keys is None:
            yield (
                "POLICY_SOURCE POLICY_PUBLIC_KEYS",
                (
                    "POLICY_SOURCE=https://... needs POLICY_PUBLIC_KEYS; "
                    "'extauthz snapshot public-key' prints it where the policies are signed"
                ),
            )
        if settings.mode is TenancyMode.SAAS and len(settings.tenants) != 1:
            yield (
                "MODE POLICY_SOURCE TENANTS",
                (
                    "POLICY_SOURCE=https://... serves one tenant: set TENANTS to its name; "
                    "many tenants need POLICY_SOURCE=postgres"
                ),
            )
    elif settings.policy_cache_dir is not None:
        yield (
            "POLICY_SOURCE POLICY_CACHE_DIR",
            "POLICY_CACHE_DIR is for POLICY_SOURCE=https://..., whose policies are signed; unset it",
        )
    yield from _report_contradictions(settings)
    if (settings.policy_client_cert is None) != (settings.policy_client_key is None):
        yield (
            "POLICY_CLIENT_CERT POLICY_CLIENT_KEY",
            "POLICY_CLIENT_CERT and POLICY_CLIENT_KEY go together; set both or none",
        )


def _report_contradictions(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield what CONTROL_PLANE_URL and CONTROL_PLANE_API_KEY lack or contradict."""
    signed = isinstance(settings.policy_source, HttpSource)
    if settings.control_plane_url is None:
        if settings.control_plane_api_key is not None and not signed:
            yield (
                "CONTROL_PLANE_API_KEY CONTROL_PLANE_URL",
                "CONTROL_PLANE_API_KEY is set and CONTROL_PLANE_URL is not; set both or none",
            )
        return
    if isinstance(settings.policy_source, FilesSource):
        yield (
            "POLICY_SOURCE CONTROL_PLANE_URL",
            (
                "CONTROL_PLANE_URL is set and POLICY_SOURCE=files:DIR has no revision to report; "
                "unset one of them"
            ),
        )
    elif settings.control_plane_api_key is None and (not signed or settings.policy_api_key is None):
        yield (
            "CONTROL_PLANE_URL CONTROL_PLANE_API_KEY",
            "CONTROL_PLANE_URL needs CONTROL_PLANE_API_KEY, a service key with the scope policies:follow",
        )


def _database_contradictions(settings: Settings) -> Iterator[tuple[str, str]]:
    if settings.postgres_listen_host is not None and settings.postgres_pooler is Pooler.NONE:
        yield (
            "POSTGRES_LISTEN_HOST POSTGRES_POOLER",
            _NO_POOLER,
        )
    for host in settings.listen_hosts:
        if host in settings.database_hosts:
            yield (
                "POSTGRES_LISTEN_HOST POSTGRES_HOST POSTGRES_PORT",
                f"POSTGRES_LISTEN_HOST lists {host}, the pooler in POSTGRES_HOST; list PostgreSQL itself",
            )
    if settings.postgres_sslmode is SslMode.VERIFY_CA and settings.postgres_sslrootcert is None:
        yield (
            "POSTGRES_SSLMODE POSTGRES_SSLROOTCERT",
            _NO_CA,
        )


def native_installed() -> bool:
    """Return whether the package of the extra `native` is installed."""
    return importlib.util.find_spec("pygrpc_native") is not None


def _native_contradictions(settings: Settings, *, serving: bool) -> Iterator[tuple[str, str]]:
    if serving and not native_installed():
        yield (
            "GRPC_SERVER",
            (
                "GRPC_SERVER=native needs the package pygrpc-native, which is not installed; "
                "install extauthz[native], or use GRPC_SERVER=auto"
            ),
        )
    if settings.grpc_tls_cert is not None:
        yield (
            "GRPC_SERVER GRPC_TLS_CERT",
            "GRPC_SERVER=native has no TLS and GRPC_TLS_CERT is set; use GRPC_SERVER=grpcio",
        )
    if settings.grpc_uds_dir is None and not is_loopback(settings.grpc_host):
        yield (
            "GRPC_SERVER GRPC_HOST GRPC_UDS_DIR",
            (
                f"GRPC_SERVER=native serves local clients only, and GRPC_HOST is {settings.grpc_host!r}; "
                "use a loopback address, GRPC_UDS_DIR, or GRPC_SERVER=grpcio"
            ),
        )


def _http_authz_contradictions(settings: Settings, port: int) -> Iterator[tuple[str, str]]:
    if port + settings.workers - 1 > 65535:
        yield (
            "HTTP_AUTHZ_PORT WORKERS",
            f"HTTP_AUTHZ_PORT {port} plus {settings.workers} workers exceeds port 65535",
        )
    if settings.grpc_uds_dir is None and abs(port - settings.grpc_port) < settings.workers:
        yield (
            "HTTP_AUTHZ_PORT GRPC_PORT GRPC_UDS_DIR WORKERS",
            (
                f"HTTP_AUTHZ_PORT {port} and GRPC_PORT {settings.grpc_port} overlap: "
                f"each needs {settings.workers} ports, one per worker"
            ),
        )
    if settings.grpc_tls_cert is not None:
        yield (
            "HTTP_AUTHZ_PORT GRPC_TLS_CERT",
            "HTTP_AUTHZ_PORT listens without TLS and would bypass GRPC_TLS_CERT; unset one of them",
        )
