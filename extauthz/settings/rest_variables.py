"""The environment variables of the REST listeners: addresses, ports, and certificates."""

from dataclasses import dataclass
from pathlib import Path

from extauthz.settings.authzen_values import base_url
from extauthz.settings.log_variables import LogSettings
from extauthz.settings.values import host_name, integer, path, some_names
from extauthz.settings.variable import variable


@dataclass(frozen=True, slots=True, kw_only=True)
class RestSettings(LogSettings):
    """Where the REST API, /admin, health and metrics are served, and with which certificates."""

    host: str = variable("HOST", host_name, "127.0.0.1", "address of the REST API, health and metrics")
    port: int = variable("PORT", integer(0, 65535), "8080", "port of the REST API")
    authzen_base_url: str | None = variable(
        "AUTHZEN_BASE_URL",
        base_url,
        None,
        "https URL at which clients reach the REST API, for AuthZEN metadata; unset: its address on loopback",
    )
    rest_tls_cert: Path | None = variable(
        "REST_TLS_CERT", path, None, "certificate chain of PORT, followed for change; unset: plaintext"
    )
    rest_tls_key: Path | None = variable("REST_TLS_KEY", path, None, "private key of REST_TLS_CERT")
    rest_tls_client_ca: Path | None = variable(
        "REST_TLS_CLIENT_CA", path, None, "CA of the client certificates that PORT requires, but for /healthz"
    )
    rest_tls_client_sans: tuple[str, ...] = variable(
        "REST_TLS_CLIENT_SANS", some_names, "", "subject alternative names of the clients that are accepted"
    )
    admin_port: int | None = variable(
        "ADMIN_PORT", integer(0, 65535), None, "port of /admin, apart from the REST API; unset: PORT"
    )
    admin_host: str | None = variable("ADMIN_HOST", host_name, None, "address of ADMIN_PORT; unset: HOST")
    admin_tls_cert: Path | None = variable(
        "ADMIN_TLS_CERT", path, None, "certificate chain of ADMIN_PORT; unset: that of REST_TLS_CERT"
    )
    admin_tls_key: Path | None = variable("ADMIN_TLS_KEY", path, None, "private key of ADMIN_TLS_CERT")
    admin_tls_client_ca: Path | None = variable(
        "ADMIN_TLS_CLIENT_CA", path, None, "CA of the client certificates of ADMIN_PORT; unset: that of PORT"
    )
    admin_tls_client_sans: tuple[str, ...] = variable(
        "ADMIN_TLS_CLIENT_SANS", some_names, "", "names of the clients of ADMIN_PORT; unset: those of PORT"
    )
    sidecar_port: int = variable(
        "SIDECAR_PORT", integer(0, 65535), "9190", "port of the sidecar's health and metrics"
    )
