"""What is missing among settings, or does not go together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from extauthz.compile.directory import TenancyMode, TenantBinding
from extauthz.settings.values import FilesSource

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extauthz.settings.variables import Settings


def contradictions(settings: Settings, environ: Mapping[str, str], *, serving: bool) -> list[str]:
    """Name what is missing or does not go together, with what to add."""
    problems: list[str] = []
    selfhost = settings.mode is TenancyMode.SELFHOST
    if serving and settings.oidc_enabled and selfhost:
        if settings.auth_server_url is None:
            problems.append(
                "AUTH_SERVER_URL is not set; add the issuer of your tokens, or OIDC_ENABLED=false"
            )
        if not environ.get("OIDC_AUDIENCE"):
            problems.append(
                "OIDC_AUDIENCE is not set; add the audience that your tokens are issued for "
                "(OIDC_AUDIENCE=my-api), or OIDC_AUDIENCE=any to accept every audience of the issuer"
            )
    if isinstance(settings.policy_source, FilesSource) and not selfhost:
        problems.append("POLICY_SOURCE=files:DIR serves one tenant; MODE=saas needs POLICY_SOURCE=postgres")
    if settings.tenant_binding is TenantBinding.TOKEN and selfhost:
        problems.append("TENANT_BINDING=token is for MODE=saas; selfhost has one tenant")
    if (settings.grpc_tls_cert is None) != (settings.grpc_tls_key is None):
        problems.append("GRPC_TLS_CERT and GRPC_TLS_KEY go together; set both or none")
    if settings.grpc_tls_client_ca is not None and settings.grpc_tls_cert is None:
        problems.append("GRPC_TLS_CLIENT_CA needs GRPC_TLS_CERT and GRPC_TLS_KEY")
    if settings.grpc_tls_client_sans and settings.grpc_tls_client_ca is None:
        problems.append("GRPC_TLS_CLIENT_SANS needs GRPC_TLS_CLIENT_CA")
    if settings.grpc_port + settings.workers - 1 > 65535:
        problems.append(f"GRPC_PORT {settings.grpc_port} has no room for {settings.workers} workers")
    if settings.token_header is not None and settings.token_header in settings.condition_headers:
        problems.append("CONDITION_HEADERS lists TOKEN_HEADER; a credential can never be listed")
    problems += _http_authz_problems(settings)
    return problems


def _http_authz_problems(settings: Settings) -> list[str]:
    port, problems = settings.http_authz_port, []
    if port is None:
        return []
    if port + settings.workers - 1 > 65535:
        problems.append(f"HTTP_AUTHZ_PORT {port} has no room for {settings.workers} workers")
    if settings.grpc_uds_dir is None and abs(port - settings.grpc_port) < settings.workers:
        problems.append(
            f"HTTP_AUTHZ_PORT {port} and GRPC_PORT {settings.grpc_port} overlap: "
            f"each of {settings.workers} workers takes one port of each"
        )
    if settings.grpc_tls_cert is not None:
        problems.append(
            "HTTP_AUTHZ_PORT listens without TLS and would go around GRPC_TLS_CERT; unset one of them"
        )
    return problems
